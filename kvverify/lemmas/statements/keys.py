"""Families of keys: codes, the hypercube, the paraboloid, random projections."""

from __future__ import annotations

from kvverify.lemmas.base import Envelope, Lemma, Twin

_CODES = "docs/proofs/codes.md"

LEMMAS = (
    Lemma(
        "sign-distance", "scores of sign keys count the places that differ: one place",
        {"s": "sign of one key", "t": "of the other"},
        ("s**2 == 1", "t**2 == 1"), "(s - t)**2 == 2*(1 - s*t)",
        Twin(without="s**2 == 1"), {"s": 1, "t": -1},
        ("linear-code", "coset-union", "hypercube", "reed-muller", "C4"), f"{_CODES}, sign keys",
    ),
    Lemma(
        "macwilliams-recurrence", "the generating function of Krawtchouk's polynomials, its derivative over itself",
        {"L": "length", "w": "weight", "x": "formal variable"},
        ("-1 < x < 1",), "(L - w)/(1 + x) - w/(1 - x) == (L - 2*w - L*x)/(1 - x**2)",
        Twin("2*w", "202/100*w"), {"L": 3, "w": 1, "x": 0},
        ("linear-code", "reed-muller"), f"{_CODES}, linear-code",
    ),
    Lemma(
        "coset-weights", "the second moment of the weights is the same in every coset of RM(1, m)",
        {"M": "2^m", "H": "2^h, 2 h the rank of the coset's form"},
        ("H > 0",),
        "H**2*((M - M/H)/2)**2 + H**2*((M + M/H)/2)**2 + 2*(M - H**2)*(M/2)**2 == M**2*(M + 1)/2",
        Twin("(M + 1)", "(M + 101/100)"), {"M": 4, "H": 2},
        ("reed-muller",), "docs/proofs/reed_muller.md, weights of a coset",
    ),
    Lemma(
        "exponents-add-up", "exponents of two integer keys add up to their squared distance: one coordinate",
        {"a": "entry of one key", "b": "of the other"},
        (), "(a**2 - a*b) + (b**2 - a*b) == (a - b)**2",
        Twin("(a - b)**2", "99/100*(a - b)**2"), {"a": 2, "b": 1},
        ("explicit-keys", "C2"), f"{_CODES}, explicit-keys",
    ),
    Lemma(
        "paraboloid-square", "a score on the paraboloid is a completed square: one coordinate",
        {"a": "entry of the target", "b": "of another token"},
        (), "2*a*b - b**2 == a**2 - (a - b)**2",
        Twin("2*a*b", "202/100*a*b"), {"a": 2, "b": 1},
        ("paraboloid", "C4"), f"{_CODES}, paraboloid",
    ),
    Lemma(
        "paraboloid-plane", "in the plane B >= 7 separates any number of tokens at eta = 1/2: two terms and the tail",
        {"B": "e^c"},
        ("B >= 7",), "2/B + 2/B**4*B/(B - 1) < 1/3",
        Twin("B >= 7", "B >= 6"), {"B": 7},
        ("paraboloid", "C4", "HO-2", "HO-4"), "C4, paraboloid at d = 2",
        envelopes=(Envelope("B", "e^c, c the queries' scale", "a rational base below e^c", ("7 <= exp 2",)),),
    ),
    Lemma(
        "paraboloid-tail", "squares grow faster than integers: a tail of theta is below a geometric one",
        {"T": "last square that is summed", "k": "steps beyond it"},
        ("T >= 1", "k >= 1"), "(T + k)**2 - T**2 >= k + 2*k*T",
        Twin("k + 2*k*T", "101/100*k + 2*k*T"), {"T": 2, "k": 1},
        ("paraboloid", "C4"), "claims, definition of theta", integers=False,
    ),
    Lemma(
        "hypercube-step", "one more coordinate multiplies the sum of all weights by 1 + z",
        {"P": "sum over the vectors of d coordinates", "z": "weight of a place that differs"},
        (), "P + z*P - 1 == (1 + z)*P - 1",
        Twin("(1 + z)*P", "(1 + 101/100*z)*P"), {"P": 1, "z": "1/8"},
        ("hypercube", "C4"), f"{_CODES}, hypercube",
    ),
    Lemma(
        "hypercube-four", "in four dimensions B >= 14 separates all 16 vectors at eta = 1/2",
        {"B": "e^(2 c)"},
        ("B >= 14",), "((B + 1)**4 - B**4)*(1 + 1/2) < (1 - 1/2)*B**4",
        Twin("B >= 14", "B >= 13"), {"B": 14},
        ("hypercube", "C4", "HO-2"), "C4, hypercube at d = 4",
    ),
    Lemma(
        "hypercube-bernoulli", "(1 + z)^k <= 1/(1 - k z), from k to k + 1: a base of order d is enough",
        {"k": "coordinates", "z": "weight of a place that differs"},
        ("k >= 0", "z >= 0", "(k + 1)*z < 1"), "(1 + z)/(1 - k*z) <= 1/(1 - (k + 1)*z)",
        Twin("1 - (k + 1)*z", "1 - (k + 99/100)*z"), {"k": 1, "z": "1/8"},
        ("hypercube", "C4"), "C4, consequence c",
    ),
    Lemma(
        "wrong-mass", "(n - 1)/n^2 does not grow from n = 2 on",
        {"n": "tokens"},
        ("n >= 2",), "(n - 1)/n**2 >= n/(n + 1)**2",
        Twin("n >= 2", "n >= 1"), {"n": 2},
        ("HO-2",), "HO-2, check",
    ),
    Lemma(
        "wrong-mass-suffices", "the gap 2 ln n suffices for all n >= 2 below eta = 3/5",
        {"n": "tokens", "eta": "relative tolerance"},
        ("n >= 2", "0 <= eta < 3/5"), "(n - 1)/n**2 < (1 - eta)/(1 + eta)",
        Twin("eta < 3/5", "eta < 606/1000"), {"n": 2, "eta": "1/2"},
        ("HO-2",), "HO-2, check",
    ),
    Lemma(
        "wrong-mass-from",
        "at (1 - eta)/(1 + eta) = 1/k it suffices from n = k - 1 on: 18 at .9, 198 at .99, 1998 at .999",
        {"n": "tokens", "k": "(1 + eta)/(1 - eta)"},
        ("k >= 4", "n >= k - 1"), "(n - 1)/n**2 < 1/k",
        Twin("k - 1", "k - 2"), {"n": 18, "k": 19},
        ("HO-2",), "HO-2, check",
    ),
    Lemma(
        "half-gap-fails", "with the gap ln n the bound on the wrong mass is above 1/3, the threshold at eta = 1/2",
        {"n": "tokens"},
        ("n >= 2",), "(n - 1)/n > 1/3",
        Twin("n >= 2", "n >= 1"), {"n": 2},
        ("HO-2",), "HO-2, check", integers=True,
    ),
    Lemma(
        "jl-upper", "ln(1 + x) <= x - x^2/2 + x^3/3: slopes of both sides, x >= 0",
        {"x": "distortion"},
        ("x >= 0",), "1/(1 + x) <= 1 - x + x**2",
        Twin("1 - x", "1 - 101/100*x"), {"x": "1/2"},
        ("C4", "HO-2"), "C4, Gaussian projections: the exponent eps^2/2 - eps^3/3",
    ),
    Lemma(
        "jl-lower", "ln(1 - x) <= -x - x^2/2: slopes of both sides, 0 <= x < 1",
        {"x": "distortion"},
        ("0 <= x < 1",), "1/(1 - x) >= 1 + x",
        Twin(">= 1 + x", ">= 1 + 101/100*x"), {"x": "1/2"},
        ("C4", "HO-2"), "C4, Gaussian projections",
    ),
    Lemma(
        "jl-pair", "norms and inner product: a projection that keeps |a + b|^2 and |a - b|^2 keeps <a, b>",
        {"p": "|a + b|^2 projected", "m": "|a - b|^2 projected", "x": "distortion"},
        ("x >= 0", "p <= 2*(1 + x)", "m >= 2*(1 - x)"), "(p - m)/4 <= x",
        Twin("p <= 2*(1 + x)", "p <= 202/100*(1 + x)"), {"p": 2, "m": 2, "x": "1/2"},
        ("C4", "HO-2"), "C4, Gaussian projections: orthogonal unit vectors",
    ),
    Lemma(
        "low-dimension-norm", "e^d nearly orthogonal keys by packing need a query of norm above 14 d",
        {"E": "e", "c": "cosine of the angle whose sine is 1/e"},
        ("E >= 2718/1000", "0 <= c < 1", "c**2 >= 1 - 1/E**2"), "1/(1 - c) > 1425/100",
        Twin("1425/100", "1439/100"), {"E": "2719/1000", "c": "19/20"},
        ("HO-4",), "HO-4, defect 1",
        envelopes=(Envelope("E", "e", "a number above a rational", ("2718/1000 <= exp 1",)),),
    ),
)  # fmt: skip
