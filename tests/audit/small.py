"""Small hard instances for tests: keys from first-order Reed-Muller codes, the volume of W from a float formula."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from kvverify.instances.hard import HardInstance


def hadamard(order: int) -> np.ndarray:
    signs = np.array([[1.0]])
    for _ in range(order):
        signs = np.block([[signs, signs], [signs, -signs]])
    return signs


def instance(dim: int = 64, *, kv_heads: int = 1, layers: int = 1, value_dim: int = 16, logit: int = 8) -> HardInstance:
    """RM(1, m): 2 dim tokens, all distances dim/2 but to the complement, dim; query = logit/dim * key, own key = -key.

    In units of the target's weight: A has dim*2 - 2 entries z^(dim/2) a row and one z^dim, with z = e^(-2 logit/dim);
    the row sum with Bob's own token is D = 1 + sigma + z^dim. W = (I + A) / D.
    """
    order = dim.bit_length() - 1
    assert dim == 1 << order
    half = hadamard(order)
    keys = np.concatenate([half, -half])
    tokens = 2 * dim
    scale = logit / dim
    near, far = math.exp(-logit), math.exp(-2 * logit)
    sigma = (tokens - 2) * near + far
    squares = (tokens - 2) * near**2 + far**2
    slack = (-sigma - math.log1p(-sigma)) / sigma**2
    per_token = -squares * slack / math.log(2) - math.log2(1 + sigma + far)
    return HardInstance(
        keys=keys,
        queries=scale * keys,
        own_keys=-keys,
        log2_det_at_least=Fraction(tokens * per_token - 1e-6).limit_denominator(1 << 40) - Fraction(1, 1 << 30),
        leak_at_most=Fraction((sigma + far) / (1 + sigma + far)) + Fraction(1, 1 << 30),
        kv_heads=kv_heads,
        layers=layers,
        value_dim=value_dim,
        max_logit=Fraction(logit),
        tolerance=None,
        failure=Fraction(1, 10),
        inputs="real",
        state_bits_at_least=0,
        certificate="0" * 64,
    )
