"""Attention rows in big integers and tables of exponentials against plain ones, and the queries' own files."""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st

from kvverify.kernel.check import Result, Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.document import OverLimit
from kvverify.kernel.facts import Rejected
from kvverify.kernel.rules import RULES
from kvverify.kernel.rules.attention import Leak
from kvverify.kernel.rules.packed import CELL, ENTRY, MASS, SPAN, Exponentials, Scores, floors, pack
from tests.kernel.apply import context
from tests.kernel.controls import LEAK, Control, rebuild
from tests.kernel.mutants import put, without
from tests.kernel.own_controls import KEYS, controls, tensors
from tests.kernel.real import at_most, exp

Node = dict[str, Any]
CONTROLS = {control.name: control for control in controls()}
RECORDED, OWN = CONTROLS["own-queries, near-identity"], CONTROLS["queries of a file, ostrowski"]

wide = st.integers(-(1 << 40), 1 << 40)


@given(st.lists(st.integers(-(1 << 71), (1 << 71) - 1), min_size=1, max_size=9), st.integers(9, 12))
def test_packed_vectors_come_apart_again(values: list[int], width: int) -> None:
    packed = pack(values, width)
    assert packed == sum(v << 8 * width * i for i, v in enumerate(values))
    assert list(floors(packed, len(values), width)) == [v >> 8 * width - 64 for v in values]


