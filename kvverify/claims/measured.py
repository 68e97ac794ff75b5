"""What was measured; rows carry no status. Written by scripts/bench_subgen.py (measured.json), bench_attention.py
(measured_attention.json) and bench_tensor.py (measured_orders.json).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "measured.json"
GAMES = Path(__file__).parent / "measured_attention.json"
ORDERS = Path(__file__).parent / "measured_orders.json"


@cache
def _rows(file: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, Any] = json.loads(file.read_text())
    return {name: [dict(zip(part["head"], row, strict=True)) for row in part["rows"]] for name, part in found.items()}


def subgen() -> tuple[str, ...]:
    """SG-4: the rows whose slots are the theorem's, each figure as measured / proved; sizes in bits."""
    return tuple(
        f"SubGen at n = {row['n']}, d = {row['d']}, |q| = {row['r']}, delta = {row['delta']}, eps = {row['eps']}, "
        f"t = {row['t']}, s = {row['s']}, measured / proved: error in its norm {row['error in its norm']}, state bits "
        f"{row['state bits']} (a bf16 cache: {row['dense bits']}), failures {row['failures']}"
        for row in _rows(FILE)["subgen"]
        if row["eps"] != "-"
    )


def net() -> tuple[str, ...]:
    """HO-5: merging on a net, deterministic; each figure as measured / proved; sizes in bits."""
    return tuple(
        f"Net merging at n = {row['n']}, d = {row['d']}, {row['body']}, logit {row['max_logit']}, measured / proved: "
        f"largest error {row['largest error']}, state bits {row['state bits']} (a bf16 cache: {row['dense bits']})"
        for row in _rows(FILE)["net"]
    )


def visual() -> tuple[str, ...]:
    """VAR-3: games with visual attention; sizes in bits."""
    return _games("visual")


def tensor() -> tuple[str, ...]:
    """TA-6: games with tensor attention; sizes in bits."""
    return _games("tensor")


def orders() -> tuple[str, ...]:
    """TA-5: processor time and memory of one new token in the three orders of evaluation."""
    return tuple(
        f"{row['order']} at n = {row['n']}, d = {row['d']}: {row['multiplications']} multiplications; milliseconds a "
        f"token {row['ms a token']}, over re-associated {row['times re-associated']}, MiB beyond the four caches "
        f"{row['MiB beyond the caches']}"
        for row in _rows(ORDERS)["orders"]
    )


def _games(attention: str) -> tuple[str, ...]:
    return tuple(
        f"{row['compressor']} on {row['instance']}: state bits {row['state bits']} (a bf16 cache: {row['dense bits']}; "
        f"the certificate of the instance: {row['certified bits']}), {row['wrong']}, largest "
        f"error {row['largest error']}"
        for row in _rows(GAMES)[attention]
    )
