"""Net merging: nets that cover, an error that no input exceeds and one attains, a size that no input exceeds."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from kvverify.audit.game import play
from kvverify.audit.verdict import Claim
from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape, claimed_bits
from kvverify.errors import UsageError
from tests.audit.small import instance
from tests.conftest import needs

torch = needs("torch", "audit")
needs("scipy", "audit")

from kvverify.compressors import nets, wire  # noqa: E402

Array = np.ndarray[Any, Any]


def made(shape: Shape, scale: float = 1.0, **parameters: Any) -> Any:
    return find("net")(Settings("net", shape, parameters, scale=scale, dtype="float64"))


def body(draw: np.random.Generator, net: nets.Net, keys: int) -> Array:
    """Keys of the net's body, every third one on its boundary."""
    if isinstance(net, nets.Grid):
        found = draw.uniform(-1, 1, (keys, net.dim))
        found[::3] = np.sign(found[::3])
        return found
    found = draw.standard_normal((keys, net.dim))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    found[1::3] *= draw.random((len(found[1::3]), 1)) ** (1 / net.dim)
    return found


def tensor(array: Array) -> Any:
    """(tokens, dim) as (1, 1, tokens, dim)."""
    return torch.from_numpy(array)[None, None]


def off(compressor: Any, keys: Array, values: Array, query: Array, own_key: Array, own_value: Array) -> float:
    """|answer - exact| of one query, largest over coordinates."""
    compressor.absorb(None, tensor(keys), tensor(values))
    answer = compressor.attend(tensor(query[None]), tensor(own_key[None]), tensor(own_value[None]))[0, 0, 0].numpy()
    scores = np.append(keys, own_key[None], axis=0) @ query
    weights = np.exp(scores - scores.max())
    exact = weights @ np.append(values, own_value[None], axis=0) / weights.sum()
    return float(np.abs(answer - exact).max())


@pytest.mark.parametrize("make", [nets.Grid.of, nets.DualRootLattice.of])
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 7, 33])
@pytest.mark.parametrize("moved", [Fraction(2), Fraction(1, 3), Fraction(1, 20)])
def test_no_key_is_further_from_its_point_than_said(make: Any, dim: int, moved: Fraction) -> None:
    """In the norm dual to the queries'; digits are digits, points are their own nearest ones, and not too many."""
    net = make(dim, moved)
    keys = body(np.random.default_rng(dim), net, 3000)
    digits = net.nearest(keys)
    error = net.points(digits) - keys
    size = np.abs(error).max() if isinstance(net, nets.Grid) else np.linalg.norm(error, axis=1).max()
    assert size <= math.sqrt(net.moved_squared()) * (1 + 1e-9)
    assert net.moved_squared() <= moved**2
    assert digits.dtype == np.int64
    assert digits.min() >= 0
    assert digits.max() < net.radix
    assert len(np.unique(digits, axis=0)) <= net.points_at_most() <= net.radix**dim
    inside = np.abs(net.points(digits)).max(axis=1) <= dim**-0.5  # of either body: nothing is moved to it
    assert np.array_equal(net.nearest(net.points(digits))[inside], digits[inside])
    if isinstance(net, nets.Grid) and net.steps > 1:
        assert nets.Grid(dim, net.steps - 1).moved_squared() > moved**2


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_of_all_points_around_the_nearest_is_taken(dim: int) -> None:
    net = nets.DualRootLattice.of(dim, Fraction(1, 4))
    keys = body(np.random.default_rng(dim), net, 300)
    digits = net.nearest(keys)
    around = np.array([*itertools.product(range(-2, 3), repeat=dim)])
    others = net.points((digits[:, None] + around).reshape(-1, dim)).reshape(len(keys), -1, dim)
    nearest = np.linalg.norm(others - keys[:, None], axis=2).min(axis=1)
    assert np.linalg.norm(net.points(digits) - keys, axis=1) == pytest.approx(nearest, abs=1e-12)


