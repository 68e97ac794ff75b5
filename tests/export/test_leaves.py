"""The table of leaves: complete over the rules, true on true certificates, false on false ones, number by number."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvverify.errors import Incomplete, UsageError
from kvverify.export import export
from kvverify.export import leaves as table
from kvverify.export.coq import to_coq
from kvverify.export.evaluate import settle
from kvverify.export.expression import Binary, Call, Expression, Inequality, Number, Power, Sum
from kvverify.export.facts import Leaf
from kvverify.export.smt import to_smt
from kvverify.kernel import document
from kvverify.kernel.document import Malformed
from kvverify.kernel.rules import RULES
from tests.export.provers import HEADLINE, chosen, leaves_of
from tests.kernel.controls import Control, rebuild
from tests.kernel.mutants import numbers, stronger
from tests.kernel.test_mutants import controls

Node = dict[str, Any]
SLOW = {"dither, fails often", "dither, ball"}  # whose intervals take many halvings

# Numbers of the formulas themselves: what bf16 costs; the least radius, c(0) and the reach are powers of two.
CONSTANTS = {Fraction(128, 127), Fraction(257, 256)} | {Fraction(1, 1 << k) for k in range(65)}


def test_every_rule_has_leaves_or_is_named_as_having_none() -> None:
    assert set(table.RULES) == set(RULES)
    assert set(table.RULES) >= table.COMBINATORIAL
    exported, kept = set(), set()
    for control in controls():
        found = leaves_of(control.tree)
        exported |= {leaf.rule for leaf in found.leaves}
        kept |= {fact.rule for fact in found.unexported}
        for step in control.tree["steps"]:
            leaved = any(leaf.step == step["id"] for leaf in found.leaves)
            assert leaved == (step["rule"] not in table.COMBINATORIAL and not _by_file(step, control)), step["id"]
    assert exported == set(RULES) - table.COMBINATORIAL | {"claim"}
    assert kept >= table.COMBINATORIAL


def test_leaves_of_valid_certificates_are_true() -> None:
    for control in controls():
        found = leaves_of(control.tree)
        wrong = [leaf.name for leaf in found.leaves if any(settle(part).truth is not True for part in leaf.parts)]
        assert (control.name, wrong) == (control.name, [])
        assert len({leaf.name for leaf in found.leaves}) == len(found.leaves)


def _by_file(step: Node, control: Control) -> bool:
    """A determinant of rows of a file, whose numbers are not in the certificate."""
    return step["given"].get("form", "near-identity") != "near-identity" and "attention-row" in control.rules


def _unexported(control: Control, rule: str, name: str) -> bool:
    """Whether what makes this mutant false is no leaf: counting, files, the statement's sizes, equal premises.

    In the ball the kernel rounds the paraboloid's root of squares up, the leaf does not. Of two inputs the leaves
    do not say that they agree.
    """
    by_file = rule == "determinant" and "attention-row" in control.rules
    rounded = rule == "budget" and "paraboloid" in control.rules
    sizes = rule == "document" and "'max_logit'" not in name and "'tolerance'" not in name and "'failure'" not in name
    agree = rule == "two-inputs" and ("'first'" in name or "'second'" in name)
    return rule in table.COMBINATORIAL or by_file or rounded or sizes or agree


def _false(part: Inequality) -> bool:
    """Found false; on an interval, where it may miss by less than can be seen at any point, not found true."""
    return settle(part).truth is False if part.interval is None else settle(part).truth is not True


@pytest.mark.parametrize("control", [c for c in chosen() if c.name not in SLOW], ids=str)
def test_a_false_number_makes_a_leaf_of_its_step_false(control: Control, tmp_path: Path) -> None:
    for name, content in control.files:
        (tmp_path / name).write_bytes(content)
    seen = 0
    for mutant in stronger(control, tmp_path):
        assert isinstance(mutant.content, dict)
        try:
            found = leaves_of(mutant.content)
        except Malformed:
            continue
        false = {leaf.step for leaf in found.leaves if any(map(_false, leaf.parts))}
        if not _unexported(control, mutant.rule, mutant.name):
            assert false & {mutant.step, "statement"}, mutant.name
            seen += 1
    assert seen >= 5


def _numbers(x: Expression) -> Iterator[Fraction]:
    match x:
        case Number(value):
            yield value
        case Sum(terms):
            for term in terms:
                yield from _numbers(term)
        case Binary(_, left, right):
            yield from _numbers(left)
            yield from _numbers(right)
        case Power(base, exponent):
            yield from _numbers(base)
            yield Fraction(exponent)
        case Call(_, argument):
            yield from _numbers(argument)


def _of_leaf(leaf: Leaf) -> set[Fraction]:
    return {abs(n) for part in leaf.parts for side in (part.left, part.right) for n in _numbers(side)}


def test_the_numbers_of_the_leaves_are_those_of_the_certificate() -> None:
    for control in controls():
        found = leaves_of(control.tree)
        stated = {abs(number.value) for number in numbers(control.tree)} | CONSTANTS
        for leaf in found.leaves:
            if leaf.fact not in ("near", "far"):  # ends of cells, which are a search's
                odd = {n for n in _of_leaf(leaf) if n.denominator > 1} - stated
                assert (control.name, leaf.name, odd) == (control.name, leaf.name, set())


def test_every_number_of_a_step_with_leaves_is_in_them() -> None:
    skipped = {"payload", "queries", "query_scale", "rows", "head"}  # rows of files
    for control in controls():
        printed: dict[str, set[Fraction]] = {}
        found = leaves_of(control.tree)
        for leaf in found.leaves:
            printed.setdefault(leaf.step, set()).update(_of_leaf(leaf))
        for step in control.tree["steps"]:
            if step["rule"] in table.COMBINATORIAL or _by_file(step, control):
                continue
            for part in ("given", "gives"):
                for name, value in step[part].items():
                    if name not in skipped | {"form", "tail", "factors"}:
                        assert abs(Fraction(value)) in printed[step["id"]], (control.name, step["id"], name)


def test_printed_numbers_are_the_certificates_own_digits() -> None:
    """Of the headline every rational stands in the Coq file as the certificate writes it."""
    tree = document.load(HEADLINE)
    text = " ".join(to_coq(leaves_of(tree)).split())
    for number in numbers(tree):
        value = number.value
        shown = str(value.numerator) if value.denominator == 1 else f"{value.numerator} / {value.denominator}"
        assert shown in text or number.where[-1] in ("kv_heads", "layers", "value_dim"), number.where


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@given(NAMES, NAMES)
def test_different_steps_have_lemmas_of_different_names(one: str, other: str) -> None:
    names = {
        (Leaf(step, rule, fact, "", ()).name)
        for step in (one, other)
        for rule, fact in (("leak", "rest"), ("leak", "squares"), ("exp-bound", "rest"))
    }
    assert len(names) == 3 * len({one, other})
    assert all(name.replace("_", "a").isalnum() and name.isascii() and name[0].isalpha() for name in names)


HOSTILE = '*) Axiom false : False. (* "|)(assert false)\n; '


def test_words_of_the_certificate_are_not_printed() -> None:
    """Step names are of letters, digits and hyphens; nothing else that an enemy writes reaches a prover."""
    control = next(c for c in controls() if c.name == "rows, near-identity")
    tree = copy.deepcopy(control.tree)
    tree["statement"]["keys"]["tensor"] = HOSTILE
    tree["statement"]["inputs"] = HOSTILE
    tree["statement"]["attention"] = HOSTILE
    tree["steps"][1]["given"]["form"] = HOSTILE
    found = leaves_of(rebuild(tree))
    assert "xiom" not in to_coq(found) + to_smt(found)[0]
    for where in ("id", "rule"):
        tree = copy.deepcopy(control.tree)
        tree["steps"][0][where] = HOSTILE
        with pytest.raises(Malformed):
            leaves_of(rebuild(tree))


@pytest.mark.parametrize("path", ["x*) Axiom.json", "a\nb.json"])
def test_the_name_of_the_file_is_not_printed(path: str, tmp_path: Path) -> None:
    place = tmp_path / path
    place.write_bytes(HEADLINE.read_bytes())
    assert export(place, "coq").text == export(HEADLINE, "coq").text


def _changed(tree: Node, step: int, part: str, name: str, value: object) -> Node:
    changed = copy.deepcopy(tree)
    changed["steps"][step][part][name] = value
    return rebuild(changed)


HUGE = "1" + "0" * 3000
WIDE = {
    "golay, volume", "hypercube 2, counting", "explicit, ball, bf16", "reed-muller, ball, bf16, pads", "midpoints",
    "dither, few levels",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "step", "part", "field"),
    [
        ("hypercube 3, ostrowski", 0, "given", "dimension"), ("paraboloid 3 2, ball", 0, "given", "side"),
        ("paraboloid 3 2, ball", 0, "given", "dimension"), ("paraboloid 3 2, ball", 0, "given", "cutoff"),
        ("reed-muller, ball, bf16, pads", 0, "given", "variables"),
        ("midpoints", 0, "gives", "bits_per_token"), ("ball, hypercube, bf16", 5, "given", "key_coordinates"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_refused_before_it_is_done(
    name: str, step: int, part: str, field: str, tmp_path: Path
) -> None:
    control = next(c for c in controls() if c.name == name)
    place = tmp_path / "huge.json"
    document.write(place, _changed(control.tree, step, part, field, HUGE))
    with pytest.raises(Incomplete, match="limit"):
        export(place, "coq")


@pytest.mark.parametrize("name", sorted(WIDE))
def test_huge_numbers_elsewhere_are_exported_or_refused(name: str) -> None:
    """Every number of a control, made huge: leaves are found and printed, or one line says why not."""
    control = next(c for c in controls() if c.name == name)
    for number in list(numbers(control.tree))[:30]:
        try:
            found = leaves_of(number.replaced(control.tree, HUGE))
        except (Malformed, document.OverLimit):
            continue
        assert found.leaves[-1].name in to_coq(found) + to_smt(found)[0]


def test_what_is_no_certificate_is_one_line(tmp_path: Path) -> None:
    place = tmp_path / "none.json"
    place.write_text("{}")
    with pytest.raises(UsageError, match="no certificate whose leaves could be exported"):
        export(place, "coq")
    tree = document.load(HEADLINE)
    for step in range(len(tree["steps"])):
        for part in ("given", "gives", "uses"):
            for field in tree["steps"][step][part]:
                changed = copy.deepcopy(tree)
                del changed["steps"][step][part][field]
                document.write(place, rebuild(changed))
                if (part, field) != ("uses", "tilt"):
                    with pytest.raises(UsageError):
                        export(place, "smt")
