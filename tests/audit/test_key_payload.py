"""Games with a secret in keys as well as in values: one is played, others are scored on answers that are made here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.audit import proof, replay
from kvverify.audit.game import play
from kvverify.audit.instances import InstanceOptions, make_instance
from kvverify.audit.referee import deal
from kvverify.audit.report import Report
from kvverify.audit.score import Read, Rules, Score, score
from kvverify.audit.verdict import Claim
from kvverify.errors import UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.key_payload import KeyPayloadInstance
from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")

OPTIONS = InstanceOptions(instance="key-payload", tokens=32, head_dim=16, value_dim=4)
TOKENS, HIDDEN, VALUES = 32, 4, 3
READS = TOKENS * (HIDDEN + VALUES)
CLAIM = Claim(None, Fraction(1, 100), Fraction(1, 10))
NOTHING = f"{Path(__file__).with_name('specimens') / 'failing.py'}:Nothing"
Answers = Callable[[HardInstance, np.ndarray, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def dense() -> Report:
    return play("dense", make_instance(OPTIONS), payload="discrete", dtype="bfloat16", timeout=60)


def scored(report: Report, answers: Answers, alphabet: int = 2) -> tuple[Score, np.ndarray]:
    """The score of ``answers(hidden, fed, asked)``, and the wrong reads by block: of values, of each key coordinate."""
    game, record = replace(report.game, alphabet=alphabet), report.record
    assert record.commit is not None
    hidden, secret, fed = deal(game, record.commit, record.secret_seed)
    asked = np.arange(hidden.rows)
    found = score(hidden, secret, fed, answers(hidden, fed, asked), asked, Rules(alphabet, Fraction(1, 100)))
    blocks = []
    for block in np.split(asked, HIDDEN + 1):
        part = answers(hidden, fed, block)
        blocks.append(score(hidden, secret, fed, part, block, Rules(alphabet, Fraction(1, 100))).wrong_reads)
    assert sum(blocks) == found.wrong_reads == sum(found.recovery.wrong_reads)
    return found, np.array(blocks)


def whole(hidden: HardInstance, fed: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return hidden.exact(fed, asked)


def no_key_secret(hidden: HardInstance, fed: np.ndarray, asked: np.ndarray) -> np.ndarray:
    keys = hidden.keys.copy()
    keys[:, -HIDDEN:] = 0
    return replace(hidden, keys=keys).exact(fed, asked)


def one_bit_keys(hidden: HardInstance, fed: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return replace(hidden, keys=np.sign(hidden.keys)).exact(fed, asked)


def evicting(hidden: HardInstance, fed: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return replace(hidden, keys=hidden.keys[::2]).exact(fed[:, :, ::2], asked)


def test_dense_gives_both_secrets_back(dense: Report) -> None:
    found = dense.to_json()
    assert (found["status"], found["wrong_reads"], found["reads"]) == ("NO FLAG", 0, READS)
    assert found["certified_floor_bits"] == READS - 41  # rounded down
    one = found["instance"]
    assert (one["kind"], one["tokens"], one["tokens_that_carry_values"]) == ("key-payload", TOKENS, TOKENS)
    assert (one["key_coordinates"], one["tilt"], one["attention"]) == (HIDDEN, 2, "softmax")
    assert sum(found["recovery"]["reads_asked"]) == READS
    assert 0 < found["max_abs_error"] < 1e-5


@pytest.mark.parametrize("alphabet", [2, 3, 16, 256])
def test_exact_answers_tell_every_symbol(alphabet: int, dense: Report) -> None:
    found, _ = scored(dense, whole, alphabet)
    assert (found.reads, found.asked, found.wrong_reads, found.missed) == (READS, READS, 0, 0)
    assert READS * math.log2(alphabet) - 42 < found.certified_floor_bits <= READS * math.log2(alphabet) - 40


def test_each_secret_is_lost_with_what_held_it(dense: Report) -> None:
    found, wrong = scored(dense, no_key_secret)
    assert wrong[0] == 0
    assert (wrong[1:] > TOKENS / 5).all()
    assert found.missed == TOKENS * HIDDEN  # at the marker 1/2, where e^2/(e^2 + 1) or its complement is right
    found, wrong = scored(dense, evicting)
    assert wrong[0] > TOKENS * VALUES / 8
    assert wrong[1:].sum() > TOKENS * HIDDEN / 8


def test_bits_of_keys_are_bits_of_the_secret(dense: Report) -> None:
    """Signs are all there is of keys of two levels; of sixteen levels they keep the ends alone."""
    assert scored(dense, one_bit_keys)[0].wrong_reads == 0
    _, wrong = scored(dense, one_bit_keys, 16)
    assert wrong[0] == 0
    assert (wrong[1:] > TOKENS / 2).all()


def test_the_secret_enters_the_keys_after_the_commit(dense: Report) -> None:
    game, commit = dense.game, str(dense.record.commit)
    one = game.instance
    assert isinstance(one, KeyPayloadInstance)
    assert not one.keys[:, -HIDDEN:].any()
    assert np.count_nonzero(one.secret_at) == READS
    assert np.abs(one.queries).sum(axis=1).max() <= one.max_logit  # the budget on the whole cube of keys
    streams = [deal(game, commit, bytes([number]) * 32) for number in (1, 2)]
    hidden, secret, fed = streams[0]
    assert np.array_equal(hidden.keys[:, :-HIDDEN], streams[1][0].keys[:, :-HIDDEN])
    assert (hidden.keys[:, -HIDDEN:] != streams[1][0].keys[:, -HIDDEN:]).mean() > 0.25
    assert (fed[..., 0] == 1).all()
    for i, token in enumerate(hidden.targets[:TOKENS]):
        assert np.array_equal(fed[0, 0, token, 1:], secret.values[0, 0, i, 1:])
        assert np.array_equal(hidden.keys[token, -HIDDEN:], secret.values[0, 0, i + TOKENS :: TOKENS, 0])


def test_exact_answers_by_the_definition_and_proved_by_the_kernel(dense: Report) -> None:
    hidden, _, fed = deal(dense.game, str(dense.record.commit), dense.record.secret_seed)
    for at in ((0, 0, 5, 2), (0, 0, TOKENS + 5, 0), (0, 0, HIDDEN * TOKENS + 7, 0)):
        row, coordinate = at[2:]
        query = hidden.queries[row]
        weights = [math.exp(math.fsum(query * key)) for key in hidden.keys]
        own = math.exp(math.fsum(query * hidden.own_keys[row]))
        answer = math.fsum(w * v for w, v in zip(weights, fed[0, 0, :, coordinate], strict=True))
        answer /= math.fsum([*weights, own])
        assert hidden.exact(fed, np.array([row]))[0, 0, 0, coordinate] == pytest.approx(answer, abs=1e-12)
        place = hidden.place(at)
        assert place[2] == hidden.targets[row]
        read = Read(place, 3.0, (answer - 1e-9, answer + 1e-9))
        assert proof.prove(proof.terms(hidden, fed, place), read, CLAIM) is not None
        off = replace(read, exact=(answer + 1e-9, answer + 2e-9))
        assert proof.prove(proof.terms(hidden, fed, place), off, CLAIM) is None


@pytest.mark.slow
def test_a_lost_key_is_a_counter_example_that_plays_again(tmp_path: Path) -> None:
    report = play(NOTHING, make_instance(OPTIONS), payload="discrete", claim=CLAIM, timeout=60, seed=2)
    assert "CLAIM REFUTED" in report.flags
    assert report.counterexample is not None
    replay.write(report.counterexample, tmp_path / "example.json")
    again = replay.replay(tmp_path / "example.json", timeout=60)
    assert (again.status, again.line.endswith("(proved by the kernel)")) == ("reproduced", True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kv_heads": 2}, "--kv-heads is no option of --instance key-payload"),
        ({"layers": 2}, "--layers is no option of --instance key-payload"),
        ({"head_dim": 3}, "head-dim: 3 given, at least 4"),
        ({"max_logit": Fraction(2)}, "max-logit: 2 given, more than 2"),
    ],
)
def test_what_there_is_none_of(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_instance(replace(OPTIONS, **options))


def test_what_is_not_played() -> None:
    one = make_instance(OPTIONS)
    with pytest.raises(UsageError, match="no volume is certified"):
        play("dense", one)
    with pytest.raises(UsageError, match="reads 5: queries of key-payload read unequal numbers of symbols"):
        play("dense", one, payload="discrete", reads=5)
