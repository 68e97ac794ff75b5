"""Kinds of attention: an exact or bounded reference beside the form that computes fast."""
