"""The adversarial search: where it goes, what it leaves alone, and that what it arranges is what is played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kvverify.audit import rehearse
from kvverify.audit.instances import InstanceOptions, make_instance
from kvverify.audit.rehearse import FAMILY, Choice, Loss, Rehearsal, climb, search, worst
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.payload import to_bf16
from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")

LETTERS = {"a": ("0", "1"), "b": ("0", "1", "2"), "c": ("0", "1")}
OPTIONS = {"schedule": None, "payload": "continuous", "alphabet": 4, "seed": None, "reads": None}
WANTED = InstanceOptions(instance="adversarial", tokens=16, head_dim=32, value_dim=2, layers=2)


def value(points: Mapping[str, int]) -> Any:
    """A player of choices that are worth the sum of their letters' points."""

    def play(choice: Choice) -> Rehearsal:
        points_of = [points.get(name + letter, 0) for name, letter in choice.items()]
        return Rehearsal(choice, Loss(Fraction(0), Fraction(sum(points_of))), None)

    return play


def test_the_climb_reaches_what_needs_several_steps() -> None:
    games = list(climb(LETTERS, value({"a1": 1, "b2": 5, "c1": 2, "b1": -3}), 100))
    assert games[0].choice == {"a": "0", "b": "0", "c": "0"}
    assert worst(games).choice == {"a": "1", "b": "2", "c": "1"}
    choices = [tuple(game.choice.items()) for game in games]
    assert len(choices) == len(set(choices)) <= 12


def test_the_climb_keeps_to_its_budget_and_ends_at_a_summit() -> None:
    assert len(list(climb(LETTERS, value({"a1": 1, "b2": 5}), 3))) == 3
    flat = list(climb(LETTERS, value({}), 100))
    assert len(flat) == 1 + 1 + 2 + 1  # the first, and every neighbour once
    assert worst(flat) is flat[0]


def test_what_cannot_be_played_is_never_chosen() -> None:
    games = [
        Rehearsal({"a": "0"}, None, "it crashed"),
        Rehearsal({"a": "1"}, Loss(Fraction(1, 2), Fraction(0)), None),
        Rehearsal({"a": "2"}, Loss(Fraction(0), Fraction(9)), None),
    ]
    assert worst(games).choice == {"a": "1"}  # a claim's misses go before lost bits
    with pytest.raises(Incomplete, match="no rehearsal could be played: it crashed"):
        worst(games[:1])
    assert games[0].to_json() == {"a": "0", "missed_share": None, "bits_lost": None, "reason": "it crashed"}


def scores(one: HardInstance) -> np.ndarray:
    found: np.ndarray = one.queries @ one.keys.T
    return found


def test_arranged_instances_have_the_attention_of_those_that_they_come_from() -> None:
    whole = {name: values[0] for name, values in FAMILY.items()}
    base = rehearse._arranged(WANTED, whole)
    assert (base.kind, base.budget, base.carriers, base.layers) == ("hard", "class", 16, 2)
    outliers = rehearse._arranged(WANTED, {**whole, "keys": "outliers"})
    crowded = rehearse._arranged(WANTED, {**whole, "keys": "crowded"})
    assert np.array_equal(scores(outliers), scores(crowded))
    assert np.array_equal(outliers.keys[:, 0::16], crowded.keys[:, 0::16])
    assert np.abs(outliers.keys[:, 1:16]).max() < 2.0**-7
    assert (outliers.budget, outliers.in_order) == ("own-keys", False)
    for carriers, targets in (("oldest", range(4)), ("newest", range(12, 16))):
        one = rehearse._arranged(WANTED, {**whole, "carriers": carriers})
        assert sorted(one.targets.tolist()) == list(targets)
        assert (one.tokens, one.in_order, one.layers) == (16, True, 2)
        assert np.array_equal(np.unique(one.keys, axis=0), np.unique(base.keys, axis=0))
        assert np.array_equal(to_bf16(one.queries), one.queries)
        assert base.state_bits_at_least > 3 * one.state_bits_at_least > 0
    half = rehearse._arranged(WANTED, {**whole, "logit": "half"})
    assert half.max_logit == base.max_logit / 2


