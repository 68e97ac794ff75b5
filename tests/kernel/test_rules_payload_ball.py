"""A second secret in the ball, against softmax over whole keys, and each of its rules to the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import lgamma, log, pi, sqrt
from typing import Any

import numpy as np
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st

from kvverify.instances.payload import to_bf16
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import OverLimit
from kvverify.kernel.rules.attention import Decay, Keys, Tilt
from kvverify.kernel.rules.payload import PI_LOWER, unit_ball_lower
from tests.conftest import needs
from tests.kernel.apply import TINY, accepts, apply
from tests.kernel.ball import by_moments, eight_bits_below_root, exactly
from tests.kernel.controls import union
from tests.kernel.oracle import ROUNDING
from tests.kernel.payload_ball_controls import joint
from tests.kernel.real import ball, divergence, down, precision, up

RADIUS = st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=50)
STRENGTH = st.fractions(Fraction(1, 20), Fraction(12), max_denominator=20)
BALL: dict[str, object] = {"body": "ball"}


# The law


@given(STRENGTH, RADIUS, st.integers(1, 40))
def test_the_moments_bound_the_law(b: Fraction, radius: Fraction, d: int) -> None:
    """E e^(b y) and the entropy, exactly: integrals over the density of a coordinate."""
    (most, least), (mean, entropy) = by_moments(b, radius, d), exactly(b, radius, d)
    with precision():
        assert mean <= most + ball(Fraction(1, 1 << 60))
        assert entropy >= least - ball(Fraction(1, 1 << 60))


@given(STRENGTH, RADIUS, st.integers(1, 300))
def test_ball_tilt_is_exact_to_its_threshold(b: Fraction, radius: Fraction, d: int) -> None:
    most, least = by_moments(b, radius, d)
    given_ = {"strength": b, "radius": radius, "key_coordinates": d}
    unit = Fraction(1, 1 << 40)
    with precision():
        mean, entropy = up(most, 40), down(least, 40)
    fact = apply("ball-tilt", {}, given_, {"mean_at_most": mean, "entropy_at_least": entropy - unit})
    assert (fact.strength, fact.mean, fact.entropy, fact.ball) == (b, mean, entropy - unit, (radius, d))
    assert fact.reach / 2 < radius <= fact.reach
    for wrong in ((mean - unit, entropy - unit), (mean, entropy + unit)):
        assert not accepts("ball-tilt", {}, given_, dict(zip(("mean_at_most", "entropy_at_least"), wrong, strict=True)))


def test_ball_tilt_refuses_what_is_no_ball() -> None:
    gives = {"mean_at_most": 1000, "entropy_at_least": -1000}
    usual: dict[str, Any] = {"strength": 1, "radius": Fraction(1, 2), "key_coordinates": 3}
    assert accepts("ball-tilt", {}, usual, gives)
    for name, value in (
        ("strength", 0), ("strength", -1), ("radius", 0), ("radius", Fraction(-1, 2)), ("radius", 1),
        ("radius", Fraction(1, (1 << 64) + 1)), ("key_coordinates", 0), ("key_coordinates", -2),
    ):  # fmt: skip
        assert not accepts("ball-tilt", {}, usual | {name: value}, gives), name
    with pytest.raises(OverLimit):
        apply("ball-tilt", {}, usual | {"key_coordinates": 4097}, gives)


def test_the_volume_of_a_ball() -> None:
    with precision():
        assert ball(PI_LOWER) < arb.pi()
        assert arb.pi() < ball(PI_LOWER + Fraction(1, 10**20))
    machin = [Fraction((-1) ** k, 2 * k + 1) for k in range(24)]  # an odd last term leaves 16 arctan 1/5 too low
    least = 16 * sum(x / 5 ** (2 * k + 1) for k, x in enumerate(machin))
    most = 4 * sum(x / 239 ** (2 * k + 1) for k, x in enumerate(machin[:5]))  # and an even one 4 arctan 1/239 too high
    assert least - most > PI_LOWER
    for d in range(1, 400):
        exact = (d * log(pi) / 2 - lgamma(d / 2 + 1)) / log(2)
        assert float(unit_ball_lower(d)) == pytest.approx(exact, abs=1e-10)
        with precision():
            half = ball(Fraction(d, 2))
            assert ball(unit_ball_lower(d)) < (half * arb.pi().log() - (half + 1).lgamma()) / arb(2).log()


def test_the_algebra_of_the_ball() -> None:
    """sech^2 by u, and that two blocks of a query cost the root of the sum of squares: proved by z3."""
    needs("z3", "lemmas")
    import z3

    w, a, b, k, y, rho = z3.Reals("w a b k y rho")
    u = w * w  # w = e^(x/2)
    sech = 2 / (w + 1 / w)
    claims = [
        z3.Implies(w > 0, sech * sech == 4 * u / ((1 + u) * (1 + u))),
        z3.Implies(w > 0, 1 / (1 + u) + 1 / (1 + 1 / u) == 1),
        z3.Implies(
            z3.And((a * a + b * b) * (k * k + y * y) <= rho * rho, (a * y - b * k) * (a * y - b * k) >= 0),
            (a * k + b * y) * (a * k + b * y) <= rho * rho,
        ),
    ]
    for claim in claims:
        solver = z3.Solver()
        solver.set("timeout", 20_000)
        solver.add(z3.Not(claim))
        assert solver.check() == z3.unsat


# Room beside the code


def sign_keys(length: int = 4, **changes: object) -> Keys:
    found: Keys = apply("hypercube", {}, {"dimension": length}, {"size": 1 << length}, **(BALL | changes))
    return found


@given(RADIUS, st.sampled_from(["real", "bf16"]), st.integers(1, 9))
def test_shrunk_keys_are_exact_to_their_threshold(share: Fraction, inputs: str, length: int) -> None:
    changes: dict[str, object] = {**BALL, "inputs": inputs}
    keys = sign_keys(length, inputs=inputs)
    growth = Fraction(257, 256) if inputs == "bf16" else Fraction(1)
    with precision():
        beside = down((ball(1 - share**2) / ball(growth**2)).sqrt(), 40)
    given_, gives = {"code_radius": share}, {"payload_radius": beside}
    found = apply("shrunk-keys", {"keys": keys}, given_, gives, **changes)
    assert (found.beside, found.size, found.exponents, found.pad_twice, found.own) == (
        beside, keys.size, keys.exponents, keys.pad_twice, keys.own,
    )  # fmt: skip
    longest = 1 / eight_bits_below_root(share**2 / length) if inputs == "bf16" else None
    # a query c/2 times the signs, over the entries' size: its norm at c = 1
    cost = (longest**2 if longest else length / share**2) * length / 4
    assert found.unit**2 >= cost
    assert found.unit**2 <= cost * Fraction(128, 127) ** 2
    over = {"payload_radius": beside + Fraction(1, 1 << 39)}
    assert not accepts("shrunk-keys", {"keys": keys}, given_, over, **changes)


def test_what_shrunk_keys_refuse() -> None:
    keys, half = sign_keys(), Fraction(1, 2)

    def holds(share: Fraction = half, beside: Fraction = half, known: Any = keys, **changes: object) -> bool:
        gives = {"payload_radius": beside}
        return accepts("shrunk-keys", {"keys": known}, {"code_radius": share}, gives, **(BALL | changes))

    assert holds()
    assert holds(inputs="bf16")
    assert not holds(body="cube")
    for wrong in (Fraction(0), -half, Fraction(1), Fraction(1, (1 << 64) + 1)):
        assert not holds(share=wrong)
        assert not holds(beside=wrong)
    assert not holds(known=Decay(Fraction(1), Fraction(1, 2)))
    rows = {"keys": ["1 0", "0 1"]}
    axes = apply("explicit-keys", {}, rows, {"exponents": {"1": "1"}}, **BALL)
    assert holds(known=axes)
    assert not holds(known=axes, inputs="bf16")


def test_a_tilted_budget_in_the_ball_adds_squares() -> None:
    keys = sign_keys()  # unit 2
    tilt = Tilt(Fraction(3), Fraction(2), Fraction(0), (Fraction(1, 2), 2))
    premises: Any = {"keys": keys, "decay": Decay(Fraction(2), Fraction(1, 7)), "tilt": tilt}  # 4 and 3: 5 in all

    def holds(logit: Fraction, max_logit: Fraction, **changes: object) -> bool:
        problem = {"max_logit": max_logit, "tokens": 4, "key_dim": 6, **BALL, **changes}
        return accepts("budget", premises, {"payload": 4}, {"logit_at_most": logit}, **problem)

    five = Fraction(5)
    assert holds(five, five)
    assert not holds(five - TINY, five)
    assert not holds(five, five - TINY)
    assert not holds(-five, five)
    assert not holds(five, five, body="cube")
    assert holds(Fraction(7), Fraction(7), body="cube")


# The answers


@dataclass(frozen=True)
class Shape:
    """Sign words in a ball; the whole of the logit is used by both kinds of reads."""

    words: tuple[str, ...]
    share: Fraction
    max_logit: Fraction
    strength: Fraction
    coordinates: int = 1
    pads: int = 0
    inputs: str = "real"

    @property
    def code(self) -> np.ndarray:
        """(payload, length), each row of norm ``share`` or a little less."""
        length = len(self.words[0])
        entry = float(self.share) / sqrt(length)
        if self.inputs == "bf16":
            entry = float(eight_bits_below_root(self.share**2 / length))
        return entry * (1 - 2.0 * np.array([[int(bit) for bit in word] for word in self.words]))

    def tree(self, tolerance: Fraction = Fraction(1, 100)) -> Any:
        control = joint(
            "shape", union([], list(self.words)), self.share, self.strength, self.coordinates, value_dim=1,
            payload=len(self.words), tokens=len(self.words) + self.pads, max_logit=self.max_logit, tolerance=tolerance,
            inputs=self.inputs,
        )  # fmt: skip
        return control.tree

    def numbers(self) -> tuple[float, float]:
        """Exponent of the key reads and the payload's radius, as the certificate has them."""
        steps = {step["id"]: step for step in self.tree()["steps"]}
        exponent = Fraction(steps["decay-keys"]["given"]["exponent"])
        return float(exponent), float(Fraction(steps["shrunk"]["gives"]["payload_radius"]))

    def answers(self, y: np.ndarray) -> np.ndarray:
        """Marker's exact outputs (samples, payload * d) by softmax over whole keys; y (samples, payload, d)."""
        code, (exponent, radius) = self.code, self.numbers()
        samples, payload, d = y.shape
        keys = np.zeros((samples, payload + self.pads + 1, code.shape[1] + d))
        keys[:, :payload] = np.concatenate([np.broadcast_to(code, (samples, *code.shape)), y], axis=2)
        marker = np.append(np.ones(payload + self.pads), -1)
        assert (np.linalg.norm(y, axis=2) <= radius * (1 + 1 / 256) + 1e-5).all()
        assert (np.linalg.norm(keys, axis=2) <= 1 + 1e-5).all()
        reads = []
        for i, j in product(range(payload), range(d)):
            keys[:, -1, : code.shape[1]] = code[i]
            entry = abs(code[0, 0])
            query = np.concatenate([exponent / 2 * np.sign(code[i]) / entry, float(self.strength) * np.eye(d)[j]])
            assert np.linalg.norm(query) <= float(self.max_logit) + 1e-9
            weights = np.exp(keys @ query)
            reads.append(weights @ marker / weights.sum(axis=1))
        return np.stack(reads, axis=1)


