"""Pages of proofs: every rule has its words, every number is there and on the safe side, no name breaks a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kvverify.crosscheck.arb import Opinion
from kvverify.kernel import document
from kvverify.kernel.check import Verdict
from kvverify.kernel.rules import RULES
from kvverify.report.explain import FORMATS, Explanation, explain, explain_bytes, explain_json, explanation, page
from kvverify.report.explain.numbers import Side, decimal, figure, name
from kvverify.report.explain.rules import TEMPLATES
from kvverify.report.explain.template import Lemma, When
from tests.kernel.controls import Control, rebuild
from tests.kernel.mutants import broken, rewritten
from tests.kernel.test_mutants import controls

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted((ROOT / "certificates").rglob("*.json"))
NUMBER = re.compile(r"-?[0-9]+(/[0-9]+)?\Z")
every_certificate = pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)

Node = dict[str, Any]


@cache
def explained(path: Path) -> Explanation:
    return explain(path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Control, Explanation]]:
    """Every control of the kernel's tests, explained."""
    found = []
    for control in controls():
        folder = tmp_path_factory.mktemp("control")
        for file, content in control.files:
            (folder / file).write_bytes(content)
        found.append((control, explain_bytes(json.dumps(control.tree).encode(), folder, "control.json")))
    return found


def lemmas() -> Iterator[Lemma]:
    for template in TEMPLATES.values():
        yield from (template.lemma, *template.cases.values())


def leaves(value: Any) -> Iterator[str]:
    """Every number of a step's fields, those of rows as well."""
    if isinstance(value, dict):
        for key, part in value.items():
            if NUMBER.match(key):
                yield key
            yield from leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part)
    else:
        yield from (word for word in value.split(" ") if NUMBER.match(word))


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


def test_every_rule_is_explained_with_all_its_sentences(pages: list[tuple[Control, Explanation]]) -> None:
    seen = set()
    for control, found in pages:
        assert found.result.verdict is Verdict.VALID, control.name
        assert found.opinion in ("agrees", "undecided"), control.name
        for step in found.steps:
            always = sum(isinstance(sentence, str) for sentence in TEMPLATES[step.rule].says)
            assert len(step.says) >= always, (control.name, step.rule, step.says)
            assert not re.search(r"[{}]", " ".join(step.says)), step.says
            assert step.holds is True
            seen.add(step.rule)
    assert seen == set(RULES)


def test_conditional_sentences_are_said_of_some_step_and_not_of_all(pages: list[tuple[Control, Explanation]]) -> None:
    texts: dict[str, list[str]] = {}
    for _, found in pages:
        for step in found.steps:
            texts.setdefault(step.rule, []).append(" ".join(step.says))
    for rule, template in TEMPLATES.items():
        for sentence in template.says:
            if isinstance(sentence, When):
                pattern = re.sub(r"\\{[^{}]*\\}", "[^ ]+", re.escape(sentence.text))
                said = [re.search(pattern, text) is not None for text in texts[rule]]
                assert any(said), (rule, sentence.text)
                assert not all(said), (rule, sentence.text)


def test_every_fraction_of_a_rule_has_a_side(pages: list[tuple[Control, Explanation]]) -> None:
    for control, _ in pages:
        for step in control.tree["steps"]:
            sides = TEMPLATES[step["rule"]].sides
            for field, value in {**step["given"], **step["gives"]}.items():
                if isinstance(value, str) and "/" in value:
                    assert field in sides, (step["rule"], field)
    for template in TEMPLATES.values():
        for field, side in template.sides.items():
            assert not field.endswith("_at_most") or side is Side.UP, field
            assert not field.endswith("_at_least") or side is Side.DOWN, field


