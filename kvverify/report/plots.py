"""The plots: bits per token against error, proved and held; and heat maps of what the heads of a model must keep."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from kvverify.errors import UsageError

_SIZES = (8, 13, 8, 8)  # neighbours in the list may lie on each other
_TICKS = 10

Heads = Mapping[int, Sequence[float | None]]


def curve_png(floor: Sequence[tuple[float, float]], points: Sequence[tuple[str, float, float]], title: str) -> bytes:
    """PNG bytes. ``floor``: (tolerance, proved bits a token); ``points``: (name, tolerance reached, stored bits)."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise UsageError("plots need matplotlib: pip install 'kvverify[report]'") from None
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.subplots()
    errors, bits = zip(*sorted(floor), strict=True)
    axes.fill_between(errors, bits, color="tab:red", alpha=0.15, linewidth=0)
    axes.plot(errors, bits, color="tab:red", marker=".", label="proved: whoever promises this error stores more")
    for (name, error, stored), marker, size in zip(
        points, "osD^vP*X" * len(points), _SIZES * len(points), strict=False
    ):
        axes.plot([error], [stored], marker, label=name, fillstyle="none", markersize=size, markeredgewidth=2)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("error that 9 of 10 reads stay within (values in [-1, 1])")
    axes.set_ylabel("bits a token and head")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def map_png(panels: Sequence[tuple[str, Heads, float]], columns: int, title: str) -> bytes:
    """PNG bytes of heat maps, ``columns`` a row: (name, heads' figures by layer, top of the scale) each.

    None is hatched: nothing is proved there. The colours (cividis) are told apart by all, and in grey.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise UsageError("plots need matplotlib: pip install 'kvverify[report]'") from None
    rows = -(-len(panels) // columns)
    tallest = max(len(figures) for _, figures, _ in panels)
    figure = Figure(figsize=(1 + 3.2 * columns, 1 + (1.2 + 0.1 * tallest) * rows), dpi=120, layout="constrained")
    figure.suptitle(title)
    for place, (name, figures, top) in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.patch.set(hatch="xxx", edgecolor="tab:gray")
        width = max(len(heads) for heads in figures.values())
        padded = [[*heads, *[None] * (width - len(heads))] for heads in figures.values()]
        numbers = [[math.nan if x is None else x for x in heads] for heads in padded]
        image = axes.imshow(numbers, cmap="cividis", vmin=0, vmax=top, aspect="auto", interpolation="nearest")
        axes.set(title=name, xlabel="head", ylabel="layer")
        for axis, labels in ((axes.xaxis, list(range(width))), (axes.yaxis, list(figures))):
            step = -(-len(labels) // _TICKS)
            axis.set_ticks(range(0, len(labels), step), [str(label) for label in labels[::step]])
        figure.colorbar(image, ax=axes)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
