"""The object of ``kvverify audit --json`` as the page reads it: every field that is shown, checked; the rest dropped.

Results may be anybody's: a reader takes one value and returns it in the page's types, or raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from kvverify.errors import UsageError
from kvverify.problem import number

AUDIT = "kvverify-audit/1"
STATUSES = ("NO FLAG", "FLAGGED", "INCOMPLETE", "REFUSED")
_MOST_TEXT, _MOST_ITEMS, _MOST_DIGITS = 1000, 1024, 40

Read = Callable[[Any], Any]


def audit(tree: Any) -> dict[str, Any]:
    """The checked object. Raises ValueError, which names the field."""
    if not isinstance(tree, dict) or tree.get("schema") != AUDIT:
        raise ValueError(f"no object of {AUDIT}")
    found: dict[str, Any] = _AUDIT(tree)
    if min(found["instance"][name] for name in ("tokens", "key_dim", "value_dim", "kv_heads", "heads", "layers")) < 1:
        raise ValueError("an instance without tokens, dimensions, heads or layers")
    if found["status"] not in ("INCOMPLETE", "REFUSED"):
        if missing := [name for name in _PLAYED if found[name] is None]:
            raise ValueError(f"{missing[0]} is missing")
        if not 1 <= found["reads_asked"] <= found["reads"]:
            raise ValueError("reads_asked is not from 1 to reads")
        if not found["dense_bits"]:
            raise ValueError("a dense cache of 0 bits")
    return found


def text(value: Any) -> str:
    """A string, its middle cut out where it is too long to read."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no text")
    return value if len(value) <= _MOST_TEXT else f"{value[: _MOST_TEXT // 2]} ... {value[-_MOST_TEXT // 2 :]}"


def status(value: Any) -> str:
    """One of STATUSES."""
    if value not in STATUSES:
        raise ValueError(f"{_shown(value)} is none of {', '.join(STATUSES)}")
    return str(value)


def count(value: Any) -> int:
    """A whole number, at least 0; above 2^53 it comes as a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**_MOST_DIGITS:
        raise ValueError(f"{_shown(value)} is no count")
    return value


def figure(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{_shown(value)} is no figure")
    return float(value)


def ratio(value: Any) -> Fraction:
    """An exact number, as p/q."""
    try:
        return number(text(value), "a number")
    except UsageError as error:
        raise ValueError(str(error)) from None


def truth(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value


def maybe(read: Read) -> Read:
    """Null, or what ``read`` takes."""
    return lambda value: None if value is None else read(value)


def listed(read: Read) -> Read:
    """A list of what ``read`` takes, of bounded length."""

    def all_of(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) > _MOST_ITEMS:
            raise ValueError(f"{_shown(value)} is no list of at most {_MOST_ITEMS}")
        return [read(item) for item in value]

    return all_of


def words(value: Any) -> dict[str, str]:
    """A table of names and their values in words, without those that are null."""
    if not isinstance(value, dict) or len(value) > _MOST_ITEMS:
        raise ValueError(f"{_shown(value)} is no table of names and values")
    told = {name: item for name, item in value.items() if item is not None}
    return {text(name): text(item if isinstance(item, str) else str(item)) for name, item in told.items()}


def table(**fields: Read) -> Read:
    """An object with these fields; one that is absent reads as null."""

    def each(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{_shown(value)} is no object")
        found = {}
        for name, read in fields.items():
            try:
                found[name] = read(value.get(name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return found

    return each


def _shown(value: object) -> str:
    return ascii(value)[:60]


def _recovery(value: Any) -> Mapping[str, Any]:
    """Where reads came back wrong; each bin with at most as many wrong reads as were asked."""
    found: dict[str, Any] = _RECOVERY(value)
    bins = list(zip(*(found[name] for name in ("first_tokens", "reads_asked", "wrong_reads")), strict=True))
    if not bins or any(wrong > asked for _, asked, wrong in bins):
        raise ValueError("no bins of reads, with at most all of them wrong")
    return found


_RECOVERY = table(
    first_tokens=listed(count), reads_asked=listed(count), wrong_reads=listed(count),
    wrong_reads_by_head=listed(listed(count)),
)  # fmt: skip
_AUDIT = table(
    compressor=text,
    settings=table(
        parameters=words, dtype=text, device=maybe(text), seed=maybe(count), commit=maybe(text), versions=words,
        chunk=maybe(count),
    ),
    schedule=maybe(text),
    instance=table(
        tokens=count, key_dim=count, value_dim=count, kv_heads=count, heads=count, layers=count, inputs=text,
        max_logit=text, tolerance=maybe(ratio), failure=maybe(ratio), certificate=maybe(text), payload=text,
        alphabet=maybe(count), kind=maybe(text), budget=maybe(text), attention=maybe(text),
        scales=maybe(text), kernel=maybe(text), cut=maybe(text),
    ),
    claim=maybe(words),
    **dict.fromkeys(
        ("claimed_bits", "held_bits", "readable_bits", "live_bits", "wire_bits", "reads", "reads_asked", "wrong_reads",
         "certified_floor_bits", "certificate_bits_at_least", "dense_bits"), maybe(count),
    ),
    **dict.fromkeys(("wire_bits_slope", "symbol_error", "max_abs_error", "efficiency"), maybe(figure)),
    symbol_error_interval=maybe(listed(figure)),
    tolerance=maybe(ratio), tolerance_is_relative=maybe(truth),
    dead_tensors=maybe(listed(table(place=text, bits=count))),
    curve=maybe(listed(table(tolerance=ratio, wrong_reads=count, floor_bits=maybe(count)))),
    recovery=maybe(_recovery),
    flags=listed(text),
    isolation=maybe(text), isolation_detail=maybe(text), fresh_secret=truth, counterexample=maybe(text),
    seconds=maybe(words), status=status, reason=maybe(text),
)  # fmt: skip
_PLAYED = (
    "wire_bits", "held_bits", "reads", "reads_asked", "wrong_reads", "symbol_error", "tolerance", "curve",
    "certified_floor_bits", "dense_bits",
)  # fmt: skip
"""What every audit has that came to an end."""
