"""SubGen: the algorithm as recorded against a plain reference, unbiased over all outcomes, its bits, the theorem."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from kvverify.audit.game import play
from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape, claimed_bits
from kvverify.compressors.reservoirs import Cells, NormSample, state_bits
from kvverify.errors import UsageError
from tests.audit.small import instance
from tests.conftest import needs

torch = needs("torch", "audit")
needs("scipy", "audit")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.measure import Inputs, measure, theorem_slots  # noqa: E402

Token = tuple[Fraction, ...]
LESS_THAN_ONE = 1 - 2.0**-53


def made(shape: Shape, seed: int = 0, **parameters: Any) -> Any:
    return find("subgen")(Settings("subgen", shape, parameters, dtype="float64", seed=seed))


class Reference:
    """The record, line by line, with Fractions: claims SG-2 and SG-3 in the ledger."""

    def __init__(self, delta: Fraction, t: int, s: int) -> None:
        self.delta, self.t, self.s = delta, t, s
        self.cells: list[tuple[Token, list[Token], int]] = []
        self.slots: list[tuple[Token, Token] | None] = [None] * s
        self.mu = Fraction(0)

    def add(self, key: Token, value: Token, coins: list[Fraction]) -> None:
        distances = [sum((a - b) ** 2 for a, b in zip(key, cell[0], strict=True)) for cell in self.cells]
        nearest = min(range(len(distances)), key=lambda a: (distances[a], a), default=None)
        if nearest is None or distances[nearest] > self.delta**2:
            self.cells.append((key, [key] * self.t, 1))
        else:
            first, samples, count = self.cells[nearest]
            kept = [key if coin < Fraction(1, count + 1) else old for coin, old in zip(coins, samples, strict=False)]
            self.cells[nearest] = (first, kept, count + 1)
        square = sum((x * x for x in value), Fraction(0))
        self.mu += square
        if square:
            share = square / self.mu
            slots = zip(coins[self.t :], self.slots, strict=True)
            self.slots = [(key, value) if coin < share else old for coin, old in slots]


def tokens_of(draw: np.random.Generator, n: int, dim: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Quarters, so that squares and sums are exact; equal keys, ties of distances, and values 0 among them."""
    keys, values = draw.integers(-4, 5, (n, dim)) / 4, draw.integers(-3, 4, (n, dim)) / 4
    values[draw.random(n) < 0.3] = 0
    values[0] = 0
    return keys, values


@pytest.mark.parametrize("delta", ["0", "1/2", "3/4", "5"])
def test_the_state_is_the_reference(delta: str) -> None:
    """Coin by coin, in every stream, with streams of different numbers of cells."""
    shape, n = Shape(3, 3, 2, 2), 40
    compressor = made(shape, seed=9, delta=delta, t=2, s=3)
    pairs = [tokens_of(np.random.default_rng(head), n, 2) for head in range(3)]
    keys, values = (torch.from_numpy(np.stack(side))[None] for side in zip(*pairs, strict=True))
    coins = compressor._coins(n, 0)
    compressor.absorb(None, keys, values)
    for head, (cells, sample) in enumerate(zip(compressor.cells, compressor.samples, strict=True)):
        reference = Reference(Fraction(delta), 2, 3)
        for i in range(n):
            key, value = (tuple(map(Fraction, side[head][i])) for side in (keys[0].tolist(), values[0].tolist()))
            reference.add(key, value, [Fraction(coin) for coin in coins[i, head]])
        assert cells.counts == [count for _, _, count in reference.cells]
        assert cells.representatives.tolist() == [list(map(float, first)) for first, _, _ in reference.cells]
        assert np.stack(cells.samples).tolist() == [[[*map(float, k)] for k in kept] for _, kept, _ in reference.cells]
        assert [*zip(sample.keys.tolist(), sample.values.tolist(), strict=True)] == [
            ([*map(float, slot[0])], [*map(float, slot[1])]) for slot in reference.slots if slot
        ]
        assert sample.total == reference.mu
    sizes = {len(cells.counts) for cells in compressor.cells}
    assert len(sizes) > 1 or delta == "5"


def outcomes(tokens: int, slots: int) -> Any:
    """All patterns of coins: 0 takes whatever may be taken, just below 1 what must be."""
    for pattern in itertools.product((0.0, LESS_THAN_ONE), repeat=tokens * slots):
        yield np.array(pattern).reshape(tokens, slots)


def chance(coin: float, share: Fraction) -> Fraction:
    """Of a coin on that side of the share; a share of 0 or 1 has one side only, counted where coins are 0."""
    if share in (0, 1):
        return Fraction(int(coin == 0))
    return share if coin == 0 else 1 - share


