"""Codes of a few bits as bit planes of bytes: byte j of plane b holds bit b of codes 8 j to 8 j + 7."""

from __future__ import annotations

import torch
from torch import Tensor


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes (..., dim), uint8 below 2^bits, as (..., bits, ceil(dim / 8)) bytes; zeros fill the last one."""
    padded = torch.nn.functional.pad(codes, (0, -codes.shape[-1] % 8)).reshape(*codes.shape[:-1], -1, 8)
    weights = 2 ** torch.arange(8, dtype=torch.uint8, device=codes.device)
    planes = [((padded >> bit & 1) * weights).sum(-1, dtype=torch.uint8) for bit in range(bits)]
    return torch.stack(planes, dim=-2)


def unpack(planes: Tensor, dim: int) -> Tensor:
    """The codes (..., dim) that `pack` packed."""
    bits_of_byte = torch.arange(256, device=planes.device)[:, None] >> torch.arange(8, device=planes.device) & 1
    spread = bits_of_byte.to(torch.uint8).view(torch.int64)[:, 0]  # eight codes at once: as fast as memory
    first, *others = planes.movedim(-2, 0).int().flatten(1)
    codes = spread.index_select(0, first)
    for bit, plane in enumerate(others, 1):
        codes.add_(spread.index_select(0, plane), alpha=1 << bit)
    return codes.view(planes[..., 0, :].shape).view(torch.uint8)[..., :dim]
