"""Zandieh, Han, Mirrokni and Karbasi, SubGen (arXiv 2402.06082): SG-1 to SG-5."""

from __future__ import annotations

from fractions import Fraction

from kvverify.claims import measured, tables
from kvverify.claims.base import Certificate, Claim, Reading
from kvverify.claims.evidence import arithmetic, covers, sampling
from kvverify.claims.evidence import subgen as sizes

PAPER = "Zandieh, Han, Mirrokni and Karbasi, SubGen (arXiv 2402.06082)"
_COINS = "Every stream and every query that does not depend on the coins; expectation over the coins of the reservoirs."


def _break_even() -> str:
    tokens = tables.saving_from()
    return f"n = {tokens:,} tokens at eps = 1, delta r = 1/4, d = 64, one cell (equal split)"


SG1 = Claim(
    id="SG-1",
    paper="subgen",
    title="Clusterability",
    record="Keys are (m, delta)-clusterable if they split into m cells in each of which any two points are at distance "
    "at most delta.",
    provenance=("recalled",),
    quantifiers="A definition; by diameter, as a review of the paper says. By radius, points lie within delta of a "
    "representative.",
    units="distances of keys; a factor 2 in delta is a square in e^(2 delta r).",
    status="depends-on-reading",
    finding="Diameter and radius differ by a factor 2 in the exponent of t; the streaming rule gives cells by radius.",
    readings=(
        Reading(
            "by diameter: a ball of keys of radius R splits into m cells, N(B_R, delta) <= m <= N(B_R, delta/2)",
            "verified",
            ("cells", "cells-half"),
        ),
        Reading(
            "cells of the streaming rule: within delta of a representative, so weights within e^(2 delta r)",
            "verified",
            ("radius",),
        ),
        Reading(
            "by diameter, with at most e^d cells of a ball of radius R: delta would exceed 2R",
            "vacuous",
            ("constants",),
        ),
    ),
    threshold=lambda: "m < n: fewer cells than tokens",
    certificates=(
        Certificate(
            "cells", "N(B_R, delta): cells that a ball of keys needs at d = 4, R = 1, delta = 1/2", covers.ball
        ),
        Certificate("cells-half", "N(B_R, delta/2) there", covers.ball, {"ball_radius": Fraction(1, 4)}),
        Certificate("radius", "two cells, weights of a cell within the factor 4", sampling.reservoir_cell),
        Certificate(
            "constants", "by radius from 1.164 R on, by diameter from more than 2 R on", arithmetic.covering_constants
        ),
    ),
)

SG2 = Claim(
    id="SG-2",
    paper="subgen",
    title="The normaliser's structure",
    record="Cells with a representative, t slots and a count n_a; a new key of a cell takes each slot with probability "
    "1/n_a. tau = sum over cells of (n_a/t) times the sum of e^<q, k> over its slots estimates Z; t = Omega(eps^-2 "
    "e^(2 delta r) log n).",
    provenance=("source", "recalled", "ours"),
    quantifiers=_COINS,
    units="slots t a cell; a slot holds a key of d words.",
    status="verified",
    finding="E tau = Z exactly, and Var tau <= Z^2 sinh^2(delta r)/t, which is below the recorded factor e^(2 delta "
    "r)/t.",
    readings=(
        Reading("mean and variance over all outcomes of all slots", "verified", ("cell", "cell-steep")),
        Reading(
            "the variance by the ratio kappa of a cell's weights: at most (kappa - 1)^2/(4 kappa t), that is "
            "sinh^2(delta r)/t",
            "verified",
            ("ratio", "sinh"),
        ),
    ),
    threshold=lambda: "t = 1: at delta r -> 0 one sample is enough",
    certificates=(
        Certificate("cell", "5 tokens, 2 cells, 2 slots", sampling.reservoir_cell),
        Certificate(
            "cell-steep",
            "6 tokens in one cell, weights within the factor 8",
            sampling.reservoir_cell,
            {"tokens": 6, "cells": 1, "spread": 3},
        ),
        Certificate("ratio", "kappa = 7/2: (kappa - 1)^2/(4 kappa) is 25/56", sizes.variance_of_ratio),
        Certificate("sinh", "delta r = 1/4: sinh^2 to four digits", sizes.variance),
    ),
)

SG3 = Claim(
    id="SG-3",
    paper="subgen",
    title="The matrix product's structure",
    record="s independent slots; a new token takes a slot with probability |v|^2/(mu + |v|^2), mu the sum of |v|^2 "
    "before. z = mean over slots of mu e^<q, k> v/|v|^2 estimates exp(K q)^T V; s = O(d/eps^2).",
    provenance=("source", "ours"),
    quantifiers=_COINS + " Tokens with v = 0 are dropped.",
    units="slots s; a slot holds a key and a value, 2 d words.",
    status="repaired",
    finding="Exact mean and variance; a first token with v = 0 is 0/0 as recorded and is dropped, s may be stable "
    "rank/eps^2.",
    readings=(
        Reading(
            "E z = y and E|z - y|^2 = (|V|_F^2 W - |y|^2)/s over all outcomes, W the sum of squared weights of v != 0",
            "repaired",
            ("norm", "norm-more"),
        ),
        Reading("a first token with v = 0 by the recorded rule: 0/0, undefined", "open"),
    ),
    threshold=lambda: "s = 1",
    certificates=(
        Certificate("norm", "4 tokens, the first with v = 0, 2 slots", sampling.reservoir_norm),
        Certificate(
            "norm-more",
            "6 tokens in 3 value dimensions, 2 slots",
            sampling.reservoir_norm,
            {"tokens": 6, "head_dim": 3, "seed": 1},
        ),
    ),
)