@given(st.data(), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
def test_scores_are_the_products(data: st.DataObject, dim: int, tokens: int, number: int) -> None:
    """Floors of exact scores; the budget is exact to the last bit, on either side."""
    entry = data.draw(st.sampled_from([st.integers(-3, 3), wide, st.integers(-5, 5).map(lambda x: x << 60)]))
    matrix = lambda n: data.draw(st.lists(st.lists(entry, min_size=dim, max_size=dim), min_size=n, max_size=n))  # noqa: E731
    queries, keys = matrix(number), matrix(tokens)
    unit = Fraction(data.draw(st.integers(1, 9)), 1 << data.draw(st.integers(0, 200)))
    exact = [[unit * sum(a * b for a, b in zip(q, k, strict=True)) for k in keys] for q in queries]
    reach = [[unit * sum(abs(a * b) for a, b in zip(q, k, strict=True)) for k in keys] for q in queries]
    try:
        scores = Scores(context(), queries, keys, unit)
    except OverLimit:
        assert max(map(max, reach)) * dim >= 1 << 18
        return
    found = list(scores.floors())
    assert [list(row) for row in found] == [[x.numerator * (1 << CELL) // x.denominator for x in row] for row in exact]
    highest = max(abs(x) for row in exact for x in row)
    if highest:
        assert list(scores.floors(highest)) == found
        with pytest.raises(Rejected):
            list(scores.floors(highest - unit / 3))


@pytest.mark.parametrize("bits", [8, 30, 53])
def test_scores_of_several_blocks_of_queries(bits: int) -> None:
    random = np.random.default_rng(bits)
    queries, keys = (random.integers(-(1 << bits), 1 << bits, size=(n, 5)).tolist() for n in (600, 7))
    unit = Fraction(1, 1 << 2 * bits)
    exact = [[sum(a * b for a, b in zip(q, k, strict=True)) for k in keys] for q in queries]
    found = list(Scores(context(), queries, keys, unit).floors(Fraction(5)))
    assert [list(row) for row in found] == [[x << CELL >> 2 * bits for x in row] for row in exact]
    highest = max(abs(x) for row in exact for x in row)
    with pytest.raises(Rejected):  # in whichever block it is
        list(Scores(context(), queries, keys, unit).floors((highest - Fraction(1, 2)) * unit))


def test_work_is_refused_before_it_is_done() -> None:
    short = context()
    short.work = 10**5
    with pytest.raises(OverLimit, match="units of work"):
        Scores(short, [[1] * 128] * 4096, [[1] * 128] * 512, Fraction(1))


def test_a_unit_that_is_no_dyadic_number_is_over_a_limit() -> None:
    with pytest.raises(OverLimit, match="power of two"):
        Scores(context(), [[1]], [[1]], Fraction(1, 3))


@given(st.lists(st.integers(0, 1 << 52), min_size=1, max_size=6), st.integers(-(1 << 50), 1 << 50))
def test_exponentials_enclose_both_ends_of_a_cell(distances: list[int], top: int) -> None:
    tables = Exponentials(context())
    cells = [top - d for d in distances]
    for d, mass, low in zip(distances, tables.masses(cells, top), tables.entries(cells, top), strict=True):
        ends = exp(Fraction(-d, 1 << CELL)), exp(Fraction(1 - d, 1 << CELL))
        assert at_most(ends[1], Fraction(mass, 1 << MASS))
        assert at_most(Fraction(mass, 1 << MASS), ends[1] * (1 + arb(2) ** -31) + arb(2) ** -79)
        assert at_most(Fraction(low, 1 << ENTRY), ends[0])
        assert at_most(ends[1], Fraction(low + SPAN, 1 << ENTRY))


@pytest.mark.parametrize("unit", [Fraction(3**400), Fraction(1, 1 << 4000)])
def test_units_of_many_bits_are_over_a_limit(unit: Fraction) -> None:
    with pytest.raises(OverLimit, match="320 bits"):
        Scores(context(), [[0]], [[1]], unit)


def test_exponentials_end_at_the_kernels_largest_exponent() -> None:
    tables = Exponentials(context())
    assert tables.masses([1 - (4096 << CELL)], 0)[0] > 0
    with pytest.raises(OverLimit, match="4096"):
        tables.masses([-(4096 << CELL)], 0)


def attention_row(
    keys: list[list[int]], payload: list[int], queries: list[list[int]], scale: Fraction, squares: Fraction
) -> Leak:
    """The rule on small keys, under bounds that only the squares could break."""
    content = tensors("F32", k=np.array(keys))
    file = {"name": "keys", "sha256": hashlib.sha256(content).hexdigest(), "tensor": "k"}
    words = {"body": "given", "budget": "own-keys", "keys": file}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "keys").write_bytes(content)
        found = context(tokens=len(keys), key_dim=len(keys[0]), max_logit=2000, **words)
        given = {"payload": spaced(payload), "queries": [spaced(q) for q in queries], "query_scale": str(scale)}
        gives = dict.fromkeys(LEAK, str(10**999)) | {"off_target_squares_at_most": str(squares)}
        leak = RULES["attention-row"](Context(found.statement, Path(folder)), {}, given, gives)
        assert isinstance(leak, Leak)
        assert leak.matrix is not None
        matrix = leak.matrix()  # while the file is there, which it reads again
    return replace(leak, matrix=lambda: matrix)


def rational(x: arb) -> Fraction:
    """The middle of a ball that is narrow against what it is compared with."""
    mantissa, power = x.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(power)


def spaced(row: list[int]) -> str:
    return " ".join(map(str, row))


@given(st.data(), st.integers(1, 4), st.integers(1, 6), st.sampled_from([Fraction(1, 8), Fraction(3, 4), Fraction(5)]))
def test_rows_against_plain_exponentials(data: st.DataObject, dim: int, tokens: int, scale: Fraction) -> None:
    """Every selection and order of the payload, targets that lead their rows and targets that do not."""
    entries = st.lists(st.integers(-4, 4), min_size=dim, max_size=dim)
    keys = data.draw(st.lists(entries, min_size=tokens, max_size=tokens))
    payload = data.draw(st.permutations(range(tokens)))[: data.draw(st.integers(1, tokens))]
    queries = data.draw(st.lists(entries, min_size=len(payload), max_size=len(payload)))
    all_scores = [[scale * sum(x * y for x, y in zip(query, key, strict=True)) for key in keys] for query in queries]
    weights = [[exp(s - row[t]) for s in row] for row, t in zip(all_scores, payload, strict=True)]
    squares = sum((w[j] ** 2 for w, t in zip(weights, payload, strict=True) for j in payload if j != t), arb(0))
    tops = sum((exp(2 * (max(row) - row[t])) for row, t in zip(all_scores, payload, strict=True)), arb(0))
    true, room = (
        rational(x) / len(payload) for x in (squares, arb(2) ** -29 * squares + tokens * arb(2) ** -76 * tops)
    )
    leak = attention_row(keys, payload, queries, scale, true + room)
    if len(payload) > 1:
        with pytest.raises(Rejected, match="squares"):
            attention_row(keys, payload, queries, scale, true * (1 - Fraction(1, 1 << 60)))
    assert leak.matrix is not None
    matrix = leak.matrix()
    for a, (target, scores, weight) in enumerate(zip(payload, all_scores, weights, strict=True)):
        own = -max(map(abs, scores))
        off = sum((weight[j] for j in payload if j != target), arb(0))
        rest = sum((weight[j] for j in range(tokens) if j not in payload), exp(own - scores[target]))
        slack = arb(2) ** -31 * (off + rest) + arb(2) ** -75 * exp(max(scores) - scores[target])
        for found, mass in ((leak.rows[a].off_target, off), (leak.rows[a].rest, rest)):
            assert at_most(mass, found + Fraction(1, 1 << 300))
            assert at_most(found, mass + slack)
        row = [exp(s - max(scores)) for s in scores]
        for j, low in zip(payload, matrix.low[a], strict=True):  # the factor of a row is known to a cell
            assert at_most(Fraction(low - 16, 1 << ENTRY), row[j])
            assert at_most(row[j], Fraction(low + SPAN, 1 << ENTRY))
        assert at_most(sum(row, exp(own - max(scores))), matrix.totals[a])


def checked(
    control: Control, folder: Path, change: Callable[[Node], Node] = lambda tree: tree, **files: bytes
) -> Result:
    """The control, its tree changed, with other contents of the named files (and their digests)."""
    tree = copy.deepcopy(control.tree)
    for name, content in {**dict(control.files), **{f"{n}.safetensors": c for n, c in files.items()}}.items():
        (folder / name).write_bytes(content)
        for node in (*tree["statement"].values(), *(s["given"].get(k) for s in tree["steps"] for k in s["given"])):
            if isinstance(node, dict) and node["name"] == name:
                node["sha256"] = hashlib.sha256(content).hexdigest()
    return check(rebuild(change(tree)), folder)


@pytest.mark.parametrize("control", [RECORDED, OWN], ids=str)
def test_faults_of_the_queries_file(control: Control, tmp_path: Path) -> None:
    good = dict(control.files)["queries.safetensors"]
    assert checked(control, tmp_path).verdict is Verdict.VALID
    bad = np.frombuffer(good[-4 * 18 :], "<f4").copy()
    for value in (np.nan, np.inf):
        bad[4] = value
        assert checked(control, tmp_path, queries=good[: -4 * 18] + bad.tobytes()).verdict is Verdict.INVALID
    for content in (good[:-1], good[:20], b"", tensors("F32", q=np.ones((6, 2)))):
        assert checked(control, tmp_path, queries=content).verdict is Verdict.INVALID
    assert checked(control, tmp_path).verdict is Verdict.VALID
    (tmp_path / "queries.safetensors").write_bytes(good[:-1] + b"\1")
    result = check(control.tree, tmp_path)
    assert (result.verdict, "digest" in result.reason) == (Verdict.INVALID, True)
    (tmp_path / "queries.safetensors").unlink()
    assert check(control.tree, tmp_path).verdict is Verdict.INCOMPLETE


LEAK_GIVEN = ("steps", 0, "given")
FALSE: dict[str, Callable[[Node], Node]] = {
    "a scale of recorded queries": lambda t: put(t, (*LEAK_GIVEN, "query_scale"), "1/2"),
    "a row beyond the file": lambda t: put(t, (*LEAK_GIVEN, "rows"), "4 1 6"),
    "a row before the file": lambda t: put(t, (*LEAK_GIVEN, "rows"), "4 1 -1"),
    "too few rows": lambda t: put(t, (*LEAK_GIVEN, "rows"), "4 1"),
    "rows in another order": lambda t: put(t, (*LEAK_GIVEN, "rows"), "1 4 0"),
    "a token twice": lambda t: put(t, (*LEAK_GIVEN, "payload"), "0 1 1"),
    "no rows": lambda t: without(t, (*LEAK_GIVEN, "rows")),
    "queries of one's own": lambda t: put(t, (*LEAK_GIVEN, "queries"), t["statement"]["queries"]),
    "inline queries": lambda t: put(t, (*LEAK_GIVEN, "queries"), ["1 0 5", "0 6 -1", "2 2 2"]),
    "no file": lambda t: without(t, ("statement", "queries")),
    "a file under another budget": lambda t: put(t, ("statement", "budget"), "own-keys"),
    "a file that is text": lambda t: put(t, ("statement", "queries"), "queries.safetensors"),
    "the body of the class": lambda t: put(t, ("statement", "body"), "cube"),
    "two streams": lambda t: put(t, ("statement", "layers"), "2"),
    "a name outside": lambda t: put(t, ("statement", "queries", "name"), "../queries.safetensors"),
}


@pytest.mark.parametrize("name", FALSE)
def test_recorded_queries_are_rows_of_the_statements_file(name: str, tmp_path: Path) -> None:
    assert checked(RECORDED, tmp_path, FALSE[name]).verdict is Verdict.INVALID


def test_the_logit_is_that_of_the_rows_in_use(tmp_path: Path) -> None:
    """A row of the file beyond the budget does no harm where it is not asked; where it is, nothing else is."""
    wild = np.concatenate(
        [np.frombuffer(dict(RECORDED.files)["queries.safetensors"][-72:], "<f4").reshape(6, 3), [[99, 0, 0]]]
    )
    content = tensors("F32", q=wild)
    assert checked(RECORDED, tmp_path, queries=content).verdict is Verdict.VALID
    asked = checked(RECORDED, tmp_path, lambda t: put(t, (*LEAK_GIVEN, "rows"), "4 6 0"), queries=content)
    assert (asked.verdict, "max_logit" in asked.reason) == (Verdict.INVALID, True)


@pytest.mark.parametrize(("small", "verdict"), [(-60, "VALID"), (-290, "VALID"), (-320, "INCOMPLETE")])
def test_fine_entries_need_wider_fields_up_to_a_limit(small: int, verdict: str, tmp_path: Path) -> None:
    keys = KEYS.copy()
    keys[0, 1] = 2.0**small

    def weaker(tree: Node) -> Node:
        """Room for the change, and next to nothing claimed."""
        tree["statement"] |= {"max_logit": "50", "state_bits_at_least": "1"}
        for step, gives in zip(tree["steps"], ({}, {"log2_det_at_least": "-9"}, {"bits_at_least": "1"}), strict=True):
            step["gives"] = gives or {
                name: str(Fraction(x) + Fraction(1, 1 << 20)) for name, x in step["gives"].items()
            }
        return tree

    result = checked(RECORDED, tmp_path, weaker, keys=tensors("F64", k=keys))
    assert result.verdict.value == verdict, result.reason
