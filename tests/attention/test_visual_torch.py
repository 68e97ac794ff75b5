"""The pyramid in torch agrees with the exact one, and with torch's own interpolation where that has the kernel."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from kvverify.attention import visual
from kvverify.attention.visual import Scale
from kvverify.errors import UsageError
from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.attention.visual_torch import interpolate, pyramid  # noqa: E402

torch.set_num_threads(1)

PAIRS = [((1, 1), (4, 4)), ((5, 5), (6, 6)), ((6, 6), (8, 8)), ((2, 3), (4, 5)), ((3, 2), (3, 7)), ((10, 13), (13, 16))]
MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


def images(height: int, width: int) -> Any:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return torch.randint(-64, 65, (2, height, width, 3), generator=generator).double()


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("kernel", visual.KERNELS)
def test_agrees_with_the_exact_interpolation(source: tuple[int, int], target: tuple[int, int], kernel: str) -> None:
    given = images(*source)
    found = interpolate(given, Scale(*target), kernel)
    assert found.shape == (2, *target, 3)
    exact = [[[Fraction(int(x)) for x in token] for token in row] for row in given[0]]
    wanted = torch.tensor(
        [[[float(x) for x in token] for token in row] for row in visual.interpolate(exact, Scale(*target), kernel)],
        dtype=torch.float64,
    )
    assert torch.allclose(found[0], wanted, rtol=0, atol=1e-12 * 64)


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("kernel", MODES)
def test_agrees_with_torch(source: tuple[int, int], target: tuple[int, int], kernel: str) -> None:
    given = images(*source)
    options = {} if kernel == "nearest" else {"align_corners": False}
    planes = torch.nn.functional.interpolate(given.movedim(3, 1), size=target, mode=MODES[kernel], **options)
    assert torch.allclose(interpolate(given, Scale(*target), kernel), planes.movedim(1, 3), rtol=0, atol=1e-3)


def test_torchs_nearest_is_another_convention_unless_the_ratio_is_whole() -> None:
    differs = {}
    for source, target in ((5, 6), (4, 8)):
        given = images(1, source)
        other = torch.nn.functional.interpolate(given.movedim(3, 1), size=(1, target), mode="nearest").movedim(1, 3)
        differs[source, target] = not torch.equal(interpolate(given, Scale(1, target), "nearest"), other)
    assert differs == {(5, 6): True, (4, 8): False}


def test_torchs_cubic_is_that_of_keys_with_minus_three_quarters() -> None:
    given = images(8, 8)
    planes = torch.nn.functional.interpolate(given.movedim(3, 1), size=(16, 16), mode="bicubic", align_corners=False)
    off = {
        kernel: float((interpolate(given, Scale(16, 16), kernel) - planes.movedim(1, 3)).abs().max())
        for kernel in ("bicubic", "catmull-rom")
    }
    assert off["bicubic"] < 1e-9
    assert off["catmull-rom"] > 1


def test_the_pyramid_is_the_exact_one() -> None:
    scales = visual.parse_scales("1x2,2x3,5x6,6x8")
    free = [images(scale.height, scale.width) for scale in (scales[0], *scales[:-1])]
    found = torch.cat(pyramid(free, scales, "bicubic"), dim=1)
    exact = [[[[Fraction(int(x)) for x in token] for token in row] for row in image[0]] for image in free]
    wanted = [[float(x) for x in token] for token in visual.pyramid(exact, scales, "bicubic")]
    assert torch.allclose(found[0], torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-10)
    with pytest.raises(UsageError, match="expected 1x2, 1x2, 2x3"):
        pyramid(free[1:], scales[:-1], "bicubic")
