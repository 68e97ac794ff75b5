"""The account of work to the unit, as docs/limits.md was measured with it, and that page's limits to the last one."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import check, document, numbers, tensors
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Fact, Rejected
from kvverify.kernel.rules import (
    RULES,
    codes,
    information,
    packed,
    payload,
    points,
    precondition,
    quantiser,
    reed_muller,
    rows,
    softmax,
    volume,
)  # fmt: skip
from kvverify.kernel.rules.attention import Keys, Leak, Matrix, Reading, Row, Scaled
from kvverify.kernel.statement import TensorFile
from kvverify.kernel.tensors import read_matrix
from tests.kernel.apply import context
from tests.kernel.controls import safetensors

Node = dict[str, Any]


def charged(rule: str, premises: Mapping[str, Fact], given: Node, gives: Node, **changes: object) -> int:
    """Units of work of one step, whether it holds or not."""

    def text(node: Node) -> Node:
        return {k: v if isinstance(v, list | dict) else str(v) for k, v in node.items()}

    here = context(**changes)
    before = here.work
    with contextlib.suppress(Rejected):
        RULES[rule](here, dict(premises), text(given), text(gives))
    return before - here.work


def row_of(length: int, *ones: int) -> str:
    return "".join("1" if i in ones else "0" for i in range(length))


def test_codes() -> None:
    generator = [row_of(300, i) for i in range(5)]
    walk = {str(w): str(comb(5, w)) for w in range(1, 6)}
    assert charged("linear-code", {}, {"generator": generator}, {"weights": walk}) == 5 * 5 + 3 * 2**5
    parity = ["110", "011"]
    given = {"generator": ["111"], "parity": parity}
    assert charged("linear-code", {}, given, {"weights": {"3": "1"}}) == 1 + 2 * 2 + 1 * 2 + 2**2 + 20 * 3 * 2
    given = {"generator": [row_of(300, 0, 1)], "representatives": [row_of(300), row_of(300, 2), row_of(300, 3, 4, 5)]}
    weights = {"1": "9", "2": "9", "7": "9"}  # a row has the distances 1, 2, 3, 5 or 1, 2, 3, 4, 6 or 2, 3, 4, 5, 6
    dominated = 16 * (4 + 3) + 16 * (5 + 3) + 16 * (5 + 3)
    assert charged("coset-union", {}, given, {"weights": weights}) == (3**2 << 1) * 3 + dominated
    given = {"order": 1, "variables": 4, "shortened": 0, "punctured": 1}
    assert charged("reed-muller", {}, given, {"weights": {"1": "1"}}) == 64 * 3
    given = {"order": 2, "variables": 4, "shortened": 0, "punctured": 1}
    assert charged("reed-muller", {}, given, {"weights": {"1": "1"}}) == 20 * 16 * 3 + 64 * 7


def test_integer_keys() -> None:
    given = {"keys": ["1 0 0", "0 1 0", "0 0 2"]}
    dominated = 16 * (1 + 3) + 16 * (1 + 3) + 16 * (1 + 3)
    assert (
        charged("explicit-keys", {}, given, {"exponents": {"1": "9", "4": "9", "5": "9"}}) == 9 * (3 + 24) + dominated
    )
    given = {"side": 1000, "dimension": 9, "cutoff": 40}
    width = 8 * 11 + 1
    assert charged("paraboloid", {}, given, {"size": 1000**8}) == (width * 41 // 64) ** 2 * 2 * 4 // 64


def test_attention_of_families() -> None:
    keys = Keys(9, 2, ((3, 4), (8, 4)), Fraction(1), 10, 70, bf16=True)
    scaled = Scaled(keys, Fraction(1, 2), 7)
    gives = dict.fromkeys(("off_target_at_most", "off_target_squares_at_most", "rest_at_most"), "9")
    bits = (2 + 4) + (3 + 5) + 7 + 3  # of the exponents 3, 8; 6, 16; 70; 5
    assert charged("leak", {"budget": scaled}, {}, gives, tokens=9) == 100 * bits
    tiny = Leak(5, Row(Fraction(1, 9), Fraction(0)), Fraction(0))
    assert charged("determinant", {"leak": tiny}, {"form": "ostrowski"}, {"log2_det_at_least": -99}) == 256
    several = Leak(5, tiny.worst, tiny.squares, rows=(tiny.worst,) * 5)
    assert charged("determinant", {"leak": several}, {"form": "ostrowski"}, {"log2_det_at_least": -99}) == 256 * 5
    matrix = Matrix([[1 << 48, 0, 0], [0, 1 << 48, 0], [0, 0, 1 << 48]], 48, 19, (Fraction(1),) * 3)
    exact = Leak(3, tiny.worst, tiny.squares, matrix=lambda: matrix)
    assert charged("determinant", {"leak": exact}, {"form": "exact"}, {"log2_det_at_least": -99}) == 256 * 27


@pytest.mark.parametrize(("alphabet", "symbols", "words"), [(2, 12, 13), (2, 40, 41), (5, 30, 70), (2, 1024, 1025)])
def test_counting(alphabet: int, symbols: int, words: int) -> None:
    premises = {"reading": Reading(alphabet, 1)}
    found = charged("counting", premises, {}, {"bits_at_least": 1}, value_dim=symbols)
    assert found == 3 * symbols * (words + 256) // 64


def test_secrets_in_keys() -> None:
    given = {"strength": 1, "radius": Fraction(1, 2), "key_coordinates": 7}
    assert charged("ball-tilt", {}, given, {"mean_at_most": 2, "entropy_at_least": -100}) == 1000 + 7


def test_quantisers() -> None:
    claimed: Node = {"claim": "state-bits-enough", "state_bits_at_least": None, "state_bits_enough": 10**9}
    size = 8 * 4 + 2 * 5  # bits of 9 levels a key coordinate and 17 a value coordinate
    given = {"key_levels": 9, "value_levels": 17}
    changes: Node = {**claimed, "max_logit": "1/100", "tolerance": "1/2", "failure": "1/10"}
    assert charged("quantiser", {}, given, {"bits_per_token": 999}, **changes) == 16 * size
    for tail, cells in (("gaussian", 0), ("log-concave", 1)):
        found = charged("dithered", {}, {**given, "tail": tail}, {"bits_per_token": 999}, **changes)
        assert found == 16 * size + (cells << 13)


class Recorded:
    """A context's charges, one by one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
        self.context, self.charges = context(**changes), list[int]()
        charge = type(self.context).charge

        def noted(here: Any, steps: int) -> None:
            self.charges.append(steps)
            charge(here, steps)

        monkeypatch.setattr(type(self.context), "charge", noted)


