"""Secret amplitudes against the attention that they are about: softmax over whole keys, laws, real compressors."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import ceil, log2
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kvverify.kernel import document
from kvverify.kernel.check import Result, Verdict, check
from tests.kernel.amplitude_controls import Numbers, proof
from tests.kernel.amplitude_shape import Shape, draws, grid
from tests.kernel.apply import accepts, apply
from tests.kernel.controls import Node, explicit, keys, union
from tests.kernel.families import Wrong, counted, distances, family

ONE, TWO, THREE = ("0",), ("00", "11"), ("011", "101", "110")


SHAPES = [
    Shape(ONE, 2.0, 1.0, 0.5),
    Shape(ONE, 1.0, 3.0, 0.9, beta=2.0, pads=2),
    Shape(("000",), 1.5, 4.0, 0.25, beta=1.3),
    Shape(("0", "1"), 2.0, 2.0, 0.5, beta=1.5),
    Shape(TWO, 2.0, 3.0, 0.5, pads=1),
    Shape(("00", "01", "10", "11"), 3.0, 2.0, 0.25, beta=1.2, pads=3),
    Shape(THREE, 1.0, 2.0, 0.75, beta=1.1),
]


# Answers


@pytest.mark.parametrize("shape", SHAPES)
def test_an_amplitude_read_is_the_weight_among_others_that_are_nearly_known(shape: Shape) -> None:
    r, y = draws(shape, 40)
    x, a = shape.masses(r)
    mass = x + a.sum(axis=3) + shape.pad_mass
    np.testing.assert_allclose(shape.answers(r, y), (mass - shape.beta) / (mass + shape.beta), atol=1e-13)
    assert (shape.answers(r, y) == shape.answers(r, -y)).all()
    assert (x <= np.exp(shape.reach) * (1 + 1e-12)).all()
    assert (x >= np.exp(-shape.reach) * (1 - 1e-12)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_reads_given_the_amplitudes(shape: Shape) -> None:
    """Weights of value reads are K over the row's mass; the marker of a key read is (X - 1)/(X + 1)."""
    r, y = draws(shape, 20, 2)
    c, tilt, size = shape.scale, 1.7, len(shape.words)
    cached = shape.keys(r, y)
    distance = distances((shape.code < 0).astype(np.int64))
    scores = c * np.einsum("im,slm->sil", shape.code, shape.code * (1 - r))
    diagonal = np.exp(np.einsum("sii->si", scores))
    relative, columns = np.exp(scores) / diagonal[:, :, None], np.exp(scores) / diagonal[:, None, :]
    np.testing.assert_allclose(np.linalg.det(relative), np.linalg.det(columns), rtol=1e-9)
    assert (columns <= np.exp(-2 * c * (1 - shape.width) * distance) * (1 + 1e-12)).all()
    for i in range(size):
        plain = np.concatenate([c * shape.code[i], [0, 0]])
        weights = np.exp(cached @ plain)
        total = weights.sum(axis=1) + np.exp(-c * shape.length)
        row = np.exp(scores[:, i]) / total[:, None]
        np.testing.assert_allclose(weights[:, :size] / total[:, None], row, rtol=1e-12)
        rest = (shape.pads + np.exp(-c * shape.length)) / diagonal[:, i]
        np.testing.assert_allclose(row[:, i] * (relative[:, i].sum(axis=1) + rest), 1, rtol=1e-12)
        query = np.concatenate([c * shape.code[i], [tilt, 0]])
        weights = np.exp(cached @ query)
        own = np.exp((shape.code[i] * (1 - r[:, i])) @ (c * shape.code[i]))
        mass = np.einsum("sl,sl->s", relative[:, i], np.exp(tilt * y[:, :, 0])) + shape.pads / diagonal[:, i]
        answer = (weights.sum(axis=1) - own) / (weights.sum(axis=1) + own)
        np.testing.assert_allclose(answer, (mass - 1) / (mass + 1), atol=1e-13)


