"""Write the committed certificates of covering numbers: ``python scripts/make_covers.py``, bit for bit.

certificates/covering/NAME.json, both sides each. Prints a line for each. Exit code 1 when one is not VALID or the
second opinion does not agree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from kvverify.covering import Question, best_cover
from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import write
from kvverify.report.covers import log2_shown

FOLDER = Path(__file__).resolve().parents[1] / "certificates" / "covering"


def questions() -> Iterator[tuple[str, Question]]:
    """(file name, question): spheres at half a radian, the unit ball by balls of several sizes."""
    for dim in (2, 3, 4, 8, 16, 64, 128, 512):
        yield f"sphere-{dim}-half-radian", Question(dim, angle=Fraction(1, 2))
    yield "sphere-8-13-tenths", Question(8, angle=Fraction(13, 10))
    for dim, parts in ((1, 7), (2, 2), (3, 4), (4, 2), (8, 2), (8, 10), (64, 4), (128, 2), (128, 4), (128, 50)):
        yield f"ball-{dim}-by-{parts}th", Question(dim, Fraction(1), Fraction(1, parts))


def main() -> int:
    """Write them; the exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    good = True
    for name, question in questions():
        found = best_cover(question)
        path = FOLDER / f"{name}.json"
        write(path, found.certificate)
        good &= check(path).verdict is Verdict.VALID and second_opinion(path).verdict == "agrees"
        low, high = log2_shown(found.at_least, up=False), log2_shown(found.at_most, up=True)
        print(f"{name}: 2^{low} by {found.methods[0]}, 2^{high} by {found.methods[1]}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
