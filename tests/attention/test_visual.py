"""The pyramid of token maps: sizes, what is free, the exact interpolation; every formula against a slow other way."""

from __future__ import annotations

from fractions import Fraction

import pytest

from kvverify.attention import visual
from kvverify.attention.visual import VAR_SCALES, Scale
from kvverify.errors import UsageError

SIDES = [(1, 1), (1, 4), (2, 3), (2, 4), (3, 7), (5, 6), (6, 8), (8, 10), (10, 13), (13, 16)]


def test_the_published_scales_have_680_tokens_of_which_424_come_before_the_last_scale() -> None:
    assert visual.tokens(VAR_SCALES) == 680
    assert [visual.tokens_before(VAR_SCALES, i) for i in range(10)] == [0, 1, 5, 14, 30, 55, 91, 155, 255, 424]
    assert visual.tokens_at(VAR_SCALES, "between-steps") == 424
    assert visual.tokens_at(VAR_SCALES, "all-keys") == 680
    assert visual.parse_scales("var") == VAR_SCALES == visual.parse_scales("1,2,3,4,5,6,8,10,13,16")


@pytest.mark.parametrize("kernel", visual.KERNELS)
def test_each_map_of_the_published_pyramid_has_one_free_token_for_each_token_of_the_scale_before(kernel: str) -> None:
    steps = visual.growth(VAR_SCALES, kernel)
    assert [step.free for step in steps] == [1] + [scale.tokens for scale in VAR_SCALES[:-1]]
    assert visual.free_tokens(VAR_SCALES, "between-steps", kernel) == 256
    assert visual.free_tokens(VAR_SCALES, "all-keys", kernel) == 425
    assert [step.after - step.before for step in steps] == [scale.tokens for scale in VAR_SCALES]


def test_tokens_of_a_ratio_a_pyramid_are_counted_by_the_geometric_sum() -> None:
    scales = visual.doubling(64)
    assert visual.tokens_before(scales, 6) == (64**2 - 1) // (2**2 - 1) == 1365


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no scales given"),
        ("1,2,2", "scale 2 repeats"),
        ("1,4,2", "scale 2 after 4 shrinks"),
        ("2x4,4x3", "scale 4x3 after 2x4 shrinks"),
        ("0,1", "at least one row"),
        ("1,two", "'two' is no size"),
        ("1,2x3x4", "'2x3x4' is no size"),
        ("1,-2", "'-2' is no size"),
        ("1,2000", "tokens in all"),
    ],
)
def test_bad_scales_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        visual.parse_scales(text)
    assert "\n" not in str(raised.value)


def test_scales_need_not_be_square_and_one_side_may_stay() -> None:
    assert visual.parse_scales("2x3, 2x6,4x6") == (Scale(2, 3), Scale(2, 6), Scale(4, 6))
    assert [str(scale) for scale in visual.parse_scales("2x3,4,5x5")[:1]] == ["2x3"]


def test_a_doubling_pyramid_ends_at_a_power_of_two() -> None:
    with pytest.raises(UsageError, match="power of two"):
        visual.doubling(12)


def slow_weight(kernel: str, x: Fraction) -> Fraction:
    """Keys' kernel and the hat from their definitions."""
    x = abs(x)
    if kernel == "bilinear":
        return 1 - x if x < 1 else Fraction(0)
    a = {"bicubic": Fraction(-3, 4), "catmull-rom": Fraction(-1, 2)}[kernel]
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else Fraction(0)


@pytest.mark.parametrize(("source", "target"), SIDES)
def test_weights_along_an_axis_are_the_kernel_at_half_pixel_centres_with_borders_clamped(
    source: int, target: int
) -> None:
    for kernel in ("bilinear", "bicubic", "catmull-rom"):
        for i, row in enumerate(visual.axis(source, target, kernel)):
            place = (Fraction(2 * i + 1, 2)) * source / target - Fraction(1, 2)
            wanted = [Fraction(0)] * source
            for index in range(-4, source + 4):
                wanted[min(max(index, 0), source - 1)] += slow_weight(kernel, place - index)
            assert [row.get(index, Fraction(0)) for index in range(source)] == wanted
            assert sum(wanted) == 1
    for i, row in enumerate(visual.axis(source, target, "nearest")):
        (index,) = row
        place = Fraction(2 * i + 1, 2) * source / target
        assert index <= place < index + 1
        assert row[index] == 1


