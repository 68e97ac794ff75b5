"""Pages of proofs: every rule has its words, every number is there and on the safe side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel.check import Verdict
from kvverify.kernel.rules import RULES
from kvverify.report.explain import FORMATS, explain_json, page
from kvverify.report.explain.numbers import Side, decimal, figure
from kvverify.report.explain.rules import TEMPLATES
from kvverify.report.explain.template import Lemma, When
from tests.report.explained import ROOT, control_pages, every_certificate, explained

NUMBER = re.compile(r"-?[0-9]+(/[0-9]+)?\Z")
ROWS, ENTRIES, WORDS = 32, 64, 16  # of a longer list, histogram or single row, the first and the last ones are shown


def lemmas() -> Iterator[Lemma]:
    for template in TEMPLATES.values():
        yield from (template.lemma, *template.cases.values())


def leaves(value: Any) -> Iterator[str]:
    """Every number of a step's fields that a page shows, those of rows as well."""
    if isinstance(value, dict):
        for key, part in shown(value):
            if NUMBER.match(key):
                yield key
            yield from leaves(part)
    elif isinstance(value, list):
        for part in value if len(value) <= ROWS else [*value[: ROWS // 2], *value[-ROWS // 2 :]]:
            yield from (word for word in part.split(" ") if NUMBER.match(word))
    else:
        words = value.split(" ")
        words = words if len(words) <= WORDS else [*words[: WORDS // 2], *words[-WORDS // 2 :]]
        yield from (word for word in words if NUMBER.match(word))


def shown(node: dict[str, Any]) -> list[tuple[str, Any]]:
    """An object's entries; of a long histogram the first and the last ones."""
    if len(node) <= ENTRIES:
        return list(node.items())
    entries = sorted(node.items(), key=lambda entry: int(entry[0]))
    return [*entries[: ENTRIES // 2], *entries[-ENTRIES // 2 :]]


# The rules' words


def test_every_rule_has_its_words_and_nothing_else_has() -> None:
    assert TEMPLATES.keys() == RULES.keys()


def test_every_lemma_names_a_section_that_is_there() -> None:
    for lemma in lemmas():
        proofs = (ROOT / "docs" / "proofs" / lemma.page).read_text()
        section = re.escape(lemma.section)
        assert re.search(rf"^#+ {section}(:.*)?$|^\*\*{section}\.?\*\*", proofs, re.MULTILINE), lemma.proof
        assert lemma.source.startswith(("textbook", "paper", "ours")), lemma.source


def test_prose_is_ascii_and_sentences_end() -> None:
    for template in TEMPLATES.values():
        for sentence in template.says:
            text = sentence.text if isinstance(sentence, When) else sentence
            assert text.isascii(), text
            assert text.endswith("."), text
            assert text.count("`") % 2 == 0, text
    for lemma in lemmas():
        assert lemma.text.isascii(), lemma.text
        assert lemma.text.endswith("."), lemma.text
        assert lemma.formula.tex.isascii(), lemma.formula.tex


def test_every_rule_is_explained_with_all_its_sentences() -> None:
    seen = set()
    for control, found in control_pages():
        assert found.result.verdict is Verdict.VALID, control.name
        assert found.opinion in ("agrees", "undecided"), control.name
        for step in found.steps:
            always = sum(isinstance(sentence, str) for sentence in TEMPLATES[step.rule].says)
            assert len(step.says) >= always, (control.name, step.rule, step.says)
            assert not re.search(r"[{}]", " ".join(step.says)), step.says
            assert step.holds is True
            seen.add(step.rule)
    assert seen == set(RULES)


def test_conditional_sentences_are_said_of_some_step_and_not_of_all() -> None:
    texts: dict[str, list[str]] = {}
    for _, found in control_pages():
        for step in found.steps:
            texts.setdefault(step.rule, []).append(" ".join(step.says))
    for rule, template in TEMPLATES.items():
        for sentence in template.says:
            if isinstance(sentence, When):
                pattern = re.sub(r"\\{[^{}]*\\}", "[^ ]+", re.escape(sentence.text))
                said = [re.search(pattern, text) is not None for text in texts[rule]]
                assert any(said), (rule, sentence.text)
                assert not all(said), (rule, sentence.text)


def test_every_fraction_of_a_rule_has_a_side() -> None:
    for control, _ in control_pages():
        for step in control.tree["steps"]:
            sides = TEMPLATES[step["rule"]].sides
            for field, value in {**step["given"], **step["gives"]}.items():
                if isinstance(value, str) and "/" in value:
                    assert field in sides, (step["rule"], field)
    for template in TEMPLATES.values():
        for field, side in template.sides.items():
            assert not field.endswith("_at_most") or side is Side.UP, field
            assert not field.endswith("_at_least") or side is Side.DOWN, field


def test_the_form_of_a_determinant_chooses_its_lemma() -> None:
    found = {
        (step["given"]["form"], text.lemma.section)
        for control, explanation in control_pages()
        for step, text in zip(control.tree["steps"], explanation.steps, strict=True)
        if step["rule"] == "determinant" and text.lemma is not None
    }
    forms = ("near-identity", "ostrowski", "exact", "preconditioned")
    assert found == {(form, form) for form in forms}


# Numbers


@every_certificate
def test_every_number_of_a_committed_certificate_is_on_its_page(path: Path) -> None:
    tree, found = json.loads(path.read_text()), explained(path)
    blocks = page(found)
    text = FORMATS["text"](blocks)
    others = [FORMATS["markdown"](blocks), FORMATS["latex"](blocks).replace("\\allowbreak{}", "")]
    words = set(re.split(r"[^0-9a-z/^.+-]+", text)) | {w.rstrip(".:,") for w in re.split(r"[^0-9a-z/^.+-]+", text)}
    assert len(found.steps) == len(tree["steps"])
    for step, answer in zip(tree["steps"], explain_json(found)["steps"], strict=True):
        shown = {number["exact"]: number["shown"] for number in answer["numbers"].values()}
        for number in leaves({**step["given"], **step["gives"]}):
            as_shown = shown.get(number, number)
            assert as_shown in words, (step["id"], number)
            assert all(as_shown in other for other in others), (step["id"], number)


@every_certificate
def test_every_number_is_rounded_to_its_side(path: Path) -> None:
    for step in explain_json(explained(path))["steps"]:
        for number in step["numbers"].values():
            exact, shown = Fraction(number["exact"]), Fraction(number["shown"])
            if number["rounded"] is None:
                assert shown == exact
            else:
                assert (shown >= exact) if number["rounded"] == "up" else (shown <= exact)
                assert abs(shown - exact) <= abs(exact) / 10**5


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    "value",
    [
        Fraction(1, 3), Fraction(-1, 3), Fraction(10**30 + 1), Fraction(-(10**30) - 1), Fraction(10**31, 7),
        Fraction(2**1024 - 1), Fraction(1 - 2**1024), Fraction(3, 10**4000), Fraction(-3, 10**4000),
        Fraction(10**4000 - 1, 7), Fraction(99999999, 100000000), Fraction(10**24 - 1, 10**3 + 1),
    ],
)  # fmt: skip
def test_numbers_of_all_sizes_go_to_the_safe_side(value: Fraction, side: Side) -> None:
    shown = decimal(value, side)
    power = re.fullmatch(r"(-?)2\^(-?[0-9]+)", shown)
    number = (-1 if power[1] else 1) * Fraction(2) ** int(power[2]) if power else Fraction(shown)
    assert number >= value if side is Side.UP else number <= value
    assert abs(number - value) <= abs(value) * (3 if power else Fraction(1, 10**5))
    assert figure(value, side).rounded is (None if len(str(value)) < 25 and value.denominator in (1, 3) else side)


def test_short_numbers_are_exact() -> None:
    for value in (Fraction(0), Fraction(12, 7), Fraction(-3), Fraction(131072), Fraction(10**23), Fraction(2**200)):
        found = figure(value, Side.UP)
        assert found.rounded is None
        assert found.shown in (str(value), "2^200")
