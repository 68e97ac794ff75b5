"""Write the committed certificates again, bit for bit: ``python scripts/make_certificates.py [FOLDER]``.

Prints one line for each, with what the kernel and Arb say of it. Exit code 1 when one of them is not VALID.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from kvverify.bounds import Bound, best_bound, instance_bound
from kvverify.bounds.ceiling import METHODS, Ceiling, ceiling
from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import write
from kvverify.problem import Problem

TENTH, HUNDREDTH = Fraction(1, 10), Fraction(1, 100)


def problems() -> Iterator[tuple[str, Problem]]:
    """(file name, problem): the shapes that the documentation quotes, and one of each kind of statement."""

    def at(tokens: int, logit: int | Fraction, dim: int = 128, **changes: Any) -> Problem:
        tolerance = None if "relative" in changes else changes.pop("tolerance", HUNDREDTH)
        failure = changes.pop("failure", TENTH)
        return Problem(tokens, dim, dim, Fraction(logit), failure, tolerance=tolerance, **changes)

    yield "2^12-d128-logit16", at(1 << 12, 16)
    yield "2^17-d128-logit16", at(1 << 17, 16)
    yield "2^17-d128-logit24", at(1 << 17, 24)
    yield "2^20-d128-logit32", at(1 << 20, 32)
    yield "100000-d128-logit16", at(100_000, 16)
    yield "2^17-d128-logit24-bf16", at(1 << 17, 24, inputs="bf16")
    yield "2^12-d128-logit16-ball", at(1 << 12, 16, body="ball")
    yield "2^17-d128-logit24-ball", at(1 << 17, 24, body="ball")
    yield "2^20-d128-logit32-ball", at(1 << 20, 32, body="ball")
    yield "2^17-d128-logit24-ball-bf16", at(1 << 17, 24, inputs="bf16", body="ball")
    yield "2^17-d128-logit24-32x8-heads", at(1 << 17, 24, kv_heads=8, layers=32)
    yield "2^12-d64-logit12", at(1 << 12, 12, dim=64)
    yield "2^17-d128-logit10-pads", at(1 << 17, 10)
    yield "2^15-d128-logit12-relative", at(1 << 15, 12, relative=TENTH)
    yield "2^29-d128-logit24", at(1 << 29, 24)
    yield "2^29-d128-logit22.4-relative", at(1 << 29, Fraction("22.4"), relative=TENTH)
    yield "16-d4-logit8-relative", at(16, 8, dim=4, relative=Fraction(1, 2))
    yield "8-d2-logit1500-paraboloid", at(8, 1500, dim=2, relative=Fraction(1, 2))
    yield "2^20-d20-logit48", at(1 << 20, 48, dim=20)
    yield "2^10-d64-logit12-tolerance-half", at(1 << 10, 12, dim=64, tolerance=Fraction(2, 5), failure=Fraction(0))


def upper() -> Iterator[tuple[str, Ceiling]]:
    """(file name, ceiling): the first four problems from above, by both methods."""
    for name, problem in itertools.islice(problems(), 4):
        for method in METHODS:
            yield f"{name}-{'midpoint' if method == 'quantiser' else method}", ceiling(problem, method)


def main(folder: Path) -> int:
    """Write and check all certificates; the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[tuple[str, Bound | Ceiling]] = [*upper()]
    found += [(name, best_bound(problem)) for name, problem in problems()]
    for name, problem in problems():  # the secret in the values alone, where it can be in the keys as well
        if name in ("2^17-d128-logit24", "2^17-d128-logit16", "2^12-d64-logit12"):
            found.append((f"{name}-values", best_bound(problem, method="volume")))
        if name in ("2^12-d128-logit16", "2^17-d128-logit24", "2^20-d128-logit32"):  # without secret amplitudes
            found.append((f"{name}-joint", best_bound(problem, method="joint")))
    found.append(("2048-d128-logit24-instance", instance_bound(2048, 128)))
    status = 0
    for name, bound in found:
        if bound.certificate is None:
            print(f"{name}: none, {bound.reason}")
            status = 1
            continue
        path = folder / f"{name.replace('^', 'p')}.json"
        write(path, bound.certificate)
        verdict, opinion = check(path).verdict, second_opinion(path).verdict
        status |= verdict is not Verdict.VALID or opinion != "agrees"
        how = bound.method if isinstance(bound, Ceiling) else bound.family
        figure = f"{float(bound.bits_per_token or 0):.6g} bits a token, {how}"
        print(f"{verdict.value} (Arb {opinion}) {path.name}: {figure}")
    return status


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1] / "certificates" / "ours"
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else root))
