"""Exact areas in the plane: a parallelogram cut by axis-parallel squares."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

Point = tuple[Fraction, Fraction]
Matrix = list[list[Fraction]]


def image(w: Matrix) -> list[Point]:
    """Corners, in order, of the image of [-1, 1]^2."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return [(w[0][0] * x + w[0][1] * y, w[1][0] * x + w[1][1] * y) for x, y in corners]


def area(polygon: list[Point]) -> Fraction:
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum((a[0] * b[1] - a[1] * b[0] for a, b in pairs), Fraction(0))) / 2


def clip(polygon: list[Point], axis: int, bound: Fraction, sign: int) -> list[Point]:
    """The part where sign * coordinate <= sign * bound (Sutherland and Hodgman)."""
    kept: list[Point] = []
    for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        inside_a, inside_b = sign * a[axis] <= sign * bound, sign * b[axis] <= sign * bound
        if inside_a:
            kept.append(a)
        if inside_a != inside_b:
            t = (bound - a[axis]) / (b[axis] - a[axis])
            kept.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
    return kept


def cells(w: Matrix, eps: Fraction) -> list[Fraction]:
    """Areas, largest first, of the image within each square of a grid of width 2 eps."""
    polygon = image(w)
    spans = [
        range(floor(min(p[axis] for p in polygon) / (2 * eps)), ceil(max(p[axis] for p in polygon) / (2 * eps)))
        for axis in (0, 1)
    ]
    found = []
    for i in spans[0]:
        strip = clip(clip(polygon, 0, 2 * eps * i, -1), 0, 2 * eps * (i + 1), 1)
        for j in spans[1]:
            part = clip(clip(strip, 1, 2 * eps * j, -1), 1, 2 * eps * (j + 1), 1) if strip else []
            if len(part) > 2 and area(part):
                found.append(area(part))
    return sorted(found, reverse=True)