WEIGHTS = [Fraction(2, 3), Fraction(5), Fraction(7, 2), Fraction(1, 4)]  # e^<q, k> of four keys: any numbers


@pytest.mark.parametrize("slots", [1, 2])
def test_the_normaliser_is_unbiased_and_varies_as_said(slots: int) -> None:
    """Over all outcomes, exactly: E tau = Z, Var tau = sum over cells of n_a^2 (variance within the cell) / t."""
    keys = np.array([[0.0], [0.25], [3.0], [0.5]])
    weight = dict(zip(keys[:, 0], WEIGHTS, strict=True))
    total = mean = square = Fraction(0)
    for coins in outcomes(4, slots):
        cells = Cells.empty(1, 1.0)
        cells.add(keys, coins)
        assert cells.counts == [3, 1]
        # Token 1 opens a cell, 2 is the second of it, 3 opens another, 4 is the third of the first.
        shares = [Fraction(1), Fraction(1, 2), Fraction(1), Fraction(1, 3)]
        odds = math.prod(chance(coin, share) for row, share in zip(coins, shares, strict=True) for coin in row)
        tau = sum(
            Fraction(count, slots) * sum(weight[float(k)] for k in kept[:, 0])
            for count, kept in zip(cells.counts, cells.samples, strict=True)
        )
        logs, found = cells.weighted()
        assert float(np.exp(logs) @ [float(weight[float(k)]) for k in found[:, 0]]) == pytest.approx(float(tau))
        total, mean, square = total + odds, mean + odds * tau, square + odds * tau**2
    first = [WEIGHTS[0], WEIGHTS[1], WEIGHTS[3]]
    within = sum(w**2 for w in first) / 3 - (sum(first) / 3) ** 2
    assert total == 1
    assert mean == sum(WEIGHTS)
    assert square - mean**2 == 9 * within / slots


@pytest.mark.parametrize("slots", [1, 2])
def test_the_product_is_unbiased_and_varies_as_said(slots: int) -> None:
    """Over all outcomes, exactly: E z = y and E |z - y|^2 = (|V|_F^2 |w|^2 - |y|^2)/s, value 0 first.

    In |w|^2 tokens of value 0 do not count, since they are dropped: less than the record says, never more.
    """
    values = [(0, 0), (1, 2), (0, 0), (-3, 1)] if slots == 2 else [(0, 0), (1, 2), (2, 0), (-3, 1)]
    norms = [sum(x * x for x in value) for value in values]
    keys, total = np.arange(4.0)[:, None], Fraction(0)
    y = [sum(w * value[j] for w, value in zip(WEIGHTS, values, strict=True)) for j in range(2)]
    mean, spread = [Fraction(0)] * 2, Fraction(0)
    for coins in outcomes(4, slots):
        sample = NormSample.empty(slots, 1, 2)
        sample.add(keys, np.array(values, dtype=float), coins)
        shares = [Fraction(norm, max(1, sum(norms[: i + 1]))) for i, norm in enumerate(norms)]
        odds = math.prod(chance(coin, share) for row, share in zip(coins, shares, strict=True) for coin in row)
        assert sample.total == sum(norms)
        z = [Fraction(0)] * 2
        for key, value in zip(sample.keys[:, 0], sample.values, strict=True):
            scale = Fraction(sum(norms), slots * int(value @ value)) * WEIGHTS[int(key)]
            z = [one + scale * int(x) for one, x in zip(z, value, strict=True)]
        logs, found, seen = sample.weighted()
        floats = (np.exp(logs) * [float(WEIGHTS[int(key)]) for key in found[:, 0]]) @ seen
        assert floats == pytest.approx([*map(float, z)])
        total += odds
        mean = [one + odds * other for one, other in zip(mean, z, strict=True)]
        spread += odds * sum((one - other) ** 2 for one, other in zip(z, y, strict=True))
    live = sum(w**2 for w, norm in zip(WEIGHTS, norms, strict=True) if norm)
    assert total == 1
    assert mean == y
    assert spread == (sum(norms) * live - sum(x * x for x in y)) / slots


