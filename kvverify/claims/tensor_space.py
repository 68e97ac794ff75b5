"""Tensor attention, first part: its definition, its caches and their lower bounds (TA-1 to TA-4)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from kvverify.claims import tables
from kvverify.claims.base import Certificate, Claim, Reading
from kvverify.claims.evidence import arithmetic, attention, tensor

BITS = "bits of state between Alice's last token and the asker's; a message of a whole number of bits is rounded up."
PROMISE = "every algorithm that answers each (V, i, j) within (1 +- eta) with probability at least 9/10"


def smallest(tokens: int = 2, dim: int = 2) -> str:
    """From which sizes on 2 (n - 1) d symbols of INDEX say more than nothing."""
    return f"n = {tokens}, d = {dim}: {ceil(attention.fano_bits(2 * (tokens - 1) * dim))} whole bits"


TA1 = Claim(
    id="TA-1",
    paper="tensor",
    title="Tensor attention",
    theorem="Definition 3.10",
    record="K1, K2, V1, V2 and Q in R^(n x d); K1 * K2 has a row k1_i o k2_l, entrywise products, for each of the n^2 "
    "pairs; the answer is D^-1 exp(Q (K1 * K2)^T/d) (V1 * V2).",
    provenance=("source", "ours"),
    quantifiers="A definition. n counts Alice's tokens; the asker's own token brings 2n + 1 further pairs, whose "
    "values are 0 if its factors are.",
    units="words: 4 d a token.",
    status="verified",
    finding="The scale 1/d divides every gap of scores: a factor C of the query becomes C d. It is a field of its own.",
    readings=(Reading("scores over d, part of the query", "verified", ("class", "gap", "gap-scaled")),),
    threshold=smallest,
    certificates=(
        Certificate("class", "an instance of the class: 16 tokens, d = scale = 8", tensor.state),
        Certificate("gap", "n^2 = 256 pairs, eta = 1/2, scale 1: the gap ln 255 + ln 3", attention.gap),
        Certificate(
            "gap-scaled", "the same at scale d = 8: eight times as large", attention.gap, {"scale_square": Fraction(64)}
        ),
    ),
)

TA2 = Claim(
    id="TA-2",
    paper="tensor",
    title="Four caches and two caches",
    record="Four caches keep K1, K2, V1 and V2, 4 n d words; two caches keep K1 * K2 and V1 * V2, 2 n^2 d words.",
    provenance=("source",),
    quantifiers="Every n and d.",
    units="words between steps.",
    status="verified",
    finding="Two caches are the larger ones from n = 3 on; at n = 2 both are 8 d words.",
    readings=(Reading("words of entries, one each", "verified", ("words",)),),
    threshold=lambda: "n = 3",
    certificates=(Certificate("words", "4 n d against 2 n^2 d at n = 3 and n = 2", tensor.caches),),
)

TA3 = Claim(
    id="TA-3",
    paper="tensor",
    title="Lower bound for four caches",
    theorem=None,
    record="For d = Omega(log n), (1 +- eta)-approximation of tensor attention uses Omega(n d) bits.",
    provenance=("source", "reconstructed", "ours"),
    quantifiers=f"For {PROMISE}; d at least 2 log2 n for both value factors, log2 n for one.",
    units=BITS,
    status="verified",
    finding="With K2 = V2 = 1 it is HO-2; secrets in both value factors, read beside a token of ones, give 0.53 * 2 "
    "(n - 1) d bits at d = 2 log2 n.",
    readings=(
        Reading("K2 = V2 = 1, ordinary attention: 0.53 n d bits", "verified", ("skeleton", "skeleton-large")),
        Reading(
            "both value factors secret, product keys the corners of the cube: 0.53 * 2 (n - 1) d bits",
            "verified",
            ("halves", "halves-small", "halves-large", "halves-sure"),
        ),
    ),
    threshold=smallest,
    certificates=(
        Certificate("halves", "n = 16, d = 8 = 2 log2 n: 30 rows", tensor.state),
        Certificate("halves-small", "n = 4, d = 4: 24 symbols", tensor.state, {"tokens": 4, "head_dim": 4}),
        Certificate(
            "halves-large",
            "n = 256, d = 16: 510 rows",
            tensor.state,
            {"tokens": 256, "head_dim": 16, "max_logit": Fraction(64)},
        ),
        Certificate(
            "halves-sure",
            "n = 16, d = 8, exact answers without error: all 240 bits",
            tensor.state,
            {"relative": Fraction(0), "failure": Fraction(0)},
        ),
        Certificate("skeleton", "n = 16, d = 8, one factor secret", tensor.state, {"form": "skeleton"}),
        Certificate(
            "skeleton-large",
            "n = 256, d = 16, one factor secret",
            tensor.state,
            {"tokens": 256, "head_dim": 16, "form": "skeleton"},
        ),
    ),
)

TA4 = Claim(
    id="TA-4",
    paper="tensor",
    title="Lower bound for two caches",
    theorem=None,
    record="For the two-cache form, (1 +- eta)-approximation uses Omega(n^2 d) bits.",
    provenance=("source", "ours"),
    quantifiers=f"For {PROMISE}. What is open in the record: whether the n^2 rows are those of a tensor attention, and "
    "whether the algorithm may keep their factors.",
    units=f"{BITS} Words have p bits.",
    status="depends-on-reading",
    finding="For tensor attention and any algorithm 4 n d p bits are enough, exactly: less than 0.53 n^2 d from n = "
    "121 on at 16 bits. For rows without structure, or schemes that have to keep product rows, it holds.",
    readings=(
        Reading(
            "the input is tensor attention, any algorithm is allowed: 4 n d words give the exact answer",
            "contradicted",
            ("identity", "identity-64", "words-1", "words-4", "words-8", "words-16", "words-32"),
        ),
        Reading(
            "by embedding n^2 d free bits in V1 * V2: a column takes fewer patterns than 2^(n^2)",
            "contradicted",
            ("patterns-2", "patterns-3", "patterns-threshold-3", "patterns-large"),
        ),
        Reading(
            "a column of V1 * V2 at n = 2 with real values and a threshold: all 16 patterns occur",
            "verified",
            ("patterns-threshold-2",),
        ),
        Reading("n^2 rows without structure: HO-2 with n^2 for n, 0.53 n^2 d bits", "verified", ("rows", "rows-large")),
        Reading("the scheme has to keep the product rows: 2 n^2 d words by definition", "verified", ("kept",)),
    ),
    threshold=lambda: f"n = {arithmetic.outgrown_from(4, 1, 16)[0]} at 16 bits a word, for what exceeds four caches",
    table=tables.patterns,
    certificates=(
        Certificate(
            "identity",
            "n = 121, d = 2, 16-bit values: 15,488 bits give the exact two-cache answer, 0.53 n^2 d is more",
            tensor.identity,
            counterexample=True,
        ),
        Certificate(
            "identity-64",
            "n = 64, d = 16, 4-bit values: 16,384 bits",
            tensor.identity,
            {"tokens": 64, "head_dim": 16, "word_bits": 4},
            counterexample=True,
        ),
        *(
            Certificate(
                f"words-{bits}",
                f"p = {bits}: 4 n d p < 0.53 n^2 d from n = {arithmetic.outgrown_from(4, 1, bits)[0]} on, and not "
                f"before",
                arithmetic.outgrown,
                {"words": 4, "word_bits": bits},
                counterexample=True,
            )
            for bits in (1, 4, 8, 16, 32)
        ),
        *(
            Certificate(
                f"patterns-{name}", shows, tensor.patterns, {"tokens": tokens, "form": form}, counterexample=fewer
            )
            for name, shows, tokens, form, fewer in (
                ("2", "n = 2, values 0 and 1: 10 of 16", 2, "binary", True),
                ("3", "n = 3: 50 of 512", 3, "binary", True),
                ("threshold-2", "n = 2, real values and a threshold: 16 of 16", 2, "threshold", False),
                ("threshold-3", "n = 3: 338 of 512", 3, "threshold", True),
            )
        ),
        Certificate("patterns-large", "n = 5: both counts are below 2^25", tensor.fewer_patterns, counterexample=True),
        Certificate("rows", "n^2 = 256 rows of d = 16, each of its own", attention.state),
        Certificate("rows-large", "n^2 = 4,096 rows of d = 64", attention.state, {"keys": "kerdock(64)"}),
        Certificate("kept", "2 n^2 d words are more than the four caches from n = 3 on", tensor.caches),
    ),
)

SPACE = (TA1, TA2, TA3, TA4)