ONE, TWO, THREE = ("00",), ("00", "11"), ("011", "101", "110")
SHAPES = [
    Shape(ONE, Fraction(1, 2), Fraction(6), Fraction(3)),
    Shape(ONE, Fraction(7, 8), Fraction(8), Fraction(6), 3),
    Shape(ONE, Fraction(1, 4), Fraction(4), Fraction(7, 2), 2, pads=2),
    Shape(TWO, Fraction(3, 5), Fraction(4), Fraction(5, 2)),
    Shape(TWO, Fraction(1, 3), Fraction(12), Fraction(2), 2),
    Shape(TWO, Fraction(7, 8), Fraction(6), Fraction(4), 2, pads=1),
    Shape(THREE, Fraction(4, 5), Fraction(5), Fraction(3), pads=1),
    Shape(TWO, Fraction(7, 8), Fraction(6), Fraction(4), 2, inputs="bf16"),
]


def uniform(d: int, fine: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (k, d) and weights of a rule for the uniform law in the unit ball, d = 1, 2, 3."""
    x, w = np.polynomial.legendre.leggauss(fine)
    if d == 1:
        return x[:, None], w / 2
    r, of_r = (x + 1) / 2, w / 2 * d * ((x + 1) / 2) ** (d - 1)
    angle = 2 * np.pi * (np.arange(2 * fine) + 0.5) / (2 * fine)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if d == 2:
        points, weights = circle, np.full(2 * fine, 1 / (2 * fine))
    else:
        rings = [np.concatenate([circle * sqrt(1 - z * z), np.full((2 * fine, 1), z)], axis=1) for z in x]
        points, weights = np.concatenate(rings), np.repeat(w / 2, 2 * fine) / (2 * fine)
    return (r[:, None, None] * points).reshape(-1, d), np.outer(of_r, weights).ravel()


def test_the_quadrature_is_that_of_the_law() -> None:
    b, radius = Fraction(5), Fraction(3, 4)
    for d in (1, 2, 3):
        points, weights = uniform(d, 16)
        mean, entropy = exactly(b, radius, d)
        u = np.exp(float(b * radius) * points[:, 0])
        assert weights.sum() == pytest.approx(1)
        assert weights @ u == pytest.approx(float(mean))
        volume = (d * log(pi) / 2 - lgamma(d / 2 + 1)) / log(2) + d * np.log2(float(radius))
        spread = np.log2(float(b) * u) - 2 * np.log2(1 + u)
        assert volume / d + weights @ spread == pytest.approx(float(entropy), abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bound_stays_below_the_entropy_of_the_answers(shape: Shape) -> None:
    """h of all answers: the volume of the secrets, and the Jacobian of direct softmax by differences."""
    payload, d, step = len(shape.words), shape.coordinates, 1e-5
    eps, delta = Fraction(1, 100), Fraction(1, 10)
    _, radius = shape.numbers()
    points, weights = uniform(d, {1: 24, 2: 6, 3: 8}[d])
    place = np.array(list(product(range(len(points)), repeat=payload)))
    y, mass = radius * (1 - 1e-4) * points[place], weights[place].prod(axis=1)
    moves = step * np.eye(payload * d).reshape(-1, payload, d)
    columns = [(shape.answers(y + move) - shape.answers(y - move)) / (2 * step) for move in moves]
    volume = (d * log(pi) / 2 - lgamma(d / 2 + 1)) / log(2) + d * np.log2(radius)
    entropy = payload * volume + mass @ np.log2(abs(np.linalg.det(np.stack(columns, axis=2))))
    if shape.inputs == "bf16":
        eps += shape.strength * ROUNDING / 4  # the payload's radius is below 1/2
    truth = entropy - payload * d * (1 - float(divergence(eps, delta)))
    tree = shape.tree()
    bits = float(Fraction(tree["steps"][-1]["gives"]["bits_at_least"]))
    assert check(tree).verdict is Verdict.VALID
    assert bits <= truth + 1e-3
    assert bits >= truth - payload * d * 1.5  # and not far below


@pytest.mark.parametrize("coordinates", [1, 2, 5])
def test_rounding_stays_in_the_ball_and_moves_an_answer_little(coordinates: int) -> None:
    shape = Shape(TWO, Fraction(7, 8), Fraction(6), Fraction(4), coordinates, inputs="bf16")
    _, radius = shape.numbers()
    random = np.random.default_rng(coordinates)
    y = random.normal(size=(4000, 2, coordinates))
    y *= radius * random.choice([1, 0.999, 0.5, 1e-3], (4000, 1, 1)) / np.linalg.norm(y, axis=2, keepdims=True)
    rounded = to_bf16(y)
    code = shape.code
    assert (to_bf16(code) == code).all()
    assert ((code**2).sum() / 2 + (rounded.astype(float) ** 2).sum(axis=2) <= 1).all()
    moved = abs(shape.answers(y) - shape.answers(rounded.astype(float))).max()
    assert moved <= float(shape.strength * ROUNDING / 4)
    assert moved >= float(shape.strength * ROUNDING / 40)  # the bound is of the right size
