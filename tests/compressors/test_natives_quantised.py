"""Quantisers and factors of the field: their errors are what theory or their paper says, on inputs that would tell."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kvverify.compressors import find
from kvverify.compressors.protocol import Settings, Shape
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.compressors.lloyd_max import codebook  # noqa: E402
from kvverify.compressors.projections import gaussian, hadamard, orthogonal  # noqa: E402
from kvverify.compressors.selftest import SHAPE, stream  # noqa: E402


def fed(name: str, parameters: dict[str, Any], keys: Any, values: Any, seed: int = 0) -> Any:
    """A compressor that took this stream."""
    shape = Shape(keys.shape[1], keys.shape[1], keys.shape[3], values.shape[3], keys.shape[0])
    compressor = find(name)(Settings(name, shape, parameters, seed=seed))
    compressor.absorb(None, keys, values)
    return compressor


@pytest.mark.parametrize("tokens", [1, 31, 32, 33, 64, 95, 96, 130])
def test_kivi_keeps_in_full_what_its_schedule_says(tokens: int) -> None:
    queries, keys, values = stream(SHAPE, tokens)
    compressor = find("kivi")(Settings("kivi", SHAPE, {"group": 16, "residual": 32}))
    for step in range(tokens):
        compressor.absorb(queries, keys[:, :, step : step + 1], values[:, :, step : step + 1])
    for read, fed_in, in_full in zip(compressor.read(), (keys, values), (tokens % 32, min(tokens, 32)), strict=True):
        same = [bool((read[:, :, j] == fed_in[:, :, j]).all()) for j in range(tokens)]
        assert same == [False] * (tokens - in_full) + [True] * in_full


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_kivi_is_off_by_half_a_step_at_most_along_channels_of_keys_and_tokens_of_values(bits: int) -> None:
    _, keys, values = stream(SHAPE, 96)
    keys[..., 7] *= 100  # an outlier channel, which costs its own groups only
    read_keys, read_values = fed("kivi", {"bits": bits, "group": 16, "residual": 32}, keys, values).read()
    sides = [(read_keys, keys, 96), (read_values, values, 64)]
    for side, (read, original, tokens) in enumerate(sides):
        grouped = [part[:, :, :tokens].unflatten((2, 3)[side], (-1, 16)) for part in (read, original)]
        axis = (3, 4)[side]
        span = grouped[1].amax(axis, keepdim=True) - grouped[1].amin(axis, keepdim=True)
        rounding = 2.0**-10 * grouped[1].abs().amax(axis, keepdim=True)  # zero and scale are fp16
        assert bool(((grouped[0] - grouped[1]).abs() <= span / (2**bits - 1) / 2 + rounding).all())


@pytest.mark.parametrize("bits", range(1, 9))
def test_lloyd_max_of_a_uniform_coordinate_is_the_uniform_quantiser(bits: int) -> None:
    """In dimension 3 a coordinate is uniform on [-1, 1] (Archimedes)."""
    levels, edges = codebook(3, bits)
    middles = (torch.arange(2**bits) + 0.5) / 2 ** (bits - 1) - 1
    torch.testing.assert_close(levels, middles.double(), atol=1e-3 / 2**bits, rtol=0)
    torch.testing.assert_close(edges, (middles[1:] + middles[:-1]).double() / 2, atol=1e-3 / 2**bits, rtol=0)


@pytest.mark.parametrize(
    ("bits", "levels"),
    [(1, [0.7980]), (2, [0.4528, 1.510]), (3, [0.2451, 0.7560, 1.344, 2.152])],
)
def test_lloyd_max_in_high_dimension_is_that_of_a_gaussian(bits: int, levels: list[float]) -> None:
    """The tables of Max 1960; a coordinate in dimension 2^16 is all but normal."""
    found = codebook(1 << 16, bits)[0] * 256
    torch.testing.assert_close(found[2 ** (bits - 1) :], torch.tensor(levels).double(), atol=1e-3, rtol=0)
    assert torch.equal(found, -found.flip(0))


@pytest.mark.parametrize("make", [orthogonal, hadamard])
@pytest.mark.parametrize("dim", [1, 2, 64])
def test_rotations_keep_angles_and_depend_on_the_seed(make: Any, dim: int) -> None:
    matrix = make(dim, (1, 0))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(dim).double())
    assert dim == 1 or not torch.equal(matrix, make(dim, (2, 0)))


def test_orthogonal_matrices_are_uniform() -> None:
    """Q alone has a first entry of one sign; under Haar measure its mean is 0 and its mean square 1/dim."""
    first = torch.stack([orthogonal(4, (seed,))[0, 0] for seed in range(400)])
    assert abs(float(first.mean())) < 0.1
    assert float(first.square().mean()) == pytest.approx(1 / 4, abs=0.05)


@pytest.mark.parametrize("rotation", ["orthogonal", "hadamard"])
@pytest.mark.parametrize(("bits", "distortion"), [(1, 0.36), (2, 0.117), (3, 0.0345), (4, 0.0095)])
def test_turboquant_has_its_papers_distortion_on_every_input(rotation: str, bits: int, distortion: float) -> None:
    """Theorem 1's figures, of squared norms; unit vectors along the axes are as good as any."""
    axes = 1000 * torch.eye(128)[None, None]
    other = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    read = fed("turboquant", {"bits": bits, "rotation": rotation}, axes, other).read()
    shares = [
        (side - original).square().sum(3) / original.square().sum(3)
        for side, original in zip(read, (axes, other), strict=True)
    ]
    assert 0.9 * distortion < float(shares[1].mean()) < 1.05 * distortion
    if rotation == "orthogonal":
        assert 0.9 * distortion < float(shares[0].mean()) < 1.05 * distortion
    else:  # an axis goes to coordinates +-1/sqrt(d), which have one level: no average, yet not without bound
        assert float(shares[0].max() - shares[0].min()) < 0.01 * distortion
        assert float(shares[0].max()) < 3 * distortion


