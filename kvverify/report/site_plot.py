"""Pictures of the page as SVG, drawn here: points beside curves, bars along a stream. Colours are classes of the style.

Shapes say what colours say: a disc is an audit without a flag, a diamond one with a flag.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from kvverify.audit.statistics import GRID
from kvverify.report.site_bounds import Curves, Points
from kvverify.report.site_html import Html, element

_LETTER = 0.56
"""Of the type's size: about the mean width of a letter."""
_NAME = 24
"""Letters of a label."""
_SIDES = ((1, 0), (-1, 0), (1, -1), (-1, -1), (1, 1), (-1, 1))
"""Where a label may stand, seen from its point: right or left; level, above or below."""

_BELOW = 4
"""How many times smaller than the least of the curves a point may be before it lies on the ground of the picture."""

Spot = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Point:
    """An audit in the plot: the number of its row, the error that 9 of 10 reads stay within, bits a token."""

    number: int
    name: str
    error: Fraction | None
    bits: float
    flagged: bool
    told: str


@dataclass(frozen=True)
class Canvas:
    """Sizes in pixels of a picture of ``width``; ``narrow`` pictures have letters that a phone shows."""

    width: int
    height: int
    left: int
    dot: float
    type_size: int
    narrow: bool

    top, bottom, right = 14, 58, 10

    @property
    def ground(self) -> int:
        """Where the scale ends below."""
        return self.height - self.bottom

    @property
    def edge(self) -> int:
        """Where the columns end on the right."""
        return self.width - self.right

    @property
    def column(self) -> float:
        """Width of the column of one tolerance; the last is for what stays within none."""
        return (self.edge - self.left) / (len(GRID) + 1)

    def x(self, error: Fraction | None) -> float:
        """The middle of an error's column: the least error on the left."""
        place = len(GRID) if error is None else len(GRID) - 1 - GRID.index(error)
        return self.left + (place + 0.5) * self.column


WIDE = Canvas(880, 470, 62, 5.0, 13, narrow=False)
NARROW = Canvas(360, 430, 50, 4.0, 12, narrow=True)


@dataclass(frozen=True)
class _Scale:
    """Bits a token as a height: powers of two from ``low`` to ``high``."""

    low: int
    high: int
    canvas: Canvas

    def y(self, bits: float) -> float:
        """The height of a number of bits; what is below the scale lies on its ground."""
        share = (math.log2(bits) - self.low) / (self.high - self.low) if bits > 0 else 0.0
        return self.canvas.top + (self.canvas.ground - self.canvas.top) * (1 - min(1.0, max(0.0, share)))

    def spots(self, line: Points) -> list[Spot]:
        """A curve's points in the picture, from left to right."""
        return sorted((self.canvas.x(error), self.y(bits)) for error, bits in line)


def plot(points: Sequence[Point], curves: Curves, dense: float, canvas: Canvas) -> Html:
    """Bits a token against error, for audits of one class; ``dense``: bits a token of 16 bits a scalar."""
    known = [dense, *(bits for line in curves.lines.values() for _, bits in line)]
    heights = [*known, *(max(point.bits, min(known) / _BELOW) for point in points)]
    low, high = math.floor(math.log2(min(heights))), math.ceil(math.log2(max(heights)))
    scale = _Scale(low, max(high, low + 1), canvas)
    placed = list(_placed(points, scale))
    return element(
        "svg", _axes(scale), _dense(dense, scale), _curves(curves, scale), _marks(placed, canvas),
        _labels(placed, [*_obstacles(curves, scale), *_word_dense(dense, scale)], canvas),
        viewBox=f"0 0 {canvas.width} {canvas.height}", role="img",
        class_=f"plot {'narrow' if canvas.narrow else 'wide'}",
        aria_label=f"{len(points)} audits, bits a token against error, beside proved bounds; figures are in the table",
    )  # fmt: skip


