"""The steps of a certificate about given keys: attention rows, the determinant, the volume rule. Source: ours.

All numbers that are stated are rounded to the safe side by more than the kernel's own roundings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from kvverify.bounds.certificate import volume_step
from kvverify.bounds.key_files import KeyTensor
from kvverify.bounds.preconditioner import Factors
from kvverify.bounds.queries import own_score
from kvverify.bounds.steps import log2_up
from kvverify.bounds.witness import witness
from kvverify.kernel import document
from kvverify.problem import Problem

_SLACK = 1 + 2.0**-18  # the kernel raises a weight by a factor of up to 1 + 2^-31, floats err by less than the rest


@dataclass(frozen=True)
class Rows:
    """Attention rows: row a has target ``payload[a]``, a token. ``weights`` (r, n + 1): relative to the row's largest
    score; the last column is the asker's own token. Every column counts, payload or not.
    """

    payload: np.ndarray
    weights: np.ndarray

    @property
    def block(self) -> np.ndarray:
        """(r, r) weights on the payload's tokens."""
        return self.weights[:, self.payload]

    @property
    def log2_sums(self) -> np.ndarray:
        """(r,) log2 of each row's whole mass."""
        bits: np.ndarray = np.log2(self.weights.sum(axis=1))
        return bits

    def masses(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Off-target mass, sum of its squares, and all other mass of each row, relative to its target."""
        block = self.block
        target = np.maximum(np.diag(block), 1e-300)
        others = block / target[:, None]
        np.fill_diagonal(others, 0.0)
        rest = np.delete(self.weights, self.payload, axis=1).sum(axis=1) / target
        return others.sum(axis=1), (others**2).sum(axis=1), rest

    def reordered(self, order: np.ndarray) -> Rows:
        """The same rows in another order, each with the target of its new place."""
        return replace(self, weights=self.weights[order])


def rows_of(scores: np.ndarray, payload: np.ndarray) -> Rows:
    """Rows from the scores (r, n) of each query on all keys."""
    full = np.concatenate([scores, own_score(scores)], axis=1)
    return Rows(payload, np.exp(full - full.max(axis=1, keepdims=True)))


def attention_step(rows: Rows, given: dict[str, Any]) -> dict[str, Any]:
    """The attention-row step of these rows; ``given`` says where their queries are."""
    off, squares, rest = rows.masses()
    least = rows.weights.shape[1] * 2.0**-78 / np.maximum(np.diag(rows.block), 1e-300)
    bounds = {
        "off_target_at_most": (off + least).max(),
        "off_target_squares_at_most": (squares + 3 * least * (off + least)).mean(),
        "rest_at_most": (rest + least).max(),
    }
    gives = {name: str(_up(float(bound) * _SLACK)) for name, bound in bounds.items()}
    given = {"payload": " ".join(map(str, rows.payload)), **given}
    return {"id": "leak", "rule": "attention-row", "uses": {}, "given": given, "gives": gives}


def plain_determinants(rows: Rows, step: dict[str, Any]) -> dict[str, Fraction]:
    """Lower bounds on log2 |det W| by the forms that need no factors, where they hold."""
    off, _, rest = (mass * _SLACK + 2.0**-60 for mass in rows.masses())
    if off.max() >= 1 - 2.0**-16:
        return {}
    found = {"ostrowski": short(float((np.log2(1 - off) - np.log2(1 + off + rest)).sum()))}
    sigma, squares, other = (Fraction(bound) for bound in step["gives"].values())
    if sigma < Fraction(15, 16):
        ratio = sum((sigma ** (k - 2) / k for k in range(2, 32)), Fraction(0)) + sigma**30 / (32 * (1 - sigma))
        loss = log2_up(1 + sigma + other) + Fraction(1442695041, 10**9) * ratio * squares
        found["near-identity"] = short(float(-len(off) * loss))
    return found


def determinant_step(
    form: str, bound: Fraction, factors: Factors | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The determinant step, and the file of its factors."""
    given: dict[str, Any] = {"form": form}
    files = {}
    if factors is not None:
        name, sha256, data = witness("factors", {"lower": factors.lower, "upper": factors.upper})
        given["factors"] = {"name": name, "sha256": sha256, "lower": "lower", "upper": "upper"}
        files[name] = data
    step = {
        "id": "determinant", "rule": "determinant", "uses": {"leak": "leak"},
        "given": given, "gives": {"log2_det_at_least": str(bound)},
    }  # fmt: skip
    return step, files


def certificate(
    problem: Problem, keys: KeyTensor, queries: KeyTensor | None, steps: list[dict[str, Any]], payload: int
) -> dict[str, Any]:
    """The certificate that ends in the volume rule on the last of the steps."""
    last = volume_step(problem, payload, Fraction(steps[-1]["gives"]["log2_det_at_least"]))
    bits = max(0, math.floor(Fraction(last["gives"]["bits_at_least"])))
    about: dict[str, Any] = {"budget": "own-keys", "keys": keys.reference}
    if queries is not None:
        about = {"budget": "own-queries", "keys": keys.reference, "queries": queries.reference}
    return document.build({**problem.statement(bits), "body": "given", **about}, [*steps, last])


def short(bound: float) -> Fraction:
    """A lower bound with 20 bits after the point, a little below the float."""
    return Fraction(math.floor(bound * 2**20) - 1, 2**20)


def _up(x: float) -> Fraction:
    return Fraction(math.ceil(Fraction(x) * (1 << 90)), 1 << 90)
