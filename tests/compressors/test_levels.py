"""Compressors with a guarantee: packed to the certified bit, and held to it by random and by adversarial inputs."""

from __future__ import annotations

import runpy
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape, claimed_bits
from kvverify.errors import UsageError
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.levels import Packing  # noqa: E402

ATTACK = runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "attack_ceiling.py"))
SMALL: dict[str, Any] = {"max_logit": "8", "tolerance": "1/16", "failure": "1/10"}


def made(name: str, shape: Shape, parameters: dict[str, Any], seed: int = 0) -> Any:
    return find(name)(Settings(name, shape, parameters, seed=seed))


@pytest.mark.parametrize("name", ["midpoint", "dithered"])
@pytest.mark.parametrize("shape", [Shape(1, 1, 128, 128), Shape(2, 2, 5, 3), Shape(1, 1, 1, 1, batch=3)])
def test_the_wire_carries_the_certified_bits(name: str, shape: Shape) -> None:
    """Beside them a fixed part: the header, in which only the numbers' digits grow, and bits up to a whole byte."""
    fixed = []
    for tokens in (1, 2, 9, 70):
        compressor = made(name, shape, {})
        draw = torch.Generator().manual_seed(tokens)
        keys, values = (
            torch.rand(shape.batch, shape.kv_heads, tokens, dim, generator=draw) * 2 - 1
            for dim in (shape.key_dim, shape.value_dim)
        )
        compressor.absorb(None, keys, values)
        certified = tokens * shape.batch * shape.kv_heads * compressor.ceiling.bits
        data = wire.encode(compressor.message())
        assert certified <= claimed_bits(compressor) < certified + 8  # type: ignore[operator]
        assert wire.measure(compressor.message()).readable_bits == claimed_bits(compressor)
        assert sum(wire.blob_bits(data)) == claimed_bits(compressor)
        fixed.append(wire.header_bits(data))
    assert max(fixed) - min(fixed) <= 8 * 8
    assert max(fixed) <= 1024


@pytest.mark.parametrize("name", ["midpoint", "dithered"])
def test_corners_of_the_body_are_kept_within_half_a_cell(name: str) -> None:
    """Also where a value lies at the end of its range, whatever the coins are."""
    shape = Shape(1, 1, 3, 2)
    draw = np.random.default_rng(0)
    for seed in range(20):
        both = torch.from_numpy(draw.choice([-1.0, -0.0, 1.0, 0.999999, 2**-60], size=(1, 1, 50, 5)))
        compressor = made(name, shape, SMALL, seed)
        compressor.absorb(None, both[..., :3], both[..., 3:])
        for seen, given, levels in zip(
            compressor.read(), both.split([3, 2], 3), (compressor.ceiling.key_levels, compressor.ceiling.value_levels),
            strict=True,
        ):  # fmt: skip
            cells = levels if name == "midpoint" else levels - 1
            assert float((seen - given).abs().max()) <= 1 / cells + 1e-12


def test_dither_is_uniform_and_knows_nothing_of_the_input() -> None:
    """The error of a fixed input over coins: mean 0, variance of a uniform law, other coins for every coordinate."""
    shape = Shape(2, 2, 4, 4)
    keys = torch.full((1, 2, 64, 4), 0.3)
    rows = []
    for seed in range(16):
        compressor = made("dithered", shape, SMALL, seed)
        compressor.absorb(None, keys, keys)
        half = 1 / (compressor.ceiling.key_levels - 1)
        rows.append(((compressor.read()[0] - keys.double()) / half).numpy().ravel())
    errors = np.stack(rows)
    assert np.abs(errors).max() <= 1 + 1e-9
    assert abs(errors.mean()) < 0.03
    assert errors.var() == pytest.approx(1 / 3, rel=0.05)
    assert len({*errors.ravel().round(9)}) > 0.99 * errors.size
    assert abs(np.corrcoef(rows[0], rows[1])[0, 1]) < 0.2


@pytest.mark.parametrize("radices", [[3] * 100, [2], [1, 1, 5], [2**31, 3, 2**31, 2**31], [1000, 7] * 20])
def test_packing_is_a_bijection(radices: list[int]) -> None:
    words = 1
    for radix in radices:
        words *= radix
    packing = Packing.of(radices, (words - 1).bit_length())
    draw = np.random.default_rng(1)
    digits = np.stack([draw.integers(0, radix, 50) for radix in radices], axis=1)
    digits[0], digits[1] = 0, np.array(radices) - 1
    bits = packing.pack(digits)
    assert bits.shape == (50, packing.bits)
    assert np.array_equal(packing.unpack(bits), digits)


@pytest.mark.parametrize(("tokens", "dim", "steps"), [(2, 2, 12), (8, 4, 10), (64, 16, 3)])
def test_no_input_found_by_ascent_makes_midpoints_err_by_more(tokens: int, dim: int, steps: int) -> None:
    """And the search comes near: the bound is no idle one."""
    begin = ATTACK["starts"](32, tokens, dim, 8, seed=1)
    worst, _ = ATTACK["ascend"]("midpoint", SMALL, begin, 8, steps)
    assert worst <= (1 + 1e-9) / 16
    assert tokens > 8 or worst > 0.9 / 16


def test_no_input_found_by_ascent_makes_dither_fail_more_often() -> None:
    begin = ATTACK["starts"](24, 3, 2, 8, seed=1)
    _, inputs = ATTACK["ascend"]("dithered", SMALL, begin, 8, 6)
    balanced = ATTACK["starts"](24, 2, 2, 8, seed=2)
    balanced.keys.fill_(1)
    balanced.values[:, :, 0], balanced.values[:, :, 1] = 1, -1
    balanced.query[..., 0], balanced.query[..., 1] = 8, 0
    balanced.own_key.fill_(-1)
    shares = [ATTACK["failures"](SMALL, each, range(300)) for each in (inputs, balanced)]
    assert max(shares) <= 0.1 + 5 * (0.09 / 300) ** 0.5
    assert shares[1] > 0.01  # two tokens of opposite values are a hard input


def test_settings_are_numbers_of_the_class() -> None:
    shape = Shape(1, 1, 2, 2)
    for parameters, message in (
        ({"tolerance": "0"}, "tolerance=0 is not legal; legal: a number from 1/1048576 to 99/100"),
        ({"max_logit": "5000"}, "a number from 1/1024 to 4096"),
        ({"failure": "1"}, "a number from 0 to 99/100"),
        ({"failure": "often"}, "failure: 'often' is no number"),
        ({"body": "sphere"}, "cube | ball"),
    ):
        with pytest.raises(UsageError) as raised:
            made("midpoint", shape, parameters)
        assert message in str(raised.value)
    with pytest.raises(UsageError, match="dithered: without coins that may fail"):
        made("dithered", shape, {"failure": "0"})
    assert made("midpoint", shape, {"failure": "0", "tolerance": "2^-5"}).options["tolerance"] == str(Fraction(1, 32))
