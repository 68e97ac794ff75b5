"""Verdicts: both solvers, exact counter-models, and what becomes of solvers that fail, hang or lie."""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from kvverify.lemmas import LEMMAS, Finding, Lemma, Twin, find, prove, running, solvers, verdict
from kvverify.lemmas.expression import Refused
from kvverify.lemmas.solvers import Answer, Solver
from tests.conftest import needs

needs("sympy", "lemmas")
needs("z3", "lemmas")
needs("cvc5", "lemmas")

SQUARE = Lemma(
    "square", "squares are not negative", {"x": "a number"}, ("x >= 0",), "0 <= x**2 + x",
    Twin(without="x >= 0"), {"x": 1}, (), "",
)  # fmt: skip


@pytest.fixture(scope="module")
def engines() -> Iterator[list[Solver]]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def findings(engines: list[Solver]) -> list[Finding]:
    """The whole list, once."""
    return [prove(lemma, engines) for lemma in LEMMAS]


class Told(Solver):
    """A solver that says what it is told."""

    def __init__(self, name: str, lemma: Answer, twin: Answer) -> None:
        super().__init__(name, 1.0)
        self._answers = {"unsat": lemma, "sat": twin}

    def ask(self, text: str) -> Answer:
        return self._answers["unsat" if ":status unsat" in text else "sat"]


UNSAT, NONE = Answer("unsat"), Answer("unknown", reason="does not know")


def model(**values: str) -> Answer:
    return Answer("sat", model={name: tuple(map(Fraction, text.split())) for name, text in values.items()})


def told(lemma: Answer = UNSAT, twin: Answer | None = None, one: Lemma = SQUARE) -> Finding:
    """z3 says this, cvc5 what is right."""
    right = model(x="-1/2")
    return prove(one, [Told("z3", lemma, twin or right), Told("cvc5", UNSAT, right)])


def test_every_lemma_is_proved_and_every_twin_refuted(findings: list[Finding]) -> None:
    assert [finding.said() for finding in findings if finding.verdict != "PROVED"] == []
    assert all(set(finding.answers) == set(finding.twin_answers) == {"z3", "cvc5"} for finding in findings)


def test_each_answer_takes_well_under_a_second(findings: list[Finding]) -> None:
    answers = [a for f in findings for a in (*f.answers.values(), *f.twin_answers.values())]
    assert sorted(answer.seconds for answer in answers)[-4] < 1


def test_counter_models_are_counter_examples(findings: list[Finding]) -> None:
    """By Python's own evaluation of the texts, for either solver's model."""
    for finding in findings:
        given, then = finding.lemma.altered()
        assert finding.twin_counter is not None
        scope = {**finding.twin_counter, "Fraction": Fraction, "__builtins__": {}}
        assert all(eval(fractions(text), scope) for text in given)
        assert not eval(fractions(then), scope)


def fractions(text: str) -> str:
    """Whole numbers as Fractions, exponents apart: 1/3 is no float then."""
    return re.sub(r"(\*\*\d+)|(\d+)", lambda found: found[1] or f"Fraction({found[2]})", text)


def test_the_kernel_has_checked_one_variable_lemmas(findings: list[Finding]) -> None:
    judged = {finding.lemma.id for finding in findings if finding.kernel == "VALID"}
    assert {"hypercube-four", "paraboloid-plane", "marker-slope", "index-tenth", "low-dimension-norm"} <= judged


def test_a_false_lemma_is_refuted_exactly(engines: list[Solver]) -> None:
    false = replace(SQUARE, then="x**2 - x >= -1/5", example={"x": 2})
    finding = prove(false, engines)
    assert finding.verdict == "REFUTED"
    assert finding.counter is not None
    assert finding.counter["x"] ** 2 - finding.counter["x"] < Fraction(-1, 5)
    assert finding.said().startswith("REFUTED    square: it fails at x = ")


def test_a_sharper_index_inequality_is_refuted(engines: list[Solver]) -> None:
    assert 10**100 > 2**46 * 9**90
    false = replace(find("index-tenth"), then="10**100 <= 2**46*9**90", twin=Twin("2**46", "2**45"))
    assert prove(false, engines).reason == "hypotheses and conclusion do not hold at its own example"


def test_an_irrational_value_comes_as_rationals_around_it(engines: list[Solver]) -> None:
    root = "(set-logic QF_NRA)(declare-const x Real)(assert (> x 0.0))(assert (= (* x x) 2.0))"
    for engine in engines:
        low, high = engine.ask(root).model["x"]
        assert low > 0
        assert low**2 < 2 < high**2


