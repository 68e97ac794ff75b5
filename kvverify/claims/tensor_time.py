"""Tensor attention, second part: time, SubGen on tensor caches, low dimension (TA-5 to TA-7)."""

from __future__ import annotations

from fractions import Fraction

from kvverify.claims import measured, tables
from kvverify.claims.base import Certificate, Claim, Reading
from kvverify.claims.evidence import arithmetic, attention, covers, instances, tensor
from kvverify.claims.tensor_space import BITS, PROMISE, smallest

TA5 = Claim(
    id="TA-5",
    paper="tensor",
    title="Time of four caches and two caches",
    theorem=None,
    record="The two-cache form is faster a step, by Omega(n^2 d).",
    provenance=("source", "ours"),
    quantifiers="One new token, n tokens with it; products of entries are counted, exponentials, scaling and divisions "
    "are not, additions are equally many. Exact arithmetic: floats may round differently.",
    units="multiplications; words of memory for what an order keeps besides the caches.",
    status="depends-on-reading",
    finding="In the naive order the difference is 2 (n - 1)^2 d. With q o k1 first and v1 last, four caches take 2 (n "
    "- 1) d fewer than two caches, for the same exact answer.",
    readings=(
        Reading(
            "four caches evaluated by forming all product rows: 2 (n - 1)^2 d more multiplications",
            "verified",
            ("counts", "counts-small"),
        ),
        Reading(
            "four caches in the best order known here, re-associated: no more multiplications than two caches, fewer "
            "from n = 2 on",
            "contradicted",
            ("again", "again-16", "again-large"),
        ),
    ),
    threshold=lambda: "n = 2",
    measured=measured.orders,
    certificates=(
        Certificate("counts", "n = 512, d = 64, from the steps of the three orders", tensor.multiplications),
        Certificate("counts-small", "n = 2, d = 64", tensor.multiplications, {"tokens": 2}),
        Certificate(
            "again",
            "n = 4, d = 2: one exact answer in three orders, multiplications counted as they happen",
            tensor.identity,
            {"tokens": 4, "word_bits": 4},
            counterexample=True,
        ),
        Certificate(
            "again-16",
            "n = 16, d = 8, words of 8 bits",
            tensor.identity,
            {"tokens": 16, "head_dim": 8, "word_bits": 8, "seed": 1},
            counterexample=True,
        ),
        Certificate(
            "again-large",
            "n = 512, d = 64, from the steps",
            tensor.multiplications,
            {"tokens": 512},
            counterexample=True,
        ),
    ),
)

