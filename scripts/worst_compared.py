"""The dearest certificates of comparisons and of positive polynomials: for scripts/worst_case.py."""

from __future__ import annotations

from pathlib import Path

from worst_certificates import _RANDOM, HUGE, case

from kvverify.kernel import document
from kvverify.kernel.document import MAX_STEPS, Node
from kvverify.kernel.rules import comparison, polynomials


def _repeated(claimed: Node, rule: str, given: Node) -> Node:
    """The step as often as may be; the last one uses all others."""
    steps = [{"id": f"s{i}", "rule": rule, "uses": {}, "given": given, "gives": {}} for i in range(MAX_STEPS)]
    steps[-1]["uses"] = {f"u{i}": f"s{i}" for i in range(MAX_STEPS - 1)}
    return document.build(claimed, steps)


def _compared(program: list[str]) -> Node:
    """Every line in a comparison that holds."""
    claimed: Node = {"claim": "comparison", "program": program}
    claimed["holds"] = [f"0 < @{i}" for i in range(len(program))]
    return _repeated(claimed, "comparison", {})


@case("comparison: tails")
def _tails(folder: Path) -> Node:
    return _compared([f"binomial-tail {comparison.MAX_TAIL} {comparison.MAX_TAIL - i}" for i in range(1000)])


@case("comparison: factorials")
def _factorials(folder: Path) -> Node:
    return _compared([f"factorial {comparison.MAX_FACTORIAL - i % 64}" for i in range(4000)])


@case("comparison: rationals of 2^16 bits")
def _rationals(folder: Path) -> Node:
    return _compared([*(f"power 3/{2 * i + 7} 9000" for i in range(40) if (2 * i + 7) % 3),
                      *(f"product @{i} @{i + 1}" for i in range(20))])  # fmt: skip


@case("comparison: exp, ln and sqrt")
def _functions(folder: Path) -> Node:
    lines = [f"{name} {HUGE - i}/{HUGE // 3}" for i in range(1, 300) for name in ("exp", "log2", "sqrt", "ln")]
    return _compared([line for line in lines if _lowest(line)])


def _lowest(line: str) -> bool:
    try:
        document.rational(line.split(" ")[1], "")
    except document.Malformed:
        return False
    return True


@case("comparison: powers by squaring")
def _squaring(folder: Path) -> Node:
    return _compared([f"power {10**18 + i}/{10**18} {(1 << 64) - 1}" for i in range(1, 4000, 2) if i % 5])


def _positive(coefficients: list[int], given: Node, **ends: str) -> Node:
    claimed: Node = {"claim": "polynomial", "coefficients": [str(c) for c in coefficients], "relation": ">", **ends}
    return _repeated(claimed, "positive-polynomial", given)


@case("positive-polynomial: sturm")
def _sturm(folder: Path) -> Node:
    numbers = [_RANDOM.randrange(10**60) for _ in range(polynomials.MAX_DEGREE)]
    return _positive([10**70, *numbers], {"form": "sturm"}, **{"from": "0"})


@case("positive-polynomial: sturm, short")
def _short(folder: Path) -> Node:
    return _positive([10**9, *(_RANDOM.randrange(9) for _ in range(47)), 1], {"form": "sturm"}, **{"from": "0"})


@case("positive-polynomial: bernstein")
def _bernstein(folder: Path) -> Node:
    cuts = [f"{i}/{i + 1}" for i in range(1, 300)]
    given = {"form": "bernstein", "cuts": cuts, "elevation": str(polynomials.MAX_ELEVATION)}
    return _positive([*range(1, polynomials.MAX_DEGREE + 2)], given, **{"from": "0"})


@case("positive-polynomial: bernstein, long numbers")
def _long(folder: Path) -> Node:
    given = {"form": "bernstein", "cuts": [f"1/{HUGE}"], "elevation": "0"}
    return _positive([HUGE] * 40, given, **{"from": "0"})