def _axes(scale: _Scale) -> Iterator[Html]:
    canvas = scale.canvas
    for power in range(scale.low, scale.high + 1, 1 + (scale.high - scale.low) // 10):
        y = scale.y(2.0**power)
        yield element("path", d=f"M{canvas.left} {y:.1f}H{canvas.edge}", class_="grid")
        yield _text(canvas.left - 6, y + 4, f"{2**power:,}" if power >= 0 else f"2^{power}", "end")
    for place, error in enumerate([*reversed(GRID), None]):
        if error is None or not canvas.narrow or place % 3 == 0:
            label = "more" if error is None else f"1/{error.denominator}"
            yield _text(canvas.x(error), canvas.ground + 18, label, "middle")
    last = canvas.left + len(GRID) * canvas.column
    yield element("path", d=f"M{last:.1f} {canvas.top}V{canvas.ground}", class_="grid edge")
    yield element("path", d=f"M{canvas.left} {canvas.top}V{canvas.ground}H{canvas.edge}", class_="axis")
    wide = "error that 9 of 10 reads stay within (values lie in [-1, 1])"
    title = "error of 9 of 10 reads" if canvas.narrow else wide
    yield _text((canvas.left + canvas.edge) / 2, canvas.ground + 42, title, "middle", "title")


def _curves(curves: Curves, scale: _Scale) -> Iterator[Html]:
    ground = scale.canvas.ground
    if curves.values:
        spots = scale.spots(curves.values)
        area = f"M{spots[0][0]:.1f} {ground}L{_path(spots)}L{spots[-1][0]:.1f} {ground}Z"
        yield element("path", d=area, class_="never")
    for name, line in curves.lines.items():
        spots = scale.spots(line)
        yield element("path", d=f"M{_path(spots)}", class_=f"curve {name}")
        yield element("path", d="".join(f"M{x:.1f} {y:.1f}h0" for x, y in spots), class_=f"knots {name}")


def _dense(dense: float, scale: _Scale) -> Iterator[Html]:
    canvas, y = scale.canvas, scale.y(dense)
    yield element("path", d=f"M{canvas.left} {y:.1f}H{canvas.edge}", class_="dense")
    yield _text(canvas.left + 3, y - 5, "dense", "start", "note")


def _placed(points: Sequence[Point], scale: _Scale) -> Iterator[tuple[Point, float, float]]:
    """Points with their places: beside each other, within their column, where they would lie on each other."""
    canvas = scale.canvas
    apart = 2 * canvas.dot + 1
    room = max(0, int((canvas.column / apart - 1) / 2))
    steps = sorted(range(-room, room + 1), key=lambda step: (abs(step), step < 0))
    taken: dict[Fraction | None, list[Spot]] = {}
    for point in sorted(points, key=lambda one: one.bits):
        y, column = scale.y(point.bits), taken.setdefault(point.error, [])
        near = [x for x, other in column[-len(steps) :] if abs(other - y) < apart]
        free = (step for step in steps if all(abs(step * apart - x) >= apart for x in near))
        x = next(free, steps[-1]) * apart
        column.append((x, y))
        yield point, canvas.x(point.error) + x, y


def _marks(placed: Iterable[tuple[Point, float, float]], canvas: Canvas) -> Iterator[Html]:
    for point, x, y in placed:
        size = f"{1.2 * canvas.dot:g}"
        shape = (
            element("path", d=f"M{x:.1f} {y:.1f}m-{size} 0l{size}-{size} {size} {size}-{size} {size}z")
            if point.flagged
            else element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{canvas.dot:g}")
        )
        yield element(
            "a", element("title", f"{point.name}: {point.told}"), shape, href=f"#a{point.number}", tabindex="-1",
            class_="flag" if point.flagged else "good", data_row=point.number,
        )  # fmt: skip


def _labels(placed: Sequence[tuple[Point, float, float]], taken: list[Box], canvas: Canvas) -> Iterator[Html]:
    """Names of those that hold the least for their error, as long as they fit: the others are told when pointed at."""
    reach, size = canvas.dot + 1, canvas.type_size
    taken = taken + [(x - reach, y - reach, x + reach, y + reach) for _, x, y in placed]
    least: dict[Fraction | None, tuple[Point, float, float]] = {}
    for one in placed:
        least.setdefault(one[0].error, one)  # they come by their bits
    for point, x, y in sorted(least.values(), key=lambda one: one[2], reverse=True):
        name = point.name if len(point.name) <= _NAME else f"{point.name[: _NAME - 1]}…"
        width = _LETTER * size * len(name)
        for side, lift in _SIDES:
            start, line = x + side * (reach + 3) - (width if side < 0 else 0), y + 4 + lift * (size + 2)
            box = (start, line - size + 2, start + width, line + 3)
            inside = canvas.left < start and box[2] < canvas.width and canvas.top < box[1] and box[3] < canvas.ground
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                yield _text(start, line, name, "start", "name")
                break


def _obstacles(curves: Curves, scale: _Scale) -> Iterator[Box]:
    """Small boxes along the curves, which no label covers."""
    for line in curves.lines.values():
        for (x, y), (to_x, to_y) in pairwise(scale.spots(line)):
            for share in (0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1):
                at, height = x + share * (to_x - x), y + share * (to_y - y)
                yield at - 2, height - 2, at + 2, height + 2


def _word_dense(dense: float, scale: _Scale) -> Iterator[Box]:
    left, y = scale.canvas.left, scale.y(dense)
    yield left, y - 16, left + 44, y


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _path(spots: Iterable[Spot]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)


def _text(x: float, y: float, words: str, anchor: str, class_: str | None = None) -> Html:
    return element("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=class_)


def bars(shares: Sequence[float | None], height: int, label: str, class_: str) -> Html:
    """Shares from 0 to 1 as bars side by side, on a ground as high as 1; None leaves a gap."""
    width = 4
    drawn = "".join(
        f"M{place * width} {height}h{width - 1}v{-share * height:.4g}h{1 - width}z"
        for place, share in enumerate(shares) if share
    )  # fmt: skip
    ground = "".join(f"M{place * width} 0h{width - 1}v{height}h{1 - width}z"
                     for place, share in enumerate(shares) if share is not None)  # fmt: skip
    return element(
        "svg", element("path", d=ground, class_="ground"), element("path", d=drawn, class_="share"),
        viewBox=f"0 0 {max(1, len(shares) * width - 1)} {height}", preserveAspectRatio="none", role="img",
        aria_label=label, class_=class_,
    )  # fmt: skip


def bar(share: float, class_: str) -> Html:
    """One horizontal bar, of a share from 0 to 1."""
    filled = element("path", d=f"M0 0h{100 * min(1.0, share):.4g}v8h{-100 * min(1.0, share):.4g}z", class_=class_)
    return element("svg", filled, viewBox="0 0 100 8", preserveAspectRatio="none", class_="bar", aria_hidden="true")


def mark(kind: str) -> Html:
    """The shape of a status: disc, diamond, square, triangle."""
    shapes = {
        "NO FLAG": ("good", element("circle", cx="6", cy="6", r="4.5")),
        "FLAGGED": ("flag", element("path", d="M6 .5 11.5 6 6 11.5.5 6z")),
        "INCOMPLETE": ("open", element("path", d="M1.5 1.5h9v9h-9z")),
        "REFUSED": ("open", element("path", d="M6 1.5 11 10.5H1z")),
    }
    class_, shape = shapes[kind]
    return element("svg", shape, viewBox="0 0 12 12", class_=f"mark {class_}", aria_hidden="true")


def swatch(class_: str) -> Html:
    """A piece of a curve, for the legend."""
    line = element("path", d="M1 6H29", class_="dense" if class_ == "dense" else f"curve {class_}")
    return element("svg", line, viewBox="0 0 30 12", class_="swatch", aria_hidden="true")
