"""Numbers of a certificate as people read them: exact where short, else six digits rounded to the safe side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from math import ceil, floor
from typing import Any

from kvverify.figures import at_least, at_most
from kvverify.kernel.document import Malformed, OverLimit, counts, rational, short

_SHORT_RATIONAL = 12  # characters of p/q that are read at a glance
_SHORT_INTEGER = 24
_FLOAT_EXPONENT = 1000  # within it a float has all its digits
_PRINTED = 13_500  # bits that Python writes out in digits; products of a statement's sizes may have more
_WHOLE = 10**6  # from here on a fraction is shown as a whole number
_MOST_ROWS, _MOST_ENTRIES, _MOST_WORDS = 32, 64, 16
_ROW = re.compile(r"-?[0-9]+(/[0-9]+)?( -?[0-9]+(/[0-9]+)?)*\Z", re.ASCII)
_BITS = re.compile(r"[01]+\Z", re.ASCII)


class Side(Enum):
    """The direction in which a number may be rounded so that what is said with it stays true."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Figure:
    """A number as shown. ``rounded`` is None where it is exact; ``size`` tells the digits of the exact fraction."""

    exact: Fraction
    shown: str
    rounded: Side | None = None
    size: str = ""

    @property
    def brief(self) -> str:
        """With the direction of the rounding."""
        return self.shown if self.rounded is None else f"{self.shown} (rounded {self.rounded.value})"

    @property
    def full(self) -> str:
        """With the direction of the rounding and the exact value's size."""
        return self.shown if self.rounded is None else f"{self.shown} (rounded {self.rounded.value}; {self.size})"


@dataclass(frozen=True)
class Field:
    """One field of a step: its words, what sentences may call it by, and lines of a list or a histogram."""

    name: str
    text: str
    figure: Figure | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    listing: tuple[str, ...] = ()


def figure(value: Fraction, side: Side) -> Figure:
    """``value`` for people."""
    above, below = value.numerator, value.denominator
    whole = below == 1
    if whole and abs(above) > 1 and abs(above) & (abs(above) - 1) == 0 and above.bit_length() > 64:
        return Figure(value, f"{'-' if above < 0 else ''}2^{above.bit_length() - 1}")
    if above.bit_length() < _PRINTED and len(str(value)) <= (_SHORT_INTEGER if whole else _SHORT_RATIONAL):
        return Figure(value, str(value))
    size = f"exactly a number of {_digits(above)} digits"
    if not whole:
        size = f"exactly a fraction, {_digits(above)} over {_digits(below)} digits"
    return Figure(value, decimal(value, side), side, size)


def _digits(number: int) -> int:
    """Decimal digits; of a number that Python does not write out to a digit more or less."""
    bits = number.bit_length()
    return len(str(abs(number))) if bits < _PRINTED else bits * 30103 // 100000 + 1


def derived(value: Fraction, side: Side) -> Figure:
    """``value``, which stands nowhere in the certificate: whole, or six digits."""
    return figure(value, side) if value.denominator == 1 else Figure(value, decimal(value, side), side)


def decimal(value: Fraction, side: Side) -> str:
    """Six digits at most, rounded to the side; a whole number where that has more, beyond floats a power of two."""
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    if value and abs(exponent) > _FLOAT_EXPONENT:
        away = (side is Side.UP) == (value > 0)  # from 0; |value| lies between 2^(exponent - 1) and 2^(exponent + 1)
        return f"{'-' if value < 0 else ''}2^{exponent + 1 if away else exponent - 1}"
    if _WHOLE <= abs(value) < 10**_SHORT_INTEGER:
        return str(ceil(value) if side is Side.UP else floor(value))
    shown = repr((at_most if side is Side.UP else at_least)(value))
    return shown.removesuffix(".0")


def name(text: object, limit: int = 200) -> str:
    """A name from a document or of a file, as code: printable ASCII without the mark that ends code."""
    cut = short(str(text), limit)
    return "".join(c if c.isprintable() and c != "`" else f"\\x{ord(c):02x}" for c in cut) or " "


def fields(node: Mapping[str, Any], sides: Mapping[str, Side]) -> list[Field]:
    """Every field of ``given`` or ``gives``, those of objects within it as ``object.field``."""
    found = []
    for key, value in node.items():
        if isinstance(value, dict) and (histogram := _histogram(value)) is not None:
            found.append(_counted(key, histogram))
        elif isinstance(value, dict):
            found += [
                Field(
                    f"{key}.{part.name}", part.text, part.figure, {f"{key}.{k}": w for k, w in part.words.items()},
                    part.listing,
                )
                for part in fields(value, {})
            ]  # fmt: skip
        elif isinstance(value, list):
            found.append(_rows(key, value))
        else:
            found.append(_one(key, value, sides))
    return found


def _one(key: str, value: object, sides: Mapping[str, Side]) -> Field:
    try:
        shown = figure(rational(value, key), sides.get(key, Side.DOWN))
    except (Malformed, OverLimit):
        if isinstance(value, str) and " " in value and _ROW.match(value):
            return _row(key, value.split(" "))
        return Field(key, f"`{name(value)}`", words={key: f"`{name(value)}`"})
    return Field(key, shown.full, shown, {key: shown.shown, f"{key}.count": "1"})


def _row(key: str, entries: list[str]) -> Field:
    """Integers in one string, as payloads are."""
    shown = " ".join(entries)
    if len(entries) > _MOST_WORDS:
        half = _MOST_WORDS // 2
        shown = f"{' '.join(entries[:half])} .. {' '.join(entries[-half:])}"
    return Field(key, f"{len(entries)} numbers: {short(shown, 400)}", words={f"{key}.count": str(len(entries))})


def _rows(key: str, rows: list[object]) -> Field:
    """A matrix of bits or of numbers, its first and last rows where it is large."""
    if not all(isinstance(row, str) and _ROW.match(row) for row in rows):
        return Field(key, f"a list of {len(rows)}")
    lines = [str(row) for row in rows]
    columns = 0 if not lines else len(lines[0]) if all(map(_BITS.match, lines)) else len(lines[0].split(" "))
    words = {f"{key}.rows": str(len(lines)), f"{key}.columns": str(columns)}
    words[f"{key}.words"] = figure(Fraction(1 << min(len(lines), 1 << 13)), Side.DOWN).shown
    if len(lines) > _MOST_ROWS:
        half = _MOST_ROWS // 2
        lines = [*lines[:half], f"({len(lines) - 2 * half} rows more)", *lines[-half:]]
    return Field(key, f"{words[f'{key}.rows']} rows of {columns}", words=words, listing=tuple(lines))


def _histogram(node: dict[str, Any]) -> dict[int, int] | None:
    try:
        return counts(node, "")
    except (Malformed, OverLimit):
        return None


def _counted(key: str, histogram: dict[int, int]) -> Field:
    total = figure(Fraction(sum(histogram.values())), Side.DOWN).shown
    entries = [f"{at}: {figure(Fraction(n), Side.UP).full}" for at, n in sorted(histogram.items())]
    if len(entries) > _MOST_ENTRIES:
        half = _MOST_ENTRIES // 2
        entries = [*entries[:half], f"({len(entries) - 2 * half} entries more)", *entries[-half:]]
    return Field(
        key, f"{len(histogram)} entries, {total} in all", words={f"{key}.total": total}, listing=tuple(entries)
    )
