"""The instance of a visual game: the hardest pyramid that the search knows, with keys and queries as they are fed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import accumulate

import numpy as np

from kvverify.attention.visual import Scales
from kvverify.bounds.visual_search import QUERY_STEPS, Design, design, free_keys, visual_bound
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.payload import to_bf16
from kvverify.instances.visual import VisualInstance, log2_det, mixing

MAX_FREE = 2048
"""Free tokens of a game."""
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
    found = design(scales, kernel, cut, key_dim, max_logit)
    if len(found.keys) > MAX_FREE:
        raise UsageError(f"scales: {len(found.keys)} free tokens; at most {MAX_FREE} are played")
    bits, digest = _proved(scales, kernel, cut, key_dim, value_dim, kv_heads, max_logit)
    free = np.concatenate([keys.reshape(-1, found.columns) for keys in free_keys(found)])
    stream = to_bf16(mixing(scales, kernel, cut).keys(free))
    queries = to_bf16(np.array(found.queries, dtype=float) / QUERY_STEPS)
    made = VisualInstance(
        keys=_wide(stream, key_dim), queries=_wide(queries, key_dim), own_keys=_wide(-np.sign(queries), key_dim),
        log2_det_at_least=None, leak_at_most=Fraction(1), kv_heads=kv_heads, layers=layers, value_dim=value_dim,
        max_logit=max_logit, tolerance=None, failure=FAILURE, inputs="real", state_bits_at_least=bits * layers,
        certificate=digest, payload=_places(found), in_order=True, kind="pyramid",
        scales=",".join(map(str, scales)), kernel=kernel, cut=cut,
    )  # fmt: skip
    return made if len(free) > MAX_FREE_OF_A_VOLUME else replace(made, log2_det_at_least=log2_det(made))


def _proved(
    scales: Scales, kernel: str, cut: str, key_dim: int, value_dim: int, kv_heads: int, max_logit: Fraction
) -> tuple[int, str]:
    """Bits that the kernel proves of the class, and the digest of the certificate; 0 and no digest without a proof."""
    try:
        tree = visual_bound(
            scales, kernel, cut, model_dim=2 * key_dim + kv_heads * value_dim, key_dim=key_dim, value_dim=value_dim,
            max_logit=max_logit, kv_heads=kv_heads, tolerance=TOLERANCE, failure=FAILURE,
        )  # fmt: skip
    except Incomplete:
        return 0, ""
    return int(tree["statement"]["state_bits_at_least"]), str(tree["digest"])


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
