"""Three engines, kernel, Arb and MPFR, on everything committed; the third one on what is a little more than true."""

from __future__ import annotations

import copy
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kvverify.crosscheck.arb import second_opinion
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.rules import RULES
from tests.engines import mpfr, reads
from tests.engines.mpfr import AGREES, CONTRARY, TAKEN, UNDECIDED, Outcome, third_opinion
from tests.kernel.controls import Control
from tests.kernel.mutants import rewritten
from tests.kernel.test_mutants import controls

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted(path for folder in ("certificates", "instances") for path in (ROOT / folder).rglob("*.json"))
LARGE = [f"layer-{layer}-keys-head-{head}-tolerance-1-100.json" for layer, head in ((0, 0), (14, 1), (29, 2))]
RECORDED = "layer-7-queries-head-7-tolerance-1-100.json"
COUNTED = {"linear-code", "coset-union", "reed-muller", "explicit-keys"}  # words and keys: no real numbers
COUNTED |= {"reservoir", "running-sum"}  # equalities of fractions
COUNTED |= {"net", "lattice-points"}  # simplices and points
COUNTED |= {"positive-polynomial"}  # signs of integers
COUNTED |= {"tensor-keys", "tensor-orders", "tensor-patterns"}  # words, equal fractions, patterns
CLAIM_ONLY = {"comparison"}  # whose numbers all stand in the claim

# What an engine leaves open of the committed certificates; everything else it proves.
OPEN_MPFR = {(name, step) for name in [*LARGE, RECORDED] for step in ("leak", "determinant")}  # 2^18 scores
OPEN_ARB = {(RECORDED, "determinant"), (RECORDED, "bits")}  # 512 rows, and what rests on them


def test_the_engine_knows_every_rule() -> None:
    assert mpfr.RULES.keys() == RULES.keys()


def test_nothing_committed_is_contrary_and_what_is_open_is_known() -> None:
    verdicts: Counter[str] = Counter()
    found = set()
    for path in COMMITTED:
        tree = document.load(path)
        outcomes = third_opinion(tree, path.parent)
        assert [outcome.step for outcome in outcomes] == [*(step["id"] for step in tree["steps"]), ""]
        verdicts.update(outcome.verdict for outcome in outcomes)
        found |= {(path.name, outcome.step) for outcome in outcomes if outcome.verdict == UNDECIDED}
        assert {outcome.rule for outcome in outcomes if outcome.verdict == TAKEN} <= COUNTED
        assert outcomes[-1] == Outcome("", "claim", AGREES)
    assert found == OPEN_MPFR
    assert verdicts[CONTRARY] == 0
    assert verdicts[AGREES] > 200


def test_the_second_engine_on_the_same() -> None:
    found = set()
    for path in COMMITTED:
        opinion = second_opinion(path)
        assert opinion.verdict != "contrary", path
        found |= {(path.name, outcome.step) for outcome in opinion.steps if outcome.verdict == "undecided"}
    assert found == OPEN_ARB


@pytest.mark.slow
def test_the_rows_of_a_model_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "SCORES", 1 << 18)
    for name in LARGE:
        path = ROOT / "instances" / "smollm2" / name
        assert {outcome.verdict for outcome in third_opinion(document.load(path), path.parent)} == {AGREES}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for control in controls():
        found[control.name] = folder = tmp_path_factory.mktemp("control")
        for name, content in control.files:
            (folder / name).write_bytes(content)
    return found


def test_every_control_is_proved(folders: dict[str, Path]) -> None:
    seen: set[tuple[str, str]] = set()
    for control in controls():
        outcomes = third_opinion(control.tree, folders[control.name])
        seen |= {(outcome.rule, outcome.verdict) for outcome in outcomes}
    assert seen == {(rule, TAKEN if rule in COUNTED else AGREES) for rule in (*RULES, "claim")}