def test_neighbours_of_an_irrational_value_refute_or_do_not() -> None:
    """They are put into the statement like any other values."""
    near = model(x="1414213/1000000 1414214/1000000")
    for then, expected in (("x**2 >= 2", "REFUTED"), ("x**2 <= 2", "REFUTED"), ("x**2 <= 3", "INCOMPLETE")):
        one = replace(SQUARE, then=then, twin=Twin("x >= 0", "x >= 0"), example={"x": 1 if "<" in then else 2})
        assert prove(one, [Told("z3", near, near), Told("cvc5", UNSAT, near)]).verdict == expected


def test_a_sign_that_does_not_follow_is_no_proof(engines: list[Solver]) -> None:
    open_sign = replace(SQUARE, given=("x > -1",), then="1/x > 0 or x < 1", twin=Twin("x < 1", "x < -1/100"))
    finding = prove(open_sign, engines)
    assert (finding.verdict, finding.reason) == (
        "INCOMPLETE", "z3 says that it fails, but its model does not bear this out",
    )  # fmt: skip
    closed = replace(open_sign, given=("0 < x",), then="1/x > 0", twin=Twin("x > 0", "x > 1/100"))
    assert prove(closed, engines).verdict == "PROVED"


def test_a_sign_that_a_hypothesis_needs_does_not_follow_from_it(engines: list[Solver]) -> None:
    """1/x <= 1 is x >= 1 where x > 0, and true of all negative x as well."""
    open_sign = replace(SQUARE, given=("1/x <= 1",), then="x >= 1", twin=Twin("<= 1", "<= 101/100"), example={"x": 2})
    assert prove(open_sign, engines).verdict in (
        "REFUTED",
        "INCOMPLETE",
    )  # a solver may choose 0, where it says nothing
    assert prove(replace(open_sign, given=("x > 0", "1/x <= 1")), engines).verdict == "PROVED"


def test_an_identity_must_hold_on_its_grid(engines: list[Solver], monkeypatch: pytest.MonkeyPatch) -> None:
    assert prove(find("sinh-square"), engines).verdict == "PROVED"
    monkeypatch.setattr(verdict, "is_identity", lambda _: False)
    finding = prove(find("sinh-square"), engines)
    assert finding.verdict == "INCOMPLETE"
    assert finding.reason == "sympy calls it an identity, but it fails on a grid of values"


def test_a_true_twin_is_no_twin(engines: list[Solver]) -> None:
    finding = prove(replace(SQUARE, twin=Twin("0 <=", "-1/100 <=")), engines)
    assert (finding.verdict, finding.reason) == ("INCOMPLETE", "z3 finds its twin true")


def test_an_empty_statement_is_no_lemma(engines: list[Solver]) -> None:
    """Nothing is proved of the empty set: there is no example."""
    finding = prove(replace(SQUARE, given=("x > 1", "x < 0")), engines)
    assert (finding.verdict, finding.reason) == (
        "INCOMPLETE",
        "hypotheses and conclusion do not hold at its own example",
    )


def test_exp_is_refused(engines: list[Solver]) -> None:
    with pytest.raises(Refused, match=r"exp\(x\)"):
        prove(replace(SQUARE, then="exp(x) > 0"), engines)


def test_one_solver_alone_proves_nothing(engines: list[Solver]) -> None:
    finding = prove(SQUARE, engines[:1])
    assert (finding.verdict, finding.reason) == ("INCOMPLETE", "unsat by z3, but cvc5 was not asked")
    assert prove(SQUARE, []).verdict == "INCOMPLETE"


@pytest.mark.parametrize(("lemma", "twin", "reason"), [
    (model(x="1"), None, "z3 says that it fails, but its model does not bear this out"),
    (model(x="-1/2"), None, "z3 says that it fails, but its model does not bear this out"),
    (model(), None, "z3 says that it fails, but its model does not bear this out"),
    (NONE, None, "does not know"),
    (Answer("failed", reason="z3 ended with code -9"), None, "z3 ended with code -9"),
    (Answer("sure"), None, "z3 says 'sure'"),
    (UNSAT, UNSAT, "z3 finds its twin true, wrongly"),
    (UNSAT, model(x="1"), "twin: at z3's model it does not fail"),
    (UNSAT, model(y="1"), "twin: at z3's model it does not fail"),
    (UNSAT, model(), "twin: at z3's model it does not fail"),
    (UNSAT, NONE, "twin: does not know"),
    (UNSAT, Answer("failed", reason="gone"), "twin: gone"),
])  # fmt: skip
def test_a_solver_that_answers_wrongly_proves_nothing(lemma: Answer, twin: Answer | None, reason: str) -> None:
    finding = told(lemma, twin)
    assert (finding.verdict, finding.reason) == ("INCOMPLETE", reason)