def test_the_lattice_is_the_known_one() -> None:
    """A_1* are the integers, A_2* is hexagonal: least distance, and the deepest hole found by search."""
    line, plane = nets.DualRootLattice(1, 10), nets.DualRootLattice(2, 10)
    points = np.sort(line.points(np.arange(line.radix)[:, None])[:, 0])
    assert np.diff(points) == pytest.approx(np.full(len(points) - 1, math.sqrt(0.5) / 10))
    centre = (plane.radix - 1) // 2
    around = np.array([*itertools.product(range(-1, 2), repeat=2)]) + centre
    lengths = np.sort(np.linalg.norm(plane.points(around), axis=1))
    assert lengths[1:7] == pytest.approx(np.full(6, lengths[1]))
    keys = body(np.random.default_rng(0), plane, 20_000) / 3
    holes = np.linalg.norm(plane.points(plane.nearest(keys)) - keys, axis=1).max()
    assert 0.98 * lengths[1] / math.sqrt(3) < holes <= lengths[1] / math.sqrt(3) * (1 + 1e-9)
    assert plane.moved_squared() == Fraction(2, 9) / 100


@pytest.mark.parametrize(("max_logit", "tolerance"), [(8, "1/16"), (30, "1/2"), (5, "9/10")])
def test_one_input_attains_the_error(max_logit: int, tolerance: str) -> None:
    """Two tokens of opposite values at opposite corners of neighbouring cells: docs/proofs/net_merging.md, Sharp."""
    compressor = made(Shape(1, 1, 2, 1), max_logit=max_logit, tolerance=tolerance)
    steps, levels = compressor.net.steps, compressor.value_levels
    assert max_logit <= 0.69 * steps
    inside = 1 - 1e-9
    first, second = np.array([1 - 1 / steps, 1 - 1 / steps]), np.array([1 - 3 / steps, 1 - 1 / steps])
    keys = np.stack([first - inside / steps, second + inside / steps])
    values = np.array([[1 - 2 / levels + 1e-9], [-1.0]])
    query = np.full(2, max_logit / 2)
    worst = off(compressor, keys, values, query, np.full(2, -1.0), np.zeros(1))
    # The own token's score is 2 max_logit - 4 a below the larger of the two.
    assert worst <= compressor.error_at_most
    assert worst > float(compressor.error_at_most) * (1 - 1e-6) - 2 * math.exp(-2 * max_logit * (1 - 2 / steps))


