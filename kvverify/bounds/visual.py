"""The instance of a visual game: the hardest pyramid that the search knows, with keys and queries as they are fed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import accumulate

import numpy as np

from kvverify.attention.visual import Scales, parse_scales
from kvverify.bounds.attention import visual_question, visual_tokens
from kvverify.bounds.search import Bound
from kvverify.bounds.visual_search import QUERY_STEPS, Design, design, free_keys
from kvverify.instances.payload import to_bf16
from kvverify.instances.visual import VisualInstance, log2_det, mixing
from kvverify.problem import Problem

MAX_FREE_OF_A_VOLUME = 512
"""Free tokens up to which the determinant of all reads is computed; beyond, only discrete secrets are played."""
TOLERANCE, FAILURE = Fraction(1, 100), Fraction(1, 10)


def visual_instance(
    scales: Scales, kernel: str, cut: str, key_dim: int, value_dim: int, kv_heads: int, layers: int, max_logit: Fraction
) -> VisualInstance:
    """The instance of these scales, keys and queries rounded to bf16; its determinant is a bound in Arb balls.

    ``state_bits_at_least`` is what the kernel proves for the class at tolerance 1/100 and failure 1/10, before the
    rounding; 0 where it proves nothing. Raises UsageError for scales that allow no instance.
    """
    size = visual_tokens(scales, cut)
    asked = Problem(size, key_dim, value_dim, max_logit, FAILURE, tolerance=TOLERANCE, kv_heads=kv_heads)
    proved = visual_question(scales, kernel, cut, asked)
    found = design(scales, kernel, cut, key_dim, max_logit)
    mixed = mixing(scales, kernel, cut)
    free = np.concatenate([keys.reshape(-1, found.columns) for keys in free_keys(found)])
    stream = to_bf16(mixed.keys(free))
    queries = to_bf16(np.array(found.queries, dtype=float) / QUERY_STEPS)
    digest = "" if proved.certificate is None else str(proved.certificate["digest"])
    made = VisualInstance(
        keys=_wide(stream, key_dim), queries=_wide(queries, key_dim), own_keys=_wide(-np.sign(queries), key_dim),
        log2_det_at_least=None, leak_at_most=Fraction(1), kv_heads=kv_heads, layers=layers, value_dim=value_dim,
        max_logit=max_logit, tolerance=None, failure=FAILURE, inputs="real",
        state_bits_at_least=int(proved.bits) * layers, certificate=digest, payload=_places(found), in_order=True,
        kind="visual", scales=",".join(map(str, scales)), kernel=kernel, cut=cut,
    )  # fmt: skip
    return made if len(free) > MAX_FREE_OF_A_VOLUME else replace(made, log2_det_at_least=log2_det(made))


def visual_claim_bound(one: VisualInstance, asked: Problem) -> Bound:
    """The best bound for a claim of that tolerance and failure about one layer of the instance's class."""
    found = visual_question(parse_scales(one.scales), one.kernel, one.cut, replace(asked, layers=1))
    return Bound(asked, found.bits, found.certificate, found.family, found.reason)


def _places(found: Design) -> tuple[int, ...]:
    """The token of the stream that each query looks at: carriers map by map, in reading order."""
    places = [*range(found.held[0].tokens)]
    starts = accumulate(scale.tokens for scale in found.held)
    for start, scale, rows, columns in zip(starts, found.held[1:], found.down, found.across, strict=False):
        places += [start + i * scale.width + j for i in rows for j in columns]
    return tuple(places)


def _wide(vectors: np.ndarray, key_dim: int) -> np.ndarray:
    """With zeros behind."""
    return np.pad(vectors, ((0, 0), (0, key_dim - vectors.shape[1])))
