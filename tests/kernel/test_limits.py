"""Beyond a limit a check is INCOMPLETE, in one line and before the work: every test here takes a moment.

scripts/worst_case.py measures what is within the limits; docs/limits.md shows it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import document, tensors
from kvverify.kernel.check import STEP_WORK, Verdict, check
from kvverify.kernel.context import WORK_LIMIT, Absent, Context
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import RULES, packed
from kvverify.kernel.rules.attention import Keys, Leak, Row
from kvverify.kernel.rules.packed import Scores
from kvverify.kernel.statement import TensorFile
from kvverify.kernel.tensors import read_matrix
from tests.kernel.apply import apply, context
from tests.kernel.controls import statement

Node = dict[str, Any]
SECONDS = 2.0  # of processor time, where the work would take a hundred times as long


def step(name: str, rule: str, uses: dict[str, str], given: Node, gives: Node) -> Node:
    return {"id": name, "rule": rule, "uses": uses, "given": given, "gives": gives}


def refused(steps: list[Node], **changes: object) -> str:
    """The reason of an INCOMPLETE verdict that came at once."""
    begun = time.process_time()
    result = check(document.build(statement(**changes), steps))
    assert time.process_time() - begun < SECONDS
    assert result.verdict is Verdict.INCOMPLETE, result
    assert result.reason.startswith("limit: "), result
    assert len(result.reason) < 200
    return result.reason


def file_of(folder: Path, header: Node, data: bytes) -> TensorFile:
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + data
    (folder / "k.safetensors").write_bytes(content)
    return TensorFile("k.safetensors", hashlib.sha256(content).hexdigest(), "k", None)


def entry(shape: list[int], dtype: str = "F16") -> Node:
    size = 2
    for x in shape:
        size *= x
    return {"k": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


# One account for the whole check.


def test_many_dear_steps_share_one_account() -> None:
    given = {"generator": [format(1 << i, "040b") for i in range(12)]}
    gives = {"weights": {str(w): str(comb(12, w)) for w in range(1, 13)}}
    account = context()
    RULES["linear-code"](account, {}, given, gives)
    assert account.work < WORK_LIMIT - (1 << 12)
    account.work = (WORK_LIMIT - account.work) * 3 // 2
    RULES["linear-code"](account, {}, given, gives)
    with pytest.raises(OverLimit, match="units of work"):
        RULES["linear-code"](account, {}, given, gives)


def test_every_step_is_charged_before_its_rule_works(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = step("s0", "hypercube", {}, {"dimension": "2"}, {"size": "4"})
    last = step("s1", "volume", {"determinant": "s0"}, {}, {"bits_at_least": "1"})
    tree = document.build(statement(), [cube, last])
    assert check(tree).verdict is Verdict.INVALID
    left: list[int] = []

    def spy(given: Context, *_: object) -> Keys:
        left.append(given.work)
        return Keys(4, 2, ((1, 2), (2, 1)), Fraction(1), 2, 2, bf16=True, signs=True)

    monkeypatch.setitem(RULES, "hypercube", spy)
    check(tree)
    assert left == [WORK_LIMIT - STEP_WORK]
    # 256 steps leave most of the account to the rules.
    assert 256 * STEP_WORK < WORK_LIMIT // 4


# Rules: what an account did not see once.


def test_keys_are_shrunk_once() -> None:
    steps = [step("k0", "hypercube", {}, {"dimension": "2"}, {"size": "4"})]
    steps += [
        step(f"k{i + 1}", "shrunk-keys", {"keys": f"k{i}"}, {"code_radius": "4/5"}, {"payload_radius": "1/2"})
        for i in range(120)
    ]
    assert refused(steps, body="ball") == "limit: keys that are shrunk a second time"


def test_a_union_is_refused_before_its_words_are_made() -> None:
    rows = [format(1 << i, "0900b") for i in range(12)]
    cosets = [format((i + 1) << 12, "0900b") for i in range(64)]
    dear = step("keys", "coset-union", {}, {"generator": rows, "representatives": cosets}, {"weights": {"1": "9"}})
    assert "units of work" in refused([dear])


def test_rows_of_ostrowski_are_charged() -> None:
    row = Row(Fraction(1, 4), Fraction(0))
    leak = Leak(600_000, row, Fraction(0), rows=(row,) * 600_000)
    begun = time.process_time()
    with pytest.raises(OverLimit, match="units of work"):
        apply("determinant", {"leak": leak}, {"form": "ostrowski"}, {"log2_det_at_least": -1})
    assert time.process_time() - begun < SECONDS


def test_rows_of_attention_are_charged_by_their_weights(tmp_path: Path) -> None:
    """Two units a weight and one a square: 7,000 by 7,000 would take more than half a minute."""
    file = file_of(tmp_path, entry([7000, 1]), bytes(14_000))
    keys = {"name": file.name, "sha256": file.sha256, "tensor": "k"}
    own: Node = {"tokens": 7000, "key_dim": 1, "body": "given", "budget": "own-keys", "keys": keys}
    given = {"payload": " ".join(map(str, range(7000))), "query_scale": "1", "queries": ["1"] * 7000}
    gives = dict.fromkeys(("off_target_at_most", "off_target_squares_at_most", "rest_at_most"), "9")
    begun = time.process_time()
    result = check(document.build(statement(**own), [step("rows", "attention-row", {}, given, gives)]), tmp_path)
    assert time.process_time() - begun < SECONDS
    assert (result.verdict, result.reason[:6]) == (Verdict.INCOMPLETE, "limit:"), result


# Files.


def test_a_shape_of_many_dimensions_is_not_multiplied_out(tmp_path: Path) -> None:
    header = {"k": {"dtype": "F16", "shape": [99] * 250_000, "data_offsets": [0, 2]}}
    file = file_of(tmp_path, header, b"\0\0")
    begun = time.process_time()
    with pytest.raises(Rejected, match="heads of matrices"):
        read_matrix(Context(context().statement, tmp_path), file, 1)
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize("tall", [True, False])
def test_a_matrix_of_too_long_a_side_is_refused_before_it_is_read(tall: bool, tmp_path: Path) -> None:
    side = tensors.MAX_SIDE + 1
    file = file_of(tmp_path, entry([side, 1] if tall else [1, side]), bytes(2 * side))
    here = Context(context().statement, tmp_path)
    with pytest.raises(OverLimit, match=f"{tensors.MAX_SIDE} rows or columns"):
        read_matrix(here, file, 1 if tall else side)
    assert here.work > WORK_LIMIT - (1 << 20)


def test_entries_are_charged_before_they_are_read(tmp_path: Path) -> None:
    file = file_of(tmp_path, entry([1 << 10, 1 << 10]), bytes(2 << 20))
    here = Context(context().statement, tmp_path, 8 << 20)
    begun = time.process_time()
    with pytest.raises(OverLimit, match="units of work"):
        read_matrix(here, file, 1 << 10)
    assert time.process_time() - begun < SECONDS / 4


@pytest.mark.parametrize("keys", [1, 300, packed._FOUND + 1])
def test_no_more_scores_are_kept_than_have_room(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_FOUND", 600)
    monkeypatch.setattr(packed, "_BLOCK", 4)
    keys = min(keys, 700)
    scores = Scores(context(), [[i + 1] for i in range(9)], [[1]] * keys, Fraction(1))
    assert max(map(len, scores.blocks)) == max(1, min(4, 600 // keys))
    found = list(scores.floors())
    assert found == [((i + 1) << packed.CELL,) * keys for i in range(9)]


def test_a_score_beyond_a_long_logit_is_refused_and_one_at_it_is_not() -> None:
    budget = Fraction(5 * 10**3990 + 1, 10**3990)
    scores = Scores(context(), [[1, 0], [0, -2]], [[5, 1], [0, 3]], Fraction(1))
    with pytest.raises(Rejected, match="max_logit"):
        list(scores.floors(budget))
    assert len(list(scores.floors(budget + 1))) == 2


# Words of an enemy.


@pytest.mark.parametrize("word", ["x\nVALID good.json", "\x1b[2K\rVALID", "\u2028VALID", "\x7f\x9b"])
def test_a_reason_is_one_line_of_ascii(word: str) -> None:
    given = {"key_levels": "9", "value_levels": "900", "tail": word}
    node = step("bits", "dithered", {}, given, {"bits_per_token": "4000"})
    claimed = statement(claim="state-bits-enough", max_logit="1/100", tolerance="1/10", failure="1/10")
    claimed["state_bits_enough"] = claimed.pop("state_bits_at_least")
    result = check(document.build(claimed, [node]))
    assert result.verdict is Verdict.INVALID
    assert "gaussian or log-concave" in result.reason
    assert all(" " <= letter <= "~" for letter in result.reason)


def test_a_limit_on_a_long_number_is_a_short_line() -> None:
    reason = "limit: dimension 9"
    node = step("keys", "hypercube", {}, {"dimension": "9" * 4000}, {"size": "1"})
    begun = time.process_time()
    result = check(document.build(statement(), [node]))
    assert time.process_time() - begun < SECONDS
    assert (result.verdict, result.reason[: len(reason)]) == (Verdict.INCOMPLETE, reason)
    assert len(result.reason) < 600


def test_many_rows_keep_neither_keys_nor_queries(tmp_path: Path) -> None:
    """The matrix is enclosed from the files again: facts of many steps do not hold their entries."""
    file = file_of(tmp_path, entry([2, 1]), bytes(4))
    keys = {"name": file.name, "sha256": file.sha256, "tensor": "k"}
    own: Node = {"tokens": 2, "key_dim": 1, "body": "given", "budget": "own-keys", "keys": keys}
    here = Context(context(**own).statement, tmp_path)
    given = {"payload": "0 1", "query_scale": "1", "queries": ["1", "2"]}
    gives = dict.fromkeys(("off_target_at_most", "off_target_squares_at_most", "rest_at_most"), "9")
    found = RULES["attention-row"](here, {}, given, gives)
    assert isinstance(found, Leak)
    assert found.matrix is not None
    before = here.work
    assert found.matrix().low[0][0] >= (1 << packed.ENTRY) - packed.SPAN
    assert before > here.work
    (tmp_path / file.name).unlink()
    with pytest.raises(Absent):
        found.matrix()


def test_a_header_is_charged_before_it_is_parsed(tmp_path: Path) -> None:
    """A header of 1 MiB of small objects takes a fifth of a second, at each of 512 readings."""
    junk: Node = {format(i, "x"): {} for i in range(60_000)}
    file = file_of(tmp_path, junk | entry([1, 1]), bytes(2))
    here = Context(context().statement, tmp_path, 1 << 19)
    begun = time.process_time()
    with pytest.raises(OverLimit, match="units of work"):
        read_matrix(here, file, 1)
    assert time.process_time() - begun < SECONDS / 10
