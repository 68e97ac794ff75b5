"""A cell of the atlas: its problem, both bounds as the kernel accepts them, and where the bits between them go."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

import kvverify
from kvverify.bounds import Bound, best_bound
from kvverify.bounds.candidate import BF16_ROUNDING, distortion, divergence
from kvverify.bounds.ceiling import Ceiling, ceiling
from kvverify.kernel.check import Result, Verdict, check
from kvverify.problem import Problem
from kvverify.trust import rule_files, trust

TOKENS = (1 << 12, 1 << 14, 1 << 17, 1 << 20)
DIMS, LOGITS = (64, 128), (16, 24, 32, 48, 64)
TOLERANCES, FAILURES = ("1/16", "1/100", "1/256"), ("0", "1/100", "1/10")
SETTINGS = ((1 << 12, 16), (1 << 17, 16), (1 << 17, 24), (1 << 20, 32))
"""Tokens and logit at which the other classes are computed."""
OTHERS = (("ball", "real"), ("cube", "bf16"), ("ball", "bf16"))

RULES = dict(rule_files())
"""Digests of the rule files as they were loaded: what a long run goes by, also where a file changes meanwhile."""

Record = dict[str, Any]
"""A cell's line: its coordinates, ``lower``, ``joint``, ``upper`` (bits of state), ``parts``, ``why``, ..."""


@dataclass(frozen=True)
class Cell:
    """A problem of one head with key_dim = value_dim = ``dim``; numbers as they are written."""

    tokens: int
    dim: int
    body: str
    inputs: str
    max_logit: int
    tolerance: str
    failure: str

    @classmethod
    def of(cls, record: Record) -> Cell:
        """Where a record belongs."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})

    @property
    def problem(self) -> Problem:
        """What both bounds are about."""
        return Problem(
            self.tokens, self.dim, self.dim, Fraction(self.max_logit), Fraction(self.failure),
            tolerance=Fraction(self.tolerance), body=self.body, inputs=self.inputs,
        )  # fmt: skip

    @property
    def plain(self) -> bool:
        """Cube and real inputs."""
        return (self.body, self.inputs) == ("cube", "real")

    @property
    def central(self) -> bool:
        """Of the part that the goals and the plot are about."""
        return self.plain and (self.dim, self.failure) == (128, "1/10")

    @property
    def goal(self) -> Fraction | None:
        """The largest gap that was aimed at, where one was."""
        if not self.central or self.max_logit < 24:
            return None
        if self.tolerance == "1/16":
            return Fraction(11, 4)
        return Fraction(2) if self.tokens <= 1 << 18 or self.max_logit >= 32 else Fraction(43, 20)


def grid() -> list[Cell]:
    """All cells, in the order of the file."""
    plain = product(reversed(DIMS), reversed(FAILURES), TOLERANCES, TOKENS, LOGITS)
    cells = [Cell(n, dim, "cube", "real", logit, eps, delta) for dim, delta, eps, n, logit in plain]
    others = product(OTHERS, TOLERANCES, SETTINGS)
    return cells + [Cell(n, 128, body, inputs, logit, eps, "1/10") for (body, inputs), eps, (n, logit) in others]


def up_to_date(record: Record) -> bool:
    """Whether it was computed by this version, with the rules as they are."""
    rules: dict[str, str] = record["rules"]
    return record["version"] == kvverify.__version__ and rules.items() <= RULES.items()


def line(record: Record) -> bytes:
    """As it stands in the file."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def compute(cell: Cell) -> Record:
    """Both bounds, each checked once more by the kernel here, and what lies between them."""
    start, problem = time.process_time(), cell.problem
    rules: dict[str, str] = {}
    bound, most = best_bound(problem), ceiling(problem)
    lower, upper = _accepted(bound.certificate, rules), _accepted(most.certificate, rules)
    joint = lower
    if cell.central and _method(bound) == "amplitude":
        joint = _accepted(best_bound(problem, method="joint").certificate, rules)
    above, below = (_above(problem, most), _Below(problem, bound).parts()) if lower and upper else ([], [])
    return {
        **asdict(cell),
        "lower": {"state_bits_at_least": lower, "method": _method(bound), "family": bound.family},
        "joint": joint if cell.central else None,
        "upper": {
            "state_bits_enough": upper, "method": most.method, "key_levels": most.key_levels,
            "value_levels": most.value_levels,
        },
        "parts": {name: round(bits, 2) for name, bits, _ in sorted([*above, *below], key=_size)},
        "why": {min(side, key=_size)[0]: min(side, key=_size)[2] for side in (above, below) if side},
        "reason": bound.reason or most.reason,
        "seconds": round(time.process_time() - start, 1),
        "version": kvverify.__version__,
        "rules": dict(sorted(rules.items())),
    }  # fmt: skip


