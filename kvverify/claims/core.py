"""The reduction that the papers on lower bounds share: INDEX, separation, key families, units (C1 to C5)."""

from __future__ import annotations

from fractions import Fraction
from itertools import count
from math import ceil

from kvverify.claims import tables
from kvverify.claims.base import Certificate, Claim, Reading
from kvverify.claims.evidence import arithmetic, attention, instances, projections

HALF, TENTH = Fraction(1, 2), Fraction(1, 10)


def _first_symbols() -> str:
    bits = next(n for n in count(1) if ceil(attention.fano_bits(n)) >= 2)
    return f"N = {bits} at delta = 1/10: {ceil(attention.fano_bits(bits))} whole bits"


def _first_matrix(tokens: int, dim: int) -> str:
    bits = ceil(attention.fano_bits(tokens * dim))
    return f"n = {tokens}, d = {dim} (paraboloid): {bits} whole bits at delta = 1/10"


C1 = Claim(
    id="C1",
    paper="core",
    title="INDEX, one way, randomised",
    record="Alice holds N uniform bits, Bob an index; from one message of S bits Bob names the bit with error at most "
    "delta. Then S >= (1 - H(delta)) N, H the binary entropy.",
    provenance=("reconstructed",),
    quantifiers="Every protocol with public coins, which are free, and private coins; error at most delta <= 1/2 on "
    "average over the bits, the index and the coins; every N >= 1.",
    units="bits of a message of fixed length, after Alice's last bit and before Bob's index; the random tape is not "
    "counted.",
    status="verified",
    finding="Fano's constant at delta = 1/10 is at least 53/100 and not 54/100; counting gives less and needs no "
    "logarithm.",
    readings=(
        Reading("error delta on average over bits, index and coins", "verified", ("fano", "third", "index")),
        Reading("the same without logarithms, by counting (a smaller constant)", "verified", ("counting", "counted")),
    ),
    threshold=_first_symbols,
    certificates=(
        Certificate(
            "fano", "1 - H(1/10) >= 53/100, and not 54/100: 10^100 against 2^47 9^90", arithmetic.fano_constant
        ),
        Certificate(
            "third", "1 - H(1/3) >= 8/100, and not 9/100", arithmetic.fano_constant, {"failure": Fraction(1, 3)}
        ),
        Certificate(
            "index",
            "INDEX on 64 bits as attention over 16 tokens of dimension 4",
            attention.state,
            {"keys": "hypercube(4)"},
        ),
        Certificate(
            "counting", "N = 256: no 52 bits at an average error below 1/8, by binomials", arithmetic.counting_excluded
        ),
        Certificate(
            "counted",
            "N = 256, delta = 1/10: bits by the sum over all radii of who is misread",
            attention.counted,
            {"bits": 256},
        ),
    ),
)

C2 = Claim(
    id="C2",
    paper="core",
    title="Separation: when attention answers INDEX",
    record="With public keys k_l, Bob's queries q_i and weights W_il = exp(<q_i, k_l>/scale): if (1 - eta) W_ii > (1 + "
    "eta) times the sum of all other W_il for every i, then one-pass attention within (1 +- eta) has (1 - H(delta)) n "
    "d_v bits of state.",
    provenance=("reconstructed", "ours"),
    quantifiers="Every one-pass algorithm, every n, d, 0 <= eta < 1; for all (V, i, j) the coordinate j of the answer "
    "to q_i is within the factor (1 +- eta) with error at most delta; keys do not depend on V, Bob's own value is 0; "
    "strict inequality.",
    units="bits of state between Alice's last token and Bob's.",
    status="verified",
    finding="Sharp for 0/1 values; a gap above scale times (ln(n - 1) + ln((1 + eta)/(1 - eta))) is enough.",
    readings=(
        Reading("relative tolerance eta", "verified", ("relative", "orthogonal")),
        Reading("exact answers, eta = 0 and delta = 0: all n d bits", "verified", ("exact",)),
        Reading("additive tolerance alpha < 1/2 of values in [0, 1]", "verified", ("additive",)),
    ),
    threshold=lambda: _first_matrix(2, 2),
    certificates=(
        Certificate("relative", "Kerdock keys, n = 256, d = 16, eta = 1/2, at the least score budget", attention.state),
        Certificate(
            "orthogonal",
            "16 orthogonal keys: the gap ln 15 + ln 3 is enough",
            attention.state,
            {"keys": "reed-muller(1,4)", "payload": 16},
        ),
        Certificate(
            "exact",
            "n = 16, d = 4: all 64 bits",
            attention.state,
            {"keys": "hypercube(4)", "relative": Fraction(0), "failure": Fraction(0)},
        ),
        Certificate(
            "additive",
            "values -1 and 1 within 9/10, that is 0 and 1 within 9/20",
            attention.state,
            {"keys": "hypercube(4)", "tolerance": Fraction(9, 10)},
        ),
    ),
)