# Laws


@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s.words) > 1 and s.length < 3])
def test_means_of_weights_given_the_amplitudes(shape: Shape) -> None:
    """E A_il and E 1/K_ii by quadrature over both keys: at most the mean scale's weights times the spread."""
    c, w, length = shape.scale, shape.width, shape.length
    r, mass = grid(shape, 12, 2 * length)
    pair = r.reshape(-1, 2, length)
    spread, half = np.exp(length * (c * w) ** 2 / 12), c * w / 2
    one = (np.sinh(half) / half) ** length
    code = shape.code
    for k in range(1, len(code)):
        relative = np.exp(c * ((code[0] * code[k]) @ (1 - pair[:, 1]).T - (1 - pair[:, 0]).sum(axis=1)))
        decay = np.exp(-2 * c * (1 - w / 2) * (code[0] != code[k]).sum())
        assert mass @ relative == pytest.approx(decay * one**2, rel=1e-9)
        assert mass @ relative <= decay * spread
    inverse = mass @ np.exp(-c * (1 - pair[:, 0]).sum(axis=1))
    middle = np.exp(-c * length * (1 - w / 2))
    assert inverse == pytest.approx(middle * one, rel=1e-9)
    assert inverse <= middle * spread
    assert np.exp(-c * length) * inverse <= middle**2 * spread  # the asker's own


@pytest.mark.parametrize("shape", [s for s in SHAPES if s.length < 3])
def test_moments_of_an_amplitude_read(shape: Shape) -> None:
    r, mass = grid(shape, 24, shape.length)
    every = np.repeat(r[:, None, :], len(shape.words), axis=1)  # tokens alike: each law by itself
    x, a = shape.masses(every)
    assert np.einsum("s,sim->im", mass, np.log(x)) == pytest.approx(0, abs=1e-12)
    assert (np.einsum("s,sim->im", mass, x) <= np.exp(shape.kappa)).all()
    distance = distances((shape.code < 0).astype(np.int64))
    decay = np.exp(-2 * shape.scale * (1 - shape.width / 2) * distance)[:, None, :]
    mean = np.einsum("s,simk->imk", mass, a)
    variance = np.einsum("s,simk->imk", mass, a**2) - mean**2
    assert (mean <= decay * np.exp(shape.kappa)).all()
    assert (variance <= decay**2 * np.expm1(4 * shape.kappa)).all()
    assert (a <= decay * np.exp(shape.reach) * (1 + 1e-12)).all()


@pytest.mark.parametrize("share", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s.words) > 1])
def test_others_mass_is_near_its_mean(shape: Shape, share: float) -> None:
    """Tails of N by drawing against Bernstein's bound with the proof's variance and largest mass."""
    random = np.random.default_rng(11)
    r = random.uniform(0, shape.width, (100_000, len(shape.words), shape.length))
    _, a = shape.masses(r)
    crowd = a.sum(axis=3)
    distance = distances((shape.code < 0).astype(np.int64))
    z = np.exp(-2 * shape.scale * (1 - shape.width / 2))
    squares = max(sum(z ** (2 * d) for d in row if d) for row in distance)
    variance = squares * np.expm1(4 * shape.kappa)
    largest = z ** distance[distance > 0].min() * np.exp(shape.reach)
    slack = share * np.sqrt(variance)
    missed = 2 * np.exp(-(slack**2) / (2 * variance + largest * slack * 2 / 3))
    seen = (abs(crowd - crowd.mean(axis=0)) >= slack).mean(axis=0)
    assert (seen <= missed + 4 * np.sqrt(missed / len(r)) + 1e-4).all()
    moved = 2 * shape.beta * slack / (np.exp(-shape.reach) + shape.beta) ** 2
    exact = shape.answers(r[:2000], np.zeros((2000, len(shape.words), 0)))
    x = shape.masses(r[:2000])[0] + crowd.mean(axis=0) + shape.pad_mass
    off = abs(exact - (x - shape.beta) / (x + shape.beta))
    assert (off[abs(crowd[:2000] - crowd.mean(axis=0)) < slack] <= moved).all()


