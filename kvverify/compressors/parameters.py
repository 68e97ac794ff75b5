"""A compressor's own settings: each is declared once, with its default and its legal values."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from kvverify.errors import UsageError
from kvverify.problem import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Value = str | int | float | bool


@dataclass(frozen=True)
class Parameter:
    """A setting: ``parse`` turns text into its value and raises ValueError where the text is not ``legal``."""

    name: str
    default: Value
    legal: str
    parse: Callable[[str], Value]


def choice(name: str, *values: Value) -> Parameter:
    """One of a few values; the first is the default."""
    legal = {str(value).lower(): value for value in values}

    def parse(text: str) -> Value:
        if text.lower() not in legal:
            raise ValueError(text)
        return legal[text.lower()]

    return Parameter(name, values[0], " | ".join(legal), parse)


def integer(name: str, default: int, low: int, high: int) -> Parameter:
    """A whole number from ``low`` to ``high``, both included."""

    def parse(text: str) -> Value:
        if not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Parameter(name, default, f"an integer from {low} to {high}", parse)


def share(name: str, default: str) -> Parameter:
    """A fraction above 0 and at most 1 with a denominator of at most 1000, kept as text "p/q"."""

    def parse(text: str) -> Value:
        value = Fraction(text)
        if not (0 < value <= 1 and value.denominator <= 1000):
            raise ValueError(text)
        return str(value)

    return Parameter(name, default, "a fraction above 0, at most 1, as 1/2 or 0.5, denominator at most 1000", parse)


def rational(name: str, default: str, low: Fraction | int, high: Fraction | int) -> Parameter:
    """A number from ``low`` to ``high``, both included, kept as text "p/q"."""

    def parse(text: str) -> Value:
        value = number(text, name)
        if not low <= value <= high:
            raise ValueError(text)
        return str(value)

    return Parameter(name, default, f"a number from {low} to {high}, as 1/100, 0.01 or 2^-7", parse)


def complete(compressor: str, declared: Sequence[Parameter], given: Mapping[str, object]) -> dict[str, Value]:
    """All parameters, the given ones parsed, the others by default; raises `UsageError` naming the legal values."""
    names = [parameter.name for parameter in declared]
    for name in given:
        if name not in names:
            known = f"it has {', '.join(names)}" if names else "it has none"
            raise UsageError(f"{compressor} has no setting {name!r}; {known}")
    values = {}
    for parameter in declared:
        text = str(given.get(parameter.name, parameter.default))
        try:
            values[parameter.name] = parameter.parse(text)
        except (ValueError, ZeroDivisionError):
            message = f"{compressor}: {parameter.name}={text} is not legal; legal: {parameter.legal}"
            raise UsageError(message) from None
    return values