def _accepted(certificate: dict[str, Any] | None, rules: dict[str, str]) -> int | None:
    """The bits that the certificate's statement claims, if the kernel says VALID; notes the rule files that ran."""
    if certificate is None:
        return None
    result: Result = check(certificate)
    if result.verdict is not Verdict.VALID:
        raise ValueError(f"the kernel refused what the search gave: {result.reason}")
    names = {rule.partition(" ")[0] for rule in trust(result)["rules"]}
    rules |= {name: RULES[name] for name in names}
    statement = certificate["statement"]
    return int(statement.get("state_bits_at_least") or statement["state_bits_enough"])


def _method(bound: Bound) -> str:
    """The rule that gives the bits."""
    return str(bound.certificate["steps"][-1]["rule"]) if bound.certificate else "none"


Part = tuple[str, float, str]
"""Name, bits a token, and what it is in words."""


def _size(part: Part) -> float:
    """Largest first."""
    return -part[1]


def _gain(problem: Problem) -> float:
    """g: between both bounds stands (key_dim + value_dim) g, what one read for each scalar proves at most."""
    return divergence(float(problem.tolerance or 0), float(problem.failure))


def _above(problem: Problem, most: Ceiling) -> list[Part]:
    """What an upper bound takes beyond (key_dim + value_dim) g, by its levels.

    Floats, here and below: a description of two proved numbers, no bound itself.
    """
    g, width = _gain(problem), problem.key_dim + problem.value_dim
    key, value, error = math.log2(most.key_levels), math.log2(most.value_levels), -math.log2(problem.tolerance or 1)
    whole = float(most.bits_per_token or 0) - problem.key_dim * key - problem.value_dim * value
    return [
        (
            "precision", problem.key_dim * (key - value),
            f"keys are kept {key - value:.1f} bits a coordinate finer than values, for logits to {problem.max_logit}",
        ),
        ("failure", width * (error - g), f"reads that may fail give {g:.2f} bits instead of {error:.2f}"),
        ("quantiser", width * (value - error), f"values are kept in {value:.2f} bits, not {error:.2f}"),
        ("whole bits", whole, "a token takes whole bits"),
    ]  # fmt: skip


