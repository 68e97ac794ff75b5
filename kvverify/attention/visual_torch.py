"""The pyramid of token maps in torch: the exact weights of `kvverify.attention.visual`, rounded once to the dtype.

One matrix product per axis, so a map of any batch costs two small products. It agrees with
torch.nn.functional.interpolate, where torch has that kernel, up to rounding: "nearest" is torch's "nearest-exact",
"bilinear" and "bicubic" are torch's with align_corners=False, all with the edge rule ``clamp``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kvverify.attention.visual import Scale, axis, checked
from kvverify.errors import UsageError


def axis_matrix(
    source: int, target: int, kernel: str, edge: str = "clamp", dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """The weights along one axis, (target, source), each the rational weight rounded to ``dtype``."""
    matrix = torch.zeros((target, source), dtype=torch.float64)
    for i, row in enumerate(axis(source, target, kernel, edge)):
        for index, weight in row.items():
            matrix[i, index] = float(weight)
    return matrix.to(dtype)


def interpolate(images: torch.Tensor, target: Scale, kernel: str, edge: str = "clamp") -> torch.Tensor:
    """phi of maps (batch, h, w, d): (batch, target.height, target.width, d), in the dtype and on the device of these.

    Raises UsageError where the edge rule gives no value.
    """
    _, height, width, _ = images.shape
    down = axis_matrix(height, target.height, kernel, edge, images.dtype).to(images.device)
    across = axis_matrix(width, target.width, kernel, edge, images.dtype).to(images.device)
    return torch.einsum("is,jt,bstd->bijd", down, across, images)


def pyramid(
    free: Sequence[torch.Tensor], scales: Sequence[Scale], kernel: str, edge: str = "clamp"
) -> list[torch.Tensor]:
    """The maps Y_1, Y_2, .. as tokens (batch, h_i w_i, d), from the free maps X_0, X_1, .. (batch, h, w, d).

    Raises UsageError where a free map has not the size that its scale asks for.
    """
    scales = checked(scales)
    sizes = [Scale(image.shape[1], image.shape[2]) for image in free]
    if sizes != [scales[0], *scales[:-1]]:
        wanted = ", ".join(map(str, (scales[0], *scales[:-1])))
        raise UsageError(f"free maps of sizes {', '.join(map(str, sizes))}: expected {wanted}")
    maps = [free[0], *(interpolate(*pair, kernel, edge) for pair in zip(free[1:], scales[1:], strict=True))]
    return [image.flatten(1, 2) for image in maps]