def tightened(control: Control) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(step, rule, field, tree): one number of a real-valued ``gives`` beyond what is true by its least unit or two."""
    found = []
    for i, step in enumerate(control.tree["steps"]):
        for name, value in step["gives"].items():
            if step["rule"] in COUNTED:
                continue
            whole = name in ("alphabet", "size", "bits_per_token", "at_least", "at_most") or step["rule"] == "counting"
            unit = 1 if whole else Fraction(1, 1 << (46 if name == "exp_minus_at_most" else 30))
            more = name.endswith("at_least") or name in ("alphabet", "size", "payload_radius")
            tree = copy.deepcopy(control.tree)
            tree["steps"][i]["gives"][name] = str(Fraction(value) + (unit if more else -unit))
            found.append((step["id"], step["rule"], name, document.build(tree["statement"], tree["steps"])))
    return found


# Controls that do not state the strongest that is true: sums with room, so that the determinant is felt first;
# determinants less what the kernel's enclosures lose, or by factors where the engine takes the determinant itself.
ROOM = {"rows, exact, loose", "own-queries, preconditioned", "queries of a file, preconditioned, bf16"}
LESS = {"own-queries, near-identity", "queries of a file, ostrowski"}


def test_a_little_more_than_true_is_contrary(folders: dict[str, Path]) -> None:
    proved: Counter[str] = Counter()
    for control in controls():
        for step, rule, name, tree in tightened(control):
            if (rule == "attention-row" and control.name in ROOM) or (
                rule == "determinant" and control.name in (ROOM | LESS) - {"rows, exact, loose"}
            ):
                continue
            last = third_opinion(tree, folders[control.name])[-1]
            assert (last.step, last.verdict) == (step, CONTRARY), f"{control.name}, {step}: {name}"
            proved[rule] += 1
    assert proved.keys() == RULES.keys() - COUNTED - CLAIM_ONLY
    assert min(proved.values()) >= 4, proved


# The field that a claim's strength is in, and the step that makes it stronger or another one.
CLAIMED = {
    "state_bits_at_least": 1, "state_bits_enough": -1, "right_words_at_most": -1, "variance": 1, "probability": 1,
    "at_least": 1, "at_most": -1, "state_bits_at_most": -1, "reachable": 1,
}  # fmt: skip


def test_a_claim_beyond_the_last_step_is_contrary(folders: dict[str, Path]) -> None:
    for control in controls():
        statement = dict(control.tree["statement"])
        name = next((name for name in CLAIMED if name in statement), None)
        if name is None:
            continue
        statement[name] = str(Fraction(statement[name]) + CLAIMED[name])
        last = third_opinion(document.build(statement, control.tree["steps"]), folders[control.name])[-1]
        assert (last.rule, last.verdict) == ("claim", CONTRARY), control.name


HARDER = [("tolerance", Fraction(9, 10)), ("tolerance", Fraction(99, 100)), ("failure", Fraction(4, 5))]
HARDER += [("max_logit", Fraction(99, 100))]


def test_harder_statements_are_judged_alike(folders: dict[str, Path]) -> None:
    """Whatever the kernel accepts is proved here, and whatever is contrary here the kernel rejects."""
    verdicts: Counter[tuple[str, Verdict]] = Counter()
    for control in controls():
        for name, factor in HARDER:
            if name not in control.tree["statement"]:
                continue
            changed = str(Fraction(control.tree["statement"][name]) * factor)
            tree = document.build({**control.tree["statement"], name: changed}, control.tree["steps"])
            outcomes = {outcome.verdict for outcome in third_opinion(tree, folders[control.name])}
            kernel = check(tree, folders[control.name]).verdict
            mine = CONTRARY if CONTRARY in outcomes else UNDECIDED if UNDECIDED in outcomes else AGREES
            verdicts[mine, kernel] += 1
            assert (mine, kernel) in {(CONTRARY, Verdict.INVALID), (AGREES, Verdict.VALID)}, f"{control.name}: {name}"
    assert min(verdicts.values()) >= 20, verdicts


@pytest.mark.slow
def test_what_the_kernel_accepts_of_rewritten_certificates_is_proved(folders: dict[str, Path]) -> None:
    accepted = rejected = 0
    for control in controls():
        for mutant in rewritten(control):
            if check(mutant.content, folders[control.name]).verdict is not Verdict.VALID:
                rejected += 1
                continue
            assert isinstance(mutant.content, dict)
            outcomes = third_opinion(mutant.content, folders[control.name])
            assert {outcome.verdict for outcome in outcomes} <= {AGREES, TAKEN}, f"{control.name}: {mutant.name}"
            accepted += 1
    assert min(accepted, rejected) > 1000


def test_an_absent_file_is_undecided(tmp_path: Path) -> None:
    control = next(control for control in controls() if control.files)
    assert UNDECIDED in {outcome.verdict for outcome in third_opinion(control.tree, tmp_path)}


def test_every_number_of_the_dither_counts(folders: dict[str, Path]) -> None:
    """Fewer levels until it is contrary: the kernel is never more generous."""
    for control in controls():
        if control.rules != ["dithered"]:
            continue
        given = control.tree["steps"][0]["given"]
        for share in range(99, 0, -3):
            levels = max(2, int(given["key_levels"]) * share // 100)
            tree = copy.deepcopy(control.tree)
            tree["steps"][0]["given"]["key_levels"] = str(levels)
            tree = document.build(tree["statement"], tree["steps"])
            first = third_opinion(tree, folders[control.name])[0]
            if first.verdict == CONTRARY:
                break
        assert first.verdict == CONTRARY, control.name
        assert check(tree).verdict is Verdict.INVALID, control.name