def test_with_values_zero_the_answer_is_the_own_value_times_its_share() -> None:
    compressor = made(Shape(1, 1, 2, 2), delta=10, t=4, s=4)
    keys = torch.zeros(1, 1, 7, 2, dtype=torch.float64)
    compressor.absorb(None, keys, keys)
    assert compressor.message()["norms"].tolist() == [0.0]
    own = torch.ones(1, 1, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(compressor.attend(own, 0 * own, own), own / 8)


def test_an_answer_is_z_over_tau_for_each_query_head() -> None:
    """From the message alone, by the formula of the record; six query heads, three KV heads, batch of two."""
    shape = Shape(3, 6, 4, 2, batch=2)
    draw = torch.Generator().manual_seed(2)
    keys, values = (torch.randn(2, 3, 50, dim, generator=draw, dtype=torch.float64) for dim in (4, 2))
    queries = torch.randn(2, 6, 3, 4, generator=draw, dtype=torch.float64)
    compressor = find("subgen")(Settings("subgen", shape, {"delta": 2, "t": 3, "s": 5}, scale=0.5, dtype="float64"))
    compressor.absorb(None, keys, values)
    answers = compressor.attend(queries, keys[:, :, :3], values[:, :, :3])
    sent = {name: tensor.double() for name, tensor in compressor.message().items()}
    ends = sent["cells"].cumsum(0).long().tolist()
    for batch, head, j in itertools.product(range(2), range(6), range(3)):
        stream, query = 3 * batch + head // 2, queries[batch, head, j]
        cells = slice(ends[stream] - int(sent["cells"][stream]), ends[stream])
        tau = (sent["counts"][cells, None] / 3 * (sent["samples"][cells] @ query * 0.5).exp()).sum()
        slots, norms = sent["values"][stream], sent["norms"][stream]
        weights = norms / (5 * (slots**2).sum(1)) * (sent["keys"][stream] @ query * 0.5).exp()
        own = (keys[batch, head // 2, j] @ query * 0.5).exp()
        expected = (weights @ slots + own * values[batch, head // 2, j]) / (tau + own)
        torch.testing.assert_close(answers[batch, head, j], expected)


def test_large_scores_do_not_overflow() -> None:
    compressor = made(Shape(1, 1, 1, 1), delta=0, t=1, s=2)
    keys = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(1, 1, 2, 1)
    compressor.absorb(None, keys, keys)
    query = torch.full((1, 1, 1, 1), 5000.0, dtype=torch.float64)
    torch.testing.assert_close(compressor.attend(query, 0 * query, 0 * query), torch.ones_like(query))


def test_bits_of_streams_with_different_numbers_of_cells() -> None:
    shape = Shape(2, 2, 3, 5)
    compressor = made(shape, delta="1/2", t=2, s=4)
    keys = torch.zeros(1, 2, 30, 3)
    keys[0, 1] = torch.arange(30.0)[:, None]
    compressor.absorb(None, keys, torch.ones(1, 2, 30, 5))
    message = compressor.message()
    assert message["cells"].tolist() == [1, 30]
    expected = 31 * (16 * 3 * 3 + 32) + 2 * (16 * 4 * 8 + 64 + 32)
    assert wire.measure(message).readable_bits == claimed_bits(compressor) == expected
    assert expected == state_bits(31, t=2, s=4, key_dim=3, value_dim=5, scalar_bits=16, streams=2)


def test_a_loaded_state_goes_on_as_if_nothing_had_happened() -> None:
    shape = Shape(2, 2, 3, 3)
    draw = torch.Generator().manual_seed(4)
    keys, values = (torch.randn(1, 2, 60, 3, generator=draw) for _ in range(2))
    whole, half, rest = (made(shape, seed=7, delta=1, t=2, s=3) for _ in range(3))
    whole.absorb(None, keys, values)
    half.absorb(None, keys[:, :, :25], values[:, :, :25])
    rest.load(wire.decode(wire.encode(half.message())))
    rest.absorb(None, keys[:, :, 25:], values[:, :, 25:])
    assert wire.encode(rest.message()) == wire.encode(whole.message())
    other = made(shape, seed=8, delta=1, t=2, s=3)
    other.absorb(None, keys, values)
    assert wire.encode(other.message()) != wire.encode(whole.message())


def test_over_coins_the_estimates_are_right_on_the_mean() -> None:
    """2,000 streams of one input, each with coins of its own: means within five standard errors, and spread as said."""
    inputs = Inputs.uniform(64, 2, 2, queries=1, seed=1)
    keys, values = (torch.from_numpy(side).expand(2000, 1, -1, -1) for side in (inputs.keys, inputs.values))
    compressor = made(Shape(1, 1, 2, 2, 2000), delta="1/2", t=1, s=1, dtype="fp32")
    compressor.absorb(None, keys, values)
    weights = np.exp(inputs.keys @ inputs.queries[0])
    taus, products = [], []
    for cells, sample in zip(compressor.cells, compressor.samples, strict=True):
        logs, kept = cells.weighted()
        taus.append(np.exp(logs + kept @ inputs.queries[0]).sum())
        logs, kept, seen = sample.weighted()
        products.append(np.exp(logs + kept @ inputs.queries[0]) @ seen)
    y, spread = weights @ inputs.values, np.array(products).std(axis=0)
    assert abs(np.mean(taus) - weights.sum()) < 5 * np.std(taus) / 2000**0.5
    assert (np.abs(np.mean(products, axis=0) - y) < 5 * spread / 2000**0.5).all()
    assert np.var(taus) <= weights.sum() ** 2 * math.sinh(1) ** 2
    variance = (inputs.values**2).sum() * (weights**2).sum() - y @ y
    assert (spread**2).sum() == pytest.approx(variance, rel=0.2)


def test_the_theorem_on_a_small_shape() -> None:
    """Slots from the theorem: no answer among 64 queries and 4 seeds is off by more than a share of 1/100 may be."""
    assert theorem_slots(Fraction(1, 4), Fraction(1), 64) == (115, 115_200)
    assert theorem_slots(Fraction(1), Fraction(1, 2), 64) == (6906, 320_000)
    found = measure("subgen", {"delta": "1/4"}, Inputs.uniform(2048, 1, 1), epsilon=Fraction(1), coins=4)
    assert dict(found.parameters) == {"delta": "1/4", "t": "115", "s": "1800", "dtype": "bf16"}
    assert found.cells <= found.cells_at_most == 9
    assert found.state_bits == state_bits(found.cells, t=115, s=1800, key_dim=1, value_dim=1, scalar_bits=16)
    assert found.state_bits <= found.state_bits_at_most
    assert found.failures is not None
    assert found.failures <= found.failures_at_most == Fraction(1, 100)
    assert 0 < found.error <= found.error_at_most  # type: ignore[operator]
    assert found.relative_error <= found.relative_error_at_most == 1
    few = measure("subgen", {"delta": 2, "t": 1, "s": 1}, Inputs.uniform(500, 3, 4, body="cube"), coins=2)
    assert (few.error_at_most, few.failures, few.cells_at_most) == (None, None, 20)
    assert few.relative_error > found.relative_error


def test_net_is_measured_as_well() -> None:
    found = measure("net", {"tolerance": "1/4"}, Inputs.uniform(3000, 2, 4, body="cube"))
    assert found.cells <= found.cells_at_most == 1024
    assert found.state_bits <= found.state_bits_at_most < found.dense_bits
    assert 0 < found.error <= found.error_at_most <= 1 / 4  # type: ignore[operator]
    assert (found.failures, found.failures_at_most) == (0.0, 0)


@pytest.mark.parametrize(
    ("name", "parameters", "more", "says"),
    [
        ("dense", {}, {}, "dense: nothing is proved here but of subgen, net"),
        ("net", {}, {"coins": 2}, "net has neither coins nor an epsilon"),
        ("subgen", {"t": 4}, {"epsilon": Fraction(1)}, "give it, or t and s, not both"),
        ("subgen", {}, {"epsilon": Fraction(0)}, "epsilon: 0 given, above 0 is needed"),
        ("subgen", {"delta": "-1"}, {}, "delta=-1 is not legal; legal: a number from 0 to 1048576"),
        ("subgen", {"s": 0}, {}, "an integer from 1 to 1048576"),
    ],
)
def test_what_is_asked_wrongly(name: str, parameters: dict[str, Any], more: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        measure(name, parameters, Inputs.uniform(4, 2, 1, queries=2), **more)
    assert says in str(raised.value)
    with pytest.raises(UsageError, match="body: simplex given"):
        Inputs.uniform(4, 2, 1, body="simplex")


def test_in_the_game_no_flag_is_raised() -> None:
    """All sign keys in one cell; it claims bits and no error."""
    small = instance(32, kv_heads=2, value_dim=16)
    found = play(
        "subgen", small, parameters={"delta": "12", "t": "8", "s": "16"}, group=2, dtype="bfloat16", seed=3, timeout=60,
        schedule="prefill:56,step:8",
    ).to_json()  # fmt: skip
    assert (found["status"], found["flags"]) == ("NO FLAG", [])
    expected = state_bits(2, t=8, s=16, key_dim=32, value_dim=16, scalar_bits=16, streams=2)
    assert found["claimed_bits"] == found["held_bits"] == expected
    # Representatives are for streaming only: no answer reads them.
    assert found["wire_bits"] - found["live_bits"] == 2 * 32 * 16