SG4 = Claim(
    id="SG-4",
    paper="subgen",
    title="Main theorem",
    theorem="Theorem 2.4",
    record="For |q| <= r, t = Omega(eps^-2 e^(2 delta r) log n) and s = Omega(eps^-2 d): with high probability |z/tau "
    "- Attn|_2 <= eps |softmax|_2 |V|_op; for (m, delta)-clusterable keys memory and time of a step are O(d (m t + "
    "s)).",
    provenance=("source", "recalled", "reconstructed", "ours"),
    quantifiers="Every stream; one query of norm at most r that does not depend on the coins; probability 0.99 of one "
    "step as recalled. In decoding, later queries depend on earlier random answers: not covered.",
    units="words: 2 s d for the matrix product, d (t + 1) a cell; the cache is 2 n d words.",
    status="repaired",
    finding="Inner precision eps/(2 + eps) and explicit constants by Chebyshev: one step needs no log n; savings start "
    "at about 10^4 to 10^5 tokens.",
    readings=(
        Reading(
            "one query, failure 1/100, t >= 200 sinh^2(delta r)/eps'^2, s >= 200 d/eps'^2, eps' = eps/(2 + eps)",
            "repaired",
            ("sizes", "sizes-one", "sizes-two", "sizes-half", "sizes-tenth", "combination"),
        ),
        Reading("the best split of the same proof between the two estimators", "verified", ("best-split",)),
        Reading(
            "below the break-even number of tokens: the theorem holds and saves nothing",
            "vacuous",
            ("sizes", "best-split"),
        ),
        Reading("queries that depend on earlier answers, as in decoding", "open"),
        Reading("an entrywise relative error, as in HO-2", "open"),
    ),
    threshold=_break_even,
    certificates=(
        Certificate(
            "sizes",
            "eps = 1, delta r = 1/4, d = 64, one cell: t by both forms, s, and the least n that saves",
            sizes.sizes,
        ),
        Certificate("sizes-one", "the same at delta r = 1", sizes.sizes, {"reach": Fraction(1)}),
        Certificate("sizes-two", "the same at delta r = 2", sizes.sizes, {"reach": Fraction(2)}),
        Certificate("sizes-half", "the same at eps = 1/2", sizes.sizes, {"error": Fraction(1, 2)}),
        Certificate("sizes-tenth", "the same at eps = 1/10", sizes.sizes, {"error": Fraction(1, 10)}),
        Certificate(
            "best-split",
            "eps = 1, delta r = 1/4, d = 64: slots and the least n of the best split, and that no split does much "
            "better",
            sizes.best_split,
        ),
        Certificate(
            "combination",
            "4 tokens: the exact chance of a larger error, all outcomes of both samplers",
            sampling.combination,
        ),
    ),
    measured=measured.subgen,
    table=tables.savings,
)

SG5 = Claim(
    id="SG-5",
    paper="subgen",
    title="Sublinear memory",
    theorem="Corollary 2.5",
    record="For m = n^(1 - Omega(1)) and delta r = o(log n): memory O(eps^-2 d n^(1 - Omega(1))).",
    provenance=("source", "ours"),
    quantifiers="As SG-4; also 1/eps = n^o(1), and d = n^(1 - Omega(1)), which the record leaves unsaid.",
    units="words.",
    status="depends-on-reading",
    finding="Follows from SG-4 when 1/eps = n^o(1) and d = n^(1 - Omega(1)) are added; at n = 2^17 the explicit "
    "constants decide by delta r.",
    readings=(
        Reading(
            "with the two conditions added, delta r = 1/10 at n = 131,072, m = 362: fewer words than the cache",
            "repaired",
            ("saves",),
        ),
        Reading(
            "the same at delta r = 1, eps = 1: with these constants more words than the cache", "vacuous", ("does-not",)
        ),
        Reading("that keys of a model are so clusterable: delta r = o(log n) is not measured in the record", "open"),
    ),
    threshold=_break_even,
    certificates=(
        Certificate(
            "saves",
            "n = 131,072, m = 362, delta r = 1/10, eps = 1, d = 64: 2 s + m (t + 1) < 2 n",
            sizes.corollary,
            {"reach": Fraction(1, 10), "saves": True},
        ),
        Certificate("does-not", "the same at delta r = 1: 2 s + m (t + 1) >= 2 n", sizes.corollary),
    ),
)

CLAIMS = (SG1, SG2, SG3, SG4, SG5)