def test_turboquant_prod_is_unbiased_and_mse_is_not() -> None:
    draw = torch.Generator().manual_seed(0)
    keys = torch.nn.functional.normalize(torch.randn(1, 1, 200, 32, generator=draw), dim=3)
    products: dict[str, list[Any]] = {"mse": [], "prod": []}
    for kind, found in products.items():
        for seed in range(40):
            read = fed("turboquant", {"bits": 2, "keys": kind}, keys, keys, seed).read()[0]
            found.append((read * keys).sum(3).mean())
    means = {kind: float(torch.stack(found).mean()) for kind, found in products.items()}
    assert means["prod"] == pytest.approx(1, abs=0.01)
    assert means["mse"] == pytest.approx(1 - 0.11, abs=0.02)


def test_qjl_scores_are_unbiased_with_the_variance_of_its_paper() -> None:
    """Over S: mean <q, k>, variance (pi/2 |q|^2 |k|^2 - <q, k>^2) / m, as a sign's square is 1; values at levels."""
    draw = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize
    keys, queries = 3 * torch.randn(1, 1, 50, 16, generator=draw), torch.randn(1, 1, 50, 16, generator=draw)
    errors = []
    for seed in range(60):
        read, values = fed("qjl", {"sketch": 64, "value_bits": 8, "group": 16}, keys, queries, seed).read()
        errors.append(((read - keys) * unit(queries, dim=3)).sum(3) / keys.norm(dim=3))
        torch.testing.assert_close(values, queries, atol=0.02, rtol=0)
    found = torch.stack(errors)
    variance = (math.pi / 2 - (unit(keys, dim=3) * unit(queries, dim=3)).sum(3).square().mean()) / 64
    assert abs(float(found.mean())) < 4 * math.sqrt(variance / 60)  # keys of one seed share S
    assert float(found.square().mean()) == pytest.approx(float(variance), rel=0.1)


def test_a_wider_sketch_is_better() -> None:
    _, keys, values = stream(SHAPE, 64)
    errors = [(fed("qjl", {"sketch": m}, keys, values).read()[0] - keys).square().mean() for m in (64, 1024, 16384)]
    assert errors[0] > 8 * errors[1] > 64 * errors[2]


def test_low_rank_is_exact_at_the_rank_and_optimal_below() -> None:
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(1, 2, 100, 5, generator=draw), torch.randn(1, 2, 5, 32, generator=draw)
    keys, values = left @ right, torch.randn(1, 2, 100, 24, generator=draw)
    compressor = fed("low-rank", {"rank": 5, "block": 50}, keys, values)
    read_keys, read_values = compressor.read()
    assert float((read_keys - keys).norm() / keys.norm()) < 2.0**-7  # factors are bf16
    for block in (slice(0, 50), slice(50, 100)):
        for head in (0, 1):
            best = torch.linalg.svdvals(values[0, head, block])[5:].square().sum().sqrt()
            found = (read_values - values)[0, head, block].norm()
            assert best * 0.9999 <= found <= best * 1.001


@pytest.mark.parametrize(("kind", "digits"), [("e4m3", 3), ("e5m2", 2)])
@pytest.mark.parametrize("scale", ["per-token", "none"])
def test_fp8_is_off_by_half_a_unit_of_its_mantissa(kind: str, digits: int, scale: str) -> None:
    _, keys, values = stream(SHAPE, 64)
    for read, side in zip(
        fed("fp8", {"format": kind, "scale": scale}, keys, values).read(), (keys, values), strict=True
    ):
        smallest = side.abs().amax(3, keepdim=True) * 2.0**-12 if scale == "per-token" else 2.0**-6
        normal = side.abs() >= smallest
        relative = ((read - side) / side).abs()[normal]
        assert 2.0 ** -(digits + 2) < float(relative.max()) <= 2.0 ** -(digits + 1) * (1 + 2.0**-6)


def test_fp8_saturates_without_a_scale_and_reaches_everything_with_one() -> None:
    huge = torch.full((1, 1, 1, 4), 1e6)
    assert fed("fp8", {"scale": "none"}, huge, -huge).read()[0].unique().tolist() == [448.0]
    assert fed("fp8", {"scale": "none", "format": "e5m2"}, huge, -huge).read()[1].unique().tolist() == [-57344.0]
    torch.testing.assert_close(fed("fp8", {}, huge, -huge).read()[0], huge, rtol=0.01, atol=0)


def test_projections_are_gaussian_and_public() -> None:
    matrix = gaussian(400, 100, (7,))
    assert torch.equal(matrix, gaussian.__wrapped__(400, 100, (7,)))
    assert abs(float(matrix.mean())) < 0.02
    assert float(matrix.var()) == pytest.approx(1, abs=0.03)