@pytest.mark.parametrize("shape_of", ["cube", "ball"])
@pytest.mark.parametrize(
    ("dim", "tokens", "tolerance"), [(1, 2, "1/4"), (2, 2, "1/16"), (3, 9, "1/3"), (8, 40, "1/50")]
)
def test_no_input_found_by_search_errs_by_more(shape_of: str, dim: int, tokens: int, tolerance: str) -> None:
    """Random inputs, and of many keys those that the net moves furthest along the query, with values to match."""
    draw = np.random.default_rng(dim)
    ratios = []
    for trial in range(12):
        compressor = made(Shape(1, 1, dim, 1), max_logit=6, tolerance=tolerance, body=shape_of)
        levels = compressor.value_levels
        query = draw.standard_normal(dim)
        query *= 6 / (np.abs(query).sum() if shape_of == "cube" else np.linalg.norm(query))
        pool = body(draw, compressor.net, 8000)
        pool = pool[pool @ query > 0]  # the own token, opposite to the query, shall not take much
        if trial % 3:
            moved = (compressor.net.points(compressor.net.nearest(pool)) - pool) @ query
            order = np.argsort(moved)
            ups, downs = pool[order[-60:]], pool[order[:60]]
            gaps = (ups @ query)[:, None] - (downs @ query) + moved[order[-60:]].mean()
            i, j = np.unravel_index(np.abs(gaps).argmin(), gaps.shape)
            keys = np.concatenate([ups[[i]].repeat(tokens // 2, 0), downs[[j]].repeat(tokens - tokens // 2, 0)])
            top, bottom = 1 - 2 / levels + 1e-9, -1.0
            values = np.repeat([[top], [bottom]], [tokens // 2, tokens - tokens // 2], axis=0)
        else:
            keys, values = pool[:tokens], draw.uniform(-1, 1, (tokens, 1))
        own_key = -np.sign(query) if shape_of == "cube" else -query / np.linalg.norm(query)
        worst = off(compressor, keys, values, query, own_key, draw.uniform(-1, 1, 1))
        assert compressor.error_at_most <= Fraction(tolerance)
        ratios.append(worst / float(compressor.error_at_most))
    assert max(ratios) <= 1 + 1e-9
    assert max(ratios) > (0.85 if dim < 8 else 0.7)  # the search comes near: the bound is no idle one


def test_the_sharp_bound_needs_small_moves() -> None:
    """Where scores move by much, an own token of value 1 beside tokens of value -1 errs by more than its formula."""
    assert nets.error_at_most(Fraction(12, 25), 2) < nets.error_at_most(Fraction(12, 25) + Fraction(1, 10**9), 2)
    for a, levels in ((10.0, 2), (20.0, 3)):  # the others down by a: their exact share is a half of e^(a/2) to 1
        own = 1 / (1 + math.exp(a / 2))
        moved = 1 / (1 + math.exp(-a / 2))
        error = (moved - (1 - moved) * (1 - 1 / levels)) - (own - (1 - own))
        assert error > 2 * math.tanh(a / 2) * (1 - 1 / levels) + 1 / levels
        assert error <= nets.error_at_most(Fraction(a) ** 2, levels)


def test_tanh_bounds_what_moved_weights_do() -> None:
    """The lemma, by brute force over corners of the box of moves, and attained at weights 1 to e^a."""
    draw = np.random.default_rng(3)
    for a in (0.01, 0.3, 2.0):
        most = 0.0
        for _ in range(50):
            weights, numbers = draw.dirichlet(np.ones(5)), draw.choice([-1.0, 1.0], 5)
            for signs in itertools.product((-1, 1), repeat=5):
                moved = weights * np.exp(a * np.array(signs))
                most = max(most, float(moved @ numbers / moved.sum() - weights @ numbers))
        assert 1.5 * math.tanh(a / 2) < most <= 2 * math.tanh(a / 2)
        share = 1 / (1 + math.exp(a))
        moved_share = share * math.exp(a) / (share * math.exp(a) + (1 - share) * math.exp(-a))
        assert 2 * (moved_share - share) == pytest.approx(2 * math.tanh(a / 2))


@pytest.mark.parametrize(("tokens", "points"), [(1, 1), (5, 9), (7, 3), (12, 4), (9, 1)])
@pytest.mark.parametrize(("levels", "value_dim"), [(2, 1), (3, 5)])
def test_no_split_of_the_tokens_takes_more_bits(tokens: int, points: int, levels: int, value_dim: int) -> None:
    """Brute force over the sizes of the cells; where there are points enough the bound is attained."""

    def splits(rest: int, most: int, cells: int) -> Any:
        if rest == 0:
            yield ()
        elif cells:
            for size in range(min(rest, most), 0, -1):
                yield from ((size, *others) for others in splits(rest - size, size, cells - 1))

    count, point = nets.count_bits(tokens), nets.digits_bits(7, 2)
    taken = [
        count + len(split) * (point + count) + sum(nets.sums_bits(size, levels, value_dim) for size in split)
        for split in splits(tokens, tokens, points)
    ]
    shape = {"radix": 7, "key_dim": 2, "value_dim": value_dim, "value_levels": levels}
    bound = nets.state_bits_at_most(tokens, points, **shape, streams=8)  # whole bytes: nothing is hidden by rounding
    dearest = 8 * max(taken)
    assert dearest <= bound
    assert tokens > points or dearest == bound
    assert bound <= dearest + 8 * 2 * points
    assert nets.state_bits_at_most(tokens, points, **shape) == -(-bound // 64) * 8


def test_sums_take_no_more_bits_than_they_need() -> None:
    """Of 5 levels 0..2 there are 11 sums, of 7 levels 0..1 there are 8, of one level 0..1 in 5 coordinates 2^5."""
    assert [nets.sums_bits(*case) for case in ((5, 3, 1), (7, 2, 1), (8, 2, 1), (1, 2, 5))] == [4, 3, 4, 5]
    assert [nets.count_bits(tokens) for tokens in (0, 1, 2, 8, 9)] == [0, 0, 1, 3, 4]


@pytest.mark.parametrize("shape_of", ["cube", "ball"])
def test_the_wire_carries_what_is_claimed_and_no_more_than_proved(shape_of: str) -> None:
    """Also where there are more tokens than points; beside it a header in which only digits grow."""
    shape, fixed = Shape(2, 2, 2, 3), []
    for tokens in (1, 9, 100, 3000):
        compressor = made(shape, max_logit=1, tolerance="1/2", body=shape_of)
        draw = np.random.default_rng(tokens)
        keys = np.stack([body(draw, compressor.net, tokens) for _ in range(2)])[None]
        compressor.absorb(None, torch.from_numpy(keys), torch.from_numpy(draw.uniform(-1, 1, (1, 2, tokens, 3))))
        data = wire.encode(compressor.message())
        assert sum(wire.blob_bits(data)) == claimed_bits(compressor)
        points = compressor.net.points_at_most()
        most = nets.state_bits_at_most(
            tokens, points, radix=compressor.net.radix, key_dim=2, value_dim=3,
            value_levels=compressor.value_levels, streams=2,
        )  # fmt: skip
        assert claimed_bits(compressor) <= most  # type: ignore[operator]
        fixed.append(wire.header_bits(data))
        assert all(len(stream.counts) <= points for stream in compressor.streams)
    assert max(fixed) <= min(fixed) + 64


def test_merging_costs_nothing_and_order_does_not_matter() -> None:
    """The answer is that of all tokens, each rounded by itself; the message is the same for any order of the stream."""
    shape = Shape(1, 3, 2, 4)
    draw = torch.Generator().manual_seed(5)
    keys, values = (torch.rand(1, 1, 200, dim, generator=draw, dtype=torch.float64) * 2 - 1 for dim in (2, 4))
    queries = torch.randn(1, 3, 6, 2, generator=draw, dtype=torch.float64)
    own_keys, own_values = keys[:, :, :6], values[:, :, :6]
    merged = made(shape, 0.25, max_logit=2, tolerance="1/2")
    merged.absorb(None, keys, values)
    assert len(merged.streams[0].counts) < 100
    rounded = tensor(merged.net.points(merged.net.nearest(keys[0, 0].numpy())))
    levels = merged.value_levels
    middles = (2 * ((values + 1) / 2 * levels).floor() + 1) / levels - 1
    expected = []
    for j in range(6):
        seen = [
            torch.cat(pair, dim=2)
            for pair in ((rounded, own_keys[:, :, j : j + 1]), (middles, own_values[:, :, j : j + 1]))
        ]
        weights = (0.25 * queries[:, :, j : j + 1] @ seen[0].mT).softmax(-1)
        expected.append(weights @ seen[1])
    torch.testing.assert_close(merged.attend(queries, own_keys, own_values), torch.cat(expected, dim=2))
    other = made(shape, 0.25, max_logit=2, tolerance="1/2")
    order = torch.randperm(200, generator=draw)
    other.absorb(None, keys[:, :, order[:70]], values[:, :, order[:70]])
    half = made(shape, 0.25, max_logit=2, tolerance="1/2")
    half.load(wire.decode(wire.encode(other.message())))
    half.absorb(None, keys[:, :, order[70:]], values[:, :, order[70:]])
    assert wire.encode(half.message()) == wire.encode(merged.message())


def test_in_the_game_the_promise_is_kept() -> None:
    """Sign keys do not merge; every read is within the tolerance, so the claim of failure 0 stands."""
    small = instance(32, kv_heads=2, value_dim=16)
    settings = {"max_logit": str(small.max_logit), "tolerance": "1/16"}
    claim = Claim(None, Fraction(1, 16), Fraction(0))
    found = play("net", small, parameters=settings, seed=3, dtype="float32", group=2, timeout=60, claim=claim).to_json()
    assert (found["status"], found["flags"], found["wrong_reads"]) == ("NO FLAG", [], 0)
    assert found["held_bits"] == found["claimed_bits"]
    assert 1 / 64 < found["max_abs_error"] <= 1 / 16
    assert 0 < found["certified_floor_bits"] <= found["wire_bits"]


def test_settings_are_numbers_of_the_class() -> None:
    for parameters, message in (
        ({"tolerance": "1"}, "tolerance=1 is not legal; legal: a number from 1/1048576 to 99/100"),
        ({"share": "0"}, "share=0 is not legal; legal: a number from 1/100 to 99/100"),
        ({"body": "simplex"}, "cube | ball"),
        ({"failure": "0"}, "net has no setting 'failure'"),
    ):
        with pytest.raises(UsageError) as raised:
            made(Shape(1, 1, 2, 2), **parameters)
        assert message in str(raised.value)
