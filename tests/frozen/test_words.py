"""Section 5 of docs/format.md on keys, implemented from the page: it agrees with the kernel, also on wrong counts."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import document
from kvverify.kernel.check import check
from tests.frozen import words
from tests.frozen.test_format import COMMITTED, VERDICTS

FROZEN = [path for path, verdict in VERDICTS.items() if verdict == "VALID"]


def key_steps(paths: list[Path]) -> Iterator[tuple[dict[str, Any], int]]:
    """(certificate, which step makes keys)."""
    for path in paths:
        tree = json.loads(path.read_bytes())
        for i, step in enumerate(tree["steps"]):
            if step["rule"] in words.RULES:
                yield tree, i


def test_every_frozen_step_holds() -> None:
    seen = Counter(tree["steps"][i]["rule"] for tree, i in key_steps(FROZEN))
    assert seen.keys() == words.RULES.keys()
    assert all(words.holds(tree["steps"][i]) for tree, i in key_steps(FROZEN))


def test_committed_steps_hold_where_they_are_small() -> None:
    done: Counter[str] = Counter()
    for tree, i in key_steps(COMMITTED):
        try:
            assert words.holds(tree["steps"][i])
        except words.TooMany:
            continue
        done[tree["steps"][i]["rule"]] += 1
    assert done["reed-muller"] == 2
    assert done["linear-code"] >= 4


def test_wrong_counts_are_refused_by_both() -> None:
    """Any one count by one more or less, gone, or one place further; the kernel says where."""
    tried: Counter[bool] = Counter()
    for tree, i in key_steps(FROZEN):
        for name, histogram in tree["steps"][i]["gives"].items():
            if not isinstance(histogram, dict):
                continue
            for e, n in histogram.items():
                other = {x: y for x, y in histogram.items() if x != e}
                for changed in (
                    {**other, e: str(int(n) + 1)},
                    {**other, e: str(int(n) - 1)},
                    other,
                    moved(other, e, n),
                ):
                    if "0" in changed.values():
                        continue
                    mutant = copy.deepcopy(tree)
                    mutant["steps"][i]["gives"][name] = changed
                    result = check(document.build(mutant["statement"], mutant["steps"]))
                    true = words.holds(mutant["steps"][i])
                    assert true == (result.step != mutant["steps"][i]["id"])
                    tried[true] += 1
    assert tried[False] > 100
    assert tried[True] > 10  # larger counts still dominate


def moved(other: dict[str, str], e: str, n: str) -> dict[str, str]:
    """That many words one place further."""
    place = str(int(e) + 1)
    return {**other, place: str(int(n) + int(other.get(place, "0")))}


@pytest.mark.parametrize(("r", "m"), [(0, 3), (1, 3), (1, 4), (2, 3), (2, 4)])
def test_the_closed_form_of_the_page(r: int, m: int) -> None:
    monomials = [x for x in range(1 << m) if x.bit_count() <= r]
    rows = ["".join(str(int(point & x == x)) for point in range(1 << m)) for x in monomials]
    assert words.closed_form(r, m) == words.weights(rows)
    assert words.closed_form(r, m) == words.macwilliams(1 << m, words.closed_form(m - 1 - r, m)) or m - 1 - r > 2
