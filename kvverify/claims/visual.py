"""Chen, Li, Ke, Liang, Shi and Song, visual autoregressive transformers (arXiv 2503.14881): VAR-1 to VAR-5."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from kvverify.claims import measured, tables
from kvverify.claims.base import Certificate, Claim, Reading
from kvverify.claims.evidence import arithmetic, attention, visual
from kvverify.claims.evidence.attention import TENTH

PAPER = "Chen, Li, Ke, Liang, Shi and Song, Exploring the Limits of KV Cache Compression in VAR (arXiv 2503.14881)"
_BITS = "bits of state at the cut, which the reading names; a message of a whole number of bits is rounded up."
_PROMISE = "Every algorithm that answers each (V, i, j) with probability at least 9/10"


def _first_map() -> str:
    return f"scales 1, 2 at d = 4: one token before the last scale, {ceil(attention.fano_bits(4))} whole bits"


VAR1 = Claim(
    id="VAR-1",
    paper="visual",
    title="The pyramid of token maps",
    theorem="Definitions 3.6 and 3.7",
    record="Maps of h_i x w_i tokens, i = 1 .. N; the first is given, each later one is the up-interpolation of a map "
    "of the size before it: per channel Y_ij = sum over s, t = -1 .. 2 of W(s) W(t) X at row i h/h' + s, column j "
    "w/w' + t. Step i appends its tokens' keys and values to the cache; the answer is softmax(Q_i K^T) V over all so "
    "far.",
    provenance=("recalled", "ours"),
    quantifiers="A definition. Ours to settle: what a real-valued or an outside index means (the edge rule), and that "
    "Q, K and V are projections of one map, so keys and values share its d_model numbers.",
    units="tokens; a token is d_model numbers of a map, and 2 d words of keys and values.",
    status="repaired",
    finding="With centres at half pixels and indices held at the border every ratio of sides has a value; on VAR's "
    "scales each interpolation then has the full rank h w, so a map shows h w tokens that are free, not h' w'.",
    readings=(
        Reading("VAR's scales: 680 tokens in all, 424 before the last one", "verified", ("cache",)),
        Reading(
            "indices at half pixels, held at the border: defined for every ratio, and of rank h w on VAR's scales",
            "repaired",
            ("ranks-bicubic", "ranks-bilinear"),
        ),
        Reading("indices outside of the map left undefined, as recorded", "open"),
    ),
    threshold=lambda: "two scales: one token, then more",
    table=tables.pyramid,
    certificates=(
        Certificate("cache", "sums of h w over all scales, and over all but the last", visual.cache),
        Certificate(
            "ranks-bicubic",
            "bicubic, all of VAR's steps: left inverses of the axes, entry by entry",
            visual.left_inverses,
        ),
        Certificate("ranks-bilinear", "the same, bilinear", visual.left_inverses, {"kernel": "bilinear"}),
    ),
)

VAR2 = Claim(
    id="VAR-2",
    paper="visual",
    title="MULTI-INDEX",
    record="Alice holds a x b x c bits, Bob a position; one message from Alice from which Bob names the bit has "
    "Omega(a b c) bits.",
    provenance=("source",),
    quantifiers="Every protocol with public and private coins; error at most delta <= 1/2 on average; every a, b, c "
    ">= 1.",
    units="bits of a message of fixed length.",
    status="verified",
    finding="The same as INDEX on N = a b c bits: positions and 0 .. N - 1 correspond one to one.",
    readings=(Reading("INDEX with N = a b c", "verified", ("bits", "index")),),
    threshold=lambda: "a = 2, b = c = 1: 2 whole bits at delta = 1/10",
    certificates=(
        Certificate("bits", "4 x 4 x 4: 34 whole bits", visual.multi_index),
        Certificate(
            "index", "a b = 16 tokens of c = 4 coordinates in attention", attention.state, {"keys": "hypercube(4)"}
        ),
    ),
)

VAR3 = Claim(
    id="VAR-3",
    paper="visual",
    title="Space lower bound, exact",
    theorem="Theorem 4.5",
    record="For a last map of n x n tokens and d >= C_u log n: exact attention with probability at least 9/10 uses "
    "Omega(n^2 d) bits. In the abstract n is the number of tokens.",
    provenance=("source", "recalled", "reconstructed", "ours"),
    quantifiers=f"{_PROMISE}, exactly; the record names neither the scales nor who holds the last one.",
    units=_BITS,
    status="depends-on-reading",
    finding="At least 0.53 L d bits, L the tokens at the cut whose values are free: 424 of VAR's 680 between steps. "
    "It is Omega(n^2 d) if the scales before the last hold a constant share, and not for scales 1 -> n.",
    readings=(
        Reading(
            "memory between steps, Q, K and V free: the last scale's tokens arrive with its queries, so L = 424 for "
            "VAR",
            "repaired",
            ("between-steps", "between-steps-sure"),
        ),
        Reading(
            "all keys and values with Alice, the last queries with Bob, Q, K and V free: L = 680 for VAR",
            "verified",
            ("all-keys",),
        ),
        Reading(
            "Q, K and V projections of interpolated maps, as VAR-1 has them: free tokens carry the bits, 256 of VAR's "
            "424 between steps and 425 of its 680",
            "repaired",
            ("free", "free-all-keys", "realisable", "realisable-all-keys", "realisable-doubling"),
        ),
        Reading(
            "sides grow by a constant ratio a: L = (n^2 - 1)/(a^2 - 1), at least n^2/a^2; sides 1, 2, 3, .. n: L = (n "
            "- 1) n (2n - 1)/6, more than n^2",
            "repaired",
            ("doubling", "tripling", "every-side", "doubling-bits"),
        ),
        Reading(
            "memory between steps, no condition on the scales: for 1 -> n one token is all of the state",
            "contradicted",
            ("one-token", "one-token-enough"),
        ),
        Reading(
            "all keys with Alice, Q, K and V projections of interpolated maps, no condition on the scales: for 1 -> n "
            "the cache is made of two free tokens",
            "contradicted",
            ("two-free", "two-free-words", "two-free-bits"),
        ),
        Reading(
            "n is the number of tokens: n^2 d bits would exceed the whole cache of 2 n d words",
            "contradicted",
            ("tokens-as-n", "tokens-as-n-8"),
        ),
    ),
    threshold=_first_map,
    measured=measured.visual,
    table=tables.cuts,
    certificates=(
        Certificate(
            "between-steps",
            "VAR's scales, d = 64: 14,410 whole bits of 424 tokens",
            visual.tokens_carry,
            {"relative": Fraction(0)},
        ),
        Certificate(
            "between-steps-sure",
            "the same without error: all 27,136 bits",
            visual.tokens_carry,
            {"relative": Fraction(0), "failure": Fraction(0)},
        ),
        Certificate(
            "all-keys", "the same of all 680 tokens", visual.tokens_carry, {"cut": "all-keys", "relative": Fraction(0)}
        ),
        Certificate("free", "VAR's scales between steps, bicubic: 256 of 424 tokens", visual.free),
        Certificate("free-all-keys", "425 of 680 tokens", visual.free, {"cut": "all-keys"}),
        Certificate(
            "realisable",
            "1, 2, 3, 4, 6, 8 between steps: a stream that a bicubic pyramid produces (--set scales=var takes seconds)",
            visual.realisable,
        ),
        Certificate(
            "realisable-all-keys",
            "1, 2, 3, 4, all keys: 15 of 30 tokens",
            visual.realisable,
            {"scales": "1,2,3,4", "cut": "all-keys"},
        ),
        Certificate(
            "realisable-doubling", "1, 2, 4, 8, 16 between steps: 22 of 85", visual.realisable, {"scales": "1,2,4,8,16"}
        ),
        Certificate("doubling", "sides 1, 2, 4, .. 64: 1,365 tokens before the last scale", visual.ratio_pyramid),
        Certificate(
            "tripling", "sides 1, 3, 9, .. 81: an eighth of 6,560", visual.ratio_pyramid, {"side": 81, "ratio": 3}
        ),
        Certificate("every-side", "sides 1, 2, 3, .. 16: 1,240 tokens before the last scale", visual.every_side),
        Certificate(
            "doubling-bits",
            "sides 1, 2, 4, .. 16 between steps, d = 64",
            visual.tokens_carry,
            {"scales": "1,2,4,8,16", "relative": Fraction(0)},
        ),
        Certificate(
            "one-token",
            "2 d words of 16 bits, the one token before the last scale, are fewer than 0.53 n^2 d bits from n = 8 on",
            arithmetic.outgrown,
            {"grows": 0},
            counterexample=True,
        ),
        Certificate(
            "one-token-enough",
            "real entries within the budget, error 1/100: so many bits for that token whatever n is",
            attention.enough,
            {"tokens": 1, "head_dim": 64},
            counterexample=True,
        ),
        Certificate(
            "two-free",
            "1 -> 16: 2 of 257 tokens are free when the last map is interpolated",
            visual.free,
            {"scales": "1,16", "cut": "all-keys"},
            counterexample=True,
        ),
        Certificate(
            "two-free-words",
            "their 4 d words of 16 bits are fewer than 0.53 n^2 d bits from n = 11 on",
            arithmetic.outgrown,
            {"words": 4, "grows": 0},
            counterexample=True,
        ),
        Certificate(
            "two-free-bits",
            "1 -> 16, the bits that these two tokens carry: as many for every n",
            visual.realisable,
            {"scales": "1,16", "cut": "all-keys"},
            counterexample=True,
        ),
        Certificate(
            "tokens-as-n",
            "2 n d words of 16 bits are fewer than 0.53 n^2 d bits from n = 61 on",
            arithmetic.outgrown,
            counterexample=True,
        ),
        Certificate(
            "tokens-as-n-8",
            "words of 8 bits: from n = 31 on",
            arithmetic.outgrown,
            {"word_bits": 8},
            counterexample=True,
        ),
    ),
)

VAR4 = Claim(
    id="VAR-4",
    paper="visual",
    title="Space lower bound, approximate",
    theorem="Theorem 4.6",
    record="The same for (1 +- eta)-approximations, entrywise, for every fixed eta in (0, 1).",
    provenance=("source", "reconstructed", "ours"),
    quantifiers=f"{_PROMISE}, within (1 +- eta); the query's factor is C = 2 ln(n^2)/(1 - 2 eps).",
    units=_BITS,
    status="repaired",
    finding="As HO-2 with n^2 tokens: C suffices as displayed iff (n^2 - 1)/n^4 < (1 - eta)/(1 + eta), and for every n "
    "with ln((1 + eta)/(1 - eta)) in it. The readings of the cut are those of VAR-3.",
    readings=(
        Reading(
            "memory between steps and all keys, the budget with ln((1 + eta)/(1 - eta)) in it",
            "repaired",
            ("between-steps", "all-keys", "eta-nine-tenths", "displayed-half", "realisable"),
        ),
        Reading(
            "C = 2 ln(n^2)/(1 - 2 eps) whatever eta is, as a bound that suffices for every n >= 2",
            "contradicted",
            ("displayed",),
        ),
    ),
    threshold=_first_map,
    certificates=(
        Certificate("between-steps", "VAR's scales, d = 64, eta = 1/2", visual.tokens_carry),
        Certificate("all-keys", "the same of all 680 tokens", visual.tokens_carry, {"cut": "all-keys"}),
        Certificate(
            "realisable",
            "1, 2, 3, 4, 6, 8 between steps, eta = 1/2: a stream that a bicubic pyramid produces",
            visual.realisable,
            {"relative": Fraction(1, 2)},
        ),
        Certificate(
            "eta-nine-tenths",
            "between steps at eta = 9/10: a larger budget",
            visual.tokens_carry,
            {"relative": Fraction(9, 10)},
        ),
        Certificate(
            "displayed-half",
            "eta = 1/2: the displayed C suffices from n = 2 on",
            arithmetic.displayed_bound,
            {"relative": Fraction(1, 2), "power": 2},
        ),
        Certificate(
            "displayed",
            "eta = 9/10: it does not at n = 4 and does from n = 5 on",
            arithmetic.displayed_bound,
            {"power": 2},
            counterexample=True,
        ),
    ),
)

VAR5 = Claim(
    id="VAR-5",
    paper="visual",
    title="Sparsity",
    record="Sparsity and locality of visual attention are discussed as what might make less memory possible; no bound "
    "is stated.",
    provenance=("source", "ours"),
    quantifiers="No statement. Here: three priors, each as a promise on the streams.",
    units=_BITS,
    status="depends-on-reading",
    finding="A known window or a known set of tokens buys exactly its size, from both sides; concentrated rows whose "
    "place is not known beforehand buy nothing, and no more does a window in the plane, which moves with the reader.",
    readings=(
        Reading(
            "rows with most of their mass on one token, which one is not known beforehand, need less memory",
            "contradicted",
            ("one-token-rows", "one-token-rows-more"),
        ),
        Reading(
            "a window of the W last tokens, or a known set of W - 1: 0.53 (W - 1) d bits are needed, as many tokens "
            "enough",
            "verified",
            ("window", "window-enough"),
        ),
        Reading(
            "a window in the plane, other weights 0, needs less memory: yet every token is in some reader's window",
            "contradicted",
            ("plane",),
        ),
    ),
    threshold=lambda: "W = 2, d = 2: one token of two bits",
    certificates=(
        Certificate(
            "one-token-rows",
            "n = 16, d = 4: the bound holds for compressors that rely on that prior",
            attention.sparse,
            counterexample=True,
        ),
        Certificate(
            "one-token-rows-more",
            "n = 256, at a larger budget: more of the mass, as many bits",
            attention.sparse,
            {"keys": "kerdock(16)", "max_logit": Fraction(16)},
            counterexample=True,
        ),
        Certificate(
            "window",
            "W = 65, d = 64, exact: 64 tokens carry bits",
            attention.window,
            {"window": 65, "keys": "hypercube(6)", "head_dim": 64, "relative": Fraction(0)},
        ),
        Certificate(
            "window-enough",
            "the other side: 64 tokens within 1/100, whatever the number of all tokens",
            attention.enough,
            {"tokens": 64, "head_dim": 64, "failure": TENTH},
        ),
        Certificate(
            "plane",
            "424 tokens that separate in full rows separate in windows too, where there are fewer others",
            visual.tokens_carry,
            counterexample=True,
        ),
    ),
)

CLAIMS = (VAR1, VAR2, VAR3, VAR4, VAR5)
