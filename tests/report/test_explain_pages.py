"""Pages of proofs: verdicts and statements in words, and names that break no page."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.crosscheck.arb import Opinion
from kvverify.figures import at_least, at_most
from kvverify.kernel import document
from kvverify.kernel.check import Verdict
from kvverify.report.explain import FORMATS, explain_bytes, explain_json, explanation, page
from kvverify.report.explain.numbers import name
from tests.kernel.controls import rebuild
from tests.kernel.mutants import broken, rewritten
from tests.kernel.test_mutants import controls
from tests.report.explained import (
    COMMITTED,
    ROOT,
    control_pages,
    every_certificate,
    explained,
    judged,
    sound_latex,
    tree_of,
)

# Verdicts


def test_a_step_that_fails_is_the_last_one_and_shows_both_sides() -> None:
    tree = tree_of("joint, rm")
    tree["steps"][3]["gives"]["off_target_at_most"] = "0"
    found = judged(tree)
    assert found.result.verdict is Verdict.INVALID
    assert [step.holds for step in found.steps] == [True, True, True, False]
    assert found.conclusion == ()
    text = FORMATS["text"](page(found))
    assert "INVALID at step leak" in text
    assert re.search(r"off-target\smass\s<=\soff_target_at_most\s\(about\s2\^-\d+\sagainst\s0\)", text)
    assert "Step 5" not in text
    assert "No second opinion was asked for" in text


def test_a_claim_beyond_the_proof_fails_after_steps_that_hold() -> None:
    tree = tree_of("joint, rm")
    more = str(int(tree["statement"]["state_bits_at_least"]) + 1)
    tree["statement"]["state_bits_at_least"] = more
    found = judged(tree)
    assert found.result.verdict is Verdict.INVALID
    assert [step.holds for step in found.steps] == [True] * 9
    assert f"state_bits_at_least <= what the steps prove ({more} against" in FORMATS["text"](page(found))


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
    tree = tree_of("joint, rm")
    change(tree["steps"])
    found = judged(tree)
    assert found.result.verdict is Verdict.INVALID
    assert [step.holds for step in found.steps] == holds
    for write in FORMATS.values():
        assert "INVALID" in write(page(found))


def test_a_limit_is_no_verdict_on_the_step() -> None:
    tree = tree_of("joint, rm")
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
    found = judged(tree_of("joint, rm"))
    assert (found.result.verdict, found.opinion, found.conclusion) == (Verdict.INVALID, "contrary", ())
    assert [step.holds for step in found.steps] == [True, True, True, False]
    assert "the second opinion proves the contrary: 1 > 0" in FORMATS["text"](page(found))


def test_the_contrary_of_the_statement_alone_blames_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Opinion("contrary", None, "tolerance", ())
    monkeypatch.setattr("kvverify.crosscheck.arb.second_opinion", lambda *_: second)
    found = judged(tree_of("rm, separation"))
    assert (found.result.verdict, found.conclusion) == (Verdict.INVALID, ())
    assert all(step.holds for step in found.steps)
    assert "INVALID. It was refuted: the second opinion proves the contrary: tolerance." in FORMATS["text"](page(found))


def test_without_flint_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanation, "find_spec", lambda _: None)
    found = judged(tree_of("rm, separation"))
    assert (found.result.verdict, found.opinion) == (Verdict.VALID, None)
    assert "python-flint is not installed" in FORMATS["text"](page(found))


def test_every_mutant_has_a_page(tmp_path: Path) -> None:
    chosen = [control for i, control in enumerate(controls()) if i % 4 == 0 and not control.files]
    count = 0
    for control in chosen:
        for i, mutant in enumerate([*broken(control, outside=False), *rewritten(control)]):
            if i % 100:
                continue
            content = mutant.content if isinstance(mutant.content, bytes) else json.dumps(mutant.content).encode()
            found = explain_bytes(content, tmp_path, "m.json")
            blocks = page(found)
            assert found.result.verdict.value in FORMATS["text"](blocks)
            sound_latex(FORMATS["latex"](blocks))
            json.dumps(explain_json(found))
            count += 1
    assert count > 50


# Pages

HOSTILE = [
    "a_b%c#d&e$f", "\\end{document}", "{{{", "}}}", "~^<>|\"'", "` `` ```", "\x1b[2J\r\n\t\x00", "é\u202e\ud800",
    "<script>alert(1)</script>", "[x](y) *b* _i_ # h", "$x$ \\input{/etc/passwd} ^^M", "%" * 300,
]  # fmt: skip


@every_certificate
def test_latex_is_a_complete_document(path: Path) -> None:
    sound_latex(FORMATS["latex"](page(explained(path))))


def test_latex_of_every_rule() -> None:
    for _, found in control_pages():
        sound_latex(FORMATS["latex"](page(found)))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_names(text: str) -> None:
    tree = tree_of("joint, rm")
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
    text = FORMATS["text"](page(judged(tree_of("joint, rm"))))
    assert text.count("Lemma and proof: those of step 2.") == 1
    assert text.count("docs/proofs/softmax.md, exp-bound") == 1


def test_terminal_pages_are_at_most_100_columns_wide_but_for_lists() -> None:
    for path in COMMITTED:
        for line in FORMATS["text"](page(explained(path))).splitlines():
            assert len(line) <= 100 or line.startswith("    ") or not line.strip("=-") or "The proof in" in line, line


# The statement


def test_an_upper_bound_is_said_as_one() -> None:
    path = ROOT / "certificates/ours/2p17-d128-logit24-dithered.json"
    found, bits = explained(path), int(json.loads(path.read_text())["statement"]["state_bits_enough"])
    assert " ".join(found.claim) == (
        f"This is an upper bound. Some compressor keeps the promise below with at most {bits} bits of state, all heads "
        f"and layers together. That is {bits >> 17} bits a token. A dense cache of 16-bit scalars takes 536870912 "
        f"bits: this compressor saves at least a factor of {at_least(Fraction(1 << 29, bits))} (rounded down)."
    )
    assert bits % (1 << 17) == 0
    assert any("best compressor" in line for line in found.not_said)


def test_heads_count_together_and_alone() -> None:
    path = ROOT / "certificates/ours/2p17-d128-logit24-32x8-heads.json"
    found, claimed = explained(path), json.loads(path.read_text())["statement"]
    bits, heads = int(claimed["state_bits_at_least"]), int(claimed["kv_heads"]) * int(claimed["layers"])
    each = at_least(Fraction(bits, int(claimed["tokens"]) * heads))
    assert f"{claimed['kv_heads']} KV heads in {claimed['layers']} layers" in " ".join(found.problem)
    assert f"For each head of each layer it is {each} (rounded down) bits a token." in " ".join(found.claim)


def test_a_file_is_named_and_only_its_keys_are_spoken_of() -> None:
    budgets = set()
    for control, found in control_pages():
        claimed = control.tree["statement"]
        if "budget" not in claimed:
            continue
        said, left = " ".join(found.problem), " ".join(found.not_said)
        budgets.add(claimed["budget"])
        for field in ("keys", "queries"):
            if field in claimed:
                assert f"file `{claimed[field]['name']}`" in said
        assert ("other keys" in left) == ("keys" in claimed)
        assert ("other queries than the recorded rows" in left) == ("queries" in claimed)
        assert ("share" in said) == ("relative" in claimed)
    assert budgets == {"class", "own-keys", "own-queries"}


def test_pools_of_reads_are_named() -> None:
    for control, found in control_pages():
        left, rule = " ".join(found.not_said), control.rules[-1]
        assert ("all key reads" in left) == (rule == "joint")
        assert ("all amplitude reads" in left) == (rule == "amplitude")
        assert ("expected length" in left) == (rule == "counting")


def test_a_bound_of_nothing_limits_nothing() -> None:
    tree = tree_of("rm, separation")
    tree["statement"]["state_bits_at_least"] = "0"
    found = judged(tree)
    assert found.result.verdict is Verdict.VALID
    assert "factor" not in " ".join(found.claim)


def test_sizes_at_the_limit_of_a_document_are_shown() -> None:
    tree = tree_of("rm, separation")
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
    tree = tree_of("joint, rm")
    found = judged(tree)
    answer = explain_json(found)
    assert list(answer) == ["schema", "verdict", "step", "reason", "statement", "steps", "trust", "not_said"]
    assert (answer["schema"], answer["verdict"], answer["reason"]) == ("kvverify-explain/1", "VALID", None)
    first = answer["steps"][1]
    assert list(first) == ["id", "rule", "uses", "says", "numbers", "lemma", "formula", "proof", "source", "holds"]
    z, c = (tree["steps"][1][side][name] for side, name in (("gives", "exp_minus_at_most"), ("given", "exponent")))
    shown = str(at_most(Fraction(z)))
    assert first["numbers"]["exp_minus_at_most"] == {"exact": z, "shown": shown, "rounded": "up"}
    assert first["numbers"]["exponent"] == {"exact": c, "shown": c, "rounded": None}
    assert answer["statement"]["fields"] == tree["statement"]
    assert set(answer["trust"]) == {"kernel", "rules", "cited", "engines", "python", "second_opinion"}


def test_the_document_digest_is_on_the_page() -> None:
    path = ROOT / "certificates/ours/2p17-d128-logit24.json"
    assert document.read(path).digest in FORMATS["text"](page(explained(path)))