C3 = Claim(
    id="C3",
    paper="core",
    title="Collision witness",
    record="For n d up to about 20, a compressor with fewer than 2^(n d) states maps two 0/1 value matrices to one "
    "state, and some read has exact answers with disjoint (1 +- eta) intervals for the two.",
    provenance=("ours",),
    quantifiers="Every deterministic compressor whose state is a function of the value matrix; keys that separate at "
    "eta.",
    units="states; 2^(n d) of them are n d bits.",
    status="verified",
    finding="A colliding pair is printed with the read that tells it apart; all 16 matrices at n = d = 2 need states "
    "of their own.",
    readings=(Reading("0/1 values, keys that separate", "verified", ("pair", "all")),),
    threshold=lambda: _first_matrix(2, 2),
    certificates=(
        Certificate(
            "pair",
            "two matrices of one state, n = d = 2, weights 7^score, eta = 1/2",
            instances.collision,
            counterexample=True,
        ),
        Certificate(
            "all",
            "no compressor with fewer than 2^4 states at n = d = 2",
            attention.state,
            {"keys": "paraboloid(2,2)", "failure": Fraction(0)},
        ),
    ),
)

C4 = Claim(
    id="C4",
    paper="core",
    title="Key families, and the budget that they need",
    record="Keys that separate exist for n = d (orthogonal), 2d (biorthogonal), d^2 (Kerdock), exp(Omega(eps^2 d)) "
    "(random signs, Gaussian projections), 2^d (hypercube), and any n at d = 2 (paraboloid); what limits n is the "
    "budget of scores or norms.",
    provenance=("recalled", "ours"),
    quantifiers="Each family for its n, d and every 0 <= eta < 1, at a large enough budget; the budget limits every "
    "family.",
    units="tokens and scalars; budgets are of |<q, k>|/scale (scores), or of |q||k|/scale (norms).",
    status="verified",
    finding="Random projections are not needed: hypercube corners give d = log2 n, a paraboloid every n at d = 2; the "
    "budget is the limit.",
    readings=(
        Reading(
            "explicit families: integer Gram matrices or closed forms",
            "verified",
            (
                "kerdock-16",
                "kerdock-64",
                "orthogonal",
                "biorthogonal",
                "hypercube",
                "paraboloid",
                "hypercube-base",
                "paraboloid-base",
            ),
        ),
        Reading(
            "random projections as the papers use them: existence by a union bound, and keys from a seed",
            "verified",
            (
                "signs-dimension",
                "gaussian-dimension",
                "papers-dimension",
                "pays-gaussian",
                "pays-signs",
                "gaussian-keys",
                "sign-keys",
            ),
        ),
        Reading(
            "a budget limits n whatever the keys are: n - 1 < e^(2 rho)(1 - eta)/(1 + eta) by scores, n - 1 < e^(R "
            "n/(n - 1))(1 - eta)/(1 + eta) by norms",
            "verified",
            ("score-limit", "norm-limit", "gap-test"),
        ),
    ),
    threshold=lambda: _first_matrix(2, 2),
    table=tables.dimensions,
    certificates=(
        Certificate("kerdock-16", "n = 256, d = 16", attention.state),
        Certificate("kerdock-64", "n = 4096, d = 64", attention.state, {"keys": "kerdock(64)"}),
        Certificate("orthogonal", "n = d = 16", attention.state, {"keys": "reed-muller(1,4)", "payload": 16}),
        Certificate("biorthogonal", "n = 32, d = 16", attention.state, {"keys": "reed-muller(1,4)"}),
        Certificate("hypercube", "n = 16, d = 4", attention.state, {"keys": "hypercube(4)"}),
        Certificate("paraboloid", "n = 8, d = 2", attention.state, {"keys": "paraboloid(8,2)", "body": "ball"}),
        Certificate("hypercube-base", "the least base B = e^(2c) at d = 4: 14 and not 13", arithmetic.hypercube_base),
        Certificate(
            "paraboloid-base", "the least base at d = 2, for every n at once: 7 and not 6", arithmetic.paraboloid_base
        ),
        Certificate(
            "signs-dimension",
            "the least d at which the exact union bound gives 256 sign keys, eps = 49/100",
            projections.signs,
        ),
        Certificate(
            "gaussian-dimension", "the same for Gaussian keys, by Chernoff's bounds themselves", projections.gaussian
        ),
        Certificate(
            "papers-dimension",
            "the same by 4 ln n/(eps^2/2 - eps^3/3): more than the 256 keys",
            projections.gaussian_as_in_the_papers,
        ),
        Certificate("pays-gaussian", "48 ln n < n from n = 269 on", projections.pays_from),
        Certificate("pays-signs", "16 ln n < n from n = 68 on", projections.pays_from, {"rate": 16}),
        Certificate(
            "gaussian-keys",
            "Gaussian keys of a seed, more keys than dimensions, at coherence 49/100",
            projections.gaussian_instance,
        ),
        Certificate("sign-keys", "random sign keys of a seed, likewise", projections.sign_instance),
        Certificate("score-limit", "the largest n at the score budget 8, eta = 1/2", arithmetic.most_keys_by_scores),
        Certificate(
            "norm-limit",
            "the largest n at d = 128 with |q| = |k| = sqrt d, score/sqrt d",
            arithmetic.most_keys_by_norms,
        ),
        Certificate("gap-test", "the largest n that the gap alone gives there", arithmetic.gap_test),
    ),
)

