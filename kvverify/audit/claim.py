"""A claim as people write it, and the best certified lower bound to set against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from kvverify.audit.verdict import Claim, Floor
from kvverify.bounds import Bound, best_bound
from kvverify.bounds.given import given_bound
from kvverify.bounds.tensor import tensor_claim_bound
from kvverify.bounds.visual import visual_claim_bound
from kvverify.bounds.witness import write_bound
from kvverify.errors import UsageError
from kvverify.instances.tensor import TensorInstance
from kvverify.instances.visual import VisualInstance
from kvverify.problem import Problem, number

if TYPE_CHECKING:
    from kvverify.instances.hard import HardInstance

_WANTED = (
    "a size (bits-per-token=B, bits-per-scalar=B, key-bits=B,value-bits=B or compression=C), "
    "tolerance=E or relative=E with failure=D, or both are needed"
)
_SIZES = ({"bits-per-token"}, {"bits-per-scalar"}, {"key-bits", "value-bits"}, {"compression"}, set[str]())
_QUALITIES = ({"tolerance", "failure"}, {"relative", "failure"}, set[str]())
WORDS = tuple(sorted(set.union(*_SIZES, *_QUALITIES)))
"""Every word that a claim can have."""


def parse(words: Mapping[str, str], instance: HardInstance) -> Claim:
    """What is claimed, in numbers of the instance's class.

    Sizes are totals over heads and layers: ``bits-per-token`` of them all, ``bits-per-scalar`` of keys and values
    alike, ``key-bits`` and ``value-bits`` a scalar of each, ``compression`` against 16 bits a scalar ("4" or "4x").
    Without a size the compressor's own ``claimed_bits`` is judged. Raises UsageError, also for what the class has not.
    """
    check_words(words)
    values = {name: _number(name, word) for name, word in words.items()}
    bits = _bits(values, instance)
    claim = Claim(bits, values.get("tolerance"), values.get("failure"), values.get("relative"))
    if claim.failure is not None:
        problem(instance, claim)
    return claim


def check_words(words: Mapping[str, object]) -> None:
    """Refuse, in one line, words that make no claim together."""
    size = words.keys() - {"tolerance", "relative", "failure"}
    if not words or size not in _SIZES or words.keys() - size not in _QUALITIES:
        raise UsageError(f"claim: {','.join(f'{k}={v}' for k, v in words.items())!r} given, {_WANTED}")


def problem(instance: HardInstance, claim: Claim) -> Problem:
    """The class in which a claim about the instance's shape is made. Raises UsageError outside of every class."""
    assert claim.failure is not None
    return Problem(
        instance.tokens, instance.key_dim, instance.value_dim, instance.max_logit, claim.failure,
        tolerance=claim.tolerance, relative=claim.relative, inputs=instance.inputs, kv_heads=instance.kv_heads,
        layers=instance.layers,
    )  # fmt: skip


@dataclass
class Against:
    """Finds the bound to set against a claim, and keeps its certificate until it is asked for."""

    instance: HardInstance
    found: Bound | None = field(default=None, init=False)

    def __call__(self, claim: Claim) -> Floor | None:
        """The best bound that the kernel accepts for the claimed tolerance and failure; None without one.

        A promise that the class has not, such as failures at every read, has none.
        """
        one = self.instance
        try:
            asked = problem(one, claim)
        except UsageError:
            return None
        if isinstance(one, TensorInstance):
            found, streams = tensor_claim_bound(one, asked), one.layers
        elif isinstance(one, VisualInstance):
            found, streams = visual_claim_bound(one, asked), one.layers
        elif one.budget == "class":
            found, streams = best_bound(asked), 1
        else:  # a claim about given keys, each stream on its own
            found, streams = given_bound(one, asked), one.kv_heads * one.layers
        self.found = found
        bits = int(found.bits) * streams
        return None if found.certificate is None else Floor(bits, str(found.certificate["digest"]))

    def save(self, folder: Path) -> str:
        """Write the certificate, and the files that it refers to; returns its path."""
        assert self.found is not None
        assert self.found.certificate is not None
        path = folder / f"floor-{str(self.found.certificate['digest'])[:16]}.json"
        write_bound(path, self.found)
        return str(path)


def _number(name: str, word: str) -> Fraction:
    value = number(word.removesuffix("x") if name == "compression" else word, f"claim {name}")
    if name == "compression" and value <= 0:
        raise UsageError(f"claim compression: {word} given, a number above 0 is needed")
    if value < 0 and name not in ("tolerance", "relative", "failure"):
        raise UsageError(f"claim {name}: {word} given, at least 0 is needed")
    return value


def _bits(values: Mapping[str, Fraction], instance: HardInstance) -> int | None:
    """The whole bits that the claimed size leaves for all tokens, heads and layers."""
    streams = instance.tokens * instance.kv_heads * instance.layers
    key_scalars, value_scalars = streams * instance.key_dim, streams * instance.value_dim
    match values:
        case {"bits-per-token": bits}:
            return int(bits * instance.tokens)
        case {"bits-per-scalar": bits}:
            return int(bits * (key_scalars + value_scalars))
        case {"key-bits": keys, "value-bits": own}:
            return int(keys * key_scalars + own * value_scalars)
        case {"compression": ratio}:
            return int(16 * (key_scalars + value_scalars) / ratio)
    return None