def test_packed_scores_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed.multiplications(480, 8, 7650) == 1 + 1025 * 256 // 256
    assert packed.multiplications(4, 8, 29) == 1
    seen = Recorded(monkeypatch)
    packed.Scores(seen.context, [[1, 3]] * 600, [[1, 2]] * 4, Fraction(1))
    each = packed.multiplications(256, 8, 2)
    assert seen.charges == [2 * (4 * 600 + each * 4 * 3), 4 * 3 * (16 + 256 * 8 // 32)]
    seen.charges.clear()
    tables = packed.Exponentials(seen.context)
    for top in (5 << 36, 3 << 36, (10 << 36) - 1):
        tables.masses([0], top)
    assert seen.charges == [1 << 13, 6, 0, 4]


def test_rows_and_their_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = safetensors("k", "F16", [5, 1], bytes(10))
    (tmp_path / "k").write_bytes(content)
    named = {"name": "k", "sha256": hashlib.sha256(content).hexdigest(), "tensor": "k"}
    own: Node = {"tokens": 5, "key_dim": 1, "body": "given", "budget": "own-keys", "keys": named}
    seen = Recorded(monkeypatch, **own)
    seen.context.folder = tmp_path
    gives = dict.fromkeys(("off_target_at_most", "off_target_squares_at_most", "rest_at_most"), "9")
    given = {"payload": "0 1 2", "query_scale": "1", "queries": ["1", "2", "3"]}
    leak = RULES["attention-row"](seen.context, {}, given, gives)
    file = [len(content) // 16 + len(content), 8 * 5]
    assert seen.charges[:3] == [*file, 3 * (2 * 5 + 3 + 256)]
    seen.charges.clear()
    assert isinstance(leak, Leak)
    assert leak.matrix is not None
    leak.matrix()
    assert seen.charges[:3] == [2 * 3**2, *file]


def test_a_long_file_is_charged_for_its_header_as_if_that_were_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = safetensors("k", "F16", [1 << 10, 1 << 10], bytes(2 << 20))
    (tmp_path / "k").write_bytes(content)
    seen = Recorded(monkeypatch)
    seen.context.folder, seen.context.work = tmp_path, 9 << 20
    with pytest.raises(OverLimit, match=f"needs {8 << 20} units of work"):
        read_matrix(seen.context, TensorFile("k", hashlib.sha256(content).hexdigest(), "k", None), 1 << 10)
    assert seen.charges == [len(content) // 16 + (1 << 20), 8 << 20]


@pytest.mark.parametrize(("size", "blocks"), [(3, 1), (128, 1), (129, 2)])
def test_preconditioning(size: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recorded(monkeypatch)
    one = 1 << 48
    matrix = Matrix([[one if i == j else 0 for j in range(size)] for i in range(size)], 48, 0, (Fraction(1),) * size)
    lower = [[0] * i + [1 << 39] for i in range(size)]
    upper = [[1 << 39] + [0] * (size - 1 - i) for i in range(size)]
    precondition.preconditioned(seen.context, matrix, lower, upper)
    each = packed.multiplications(min(size, 128), 15, 41)
    assert seen.charges == [size * (size + 1) * blocks * each, 8 * size * size + 128 * size]


def limits() -> dict[str, int]:
    """By what the page calls them."""
    return {
        "bytes of a document": document.MAX_BYTES, "depth of a document": document.MAX_DEPTH,
        "digits of an integer": document.MAX_DIGITS, "steps": document.MAX_STEPS,
        "entries of a histogram": document.MAX_COUNTS, "units of work of one check": context().work,
        "units of work of any step": check.STEP_WORK, "argument of exp": numbers.MAX_EXPONENT,
        "length of a code": codes.MAX_LENGTH, "dimension of a code": codes.MAX_WALK,
        "words of a union of cosets": codes.MAX_UNION, "order of a Reed-Muller code": reed_muller.MAX_ORDER,
        "bits of an entry of an explicit key": points.MAX_ENTRY_BITS,
        "dimension of explicit keys": points.MAX_DIMENSION,
        "cutoff of the paraboloid": points.MAX_CUTOFF, "dimensions of a ball of payload": payload.MAX_COORDINATES,
        "levels of a value": softmax.MAX_ALPHABET, "symbols that are counted": information.MAX_SYMBOLS,
        "bytes of a file": tensors.MAX_FILE, "bytes of its header": tensors.MAX_HEADER,
        "entries of a matrix": tensors.MAX_ENTRIES, "rows or columns of a matrix": tensors.MAX_SIDE,
        "powers of two between": tensors.MAX_SPREAD, "bits of an entry of queries in place": rows.MAX_ENTRY_BITS,
        "bits of the unit of scores": packed._UNIT_BITS, "rows of an exact elimination": volume.MAX_EXACT,
        "rows that are preconditioned": precondition.MAX_ROWS, "bits of a quantised token": quantiser.MAX_TOKEN_BITS,
    }  # fmt: skip


def test_limits_are_what_their_page_says() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "limits.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    for name, value in limits().items():
        assert [said for label, said, *_ in rows if label.startswith(name)] == [f"{value:,}"], name


BASIS = [row_of(26, i) for i in range(26)]
ENOUGH: Node = {"claim": "state-bits-enough", "state_bits_at_least": None, "state_bits_enough": 9, "tolerance": "1/2"}
# The rule, what is given and what is said to be given of a step at a limit, then of one just beyond, and the statement.
EDGES: dict[str, tuple[str, tuple[Node, Node], tuple[Node, Node], Node]] = {
    "length": (
        "linear-code", ({"generator": [row_of(1024, 0)]}, {"weights": {"1": "1"}}),
        ({"generator": [row_of(1025, 0)]}, {"weights": {"1": "1"}}), {},
    ),
    "walk": (
        "linear-code", ({"generator": BASIS[:25]}, {"weights": {"1": "1"}}),
        ({"generator": BASIS}, {"weights": {"1": "1"}}), {},
    ),
    "union": (
        "coset-union", ({"generator": BASIS[:18], "representatives": [row_of(26)]}, {"weights": {"1": "1"}}),
        ({"generator": BASIS[:18], "representatives": [row_of(26), BASIS[18]]}, {"weights": {"1": "1"}}), {},
    ),
    "hypercube": (
        "hypercube", ({"dimension": "1024"}, {"size": str(2**1024)}),
        ({"dimension": "1025"}, {"size": str(2**1025)}), {},
    ),
    "variables": (
        "reed-muller", ({"order": "1", "variables": "10", "shortened": "0", "punctured": "0"}, {"weights": {"1": "1"}}),
        ({"order": "1", "variables": "11", "shortened": "0", "punctured": "0"}, {"weights": {"1": "1"}}), {},
    ),
    "order": (
        "reed-muller", ({"order": "2", "variables": "7", "shortened": "0", "punctured": "0"}, {"weights": {"1": "1"}}),
        ({"order": "3", "variables": "7", "shortened": "0", "punctured": "0"}, {"weights": {"1": "1"}}), {},
    ),
    "entry": (
        "explicit-keys", ({"keys": [str(2**24 - 1)]}, {"exponents": {"1": "1"}}),
        ({"keys": [str(2**24)]}, {"exponents": {"1": "1"}}), {},
    ),
    "coordinates": (
        "explicit-keys", ({"keys": [" ".join("1" * 1024)]}, {"exponents": {"1": "1"}}),
        ({"keys": [" ".join("1" * 1025)]}, {"exponents": {"1": "1"}}), {},
    ),
    "dimension": (
        "paraboloid", ({"side": "2", "dimension": "1024", "cutoff": "1"}, {"size": str(2**1023)}),
        ({"side": "2", "dimension": "1025", "cutoff": "1"}, {"size": str(2**1024)}), {},
    ),
    "cutoff": (
        "paraboloid", ({"side": "2", "dimension": "2", "cutoff": "512"}, {"size": "2"}),
        ({"side": "2", "dimension": "2", "cutoff": "513"}, {"size": "2"}), {},
    ),
    "side": (
        "paraboloid", ({"side": str(2**64 - 1), "dimension": "2", "cutoff": "1"}, {"size": str(2**64 - 1)}),
        ({"side": str(2**64), "dimension": "2", "cutoff": "1"}, {"size": str(2**64)}), {},
    ),
    "exp": (
        "exp-bound", ({"exponent": "4096"}, {"exp_minus_at_most": "1"}),
        ({"exponent": "4097"}, {"exp_minus_at_most": "1"}), {},
    ),
    "token": (
        "quantiser", ({"key_levels": "2", "value_levels": "4"}, {"bits_per_token": "2"}),
        ({"key_levels": "2", "value_levels": "8"}, {"bits_per_token": "2"}),
        {**ENOUGH, "key_dim": (1 << 19) - 6, "value_dim": 4, "max_logit": "1/9"},
    ),
}  # fmt: skip


def said(rule: str, step: tuple[Node, Node], changes: Node) -> str:
    """What is refused as too large, by a checker that has little work left."""
    here = context(**changes)
    here.work = 10**6
    try:
        RULES[rule](here, {}, *step)
    except Rejected:
        return ""
    except OverLimit as limit:
        return str(limit)
    return ""


@pytest.mark.parametrize("name", EDGES)
def test_a_limit_is_where_it_is(name: str) -> None:
    rule, inside, beyond, changes = EDGES[name]
    at_most = said(rule, inside, changes)
    assert not at_most or "units of work" in at_most
    refusal = said(rule, beyond, changes)
    assert refusal.startswith("limit: ")
    assert "units of work" not in refusal
