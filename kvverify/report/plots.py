"""One plot: bits per token against error, with what is proved as a curve and what compressors hold as points."""

from __future__ import annotations

import io
from collections.abc import Sequence

from kvverify.errors import UsageError

_SIZES = (8, 13, 8, 8)  # neighbours in the list may lie on each other


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
