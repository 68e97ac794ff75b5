"""Certificates that the claims rest on: one file a kind, functions that return certificate trees."""