def test_the_mean_determinant() -> None:
    """log2 |det W| of value reads over drawn amplitudes: each determinant, and the mean, against the stated leaks."""
    shape = Shape(tuple(f"{word:03b}" for word in range(8)), 4.0, 1.0, 0.3, pads=2)
    c, w, size = shape.scale, shape.width, len(shape.words)
    off, squares = (sum(n * np.exp(-k * c * (1 - w) * d) for d, n in ((1, 3), (2, 3), (3, 1))) for k in (2, 4))
    loss = squares * (-off - np.log1p(-off)) / off**2 / np.log(2)
    middle = 2 * c * (1 - w / 2)
    mean_off = sum(n * np.exp(-middle * d) for d, n in ((1, 3), (2, 3), (3, 1)))
    rest = np.exp(-middle * 3) + 2 * np.exp(-middle * 1.5)
    bound = -np.log2(1 + (mean_off + rest) * np.exp(3 * (c * w) ** 2 / 12)) - loss
    r = np.random.default_rng(3).uniform(0, w, (4000, size, 3))
    scores = c * np.einsum("im,slm->sil", shape.code, shape.code * (1 - r))
    kernel = np.exp(scores)
    diagonal = np.log2(np.einsum("sii->si", kernel)).sum(axis=1)
    determinant = np.log2(abs(np.linalg.det(kernel)))
    assert ((determinant - diagonal) / size >= -loss).all()
    total = np.log2(kernel.sum(axis=2) + shape.pads + np.exp(-3 * c)).sum(axis=1)
    mean = (determinant - total).mean() / size
    assert bound <= mean <= bound + 0.05


def test_the_mean_crowd_of_a_key_read() -> None:
    """E log2 (1 + X)/(1 + u) over drawn amplitudes and payloads, X from the marker's answers: near Jensen's bound."""
    shape, tilt, half = Shape(("00", "01", "10", "11"), 2.0, 1.0, 0.4, pads=1), 2.5, 0.8
    random, c, w = np.random.default_rng(9), shape.scale, shape.width
    r = random.uniform(0, w, (20_000, 4, 2))
    v = random.uniform(-half, half, (20_000, 4, 1))
    u = (1 + v) / (1 - v)
    answers = shape.key_answers(r, np.log(u) / tilt, c, tilt)
    found = np.log2((1 + (1 + answers) / (1 - answers)) / (1 + u)).mean()
    z = np.exp(-2 * c * (1 - w / 2))
    mass = np.exp(2 * (c * w) ** 2 / 12) * ((2 * z + z**2) * (2 * np.arctanh(half) / half - 1) + z)
    assert 0.9 * log2(1 + mass / 2) <= found <= log2(1 + mass / 2)


# Entropy


@pytest.mark.parametrize("crowd", [0.0, 0.3])
@pytest.mark.parametrize(("length", "width"), [(1, 0.5), (1, 0.05), (2, 0.3), (2, 0.05), (3, 0.4), (3, 0.05)])
def test_the_entropy_of_noiseless_answers(length: int, width: float, crowd: float) -> None:
    """h of (Q_1 .. Q_L) by quadrature, its Jacobian by differences of softmax, is above the bound and near it.

    ``crowd``: a constant mass beside the target, here of pads.
    """
    pads = 0 if not crowd else 2
    shape = Shape(("0" * length,), 1.5, 2.0, width, beta=1.01, pads=pads)
    r, mass = grid(shape, 16, length)
    step = 1e-6 * width

    def answers(point: np.ndarray) -> np.ndarray:
        return shape.answers(np.clip(point, 0, width)[:, None, :], np.zeros((len(point), 1, 0)))[:, 0]

    columns = [(answers(r + d) - answers(r - d)) / (2 * step) for d in np.eye(length) * step]
    jacobian = abs(np.linalg.det(np.stack(columns, axis=2)))
    entropy = length * log2(width) + float(mass @ np.log2(jacobian))
    read = log2(width * shape.strength * shape.beta) + 1
    read -= 2 * log2(np.exp(shape.kappa) + shape.pad_mass + shape.beta)
    bound = length * read + log2(1 + shape.scale * length / shape.strength)
    assert bound <= entropy + 1e-6
    assert entropy <= bound + length * 2.5 * shape.kappa + 1e-6