C5 = Claim(
    id="C5",
    paper="core",
    title="Bits and words: what the bound excludes",
    record="The bound is 0.53 n d bits, storing everything is 2 n d words of p bits; so it excludes only compression "
    "beyond 2p/0.53: 60 times for fp16, 15 for 4-bit caches, 3.8 for 1-bit keys and values.",
    provenance=("ours",),
    quantifiers="delta = 1/10, d_k = d_v, every n and d; the family's own secret has n d bits, so no constant above 1 "
    "can come from it.",
    units="bits against words of p bits, p stated.",
    status="depends-on-reading",
    finding="At these constants no compression of an fp16 cache by less than 60 times is excluded.",
    readings=(
        Reading("both sides in bits: they differ by the factor 2p/0.53", "verified", ("fp16", "int4", "one-bit")),
        Reading(
            "'Theta(n d) space' as an obstacle to compression by a constant below that factor", "vacuous", ("fp16",)
        ),
    ),
    threshold=lambda: f"compression beyond {attention.cache_factor(16)} times at 16 bits a scalar",
    table=tables.words,
    certificates=(
        Certificate("fp16", "32 n d bits over the bound: 60.2 to a tenth, rounded down", arithmetic.cache_ratio),
        Certificate("int4", "8 n d bits over the bound", arithmetic.cache_ratio, {"key_bits": 4, "value_bits": 4}),
        Certificate("one-bit", "2 n d bits over the bound", arithmetic.cache_ratio, {"key_bits": 1, "value_bits": 1}),
    ),
)

CLAIMS = (C1, C2, C3, C4, C5)
