"""A family's name is its recipe: ``extended-bch(7,22) shortened 5 punctured at 0,3 subcode 15``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from kvverify.codes.base import KeyFamily
from kvverify.codes.bch import extended_bch
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

_LINEAR: dict[str, tuple[int, Callable[..., LinearCode]]] = {
    "extended-bch": (2, extended_bch),
    "golay": (1, golay),
    "quadratic-residue": (1, quadratic_residue),
    "reed-muller": (2, reed_muller),
}
_OTHER: dict[str, tuple[int, Callable[..., KeyFamily]]] = {
    "hypercube": (1, Hypercube),
    "kerdock": (1, kerdock),
    "paraboloid": (2, Paraboloid),
    "random-signs": (3, random_signs),
}
_OPERATION = re.compile(r" (shortened|punctured|subcode) (?:(\d+)|at (\d+(?:,\d+)*))")


def by_name(name: str) -> KeyFamily:
    """The family of that name. Raises UsageError for a name that is none."""
    if file := re.fullmatch(r"explicit\((.+)\)", name):
        return read_keys(Path(file[1]))
    head, separator, operations = name.partition(")")
    kind, _, arguments = head.partition("(")
    if not separator or not re.fullmatch(r"\d{1,9}(,\d{1,9})*", arguments) or kind not in {**_LINEAR, **_OTHER}:
        known = ", ".join(sorted({**_LINEAR, **_OTHER}))
        raise UsageError(
            f"no family of keys {name!r}: write one of {known} with numbers in brackets, or explicit(FILE)"
        )
    numbers = [int(number) for number in arguments.split(",")]
    count, build = {**_OTHER, **_LINEAR}[kind]
    if len(numbers) != count:
        raise UsageError(f"{kind} takes {count} numbers, not {arguments}")
    if kind in _LINEAR:
        return _changed(_LINEAR[kind][1](*numbers), operations)
    if operations:
        raise UsageError(f"{kind} is no linear code: {operations.strip()!r} does not apply")
    return build(*numbers)


def linear_by_name(name: str) -> LinearCode:
    """The same for linear codes only."""
    family = by_name(name)
    if not isinstance(family, LinearCode):
        raise UsageError(f"{name} is no linear code")
    return family


def _changed(code: LinearCode, operations: str) -> LinearCode:
    end = 0
    for match in _OPERATION.finditer(operations):
        if match.start() != end:
            break
        end = match.end()
        operation, count, positions = match.groups()
        if operation == "subcode" and count:
            code = code.subcode(int(count))
            continue
        where = int(count) if count else [int(position) for position in positions.split(",")]
        code = code.puncture(where) if operation == "punctured" else code.shorten(where)
    if end != len(operations):
        raise UsageError(
            f"after a linear code: ' shortened N', ' punctured N', ' subcode K' or ' shortened at I,J', not {operations!r}"
        )
    return code