class _Below:
    """What a lower bound loses of (key_dim + value_dim) g, by the numbers in its certificate."""

    def __init__(self, problem: Problem, bound: Bound) -> None:
        assert bound.certificate is not None
        self.problem, self.g, self.bits = problem, _gain(problem), float(bound.bits_per_token)
        self.steps = {step["id"]: step for step in bound.certificate["steps"]}
        self.last = bound.certificate["steps"][-1]
        budget = next(step for step in self.steps.values() if step["rule"] == "budget")
        self.payload = int(budget["given"]["payload"])
        self.width = float(Fraction(self.last["given"].get("width", 0)))

    def parts(self) -> list[Part]:
        """Each times the share of tokens that carry a secret; what the other tokens would have, as pads."""
        share = self.payload / self.problem.tokens
        ideal = (self.problem.key_dim + self.problem.value_dim) * self.g
        found = list(self._read_losses()) if self.last["rule"] != "random-access-code" else []
        left = ideal - self.bits / share - sum(bits for _, bits, _ in found)
        pads = ("pads", ideal * (1 - share), f"{self.payload} of {self.problem.tokens} tokens carry a secret")
        return [(name, bits * share, why) for name, bits, why in [*found, self._rest(left)]] + [pads] * (share < 1)

    def _rest(self, left: float) -> Part:
        """The keys' coordinates that carry no payload."""
        rule, width = self.last["rule"], self.problem.key_dim
        if rule == "random-access-code":
            alphabet = self.steps[self.last["uses"]["reading"]]["gives"]["alphabet"]
            return "levels", left, f"values are read as one of {alphabet} levels, and keys carry no secret"
        if rule == "volume":
            return "code", left, f"keys carry no secret: {width} coordinates"
        length = width - int(self.last["given"]["key_coordinates"])
        words = f"the code takes {length} of {width} key coordinates"
        if rule == "amplitude":
            words += f", whose amplitudes carry {length * self.g - left:.0f} bits"
        return "code", left, words

    def _read_losses(self) -> Iterator[Part]:
        """Marker, leak, tilt and rounding, as in the rules volume, joint and amplitude."""
        joint = self.last["rule"] in ("joint", "amplitude")
        numbers = self.last["given"]
        readers, coordinates = self.problem.value_dim - joint, int(numbers.get("key_coordinates", 0))
        each_value, each_key = self._value_cost(), self._key_cost() if coordinates else 0.0
        yield "marker", self.g * joint, "one value coordinate is the marker"
        words = f"attention leaks: {each_value:.2f} bits a value read" + f", {each_key:.2f} a key read" * joint
        yield "leak", readers * each_value + coordinates * each_key, words
        if coordinates:
            tilt = self.steps["tilt"]
            entropy = self._entropy(tilt)
            strength = float(Fraction(tilt["given"]["strength"]))
            yield "tilt", -coordinates * entropy, f"key reads tilt by {strength:g}: {-entropy:.2f} bits each"
        if self.problem.inputs == "bf16":
            yield "rounding", self._rounding(readers, coordinates), "inputs rounded to bf16 move the answers"

    def _sums(self, pool: str) -> tuple[float, float, float]:
        """Off-target mass, its squares, and the rest of a leak step."""
        off, squares, rest = self.steps[pool]["gives"].values()
        return float(Fraction(off)), float(Fraction(squares)), float(Fraction(rest))

    def _crowd(self, pool: str) -> tuple[float, float, float]:
        """Mean off-target mass and rest, and the determinant's share; under amplitudes with their spread."""
        off, squares, rest = self._sums(pool)
        if self.width:
            exponent = Fraction(self.steps[pool.replace("leak", "decay")]["given"]["exponent"])
            length = self.problem.key_dim - int(self.last["given"]["key_coordinates"])
            spread = math.exp(length * (float(exponent) / (2 - self.width) * self.width) ** 2 / 12)
            off, rest = off * spread, rest * spread
            worst, squares, _ = self._sums(f"{pool}-worst")
        else:
            worst = off
        return off, rest, float(distortion(np.array(worst), np.array(squares)))

    def _value_cost(self) -> float:
        off, rest, lost = self._crowd("leak")
        return math.log2(1 + off + rest) + lost

    def _key_cost(self) -> float:
        off, rest, lost = self._crowd("leak-keys")
        tilt = self.steps["tilt"]
        if tilt["rule"] == "ball-tilt":
            mean = float(Fraction(tilt["gives"]["mean_at_most"]))
        else:
            mean = float(Fraction(tilt["given"]["strength"]) / Fraction(tilt["gives"]["tanh_half_at_least"])) - 1
        return 2 * math.log2(1 + (off * mean + rest) / 2) + lost

    def _entropy(self, tilt: dict[str, Any]) -> float:
        """Of a tilted payload coordinate, in bits."""
        if tilt["rule"] == "ball-tilt":
            return float(Fraction(tilt["gives"]["entropy_at_least"]))
        return math.log2(Fraction(tilt["gives"]["tanh_half_at_least"]))

    def _rounding(self, readers: int, coordinates: int) -> float:
        eps, delta = float(self.problem.tolerance or 0), float(self.problem.failure)
        lost = readers * (self.g - divergence(eps + float(BF16_ROUNDING), delta))
        if coordinates:
            given = self.steps["tilt"]["given"]
            radius = Fraction(given.get("radius", 1))
            reach = 2.0 ** (1 - (radius.denominator // radius.numerator).bit_length())
            moved = float(Fraction(given["strength"])) * reach * float(BF16_ROUNDING) / 2
            lost += coordinates * (self.g - divergence(eps + moved, delta))
        return lost