@pytest.fixture
def unsearched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances of every choice without the work: the code's own, under the budget that they would have."""

    def made(wanted: InstanceOptions, choice: Choice) -> HardInstance:
        one = make_instance(replace(wanted, instance="hard", rehearsals=None))
        plain = choice["keys"] == "hard" and choice["carriers"] == "all"
        return one if plain else replace(one, budget="own-keys")

    monkeypatch.setattr(rehearse, "_arranged", made)


def report(wrong: int, missed: int = 0, *, claim: object = None) -> Any:
    score = SimpleNamespace(missed=missed, asked=10, curve=[SimpleNamespace(wrong_reads=wrong)] * 10)
    return SimpleNamespace(record=SimpleNamespace(score=score), claim=claim, reason=None)


@pytest.mark.usefixtures("unsearched")
def test_a_search_varies_what_was_left_open_and_with_seeds_of_its_own() -> None:
    asked: list[dict[str, Any]] = []

    def play(one: HardInstance, options: dict[str, Any]) -> Any:
        asked.append(options)
        return report(9 if one.budget == "class" and options["schedule"] == "decode" else 1)

    found = search(WANTED, {**OPTIONS, "seed": 7}, play, lambda stage, done: None)
    assert found.instance.kind == "adversarial"
    assert (found.options["schedule"], found.options["seed"], found.options["payload"]) == ("decode", 7, "continuous")
    assert [options["seed"] for options in asked] == list(range(8, 8 + len(asked)))
    assert {options["payload"] for options in asked} == {"continuous", "discrete"}
    answer = found.to_json()
    assert (answer["played"], answer["chosen"]["schedule"]) == (len(asked), "decode")
    assert len(asked) <= rehearse.REHEARSALS
    assert max(game["bits_lost"] for game in answer["games"]) == 9

    asked.clear()
    fixed = {**OPTIONS, "schedule": "prefill:16", "payload": "discrete"}
    found = search(replace(WANTED, rehearsals=9), fixed, play, lambda stage, done: None)
    assert {(options["schedule"], options["alphabet"]) for options in asked} == {("prefill:16", 4)}
    assert found.options == fixed


def test_a_claim_s_misses_lead() -> None:
    assert rehearse.loss(report(3, 5, claim=object())) == Loss(Fraction(1, 2), Fraction(3))
    assert rehearse.loss(report(3, 5)) == Loss(Fraction(0), Fraction(3))
    ended = SimpleNamespace(record=SimpleNamespace(score=None), claim=None)
    assert rehearse.loss(ended) is None  # type: ignore[arg-type]


@pytest.mark.usefixtures("unsearched")
def test_wrong_usage_ends_the_first_rehearsal_and_is_noted_of_later_ones() -> None:
    def refuses(one: HardInstance, options: dict[str, Any]) -> Any:
        if options["schedule"] == "decode" or one.tokens == 8:
            raise UsageError("no single steps")
        return report(1)

    found = search(replace(WANTED, rehearsals=8), OPTIONS, refuses, lambda stage, done: None)
    assert [game.reason for game in found.games if game.choice["schedule"] == "decode"] == ["no single steps"]
    with pytest.raises(UsageError, match="no single steps"):
        search(replace(WANTED, tokens=8), OPTIONS, refuses, lambda stage, done: None)


def test_it_begins_where_hard_instances_are() -> None:
    one = make_instance(WANTED)
    assert (one.kind, one.tokens, one.layers) == ("adversarial", 16, 2)
    assert np.array_equal(one.keys, make_instance(replace(WANTED, instance="hard")).keys)


@pytest.mark.slow
def test_what_windows_forget_is_found() -> None:
    from tests.cli.command import kvverify

    words = ("--tokens", 64, "--head-dim", 16, "--instance", "adversarial", "--rehearsals", 5)
    answer = kvverify("audit", "sliding-window", "--set", "window=32", *words, "--json").json
    assert answer["rehearsals"]["chosen"]["carriers"] == "oldest"
    assert answer["certified_floor_bits"] == 0
    assert answer["instance"]["kind"] == "adversarial"
    assert answer["wrong_reads"] > 0.95 * answer["reads_asked"]
