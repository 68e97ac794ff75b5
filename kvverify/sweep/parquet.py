"""The results of a sweep as a table: a row an audit, sizes in bits, and each line whole in the last column."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

_BITS = ("claimed_bits", "held_bits", "readable_bits", "live_bits", "wire_bits", "wire_bits_fixed", "dense_bits",
         "certified_floor_bits", "certificate_bits_at_least", "reads", "reads_asked", "wrong_reads")  # fmt: skip
_FIGURES = ("wire_bits_per_token", "wire_bits_slope", "symbol_error", "max_abs_error", "efficiency")
_REQUEST = ("tokens", "head_dim", "value_dim", "kv_heads", "heads")
_WORDS = ("schedule", "isolation", "counterexample")


def table_bytes(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """The lines of a sweep as a Parquet file (needs pyarrow). Whole numbers are int64, figures double, unknown null."""
    import pyarrow
    import pyarrow.parquet

    kinds = {
        **dict.fromkeys(("key", "target", "settings", "certificate", "max_logit"), pyarrow.string()),
        **dict.fromkeys((*_REQUEST, "seed"), pyarrow.int64()),
        **dict.fromkeys(("status", "reason"), pyarrow.string()),
        "flags": pyarrow.list_(pyarrow.string()),
        "seconds": pyarrow.float64(),
        **dict.fromkeys(_BITS, pyarrow.int64()),
        **dict.fromkeys(_FIGURES, pyarrow.float64()),
        **dict.fromkeys((*_WORDS, "line"), pyarrow.string()),
    }
    rows = [_row(line) for line in lines]
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(list(kinds.items())))
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    asked, audit = line["request"], line["audit"] or {}
    seed = asked["seed"]
    return {
        **{name: line[name] for name in ("key", "status", "reason", "seconds")},
        **{name: asked[name] for name in ("target", "certificate", "max_logit", *_REQUEST)},
        "settings": json.dumps(asked["settings"]),
        "seed": seed if seed is None or abs(seed) < 1 << 63 else None,
        "flags": audit.get("flags"),
        **{name: None if audit.get(name) is None else int(audit[name]) for name in _BITS},
        **{name: audit.get(name) for name in (*_FIGURES, *_WORDS)},
        "line": json.dumps(line),
    }
