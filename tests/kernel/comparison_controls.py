"""Comparisons with every operation, each a threshold: one step further it is false."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from kvverify.claims.evidence import arithmetic, projections, subgen
from kvverify.kernel import document
from tests.kernel.controls import Control


def compared(name: str, program: str, *holds: str) -> Control:
    """Lines are separated by semicolons."""
    statement = {"claim": "comparison", "program": program.split("; ") if program else [], "holds": list(holds)}
    step = {"id": "comparison", "rule": "comparison", "uses": {}, "given": {}, "gives": {}}
    return Control(name, document.build(statement, [step]))


@cache
def controls() -> tuple[Control, ...]:
    """All of them."""
    half = Fraction(1, 2)
    return (
        compared("rationals alone", "", "1/3 < 1/2", "2 <= 2"),
        compared("numbers, all operations", (
            "sum 1 2 3; product @0 @0 1/6; difference @1 10; quotient 7 @2; power @3 -3; binomial 7 3; "
            "binomial-tail 9 4; factorial 5; exp 1; ln 5; log2 5; sqrt 5; exp 0; log2 1/8; sqrt 4/9"
        ), "@4 <= -64/343", "-64/343 <= @4", "34 < @5", "@5 < 36", "@6 <= 256", "256 <= @6", "119 < @7", "@7 < 121",
            "2 < @8", "@8 < 3", "1 < @9", "@9 < 2", "@10 < 3", "3/2 < @11", "1/2 < @12", "@13 < -5/2", "@14 < 3/4",
            "@10 < @8"),
        compared("signs of powers", "difference 1 3; power @0 3; power @0 2; sqrt 2; difference 1 @3; power @4 3; "
                 "power @4 4; power @3 100; power 101/100 5000; difference @4 1/2; power @9 2; power -3 -1",
                 "@1 <= -8", "@2 <= 4", "@5 < 0", "0 < @6", "@7 < @8", "0 < @10", "@11 <= -1/3", "@6 < @10"),
        compared("binomials at the ends", "binomial 5 6; binomial 5 -1; binomial-tail 5 -2; binomial-tail 5 9; "
                 "binomial 0 0", "@0 <= 0", "@1 <= 0", "@2 <= 0", "@3 <= 32", "32 <= @3", "@4 < 2", "0 < @4"),
        Control("Fano at 1/10", arithmetic.fano_constant()),
        Control("Fano at 1/3", arithmetic.fano_constant(Fraction(1, 3))),
        Control("bits of INDEX", arithmetic.index_bits(16, 4)),
        Control("counting bits", arithmetic.counting_excluded(64)),
        Control("hypercube, base", arithmetic.hypercube_base()),
        Control("paraboloid, base", arithmetic.paraboloid_base()),
        Control("norm budget", arithmetic.most_keys_by_norms(64)),
        Control("displayed bound", arithmetic.displayed_bound()),
        Control("variance", subgen.variance()),
        Control("SubGen's sizes", subgen.sizes(half, Fraction(1))),
        Control("random signs", projections.signs(16, Fraction(3, 4))),
        Control("Gaussian keys", projections.gaussian(16, half)),
    )  # fmt: skip