TA6 = Claim(
    id="TA-6",
    paper="tensor",
    title="SubGen4Cache and SubGen2Cache",
    theorem=None,
    record="SubGen on four and on two caches has a near-optimal trade of space and accuracy, by covering numbers, for "
    "clusterable keys; SubGen4Cache is essentially optimal in low dimension.",
    provenance=("source", "reconstructed", "ours"),
    quantifiers="The exact statements are not at hand. Factors with entries of size at most R, cells of diameter "
    "delta.",
    units="words; SubGen's slots hold keys and values of d words each.",
    status="depends-on-reading",
    finding="Product cells and samplers carry over, with a reservoir for each coordinate. SubGen2Cache has to see 2n "
    "+ 1 product rows a step, and what forms them is Omega(n d) bits before anything is sketched.",
    readings=(
        Reading(
            "cells of diameter delta in both factors give m1 m2 product cells of diameter 2 R delta; covering the ball "
            "of products itself takes fewer",
            "verified",
            ("cells-of-factors", "cells-of-products"),
        ),
        Reading(
            "the norm sampler over product rows: mean and variance; its law is a mixture over coordinates of product "
            "laws, so reservoirs of single coordinates draw it, d of them",
            "verified",
            ("product-sampler", "coordinates"),
        ),
        Reading(
            "SubGen2Cache's memory, with what forms its product rows, is o(n d) for clusterable keys",
            "contradicted",
            ("rows-to-come",),
        ),
        Reading(
            "SubGen2Cache's time a step is Omega(n d): for a new token of ones its new rows are the old factors, each "
            "entry of which is read",
            "verified",
            ("unread", "accesses"),
        ),
        Reading("near-optimal, and optimal in low dimension, under one error notion and one norm budget", "open"),
        Reading("an entrywise relative error, as in TA-3", "open"),
    ),
    threshold=lambda: "as SG-4: m1 m2 (t + 1) slots against n^2 product rows, 4 n d words against the sketch",
    measured=measured.tensor,
    table=tables.subgen_choices,
    certificates=(
        Certificate(
            "cells-of-factors",
            "d = 4, R = 1, delta = 1/2: cells of one factor, N(B_1, 1/4)",
            covers.ball,
            {"ball_radius": Fraction(1, 4)},
        ),
        Certificate("cells-of-products", "the ball of products there, cells of diameter 1: N(B_1, 1/2)", covers.ball),
        Certificate("product-sampler", "2 tokens, 4 product rows, 2 slots: all outcomes", tensor.product_sampler),
        Certificate(
            "coordinates",
            "3 tokens, 2 coordinates: the law is the mixture, and no product",
            tensor.coordinate_reservoirs,
        ),
        Certificate(
            "rows-to-come",
            "n = 256, d = 16: the rows of a new token of ones are the old factors, n d bits of each",
            attention.state,
            {"relative": Fraction(0), "failure": Fraction(0)},
            counterexample=True,
        ),
        Certificate("unread", "an entry of a factor that is not read in the step", instances.unread_entry),
        Certificate("accesses", "n = 1000, d = 64, one key factor: 51,149 accesses", arithmetic.accesses),
    ),
)

TA7 = Claim(
    id="TA-7",
    paper="tensor",
    title="Low dimension",
    theorem=None,
    record="For d = o(log n) the bound becomes one with e^d in place of n, and SubGen4Cache matches it. In the "
    "abstract of the first version; not in that of the second.",
    provenance=("source", "reconstructed", "ours"),
    quantifiers=f"For {PROMISE}; d = o(log n). The record states no bound on norms or scores.",
    units=f"{BITS} Upper bounds by cells: words.",
    status="depends-on-reading",
    finding="As HO-4 and HO-5: with norms free 0.53 * 2 (n - 1) d holds for every n from d = 4 on; under a budget the "
    "base depends on the budget. Covering products at once takes (1 + R/delta)^d, pairs of cells the square of (1 + "
    "2R/delta)^d.",
    readings=(
        Reading(
            "norms and scores free: implied, one paraboloid in each half of the coordinates, d = 4, every n",
            "verified",
            ("plane-every-n", "plane"),
        ),
        Reading(
            "a budget of scores: corners of the cube in d = 2 log2 n', other tokens as pads of value 0",
            "repaired",
            ("cube", "cube-small"),
        ),
        Reading("cells of the ball of products from both sides", "verified", ("cells-of-products", "cells-of-factors")),
        Reading("'matches', under one error notion and one norm budget", "open"),
    ),
    threshold=smallest,
    certificates=(
        Certificate(
            "plane-every-n", "base 13 separates all pairs of two paraboloids", arithmetic.paraboloid_base, {"dim": 3}
        ),
        Certificate(
            "plane",
            "4 x 4 pairs of such tokens, as 16 rows",
            attention.state,
            {"keys": "paraboloid(4,3)", "body": "ball"},
        ),
        Certificate(
            "cube",
            "64 tokens in d = 8: 15 secret rows in each factor, the others pads",
            tensor.state,
            {"tokens": 64, "max_logit": Fraction(32)},
        ),
        Certificate(
            "cube-small", "64 tokens in d = 4", tensor.state, {"tokens": 64, "head_dim": 4, "max_logit": Fraction(32)}
        ),
        Certificate("cells-of-products", "N(B_1, 1/2) in d = 4", covers.ball),
        Certificate("cells-of-factors", "N(B_1, 1/4) in d = 4", covers.ball, {"ball_radius": Fraction(1, 4)}),
    ),
)

TIME = (TA5, TA6, TA7)
