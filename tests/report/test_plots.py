"""The plot of what is proved against what is stored: its points and curve, and the missing package."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from kvverify.errors import UsageError
from kvverify.report.plots import curve_png
from tests.conftest import needs

FLOOR = [(0.5, 1.0), (0.25, 10.0), (0.125, 30.0)]
POINTS = [("dense", 0.125, 100.0), ("small", 0.5, 5.0)]


def test_points_and_curve_are_drawn_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    axes_class: Any = needs("matplotlib.axes", "report").Axes
    drawn: list[tuple[list[float], list[float]]] = []
    plot = axes_class.plot

    def seen(axes: Any, x: Any, y: Any, *words: Any, **options: Any) -> Any:
        drawn.append((list(x), list(y)))
        return plot(axes, x, y, *words, **options)

    monkeypatch.setattr(axes_class, "plot", seen)
    png = curve_png(FLOOR, POINTS, "a title")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert drawn == [([0.125, 0.25, 0.5], [30.0, 10.0, 1.0]), ([0.125], [100.0]), ([0.5], [5.0])]
    assert png != curve_png(FLOOR, POINTS[:1], "a title")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'kvverify\[report\]'"):
        curve_png(FLOOR, POINTS, "a title")
