"""Haris and Onak, first part: the space of attention over all tokens (HO-1 to HO-6)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from kvverify.claims import measured, tables
from kvverify.claims.base import Certificate, Claim, Reading
from kvverify.claims.evidence import arithmetic, attention, covers
from kvverify.claims.evidence import subgen as subgen_sizes

BITS = "bits of state between Alice's last token and the asker's; a message of a whole number of bits is rounded up."
PROMISE = "every one-pass algorithm that answers each (V, i, j) within (1 +- eta) with probability at least 9/10"


def _paraboloid(tokens: int = 2, dim: int = 2) -> str:
    return f"n = {tokens}, d = {dim} (paraboloid): {ceil(attention.fano_bits(tokens * dim))} whole bits"


HO1 = Claim(
    id="HO-1",
    paper="haris-onak",
    title="The problem",
    theorem=None,
    record="A stream of (q_i, k_i, v_i) in R^d; after step i the output is Z_i = softmax(K_i q_i)^T V_i; space is what "
    "is kept between steps.",
    provenance=("source",),
    quantifiers="A definition. Here n counts Alice's tokens, the asker's token is extra, and score = <q, k>/scale with "
    "the scale said.",
    units="bits kept between steps.",
    status="verified",
    finding="The class of the certificates is this problem with the scale as a field of its own: it divides every gap "
    "of scores.",
    readings=(Reading("score <q, k>/scale, scale = 1 or sqrt d, part of the query", "verified", ("class",)),),
    threshold=_paraboloid,
    certificates=(
        Certificate(
            "class",
            "an instance of the class, n = d = 2; max_logit bounds the score after the scale",
            attention.state,
            {"keys": "paraboloid(2,2)"},
        ),
    ),
)

HO2 = Claim(
    id="HO-2",
    paper="haris-onak",
    title="Space lower bound, approximate",
    record="For d >= c log n any algorithm that outputs a (1 +- eta)-approximation of Z_n, entrywise and with "
    "probability at least 9/10, uses Omega(n d) bits, for every fixed eta in (0, 1).",
    provenance=("source", "recalled", "reconstructed"),
    quantifiers=f"For {PROMISE}, n Alice's tokens, d >= c log n with a constant that the record leaves open.",
    units=BITS,
    status="repaired",
    finding="At least 0.53 n d bits, from d = log2 n on; the query's factor C has to contain ln((1 + eta)/(1 - eta)) "
    "and the scale.",
    readings=(
        Reading(
            "scores unbounded: Omega(n d) bits for d >= log2 n, constant 0.53",
            "verified",
            ("kerdock", "hypercube", "paraboloid"),
        ),
        Reading(
            "C with ln((1 + eta)/(1 - eta)) and the scale in it: the budget is part of the statement",
            "repaired",
            ("kerdock", "gap", "gap-scaled", "eta-nine-tenths", "displayed-half"),
        ),
        Reading(
            "C = 2 ln n/(1 - 2 eps) whatever eta is, as a bound that suffices for every n >= 2",
            "contradicted",
            ("displayed",),
        ),
    ),
    threshold=_paraboloid,
    certificates=(
        Certificate("kerdock", "n = 256, d = 16, eta = 1/2", attention.state, {"body": "ball"}),
        Certificate("hypercube", "n = 16, d = 4 = log2 n", attention.state, {"keys": "hypercube(4)"}),
        Certificate("paraboloid", "n = d = 2", attention.state, {"keys": "paraboloid(2,2)"}),
        Certificate("gap", "n = 256, eta = 1/2, scale 1: the gap ln 255 + ln 3, to a hundredth", attention.gap),
        Certificate(
            "gap-scaled",
            "the same at scale sqrt 16: four times as large",
            attention.gap,
            {"scale_square": Fraction(16)},
        ),
        Certificate(
            "eta-nine-tenths",
            "n = 256, d = 16, eta = 9/10: the budget grows with ln((1 + eta)/(1 - eta))",
            attention.state,
            {"relative": Fraction(9, 10)},
        ),
        Certificate(
            "displayed-half",
            "eta = 1/2: (n - 1)/n^2 < (1 - eta)/(1 + eta) from n = 2 on",
            arithmetic.displayed_bound,
            {"relative": Fraction(1, 2)},
        ),
        Certificate(
            "displayed",
            "eta = 9/10: it fails at n = 17 and holds from n = 18 on",
            arithmetic.displayed_bound,
            counterexample=True,
        ),
    ),
)

HO3 = Claim(
    id="HO-3",
    paper="haris-onak",
    title="Space lower bound, exact",
    record="The same for exact answers: eta = 0.",
    provenance=("reconstructed",),
    quantifiers="As HO-2 with eta = 0: the wrong mass only has to be below the target's; without error every bit "
    "counts.",
    units=BITS,
    status="verified",
    finding="At delta = 0 all n d bits; at delta = 1/10 at least 0.53 n d.",
    readings=(
        Reading("exact answers, probability 9/10", "verified", ("kerdock", "hypercube", "paraboloid")),
        Reading("exact answers always: n d bits", "verified", ("kerdock-sure", "hypercube-sure")),
    ),
    threshold=_paraboloid,
    certificates=(
        Certificate("kerdock", "n = 256, d = 16", attention.state, {"relative": Fraction(0)}),
        Certificate("hypercube", "n = 16, d = 4", attention.state, {"keys": "hypercube(4)", "relative": Fraction(0)}),
        Certificate("paraboloid", "n = d = 2", attention.state, {"keys": "paraboloid(2,2)", "relative": Fraction(0)}),
        Certificate(
            "kerdock-sure",
            "n = 256, d = 16: 4,096 bits",
            attention.state,
            {"relative": Fraction(0), "failure": Fraction(0)},
        ),
        Certificate(
            "hypercube-sure",
            "n = 16, d = 4: 64 bits",
            attention.state,
            {"keys": "hypercube(4)", "relative": Fraction(0), "failure": Fraction(0)},
        ),
    ),
)

HO4 = Claim(
    id="HO-4",
    paper="haris-onak",
    title="Low dimension, lower bound",
    record="For d = o(log n): Omega(d e^d) bits; with HO-2, Omega(d min{n, e^d}).",
    provenance=("source", "reconstructed", "ours"),
    quantifiers=f"For {PROMISE}; d = o(log n). The record states no bound on norms or scores.",
    units=BITS,
    status="depends-on-reading",
    finding="With free norms more is true, 0.53 n d for every d >= 2; under a budget of norms or scores the base "
    "depends on the budget.",
    readings=(
        Reading(
            "norms and scores free: implied, as 0.53 n d holds for every d >= 2",
            "verified",
            ("plane", "plane-every-n", "paraboloid-4"),
        ),
        Reading(
            "norm budget |q||k|/scale <= R: d 2^d with R = O(d log d), other tokens as pads of value 0",
            "repaired",
            ("cube-in-ball", "paraboloid-in-ball", "norm-limit"),
        ),
        Reading(
            "score budget |q|_1 |k|_inf/scale <= rho: the same rows; n - 1 < e^(2 rho)(1 - eta)/(1 + eta) always",
            "repaired",
            ("cube", "score-limit"),
        ),
        Reading(
            "the base e literally, from projections with eps < 1/2: these give e^(d/48) or e^(d/16) keys, unit keys of "
            "that number need eps > 0.929",
            "open",
            ("exponents",),
        ),
    ),
    threshold=_paraboloid,
    table=tables.budgets,
    certificates=(
        Certificate("plane", "n = 8 in the plane, d = 2", attention.state, {"keys": "paraboloid(8,2)", "body": "ball"}),
        Certificate("plane-every-n", "base 7 separates every n at d = 2", arithmetic.paraboloid_base),
        Certificate("paraboloid-4", "n = 27 in d = 4", attention.state, {"keys": "paraboloid(3,4)", "body": "ball"}),
        Certificate(
            "cube-in-ball",
            "d = 4: 16 tokens carry values, 48 are pads; norm budget",
            attention.state,
            {"keys": "hypercube(4)", "tokens": 64, "body": "ball"},
        ),
        Certificate(
            "paraboloid-in-ball",
            "d = 5: 16 tokens of a paraboloid carry values, 48 are pads; norm budget",
            attention.state,
            {"keys": "paraboloid(2,5)", "tokens": 64, "body": "ball"},
        ),
        Certificate(
            "cube", "the same 16 tokens of 64; score budget", attention.state, {"keys": "hypercube(4)", "tokens": 64}
        ),
        Certificate(
            "norm-limit",
            "the largest n that any keys with |q| = |k| = sqrt 128 and score/sqrt 128 separate",
            arithmetic.most_keys_by_norms,
        ),
        Certificate(
            "score-limit", "the largest n that any keys separate at the score budget 8", arithmetic.most_keys_by_scores
        ),
        Certificate("exponents", "48, 16 and 0.929: what the projections give", arithmetic.projection_exponents),
    ),
)

HO5 = Claim(
    id="HO-5",
    paper="haris-onak",
    title="Low dimension, upper bound",
    record="For d = o(log n) SubGen uses O(d e^d)-type space by covering numbers, which matches HO-4.",
    provenance=("source", "reconstructed", "ours"),
    quantifiers="Keys in a ball of radius R, queries of norm at most r; SubGen's error is eps |softmax|_2 |V|_op in "
    "2-norm with high probability, that of HO-2 entrywise relative. The record states no norm budget.",
    units="SubGen: words; HO-4: bits.",
    status="depends-on-reading",
    finding="The two sides can match only under a common norm budget and error notion; the record states none.",
    readings=(
        Reading(
            "SubGen's own error: representatives further apart than delta in a ball of radius R number at most (1 + "
            "2R/delta)^d, at most e^d from delta = 1.164 R on",
            "verified",
            ("constants", "sizes"),
        ),
        Reading(
            "the covering numbers of the norm budget from both sides: N(B_R, delta) <= cells of some stream, cells of "
            "every stream <= N(B_R, delta/2)",
            "verified",
            ("cover", "cover-half"),
        ),
        Reading(
            "the same by cells of diameter delta: at most e^d would need delta > 2R, the ball's own diameter",
            "vacuous",
            ("constants",),
        ),
        Reading("'matching', under one error notion and one norm budget", "open", ("lower",)),
    ),
    measured=measured.net,
    threshold=lambda: "cells at most e^d from delta = 1.164 R on; a saving of words from SG-4's token numbers on",
    certificates=(
        Certificate(
            "constants",
            "2R/(e - 1) lies between 1.1639 R and 1.1640 R; by diameters 4R/(e - 1) > 2R",
            arithmetic.covering_constants,
        ),
        Certificate("sizes", "slots and break-even at eps = 1, delta r = 1/4, d = 64, one cell", subgen_sizes.sizes),
        Certificate("cover", "N(B_R, delta) at d = 4, R = 1, delta = 1/2", covers.ball),
        Certificate("cover-half", "N(B_R, delta/2) there", covers.ball, {"ball_radius": Fraction(1, 4)}),
        Certificate(
            "lower",
            "HO-4's side under the norm budget, d = 4",
            attention.state,
            {"keys": "hypercube(4)", "tokens": 64, "body": "ball"},
        ),
    ),
)

HO6 = Claim(
    id="HO-6",
    paper="haris-onak",
    title="Unstructured sparsity does not help",
    record="Attention matrices that are sparse, with no structure known in advance, still force Omega(n d) bits.",
    provenance=("source", "reconstructed", "ours"),
    quantifiers=f"For {PROMISE}, asked only on streams each of whose causal rows has most of its mass on one token.",
    units=BITS,
    status="repaired",
    finding="With Alice's queries 0 her rows are flat; with q_i = c k_i every causal row has most of its mass on one "
    "token, and the bound stays.",
    readings=(
        Reading("every causal row sparse, Alice's queries q_i = c k_i", "repaired", ("sparse", "sparse-kerdock")),
        Reading(
            "every causal row sparse in the reconstructed instance with Alice's queries 0", "contradicted", ("flat",)
        ),
        Reading("sparse by a fixed support known in advance", "open"),
    ),
    threshold=lambda: f"n = 2, d = 1 (hypercube): {ceil(attention.fano_bits(2))} whole bits",
    certificates=(
        Certificate("sparse", "n = 16, d = 4: the mass is in the statement", attention.sparse),
        Certificate("sparse-kerdock", "n = 256, d = 16", attention.sparse, {"keys": "kerdock(16)"}),
        Certificate(
            "flat", "queries 0: the last of 16 rows has 1/16 on each token", attention.flat, counterexample=True
        ),
    ),
)

SPACE = (HO1, HO2, HO3, HO4, HO5, HO6)