def test_catmull_rom_gives_back_straight_lines_and_torchs_cubic_does_not() -> None:
    line = [[[Fraction(i)] for i in range(8)]]
    for kernel, straight in (("catmull-rom", True), ("bilinear", True), ("bicubic", False)):
        found = visual.interpolate(line, Scale(1, 16), kernel)[0]
        wanted = [[Fraction(2 * i + 1, 4) - Fraction(1, 2)] for i in range(16)]
        assert (found[4:12] == wanted[4:12]) is straight


def test_reflected_borders_mirror_about_the_border_token() -> None:
    (first, *_) = visual.axis(4, 8, "bilinear", "reflect")  # at x = -1/4: indices -1 and 0
    assert first == {1: Fraction(1, 4), 0: Fraction(3, 4)}
    last = visual.axis(4, 8, "bilinear", "reflect")[-1]
    assert last == {2: Fraction(1, 4), 3: Fraction(3, 4)}


@pytest.mark.parametrize(
    ("source", "kernel", "edge"),
    [(1, "bilinear", "reflect"), (2, "bicubic", "reflect"), (5, "bilinear", "none"), (5, "bicubic", "none")],
)
def test_an_edge_rule_without_a_value_is_refused_in_one_line(source: int, kernel: str, edge: str) -> None:
    with pytest.raises(UsageError, match=f"the edge rule '{edge}' gives index .* no value"):
        visual.axis(source, 6, kernel, edge)


def test_the_rule_without_values_outside_is_enough_for_nearest_tokens() -> None:
    for source, target in SIDES:
        assert visual.axis(source, target, "nearest", "none") == visual.axis(source, target, "nearest", "clamp")


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown cut 'lanczos'"):
        visual.tokens_at(VAR_SCALES, "lanczos")
    with pytest.raises(UsageError, match="unknown kernel 'lanczos'"):
        visual.axis(2, 4, "lanczos")
    with pytest.raises(UsageError, match="unknown edge rule 'wrap'"):
        visual.axis(2, 4, "nearest", "wrap")


def dense_rank(rows: tuple[visual.Row, ...], columns: int) -> int:
    """By plain elimination of the whole matrix."""
    matrix = [[row.get(index, Fraction(0)) for index in range(columns)] for row in rows]
    found = 0
    for column in range(columns):
        pivot = next((i for i in range(found, len(matrix)) if matrix[i][column]), None)
        if pivot is None:
            continue
        matrix[found], matrix[pivot] = matrix[pivot], matrix[found]
        for i in range(found + 1, len(matrix)):
            factor = matrix[i][column] / matrix[found][column]
            matrix[i] = [x - factor * y for x, y in zip(matrix[i], matrix[found], strict=True)]
        found += 1
    return found


@pytest.mark.parametrize("kernel", visual.KERNELS)
def test_the_rank_is_that_of_the_whole_matrix(kernel: str) -> None:
    for source, target in [(Scale(2, 3), Scale(3, 5)), (Scale(1, 1), Scale(3, 3)), (Scale(2, 2), Scale(2, 4))]:
        rows = visual.weights(source, target, kernel)
        assert len(rows) == target.tokens
        assert visual.rank(source, target, kernel) == dense_rank(rows, source.tokens)


def test_the_rank_can_be_smaller_than_the_map() -> None:
    """Two target tokens at most, from three: a side that shrinks, which no pyramid has."""
    assert visual.rank(Scale(1, 3), Scale(1, 2), "bilinear") == 2


def test_a_pyramid_is_its_maps_token_by_token() -> None:
    scales = visual.parse_scales("1x2,2x3,3x5")
    free = [
        [[[Fraction(i * 7 + j * 3 + c - 5) for c in range(2)] for j in range(scale.width)] for i in range(scale.height)]
        for scale in (scales[0], *scales[:-1])
    ]
    found = visual.pyramid(free, scales, "bicubic")
    assert len(found) == visual.tokens(scales)
    assert found[:2] == [token for row in free[0] for token in row]
    rows = visual.weights(scales[1], scales[2], "bicubic")
    flat = [token for row in free[2] for token in row]
    for i, row in enumerate(rows):
        wanted = [sum((w * flat[index][c] for index, w in row.items()), Fraction(0)) for c in range(2)]
        assert found[visual.tokens_before(scales, 2) + i] == wanted


def test_free_maps_of_other_sizes_are_refused() -> None:
    one = [[[Fraction(0)]]]
    with pytest.raises(UsageError, match="expected 1, 1"):
        visual.pyramid([one], visual.parse_scales("1,2"), "nearest")
    with pytest.raises(UsageError, match="rows of one length"):
        visual.interpolate([[[Fraction(0)]], []], Scale(2, 2), "nearest")
    with pytest.raises(UsageError, match="one number of channels"):
        visual.interpolate([[[Fraction(0)], []]], Scale(2, 2), "nearest")