# Compressors that exist


def proved(
    words: tuple[str, ...], chosen: Numbers, rho: int, eps: Fraction, failure: Fraction, pads: int = 0
) -> float:  # fmt: skip
    """Bits that the kernel grants for amplitudes alone, and no more."""
    return granted(
        union([], list(words)), chosen, len(words), tokens=len(words) + pads, max_logit=rho, tolerance=eps,
        failure=failure, value_dim=1,
    )  # fmt: skip


def granted(code: Node, chosen: Numbers, payload: int, **changes: object) -> float:
    """Bits that the kernel grants, to 2^-31; Wrong where there are none to be had."""
    problem, steps = proof(code, chosen, payload, **changes)
    bits = Fraction(steps[-1]["gives"]["bits_at_least"])
    assert judged(problem, steps, bits).verdict is Verdict.VALID
    result = judged(problem, steps, bits + Fraction(1, 1 << 31))
    assert (result.verdict, result.step) == (Verdict.INVALID, "bits")
    return float(bits)


def judged(problem: Node, steps: list[Node], bits: Fraction) -> Result:
    last = {**steps[-1], "gives": {"bits_at_least": str(bits)}}
    return check(document.build(problem, [*steps[:-1], last]))


def numbers(width: object, strength: object, reference: object, slack: object) -> Numbers:
    w, s, beta, noise = (Fraction(str(x)) for x in (width, strength, reference, slack))
    return Numbers(w, s, beta, noise)


def shape_of(words: tuple[str, ...], chosen: Numbers, rho: int, pads: int = 0) -> Shape:
    scale = float((rho - chosen.strength) / len(words[0]))
    return Shape(words, scale, float(chosen.strength), float(chosen.width), float(chosen.reference), pads)


BOXED = [
    (ONE, numbers("1/16", 1, "8/5", "1/1000000000"), 16, 0),
    (ONE, numbers("1/8", 2, "3/2", "1/1000000"), 20, 2),
    (("01",), numbers("1/8", 8, "3/2", "1/100000"), 24, 0),
    (("0", "1"), numbers("1/4", 2, "8/5", "1/1000"), 10, 0),
    (("0", "1"), numbers("1/8", 2, "5/4", "1/250"), 6, 0),
]


@pytest.mark.parametrize("eps", [Fraction(1, 50), Fraction(1, 200)])
@pytest.mark.parametrize(("words", "chosen", "rho", "pads"), BOXED)
def test_no_more_bits_than_boxes_that_cover_all_answers(
    words: tuple[str, ...], chosen: Numbers, rho: int, pads: int, eps: Fraction
) -> None:
    """A state for every box of side 2 eps that the one or two answers can reach never errs.

    Answers are monotone in each amplitude, so a cell's corners bound it.
    """
    shape = shape_of(words, chosen, rho, pads)
    size = len(words) * shape.length
    parts = 4000 if size == 1 else 300
    ends = np.stack(np.meshgrid(*[np.linspace(0, shape.width, parts + 1)] * size, indexing="ij"), axis=-1)
    flat = ends.reshape(-1, len(words), shape.length)
    answers = shape.answers(flat, np.zeros((len(flat), len(words), 0))).reshape(*ends.shape)
    corners = np.stack([answers[tuple(slice(b, parts + b) for b in bits)] for bits in product((0, 1), repeat=size)])
    low = np.floor((corners.min(axis=0) + 1 - 1e-12) / (2 * float(eps))).astype(int).reshape(-1, size)
    high = np.floor((corners.max(axis=0) + 1 + 1e-12) / (2 * float(eps))).astype(int).reshape(-1, size)
    reached: set[tuple[int, ...]] = set()
    for a, b in {(*map(tuple, pair),) for pair in zip(low.tolist(), high.tolist(), strict=True)}:
        reached.update(product(*(range(x, y + 1) for x, y in zip(a, b, strict=True))))
    bits = proved(words, chosen, rho, eps, Fraction(0), pads)
    assert bits <= log2(len(reached))
    if len(words) == 1 and not pads and eps < Fraction(1, 100):
        assert bits >= log2(len(reached)) - 1.3 * size


