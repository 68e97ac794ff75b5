"""Covering numbers of a norm budget: both sides of HO-5 with the radius written in. Source: ours."""

from __future__ import annotations

from fractions import Fraction

from kvverify.bounds.steps import Node
from kvverify.covering.best import best_cover
from kvverify.covering.question import Question


def ball(dim: int = 4, radius: Fraction = Fraction(1), ball_radius: Fraction = Fraction(1, 2)) -> Node:
    """N(B_R^d, delta): the least number of balls of radius ``ball_radius`` that cover one of ``radius``, both sides.

    Keys that are pairwise further apart than delta in the ball of radius R: at most N(B_R, delta/2) of them, and a
    stream exists with at least N(B_R, delta). Raises UsageError outside of the question.
    """
    return best_cover(Question(dim, radius, ball_radius)).certificate
