"""A family's name is its recipe: ``extended-bch(7,22) shortened 5 punctured at 0,3-4 subcode 15``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from kvverify.codes.base import KeyFamily
from kvverify.codes.bch import extended_bch
from kvverify.codes.counted_reed_muller import CountedReedMuller
from kvverify.codes.cyclic import cyclic
from kvverify.codes.explicit import read_keys
from kvverify.codes.golay import golay
from kvverify.codes.hypercube import Hypercube
from kvverify.codes.kerdock import kerdock
from kvverify.codes.linear import LinearCode
from kvverify.codes.paraboloid import Paraboloid
from kvverify.codes.quadratic_residue import quadratic_residue
from kvverify.codes.random_signs import random_signs
from kvverify.codes.reed_muller import reed_muller
from kvverify.errors import UsageError

_FAMILIES: dict[str, tuple[int, Callable[..., KeyFamily]]] = {
    "counted-reed-muller": (4, CountedReedMuller),
    "cyclic": (2, cyclic),
    "extended-bch": (2, extended_bch),
    "golay": (1, golay),
    "hypercube": (1, Hypercube),
    "kerdock": (1, kerdock),
    "paraboloid": (2, Paraboloid),
    "quadratic-residue": (1, quadratic_residue),
    "random-signs": (3, random_signs),
    "reed-muller": (2, reed_muller),
}
_RANGE = r"\d{1,4}(?:-\d{1,4})?"
_OPERATION = rf" (shortened|punctured|subcode(?! at)) (?:(\d{{1,4}})|at ({_RANGE}(?:,{_RANGE})*))"


def by_name(name: str) -> KeyFamily:
    """The family of that name. Raises UsageError for a name that is none."""
    if file := re.fullmatch(r"explicit\((.+)\)", name):
        return read_keys(Path(file[1]))
    head, separator, operations = name.partition(")")
    kind, _, arguments = head.partition("(")
    if not separator or not re.fullmatch(r"\d{1,9}(,\d{1,9})*", arguments) or kind not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise UsageError(
            f"no family of keys {name!r}: write one of {known} with numbers in brackets, or explicit(FILE)"
        )
    numbers = [int(number) for number in arguments.split(",")]
    count, build = _FAMILIES[kind]
    if len(numbers) != count:
        raise UsageError(f"{kind} takes {count} numbers, not {arguments}")
    family = build(*numbers)
    if not operations:
        return family
    if not isinstance(family, LinearCode):
        raise UsageError(f"{kind} is no linear code: {operations.strip()!r} does not apply")
    return _changed(family, operations)


def linear_by_name(name: str) -> LinearCode:
    """The same for linear codes only."""
    family = by_name(name)
    if not isinstance(family, LinearCode):
        raise UsageError(f"{name} is no linear code")
    return family


def _changed(code: LinearCode, operations: str) -> LinearCode:
    if not re.fullmatch(rf"(?:{_OPERATION})+", operations):
        raise UsageError(
            f"write ' shortened 3', ' shortened at 0,4-9', ' punctured ...' or ' subcode 12', not {operations!r}"
        )
    for operation, count, positions in re.findall(_OPERATION, operations):
        if operation == "subcode":
            code = code.subcode(int(count))
        else:
            where = int(count) if count else _positions(positions)
            code = code.puncture(where) if operation == "punctured" else code.shorten(where)
    return code


def _positions(text: str) -> list[int]:
    positions: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            raise UsageError(f"positions run upwards, as in 4-9, not {part}")
        positions += range(int(first), int(last or first) + 1)
    return positions