@pytest.mark.parametrize("kept", [4, 8, 12, 16, 20, 22])
def test_states_that_err_now_and_then(kept: int) -> None:
    """One token, one amplitude: only the likeliest intervals of answers have a state, all others are wrong."""
    words, chosen, rho, pads = BOXED[0]
    shape, eps = shape_of(words, chosen, rho, pads), Fraction(1, 100)
    r = np.linspace(0, shape.width, 200_001)[:, None, None]
    answers = shape.answers(r, np.zeros((len(r), 1, 0)))[:, 0, 0]
    _, mass = np.unique(np.floor(answers / (2 * float(eps))), return_counts=True)
    failure = 1 - Fraction(int(np.sort(mass)[-kept:].sum()), len(r))
    assert failure > 0
    assert proved(words, chosen, rho, eps, failure, pads) <= log2(kept)


def midpoints(x: np.ndarray, low: float, high: float, cells: int) -> np.ndarray:
    cell = np.clip(np.floor((x - low) / (high - low) * cells), 0, cells - 1)
    middle: np.ndarray = low + (cell + 0.5) * (high - low) / cells
    return middle


@pytest.mark.parametrize(("words", "chosen", "rho", "pads"), BOXED)
def test_a_quantiser_of_amplitudes_keeps_the_promise_with_no_fewer_bits(
    words: tuple[str, ...], chosen: Numbers, rho: int, pads: int
) -> None:
    """Midpoints of M cells an amplitude move a score by at most rho w / 2M, an answer by at most half of that."""
    eps, shape = Fraction(1, 100), shape_of(words, chosen, rho, pads)
    cells = ceil(rho * chosen.width / (4 * eps))
    r, y = draws(shape, 400)
    middle = midpoints(r, 0, shape.width, cells)
    assert abs(shape.answers(r, y) - shape.answers(middle, y)).max() <= float(eps)
    assert proved(words, chosen, rho, eps, Fraction(0), pads) <= len(words) * shape.length * log2(cells)


@pytest.mark.parametrize("words", [("0", "1"), ("011", "101"), ("01",)])
def test_a_quantiser_of_all_three_secrets_needs_no_fewer_bits(words: tuple[str, ...]) -> None:
    """Midpoints of amplitudes, payload coordinates and values: every read of all pools is within the tolerance."""
    rho, eps = 24, Fraction(1, 50)
    chosen = Numbers(Fraction(1, 8), Fraction(4), Fraction(3, 2), Fraction(1, 1024), Fraction(3), 2)
    shape, size = shape_of(words, chosen, rho), len(words)
    scale, tilted = rho / shape.length, (rho - 3) / shape.length
    cells = {"r": ceil(rho * chosen.width / eps), "y": ceil(2 * chosen.tilt / eps), "v": ceil(2 / eps)}
    r, y = draws(shape, 400, 2)
    values = np.random.default_rng(6).uniform(-1, 1, (400, size, 3))
    kept = (
        midpoints(r, 0, shape.width, cells["r"]),
        midpoints(y, -1, 1, cells["y"]),
        midpoints(values, -1, 1, cells["v"]),
    )
    for before, after in (
        (shape.answers(r, y), shape.answers(kept[0], kept[1])),
        (shape.key_answers(r, y, tilted, 3.0), shape.key_answers(kept[0], kept[1], tilted, 3.0)),
        (shape.value_answers(r, y, values, scale), shape.value_answers(*kept, scale)),
    ):
        assert abs(before).max() <= 1
        assert abs(before - after).max() <= float(eps)
    bits = granted(
        union([], list(words)), chosen, size, tokens=size, max_logit=rho, tolerance=eps, failure=0, value_dim=4
    )
    states = {"r": shape.length, "y": 2, "v": 3}
    most = size * sum(number * log2(cells[name]) for name, number in states.items())
    assert most / 2 <= bits <= most