def test_the_form_of_a_determinant_chooses_its_lemma(pages: list[tuple[Control, Explanation]]) -> None:
    found = {
        (step["given"]["form"], text.lemma.section)
        for control, explanation in pages
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


# Verdicts


def tree_of(stem: str) -> Node:
    (path,) = (path for path in COMMITTED if path.stem == stem)
    found: Node = json.loads(path.read_text())
    return found


def judged(tree: Node) -> Explanation:
    return explain_bytes(json.dumps(rebuild(tree)).encode(), ROOT, "c.json")


def test_a_step_that_fails_is_the_last_one_and_shows_both_sides() -> None:
    tree = tree_of("2p17-d128-logit24")
    tree["steps"][3]["gives"]["off_target_at_most"] = "1/100"
    found = judged(tree)
    assert found.result.verdict is Verdict.INVALID
    assert [step.holds for step in found.steps] == [True, True, True, False]
    assert found.conclusion == ()
    text = FORMATS["text"](page(found))
    assert "INVALID at step leak" in text
    assert re.search(r"off-target mass <= off_target_at_most \(about\s2\^-\d+ against 1/100\)", text)
    assert "Step 5" not in text
    assert "No second opinion was asked for" in text


def test_a_claim_beyond_the_proof_fails_after_steps_that_hold() -> None:
    tree = tree_of("2p17-d128-logit24")
    tree["statement"]["state_bits_at_least"] = "158609059"
    found = judged(tree)
    assert found.result.verdict is Verdict.INVALID
    assert [step.holds for step in found.steps] == [True] * 9
    assert "state_bits_at_least <= what the steps prove (158609059 against" in FORMATS["text"](page(found))


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (lambda steps: steps[2].update(id="decay"), [True, True, False]),
        (lambda steps: steps[2]["uses"].update(keys="nothing"), [True, True, False]),
        (lambda steps: steps[2].update(rule="no-such-rule"), [True, True, False]),
        (lambda steps: steps[0].update(rule="no-such-rule"), [False]),
        (lambda steps: steps[1].update(given={}), [True, False]),
        (lambda steps: steps[1].update(given={"exponent": ["1", {"a": "b"}]}), [True, False]),
        (lambda steps: steps[0].update(gives={"weights": {"6": "x"}}), [False]),
        (lambda steps: steps[0].update(given={"generator": ["01", "`\\end{verbatim}"]}), [False]),
    ],
)
def test_a_broken_step_is_shown_as_it_is(change: Any, holds: list[bool]) -> None:
    tree = tree_of("2p17-d128-logit24")
    change(tree["steps"])
    found = judged(tree)
    assert found.result.verdict is Verdict.INVALID
    assert [step.holds for step in found.steps] == holds
    for write in FORMATS.values():
        assert "INVALID" in write(page(found))


def test_a_limit_is_no_verdict_on_the_step() -> None:
    tree = tree_of("2p17-d128-logit24")
    tree["steps"][1]["given"]["exponent"] = "9" * 5000
    found = judged(tree)
    assert found.result.verdict is Verdict.INCOMPLETE
    assert [step.holds for step in found.steps] == [True, None]
    assert "It could not be decided. The kernel says:" in FORMATS["text"](page(found))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b'{"a": 1}', b"[" * 100_000, b'{"format": "\\u001b[31m"}']
)
def test_what_is_no_certificate_has_a_verdict_and_no_proof(data: bytes) -> None:
    found = explain_bytes(data, ROOT, "x.json")
    assert found.result.verdict is not Verdict.VALID
    assert (found.steps, found.claim, found.not_said) == ((), (), ())
    for write in FORMATS.values():
        text = write(page(found))
        assert found.result.verdict.value in text
        assert "\x1b" not in text


def test_the_contrary_of_the_second_opinion_is_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Opinion("contrary", "leak", "1 > 0", ())
    monkeypatch.setattr("kvverify.crosscheck.arb.second_opinion", lambda *_: second)
    found = judged(tree_of("2p17-d128-logit24"))
    assert (found.result.verdict, found.opinion, found.conclusion) == (Verdict.INVALID, "contrary", ())
    assert [step.holds for step in found.steps] == [True, True, True, False]
    assert "the second opinion proves the contrary: 1 > 0" in FORMATS["text"](page(found))


def test_without_flint_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanation, "find_spec", lambda _: None)
    found = judged(tree_of("16-d4-logit8-relative"))
    assert (found.result.verdict, found.opinion) == (Verdict.VALID, None)
    assert "python-flint is not installed" in FORMATS["text"](page(found))


def test_every_mutant_has_a_page(tmp_path: Path) -> None:
    chosen = [control for i, control in enumerate(controls()) if i % 4 == 0 and not control.files]
    count = 0
    for control in chosen:
        for i, mutant in enumerate([*broken(control, outside=False), *rewritten(control)]):
            if i % 50:
                continue
            content = mutant.content if isinstance(mutant.content, bytes) else json.dumps(mutant.content).encode()
            found = explain_bytes(content, tmp_path, "m.json")
            blocks = page(found)
            assert found.result.verdict.value in FORMATS["text"](blocks)
            sound_latex(FORMATS["latex"](blocks))
            json.dumps(explain_json(found))
            count += 1
    assert count > 100