def test_the_told_answers_that_are_right_prove() -> None:
    assert told().verdict == "PROVED"
    assert told(twin=model(x="-3/4 1")).verdict == "PROVED"


def test_a_solver_that_calls_a_false_lemma_proved_is_overruled() -> None:
    false = replace(SQUARE, given=("x <= 9",), twin=Twin("x <= 9", "x <= 8"))
    finding = prove(false, [Told("z3", UNSAT, model(x="-1/2")), Told("cvc5", model(x="-1/2"), model(x="-1/2"))])
    assert (finding.verdict, finding.counter) == ("REFUTED", {"x": Fraction(-1, 2)})
    both = prove(false, [Told(name, UNSAT, UNSAT) for name in ("z3", "cvc5")])
    assert both.verdict == "INCOMPLETE"


def test_a_missing_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "cvc5" else real(name, *rest))
    with running() as engines:
        finding = prove(SQUARE, engines)
    assert finding.verdict == "INCOMPLETE"
    assert finding.reason == "cvc5 is not installed: pip install 'kvverify[lemmas]'"
    assert finding.answers["z3"].said == "unsat"


def worker(path: Path, body: str) -> Path:
    """A solver's process that does ``body`` with each question."""
    lines = ["import json, os, sys, time", 'print(json.dumps({"version": "1"}), flush=True)', "for line in sys.stdin:"]
    path.write_text("\n".join([*lines, *(f"    {text}" for text in body.splitlines())]))
    return path


@pytest.mark.parametrize(("body", "reason"), [
    ("time.sleep(60)", "z3 did not answer within 0.3 s"),
    ("os._exit(7)", "z3 ended with code 7"),
    ("os.abort()", "z3 ended with code -6"),
    ("print('no JSON', flush=True)", "z3 "),
    ("print('[]', flush=True)", "z3 answered b'[]'"),
    ("sys.stdout.write('{'); sys.stdout.flush(); time.sleep(60)", "z3 did not answer within 0.3 s"),
    ('print(json.dumps({"answer": "unknown"}), flush=True)', "z3 does not know"),
    ('print(json.dumps({"answer": "sat", "model": {"x": ["1/0"]}}), flush=True)', "z3 "),
])  # fmt: skip
def test_a_process_that_fails_is_undecided(
    body: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solvers, "_WORKER", worker(tmp_path / "worker.py", body))
    started = time.monotonic()
    with running(("z3",), 0.3) as (engine,):
        finding = prove(SQUARE, [engine])
    assert time.monotonic() - started < 10
    assert finding.verdict == "INCOMPLETE"
    assert finding.reason.startswith(reason)


def test_after_a_failure_the_next_question_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "if 'hang' in line: time.sleep(60)\nprint(json.dumps({'answer': 'unsat'}), flush=True)"
    monkeypatch.setattr(solvers, "_WORKER", worker(tmp_path / "worker.py", body))
    with running(("z3",), 0.5) as (engine,):
        assert [engine.ask(text).said for text in ("go", "hang", "go")] == ["unsat", "failed", "unsat"]


def test_no_process_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "print(json.dumps({'answer': str(os.getpid())}), flush=True)"
    monkeypatch.setattr(solvers, "_WORKER", worker(tmp_path / "worker.py", body))
    with running(("z3",), 5) as (engine,):
        pid = int(engine.ask("go").said)
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_real_solver_out_of_time_or_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    hard = " ".join(f"(declare-const a{i} Int)" for i in range(3))
    cubes = "(assert (= (+ (* a0 a0 a0) (* a1 a1 a1) (* a2 a2 a2)) 114))"  # nobody knows
    with running(("z3",), 0.5) as (engine,):
        assert engine.ask(f"(set-logic QF_NIA){hard}{cubes}").reason == "z3 did not answer within 0.5 s"
    monkeypatch.setattr(solvers, "_MEMORY", 1 << 24)
    with running(("z3",), 5) as (engine,):
        assert engine.ask("(set-logic QF_NRA)").reason.startswith("z3 ended with code")


def test_nonsense_is_no_answer(engines: list[Solver]) -> None:
    """A question that a solver cannot read ends its process, and no other."""
    for engine in engines:
        assert engine.ask("(assert (> nobody 0))").said == "failed"
        assert engine.ask("(set-logic QF_NRA)(declare-const x Real)(assert (< (* x x) 0.0))").said == "unsat"