@settings(max_examples=25)
@given(
    st.sampled_from(["hypercube(1)", "hypercube(3)", "reed-muller(1,3)"]), st.integers(1, 8),
    st.fractions(Fraction(1, 16), Fraction(1, 2), max_denominator=64), st.fractions(2, 10, max_denominator=9),
    st.fractions(1, Fraction(3, 2), max_denominator=16), st.integers(8, 14), st.integers(0, 2), st.integers(1, 3),
)  # fmt: skip
def test_the_rule_is_exact_to_its_threshold(
    code: str, payload: int, width: Fraction, strength: Fraction, reference: Fraction, slack: int, coordinates: int,
    value_dim: int,
) -> None:  # fmt: skip
    chosen = Numbers(width, strength, reference, Fraction(1, 1 << slack), Fraction(2), coordinates)
    step = keys(code)
    payload = min(payload, family(step, "cube", "real").size)
    try:
        granted(
            step, chosen, payload, tokens=payload + 1, max_logit=24, tolerance=Fraction(1, 500), value_dim=value_dim
        )
    except Wrong:
        assume(False)


# Whose keys are signs


@pytest.mark.parametrize(
    "step",
    [
        *(keys(f"counted-reed-muller({which})") for which in ("1,3,1,0", "1,4,0,3", "2,4,1,1")),
        keys("reed-muller(1,3)"), keys("hypercube(4)"), union(["11110000"], ["00000000", "11001100", "01100111"]),
    ],
    ids=lambda step: step["rule"],
)  # fmt: skip
def test_sign_keys_are_signs_and_their_exponents_distances(step: Node) -> None:
    fact, found = apply(step["rule"], {}, step["given"], step["gives"]), family(step, "cube", "real")
    assert fact.signs
    assert fact.dim == found.dim
    assert (abs(found.keys) == 1).all()
    assert not found.pad_key.any()
    nearest = fact.exponents[0][0]
    for row in distances((found.keys < 0).astype(np.int64)):
        row_counts = counted(row)
        assert min(row_counts) >= nearest
        if step["rule"] != "coset-union":
            assert tuple(sorted(row_counts.items())) == fact.exponents


def test_other_keys_are_no_signs() -> None:
    """Even where every entry is 1 or -1: exponents of integer keys count twice."""
    step = explicit([[1, 1], [1, -1], [-1, 1]])
    assert not apply("explicit-keys", {}, step["given"], step["gives"]).signs
    assert not apply("paraboloid", {}, {"side": 2, "dimension": 3, "cutoff": 2}, {"size": 4}).signs
    signs = apply("hypercube", {}, {"dimension": 3}, {"size": 8})
    shrink: tuple[dict[str, Any], ...] = ({"code_radius": Fraction(3, 5)}, {"payload_radius": Fraction(4, 5)})
    assert accepts("shrunk-keys", {"keys": signs}, *shrink, body="ball")
    assert not accepts("shrunk-keys", {"keys": signs}, *shrink)  # and the amplitude rule is for the cube
