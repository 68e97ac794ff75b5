"""Haris and Onak, second part: windows, time, and the upper bound (HO-7 to HO-10)."""

from __future__ import annotations

from itertools import count
from math import ceil

from kvverify.claims.base import Certificate, Claim, Reading
from kvverify.claims.evidence import arithmetic, attention, instances, sampling
from kvverify.claims.haris_onak_space import BITS, PROMISE


def _window() -> str:
    size = next(w for w in count(2) if ceil(attention.fano_bits((w - 1) * 2)) > 2)
    return f"W = {size} at d = 2 (paraboloid): {ceil(attention.fano_bits((size - 1) * 2))} whole bits"


def _two_cells(word_bits: int = 16) -> int:
    return next(size for size in count(1) if attention.fano_bits(size) > word_bits)


HO7 = Claim(
    id="HO-7",
    paper="haris-onak",
    title="Sliding window, upper bound",
    record="With a window W and values outside of it unmasked, an estimator uses O(d W) space.",
    provenance=("source", "reconstructed", "ours"),
    quantifiers="Every stream; the current token counts in W.",
    units="words between steps, and a counter.",
    status="depends-on-reading",
    finding="With scores outside masked to 0 a running sum is exact in (2(W - 1) + 1) d words; with true weights "
    "outside it is HO-2 again.",
    readings=(
        Reading(
            "scores outside are masked to 0, so their weight is 1: a running sum is exact in (2(W - 1) + 1) d words "
            "and a counter, no sampling is needed",
            "verified",
            ("running-sum", "window-one"),
        ),
        Reading(
            "weights outside are the true e^score: o(n d) is impossible by HO-2", "contradicted", ("true-weights",)
        ),
        Reading(
            "an estimator by norm sampling of the values outside, error eps |.|_2 |V|_op: its mean and variance",
            "verified",
            ("norm-sampler",),
        ),
    ),
    threshold=lambda: "W < n: fewer words than 2 n d",
    certificates=(
        Certificate("running-sum", "equal answers at each of 7 steps, W = 3", instances.running_sum),
        Certificate("window-one", "W = 1: the sum alone", instances.running_sum, {"window": 1}),
        Certificate(
            "true-weights",
            "n = 256, d = 16: 0.53 n d bits whatever the window is",
            attention.state,
            counterexample=True,
        ),
        Certificate("norm-sampler", "over all outcomes of the coins", sampling.reservoir_norm),
    ),
)

HO8 = Claim(
    id="HO-8",
    paper="haris-onak",
    title="Sliding window, lower bound",
    record="For a window W and d = Omega(log W): Omega(d W) bits.",
    provenance=("source", "reconstructed"),
    quantifiers=f"For {PROMISE}; W counts the asker's token, so INDEX lives on W - 1 tokens.",
    units=BITS,
    status="verified",
    finding="At least 0.53 (W - 1) d bits; with a paraboloid already for d = 2.",
    readings=(Reading("W - 1 of Alice's tokens within the window", "verified", ("window", "kerdock")),),
    threshold=_window,
    certificates=(
        Certificate("window", "W = 3, d = 2", attention.window),
        Certificate("kerdock", "W = 257, d = 16", attention.window, {"window": 257, "keys": "kerdock(16)"}),
    ),
)

HO9 = Claim(
    id="HO-9",
    paper="haris-onak",
    title="Non-adaptive time",
    theorem="Theorem 19",
    record="An algorithm that fixes in advance which entries of Q, K, V it accesses at each step, and is (1 +- "
    "eta)-correct with probability 9/10, makes Omega(n d) accesses in some step; adaptive ones can avoid it.",
    provenance=("source", "reconstructed", "ours"),
    quantifiers="Every non-adaptive algorithm, worst case over inputs for each entry, delta <= 1/10.",
    units="accesses to entries; in the repaired form cells of w bits.",
    status="depends-on-reading",
    finding="Confirmed where the answer may use only entries read in the step; for cells with derived state T >= 0.53 "
    "n d/w.",
    readings=(
        Reading(
            "the answer of step n uses only entries that are read in step n: at least (1 - 2 delta)(n - 1) d accesses",
            "verified",
            ("unread", "weight", "accesses"),
        ),
        Reading("derived state is free: the same argument bounds only the accesses of the whole run", "open"),
        Reading(
            "T cells of w bits probed in step n, chosen without q_n and data, any preprocessing: T >= (1 - H(delta)) n "
            "d/w",
            "repaired",
            ("cells", "state"),
        ),
    ),
    threshold=lambda: f"n = 3, d = 1: more than one access; 16-bit cells: T >= 2 from n d = {_two_cells()} on",
    certificates=(
        Certificate(
            "unread",
            "an entry that is not read: two inputs that look alike, n = 3, d = 2, eta = 1/2",
            instances.unread_entry,
        ),
        Certificate("weight", "the least weight that tells them apart: 8", arithmetic.unread_entry_weight),
        Certificate("accesses", "n = 1000, d = 64: 51,149 accesses", arithmetic.accesses),
        Certificate("cells", "n = 1000, d = 64, w = 16: so many cells", arithmetic.cells),
        Certificate("state", "the sketch that the cells are, n = 256, d = 16", attention.state),
    ),
)

HO10 = Claim(
    id="HO-10",
    paper="haris-onak",
    title="Upper bound, 'Theta(n d)'",
    record="Storing everything takes 2 n d, so space is Theta(n d).",
    provenance=("source", "ours"),
    quantifiers="Every stream; p bits a scalar.",
    units="the upper side counts words of p bits, the lower one bits.",
    status="depends-on-reading",
    finding="The sides differ by 2p/0.53 in bits; under an additive tolerance a quantiser needs less than the dense "
    "cache.",
    readings=(
        Reading(
            "both sides in bits, exact or relative answers: between 0.53 n d and 2 p n d",
            "verified",
            ("ratio", "lower"),
        ),
        Reading(
            "both sides in bits, additive tolerance 1/100 at logits up to 8: so many are enough",
            "verified",
            ("enough",),
        ),
        Reading(
            "one unit for both sides, so that a constant is lost: it is 2p/0.53, 60 at p = 16", "vacuous", ("ratio",)
        ),
    ),
    threshold=lambda: f"every n and d; the sides differ by {attention.cache_factor(16)} at 16 bits a scalar",
    certificates=(
        Certificate("ratio", "32 n d bits over the lower bound", arithmetic.cache_ratio),
        Certificate("lower", "n = 256, d = 16", attention.state),
        Certificate("enough", "the same n and d, error 1/100, dithered quantiser", attention.enough),
    ),
)

WINDOWS = (HO7, HO8, HO9, HO10)