# Pages

HOSTILE = [
    "a_b%c#d&e$f", "\\end{document}", "{{{", "}}}", "~^<>|\"'", "` `` ```", "\x1b[2J\r\n\t\x00", "é\u202e\ud800",
    "<script>alert(1)</script>", "[x](y) *b* _i_ # h", "$x$ \\input{/etc/passwd} ^^M", "%" * 300,
]  # fmt: skip


def sound_latex(text: str) -> None:
    """Complete and balanced, with nothing that a special character of a name could have opened."""
    assert text.isascii()
    assert text.startswith("\\documentclass{article}\n")
    assert text.endswith("\\end{document}")
    assert set(re.findall(r"\\usepackage\{(.*?)\}", text)) == {"amsmath"}
    bare = re.sub(r"\\[\\{}$&#_%^~]", "", text.replace("\\\\\n", "\n"))
    depth = 0
    for c in bare:
        depth += {"{": 1, "}": -1}.get(c, 0)
        assert depth >= 0
    assert depth == 0
    stack = []
    for kind, environment in re.findall(r"\\(begin|end)\{(.*?)\}", text):
        if kind == "begin":
            stack.append(environment)
        else:
            assert stack.pop() == environment
    assert stack == []
    assert text.count("\\begin{document}") == text.count("\\end{document}") == 1
    prose = re.sub(r"\\\[.*?\\\]", "", bare, flags=re.DOTALL)
    assert re.search(r"[$&#%^_]", prose) is None, re.search(r".{20}[$&#%^_].{20}", prose)
    # textbackslash and its like are the only commands that a name can make.
    allowed = {
        "documentclass", "usepackage", "setlength", "parindent", "parskip", "emergencystretch", "begin", "end", "item",
        "section", "subsection", "texttt", "allowbreak", "textbackslash", "textasciitilde", "textasciicircum",
        "textless", "textgreater", "textbar", "char", "tiny", "ttfamily", "raggedright", "par",
    }  # fmt: skip
    assert set(re.findall(r"\\([a-zA-Z]+)", prose)) <= allowed


@every_certificate
def test_latex_is_a_complete_document(path: Path) -> None:
    sound_latex(FORMATS["latex"](page(explained(path))))


def test_latex_of_every_rule(pages: list[tuple[Control, Explanation]]) -> None:
    for _, found in pages:
        sound_latex(FORMATS["latex"](page(found)))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_names(text: str) -> None:
    tree = tree_of("2p17-d128-logit24")
    tree["steps"][1]["rule"] = text
    tree["steps"][1]["uses"] = {text: "keys"}
    tree["steps"][1]["given"] = {text: text, "list": [text], "object": {text: {text: text}}}
    data = json.dumps(rebuild(tree)).encode()
    found = explain_bytes(data, ROOT, text)
    blocks = page(found)
    sound_latex(FORMATS["latex"](blocks))
    plain, marked = FORMATS["text"](blocks), FORMATS["markdown"](blocks)
    for written in (plain, marked):
        assert all(c.isprintable() or c == "\n" for c in written)
    outside = re.sub(r"```text\n.*?\n```", "", marked, flags=re.DOTALL)
    assert outside.count("`") % 2 == 0
    prose = re.sub(r"`[^`\n]*`", "", outside)
    assert "<script>" not in prose
    assert "](" not in prose


def test_names_are_printable_ascii_without_the_mark() -> None:
    for text in HOSTILE:
        shown = name(text)
        assert shown.isascii()
        assert shown.isprintable()
        assert "`" not in shown
        assert 0 < len(shown) < 900


def test_a_lemma_that_comes_again_is_named_by_its_step() -> None:
    text = FORMATS["text"](page(explained(ROOT / "certificates/ours/2p17-d128-logit24.json")))
    assert text.count("Lemma and proof: those of step 2.") == 1
    assert text.count("docs/proofs/softmax.md, exp-bound") == 1


def test_terminal_pages_are_at_most_100_columns_wide_but_for_lists() -> None:
    for path in COMMITTED:
        for line in FORMATS["text"](page(explained(path))).splitlines():
            assert len(line) <= 100 or line.startswith("    ") or not line.strip("=-") or "The proof in" in line, line


