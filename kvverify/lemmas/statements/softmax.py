"""What attention weights decide: separation, levels, budgets, the mass beside the target."""

from __future__ import annotations

from kvverify.lemmas.base import Envelope, Lemma, Twin

ETA, REST = "relative tolerance", "weight beside the target, over the target's"
_PAGE = "docs/proofs/softmax.md"

LEMMAS = (
    Lemma(
        "separation", "answers to a 1 lie above all answers to a 0",
        {"eta": ETA, "s": REST, "D": "all weight, over the target's"},
        ("0 <= eta < 1", "s >= 0", "D > 0", "s < (1 - eta)/(1 + eta)"),
        "(1 - eta)/D > (1 + eta)*s/D",
        Twin("(1 - eta)/(1 + eta)", "101/100*(1 - eta)/(1 + eta)"), {"eta": "1/2", "s": "1/4", "D": 2},
        ("separation", "C2", "HO-2", "HO-4"), f"{_PAGE}, separation",
    ),
    Lemma(
        "separation-sharp", "beyond the threshold one answer is admissible for a 1 and for a 0",
        {"eta": ETA, "s": REST, "D": "all weight, over the target's"},
        ("0 <= eta < 1", "D > 0", "s >= (1 - eta)/(1 + eta)"),
        "(1 - eta)/D <= (1 + eta)*s/D",
        Twin("(1 - eta)/(1 + eta)", "99/100*(1 - eta)/(1 + eta)"), {"eta": "1/2", "s": 1, "D": 2},
        ("separation", "C2"), f"{_PAGE}, separation: equality is refused",
    ),
    Lemma(
        "one-answer", "an answer within the tolerance of the smaller value is too small for the larger one",
        {"eta": ETA, "o": "answer", "Z": "smaller exact value", "Y": "larger exact value"},
        ("0 <= eta < 1", "Z >= 0", "o <= Z + eta*Z", "(1 - eta)*Y > (1 + eta)*Z"),
        "o < Y - eta*Y",
        Twin("(1 + eta)*Z", "99/100*(1 + eta)*Z"), {"eta": "1/2", "o": 1, "Z": 1, "Y": 4},
        ("separation", "two-inputs", "C3", "HO-9"), f"{_PAGE}, separation",
    ),
    Lemma(
        "exact-version", "with exact answers a wrong mass below the target's is enough",
        {"x": REST},
        ("0 <= x < 1",), "1/(1 + x) > x/(1 + x)",
        Twin("0 <= x < 1", "0 <= x < 101/100"), {"x": "1/2"},
        ("separation", "HO-3"), "separation at eta = 0",
    ),
    Lemma(
        "top-mass", "a row that can be read has more than (1 + eta)/2 of its mass on one token: it is sparse",
        {"eta": ETA, "s": REST},
        ("0 <= eta < 1", "s >= 0", "s < (1 - eta)/(1 + eta)"), "1/(1 + s) > (1 + eta)/2",
        Twin("(1 + eta)/2", "101/100*(1 + eta)/2"), {"eta": "1/2", "s": "1/4"},
        ("separation", "HO-6"), "ours",
    ),
    Lemma(
        "additive-most", "an additive tolerance of 1/2 or more reads no bit",
        {"s": REST, "r": "weight of pads, over the target's", "a": "additive tolerance"},
        ("s >= 0", "r >= 0", "(1 - s)/(1 + s + r) > 2*a"), "a < 1/2",
        Twin("a < 1/2", "a < 99/200"), {"s": "1/4", "r": 0, "a": "1/4"},
        ("levels", "C2"), "C2, additive version",
    ),
    Lemma(
        "levels", "answers to neighbouring levels do not meet",
        {"m": "L - 1", "s": REST, "r": "weight of pads, over the target's", "a": "additive tolerance"},
        ("m > 0", "s >= 0", "r >= 0", "1/m > a*(1 + s + r) + s"),
        "1/(m*(1 + s + r)) > s/(1 + s + r) + a",
        Twin("a*(1 + s + r)", "99/100*a*(1 + s + r)"), {"m": 1, "s": "1/8", "r": "1/8", "a": "1/8"},
        ("levels",), f"{_PAGE}, levels",
    ),
    Lemma(
        "levels-sharper", "known pads cost less than mass of unknown value, tau = (s + r)/(1 + s + r)",
        {"s": REST, "r": "weight of pads, over the target's", "a": "additive tolerance"},
        ("s >= 0", "r >= 0", "a >= 0"),
        "(a + (s + r)/(1 + s + r))/(1 - (s + r)/(1 + s + r)) == a*(1 + s + r) + s + r",
        Twin("a*(1 + s + r)", "99/100*a*(1 + s + r)"), {"s": "1/8", "r": "1/8", "a": "1/8"},
        ("levels",), f"{_PAGE}, levels: what is given away elsewhere",
    ),
    Lemma(
        "exp-bound", "z times a lower bound of e^c at least 1 puts z above e^-c",
        {"z": "the stated bound", "E": "proved lower bound of e^c", "X": "e^c"},
        ("E > 0", "z*E >= 1", "X >= E"), "1/X <= z",
        Twin("z*E >= 1", "z*E >= 99/100"), {"z": "1/2", "E": 2, "X": 3},
        ("exp-bound",), f"{_PAGE}, exp-bound",
    ),
    Lemma(
        "budget-cube", "on the cube the query's blocks add up, also with a tilt, in units of the tilt",
        {"a": "|q|_1 of the code part", "x": "score of the code part, over a", "y": "tilted coordinate of the key"},
        ("a >= 0", "-1 <= x <= 1", "-1 <= y <= 1"), "a*x + y <= a + 1",
        Twin("y <= 1", "y <= 101/100"), {"a": 1, "x": "1/2", "y": "1/2"},
        ("budget", "joint"), "docs/proofs/payload.md, Budget",
    ),
    Lemma(
        "budget-ball", "in the ball their squares do: Cauchy's inequality, in units of the tilt",
        {"a": "|q|_2 of the code part", "x": "the key along it", "y": "tilted coordinate of the key"},
        ("x**2 + y**2 <= 1",), "(a*x + y)**2 <= a**2 + 1",
        Twin("<= 1", "<= 101/100"), {"a": 1, "x": "1/2", "y": "1/2"},
        ("budget", "shrunk-keys", "SG-2"), "docs/proofs/payload.md, The ball: Budget",
    ),
    Lemma(
        "leak-rounded", "weights rounded up give sums that are not too small: powers keep the order",
        {"z": "a weight", "y": "the same, rounded up"},
        ("0 <= z <= y",), "z**2 + z**3 <= y**2 + y**3",
        Twin("z**3", "101/100*z**3"), {"z": "1/4", "y": "1/2"},
        ("leak", "C2"), f"{_PAGE}, leak",
    ),
    Lemma(
        "domination", "with fewer near keys at each radius, a sum of falling weights is smaller: Abel at two exponents",
        {"f": "weight at the smaller exponent", "g": "at the larger", "u": "surplus of the histogram at the smaller",
         "v": "at the larger"},
        ("f >= g >= 0", "u >= 0", "u + v >= 0"), "u*f + v*g >= 0",
        Twin(without="u >= 0"), {"f": 1, "g": "1/2", "u": 1, "v": -1},
        ("leak", "explicit-keys", "coset-union"), "docs/proofs/codes.md, domination lemma",
    ),
    Lemma(
        "row-enclosure", "the last bits of a score may be taken by 1 - y: e^-y is at most 1 - y + y^2/2",
        {"P": "product of table entries", "y": "what is left of the exponent", "E": "e^-y"},
        ("P >= 0", "0 <= y <= 1/2**32", "E <= 1 - y + y**2/2"), "P*E <= P*(1 - y) + P/2**65",
        Twin("P/2**65", "99/100*P/2**65"), {"P": 1, "y": 0, "E": 1},
        ("attention-row",), "docs/proofs/rows.md, step 8",
        envelopes=(Envelope("E", "e^-y", "an alternating series with falling terms, y <= 1"),),
    ),
    Lemma(
        "score-budget", "scores within the budget R leave no weight below e^-2R: how many tokens can be told apart",
        {"n": "tokens", "eta": ETA, "E": "e^(2 R)", "s": REST},
        ("E > 0", "0 <= eta < 1", "s >= (n - 1)/E", "1 - eta > (1 + eta)*s"), "n - 1 < E*(1 - eta)/(1 + eta)",
        Twin("E*(1 - eta)", "99/100*E*(1 - eta)"), {"n": 2, "eta": "1/2", "E": 8, "s": "1/8"},
        ("C4",), "C4, consequence d", envelopes=(Envelope("E", "e^(2 R)", "a positive number, nothing more is used"),),
    ),
    Lemma(
        "score-budget-small", "two tokens at relative tolerance eta need a score budget above eta",
        {"R": "score budget", "eta": ETA, "E": "e^(2 R)"},
        ("0 <= R < 1", "0 <= eta < 1", "0 < E <= (1 + R)/(1 - R)", "1 < E*(1 - eta)/(1 + eta)"), "eta < R",
        Twin("eta < R", "eta < 99/100*R"), {"R": "1/2", "eta": "1/4", "E": "5/2"},
        ("C4",), "C4, consequence d",
        envelopes=(Envelope("E", "e^(2 R)", "lemma artanh-slope, and both sides are 1 at R = 0", ("exp 0 <= 1",)),),
    ),
    Lemma(
        "artanh-slope", "ln((1 + R)/(1 - R)) grows at least as fast as 2 R",
        {"R": "score budget"},
        ("0 <= R < 1",), "1/(1 + R) + 1/(1 - R) >= 2",
        Twin(">= 2", ">= 202/100"), {"R": "1/2"},
        ("C4",), "textbook",
    ),
    Lemma(
        "norm-budget-gap", "with norms bounded, the mean gap is at most R n/(n-1), which is less than 2 R for n > 2",
        {"n": "tokens", "R": "largest |q| |k|", "g": "mean own score less mean of all scores"},
        ("n > 1", "g <= R"), "n*g/(n - 1) <= R*n/(n - 1)",
        Twin("g <= R", "g <= 101/100*R"), {"n": 2, "R": 1, "g": 1},
        ("C4",), "C4, consequence d",
    ),
    Lemma(
        "centring", "taking the mean away does not lengthen: the step from n vectors to n + 1, one coordinate",
        {"n": "vectors", "m": "their mean", "x": "the next one"},
        ("n > 0",), "n*m**2 + x**2 - (n*m + x)**2/(n + 1) == n*(x - m)**2/(n + 1)",
        Twin("n*(x - m)**2", "99/100*n*(x - m)**2"), {"n": 1, "m": 0, "x": 1},
        ("C4",), "C4, consequence d: the norm budget",
    ),
)  # fmt: skip
