"""Results of audits for tests of the page: made up here, so that every case is in hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOSTILE = "</title></script><script>window.hit=1</script><img src=x onerror=window.hit=1>\"'&{}"
"""Breaks out of every place that does not escape it."""

_RECOVERY = {
    "first_tokens": [0, 16, 32, 48], "reads_asked": [512] * 4, "wrong_reads": [512, 400, 100, 0],
    "wrong_reads_by_head": [[500, 512]],
}  # fmt: skip
_AUDIT: dict[str, Any] = {
    "schema": "kvverify-audit/1", "compressor": "uniform",
    "settings": {
        "parameters": {"bits": "4"}, "dtype": "bfloat16", "device": "cpu", "seed": 7, "commit": "c" * 64,
        "versions": {"numpy": "2.4.6", "torch": "2.13.0+cpu"}, "chunk": 64,
    },
    "schedule": "prefill:64",
    "instance": {
        "tokens": 64, "key_dim": 16, "value_dim": 16, "kv_heads": 2, "heads": 4, "layers": 1, "inputs": "real",
        "max_logit": "24", "tolerance": "1/100", "failure": "1/10", "certificate": "d" * 64, "payload": "continuous",
        "alphabet": None,
    },
    "claim": None, "claimed_bits": 16384, "held_bits": 20480, "readable_bits": 18432, "live_bits": 18000,
    "wire_bits": 18752, "wire_bits_per_token": 293.0, "wire_bits_fixed": 320, "wire_bits_slope": 288.0,
    "reads": 2048, "reads_asked": 2048, "wrong_reads": 1012, "tolerance": "1/100", "symbol_error": 0.494141,
    "symbol_error_interval": [0.45, 0.54], "max_abs_error": 0.0681, "certified_floor_bits": 7400, "efficiency": 0.394,
    "curve": [
        {"tolerance": f"1/{1 << j}", "wrong_reads": wrong, "floor_bits": 2000 + 500 * j}
        for j, wrong in enumerate((0, 0, 0, 150, 204, 800, 1000, 1500, 1900, 2048), 1)
    ],
    "recovery": _RECOVERY, "certificate_bits_at_least": 11000, "dense_bits": 65536, "flags": [],
    "isolation": "landlock", "isolation_detail": "Landlock ABI 7 with a system call filter", "fresh_secret": True,
    "counterexample": None, "seconds": {"alice": 0.1, "bob": 0.2}, "status": "NO FLAG", "reason": None,
}  # fmt: skip
_PLAYED = (
    "claimed_bits", "held_bits", "readable_bits", "live_bits", "wire_bits", "wire_bits_per_token", "wire_bits_fixed",
    "wire_bits_slope", "reads", "reads_asked", "wrong_reads", "tolerance", "symbol_error", "symbol_error_interval",
    "max_abs_error", "certified_floor_bits", "efficiency", "curve", "recovery",
)  # fmt: skip


def audit(**changes: Any) -> dict[str, Any]:
    """An audit that ended, with changes."""
    return copy.deepcopy(_AUDIT) | changes


def changed(tree: Mapping[str, Any], *path: str, to: Any) -> dict[str, Any]:
    """A copy with one field changed, however deep."""
    found = copy.deepcopy(dict(tree))
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return found


def flagged(**changes: Any) -> dict[str, Any]:
    """One with every flag, and the evidence that goes with them."""
    flags = ["NOT A COMPRESSOR", "BYTES > CLAIM", "CLAIM IMPOSSIBLE", "CLAIM REFUTED", "HIDDEN STATE"]
    claim = {"bits": 64, "by": "request", "tolerance": "1/100", "failure": "1/10", "certificate": "floor-1.json"}
    more = {"compressor": "cheat.py:Cheat", "flags": flags, "claim": claim, "status": "FLAGGED", "wire_bits": 70000}
    return audit(**more, counterexample="counterexample-1.json", held_bits=70000) | changes


def incomplete(reason: str = "alice: RuntimeError: no such kernel", **changes: Any) -> dict[str, Any]:
    """One that its compressor did not survive."""
    more = {"compressor": "broken", "schedule": None, "isolation_detail": "", "status": "INCOMPLETE", "reason": reason}
    return audit(**dict.fromkeys(_PLAYED), **more) | changes


def sweep_line(tree: Mapping[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """A line of a sweep; without an audit one that was refused."""
    request = {
        "target": "pkg.cache:Cache", "settings": {"bits": "3"}, "certificate": None, "tokens": 64, "head_dim": 16,
        "value_dim": None, "kv_heads": 2, "max_logit": None, "heads": 4, "schedule": None, "payload": "continuous",
        "alphabet": 2, "dtype": "bfloat16", "claim": {"tolerance": "1/100", "failure": "1/10"}, "reads": None,
        "seed": 1, "device": "cpu", "timeout": 60, "memory": 4, "isolation": "strongest", "files": {},
    }  # fmt: skip
    status, reason = ("REFUSED", "uniform: bits: 99 given") if tree is None else (tree["status"], tree["reason"])
    return {
        "schema": "kvverify-sweep/1", "key": "k" * 32, "request": request, "status": status, "reason": reason,
        "seconds": 1.0, "audit": tree,
    } | changes  # fmt: skip


def write_lines(path: Path, *trees: object) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(tree) + "\n" for tree in trees))
    return path


def several(folder: Path) -> list[Path]:
    """Files of every kind, with hostile names among them."""
    named = {"dense bf16": audit(compressor="dense", wire_bits=65600), HOSTILE: audit(wire_bits=9000, reads_asked=2000)}
    quickstart = folder / "audits.json"
    quickstart.write_text(json.dumps(named, indent=1))
    hostile = changed(audit(compressor=HOSTILE), "settings", "parameters", to={HOSTILE: HOSTILE})
    hostile = changed(hostile, "settings", "versions", to={HOSTILE: HOSTILE})
    other = changed(audit(recovery=None), "instance", "layers", to=2)
    sweep = write_lines(
        folder / "sweep.jsonl", sweep_line(audit()), sweep_line(None), sweep_line(incomplete(HOSTILE)),
        sweep_line(flagged(flags=["HIDDEN STATE", HOSTILE], counterexample=HOSTILE)), sweep_line(hostile),
    )  # fmt: skip
    guide = write_lines(
        folder / "guide.jsonl",
        {"source": "package", "method": "a method of a name so long that it wraps, " * 3, "audit": flagged()},
        {"source": "package", "method": "two layers", "audit": other},
        {"source": HOSTILE, "method": HOSTILE, "audit": audit(max_abs_error=None, wire_bits=12345)},
    )
    single = folder / "audit.json"
    single.write_text(json.dumps(audit(compressor="fp8", claimed_bits=None, wire_bits=34000)))
    return [quickstart, sweep, guide, single]