# The statement


def test_an_upper_bound_is_said_as_one() -> None:
    found = explained(ROOT / "certificates/ours/2p17-d128-logit24-dithered.json")
    said = " ".join(found.claim)
    assert said == (
        "This is an upper bound. Some compressor keeps the promise below with at most 301465600 bits of state, all "
        "heads and layers together. That is 2300 bits a token. A dense cache of 16-bit scalars takes 536870912 bits: "
        "this compressor saves at least a factor of 1.78086 (rounded down)."
    )
    assert any("best compressor" in line for line in found.not_said)


def test_heads_count_together_and_alone() -> None:
    found = explained(ROOT / "certificates/ours/2p17-d128-logit24-32x8-heads.json")
    assert "32 layers" in " ".join(found.problem) or "8 layers" in " ".join(found.problem)
    assert "For each head of each layer it is 1210.09 (rounded down) bits a token." in " ".join(found.claim)


def test_a_file_is_named_and_only_its_keys_are_spoken_of(pages: list[tuple[Control, Explanation]]) -> None:
    budgets = set()
    for control, found in pages:
        claimed = control.tree["statement"]
        said, left = " ".join(found.problem), " ".join(found.not_said)
        budgets.add(claimed["budget"])
        for field in ("keys", "queries"):
            if field in claimed:
                assert f"file `{claimed[field]['name']}`" in said
        assert ("other keys" in left) == ("keys" in claimed)
        assert ("other queries than the recorded rows" in left) == ("queries" in claimed)
        assert ("share" in said) == ("relative" in claimed)
    assert budgets == {"class", "own-keys", "own-queries"}


def test_pools_of_reads_are_named(pages: list[tuple[Control, Explanation]]) -> None:
    for control, found in pages:
        left, rule = " ".join(found.not_said), control.rules[-1]
        assert ("all key reads" in left) == (rule == "joint")
        assert ("all amplitude reads" in left) == (rule == "amplitude")
        assert ("expected length" in left) == (rule == "counting")


def test_a_bound_of_nothing_limits_nothing() -> None:
    tree = tree_of("16-d4-logit8-relative")
    tree["statement"]["state_bits_at_least"] = "0"
    found = judged(tree)
    assert found.result.verdict is Verdict.VALID
    assert "factor" not in " ".join(found.claim)


def test_sizes_at_the_limit_of_a_document_are_shown() -> None:
    tree = tree_of("16-d4-logit8-relative")
    nines = "9" * 4000
    for field in ("tokens", "key_dim", "value_dim", "kv_heads", "layers", "state_bits_at_least", "max_logit"):
        tree["statement"][field] = nines
    tree["statement"]["failure"] = f"1/{nines}"
    found = judged(tree)
    assert found.result.statement is not None
    text = FORMATS["text"](page(found))
    assert "2^" in text
    assert max(map(len, text.split())) < 100
    sound_latex(FORMATS["latex"](page(found)))
    json.dumps(explain_json(found))


# JSON


def test_the_object_of_json() -> None:
    found = explained(ROOT / "certificates/ours/2p17-d128-logit24.json")
    answer = explain_json(found)
    assert list(answer) == ["schema", "verdict", "step", "reason", "statement", "steps", "trust", "not_said"]
    assert (answer["schema"], answer["verdict"], answer["reason"]) == ("kvverify-explain/1", "VALID", None)
    first = answer["steps"][1]
    assert list(first) == ["id", "rule", "uses", "says", "numbers", "lemma", "formula", "proof", "source", "holds"]
    assert first["numbers"]["exp_minus_at_most"] == {
        "exact": "25345739683807/140737488355328", "shown": "0.180093", "rounded": "up",
    }  # fmt: skip
    assert first["numbers"]["exponent"] == {"exact": "12/7", "shown": "12/7", "rounded": None}
    assert answer["statement"]["fields"]["tokens"] == "131072"
    assert set(answer["trust"]) == {"kernel", "rules", "cited", "engines", "python", "second_opinion"}


def test_the_document_digest_is_on_the_page() -> None:
    path = ROOT / "certificates/ours/2p17-d128-logit24.json"
    assert document.read(path).digest in FORMATS["text"](page(explained(path)))
