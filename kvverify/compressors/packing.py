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
    codes = torch.zeros_like(planes[..., 0, :], dtype=torch.int64)
    for bit, plane in enumerate(planes.unbind(-2)):
        eight = spread.index_select(0, plane.flatten().int()).view(plane.shape)
        codes.bitwise_or_(eight.bitwise_left_shift_(bit))
    return codes.view(torch.uint8)[..., :dim]
