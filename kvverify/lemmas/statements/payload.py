"""Secrets in keys: tilt, joint, amplitude; and how many bits are enough: the two quantisers."""

from __future__ import annotations

from kvverify.lemmas.base import Envelope, Lemma, Twin

_PAYLOAD, _AMPLITUDE, _QUANTISER = (f"docs/proofs/{name}.md" for name in ("payload", "amplitude", "quantiser"))

LEMMAS = (
    Lemma(
        "tilt", "T is at most tanh(t/2)",
        {"E": "proved lower bound of e^t", "T": "the stated number"},
        ("E > 0", "E*(1 - T) >= 1 + T"), "T <= (E - 1)/(E + 1)",
        Twin("1 + T", "99/100 + T"), {"E": 3, "T": "1/4"},
        ("tilt",), f"{_PAYLOAD}, tilt", envelopes=(Envelope("E", "e^t", "a partial sum of its series"),),
    ),
    Lemma(
        "tilt-range", "a secret with |v| <= tanh(t/2) fits into the cube: u is at most e^t",
        {"v": "the uniform secret", "E": "e^t", "u": "(1 + v)/(1 - v)"},
        ("E >= 1", "v <= (E - 1)/(E + 1)", "u == (1 + v)/(1 - v)", "v < 1"), "u <= E",
        Twin("u <= E", "u <= 99/100*E"), {"v": 0, "E": 3, "u": 1},
        ("tilt", "joint"), f"{_PAYLOAD}, the law of u",
    ),
    Lemma(
        "tilt-mean", "the mean of 1/(1 + u) is 1/2, since 1/(1 + u) is (1 - v)/2",
        {"v": "the uniform secret"},
        ("-1 < v < 1",), "1/(1 + (1 + v)/(1 - v)) == (1 - v)/2",
        Twin("(1 - v)/2", "(101/100 - v)/2"), {"v": 0},
        ("tilt", "joint"), f"{_PAYLOAD}, the law of u",
    ),
    Lemma(
        "tilt-density", "dv/du = 2/(1 + u)^2, with du/dv = 2/(1 - v)^2",
        {"v": "the uniform secret"},
        ("-1 < v < 1",), "2/(1 - v)**2*2/(1 + (1 + v)/(1 - v))**2 == 1",
        Twin("== 1", "== 101/100"), {"v": 0},
        ("tilt", "joint"), f"{_PAYLOAD}, the law of u",
    ),
    Lemma(
        "symmetric-mean", "a symmetric law needs no more: 1/(1 + e^x) + 1/(1 + e^-x) = 1",
        {"u": "e^x"},
        ("u > 0",), "1/(1 + u) + 1/(1 + 1/u) == 1",
        Twin("== 1", "== 101/100"), {"u": 2},
        ("ball-tilt", "joint"), f"{_PAYLOAD}, tilt", envelopes=(Envelope("u", "e^x", "a positive number"),),
    ),
    Lemma(
        "marker-increasing", "the marker's output grows with the mass that carries the secret",
        {"X": "mass", "Y": "a smaller one"},
        ("X > Y > 0",), "(X - 1)/(X + 1) > (Y - 1)/(Y + 1)",
        Twin("X > Y", "X > 99/100*Y"), {"X": 2, "Y": 1},
        ("joint", "amplitude"), f"{_PAYLOAD}, the marker's output",
    ),
    Lemma(
        "marker-slope", "its slope in the logarithm of the mass is at most 1/2, so rounding moves it by at most t h/2",
        {"X": "mass"},
        ("X > 0",), "2*X/(1 + X)**2 <= 1/2",
        Twin("<= 1/2", "<= 99/200"), {"X": 2},
        ("joint",), f"{_PAYLOAD}, joint (4)",
    ),
    Lemma(
        "shrunk-keys", "a shrunk key and its payload stay in the ball",
        {"l": "factor of the code part", "R": "radius of the payload", "k": "|key|^2"},
        ("l**2 + R**2 <= 1", "0 <= k <= 1"), "l**2*k + R**2 <= 1",
        Twin("l**2 + R**2 <= 1", "l**2 + R**2 <= 101/100"), {"l": "1/2", "R": "1/2", "k": 1},
        ("shrunk-keys", "joint"), f"{_PAYLOAD}, shrunk-keys",
    ),
    Lemma(
        "ball-moments", "the fourth moment of a coordinate in the ball is at most that of a normal law",
        {"d": "payload coordinates"},
        ("d >= 1",), "3/((d + 2)*(d + 4)) <= 3/(d + 2)**2",
        Twin("3/((d + 2)*(d + 4))", "303/100/((d + 2)*(d + 4))"), {"d": 1},
        ("ball-tilt",), f"{_PAYLOAD}, ball-tilt",
    ),
    Lemma(
        "cosh-step", "(2k)! >= 2^k k!, from k to k + 1: cosh x <= e^(x^2/2)",
        {"k": "term"},
        ("k >= 0",), "(2*k + 1)*(2*k + 2) >= 2*(k + 1)",
        Twin(">= 2*(k + 1)", ">= 202/100*(k + 1)"), {"k": 0},
        ("ball-tilt",), f"{_PAYLOAD}, ball-tilt",
    ),
    Lemma(
        "sinh-step", "(2k + 1)! >= 6^k k!, from k to k + 1: sinh(x)/x <= e^(x^2/6)",
        {"k": "term"},
        ("k >= 0",), "(2*k + 2)*(2*k + 3) >= 6*(k + 1)",
        Twin("6*(k + 1)", "606/100*(k + 1)"), {"k": 0},
        ("amplitude", "dithered"), f"{_AMPLITUDE}, the instance",
    ),
    Lemma(
        "amplitude-noise", "other tokens' noise moves an answer by at most the stated error, in units of the reference",
        {"x": "mass", "y": "a smaller one", "m": "e^-reach"},
        ("m > 0", "x >= y >= m"), "(x - 1)/(x + 1) - (y - 1)/(y + 1) <= 2*(x - y)/(m + 1)**2",
        Twin("2*(x - y)", "198/100*(x - y)"), {"x": 2, "y": 1, "m": "1/2"},
        ("amplitude",), f"{_AMPLITUDE}, what the noise costs",
    ),
    Lemma(
        "amplitude-determinant", "a token's three reads as a map of its three amplitudes: C 1 1^T + s I",
        {"C": "scale", "s": "strength of the tilt"},
        (), "(C + s)**3 - 3*C**2*(C + s) + 2*C**3 == s**2*(s + 3*C)",
        Twin("2*C**3", "202/100*C**3"), {"C": 1, "s": 1},
        ("amplitude",), f"{_AMPLITUDE}, a read without noise",
    ),
    Lemma(
        "bernstein-optimum", "Bernstein's exponent at its best parameter",
        {"v": "variance", "b": "largest deviation", "t": "slack"},
        ("v > 0", "b > 0", "t > 0"),
        "(t/(v + b*t/3))**2*v/(2*(1 - t/(v + b*t/3)*b/3)) - t/(v + b*t/3)*t == -t**2/(2*(v + b*t/3))",
        Twin("-t**2/(2*(v + b*t/3))", "-t**2/(202/100*(v + b*t/3))"), {"v": 1, "b": 1, "t": 1},
        ("amplitude",), "docs/proofs/README.md, Bernstein",
    ),
    Lemma(
        "quantiser-split", "the two errors stay within the tolerance; the root is compared by its square",
        {"a": "largest change of a score", "f": "largest error of a value", "e": "tolerance"},
        ("f <= e", "a**2 <= (e - f)**2"), "a + f <= e",
        Twin(without="f <= e"), {"a": "1/4", "f": "1/4", "e": 1},
        ("quantiser",), f"{_QUANTISER}, quantiser",
    ),
    Lemma(
        "popoviciu", "values in [-1, 1] have variance at most 1: two values",
        {"w": "weight of the first", "d": "their difference"},
        ("0 <= w <= 1", "-2 <= d <= 2"), "w*(1 - w)*d**2 <= 1",
        Twin("d**2 <= 1", "d**2 <= 99/100"), {"w": "1/2", "d": 1},
        ("quantiser",), f"{_QUANTISER}, quantiser",
    ),
    Lemma(
        "dithered-largest-weight", "with one weight above 1/2 the variance is largest where values are opposite",
        {"w": "largest weight", "u": "all others", "z": "size of the others' mean"},
        ("w >= 1/2", "u >= 0", "0 <= z <= 1"), "4*(w*u)**2*(1 + z) - 2*u**2*z >= u**2*(1 - z)",
        Twin("w >= 1/2", "w >= 99/200"), {"w": "1/2", "u": "1/2", "z": 0},
        ("dithered",), f"{_QUANTISER}, dithered (3)",
    ),
    Lemma(
        "dithered-a", "inequality (a) at opposite values",
        {"x": "largest weight less 1/2", "e": "tolerance"},
        ("0 <= x <= 1/2", "e >= 0"),
        "8*(1/4 - x**2)**2 + 8*(1/4 - x**2)*e*x + (1 + e**2)*(1 - 2*(1/4 - x**2)) <= 1 + e**2",
        Twin("<= 1 + e**2", "<= 99/100 + e**2"), {"x": "1/4", "e": "1/2"},
        ("dithered",), f"{_QUANTISER}, dithered (3)",
    ),
    Lemma(
        "dithered-b", "inequality (b) at opposite values",
        {"x": "largest weight less 1/2", "e": "tolerance"},
        ("0 <= x <= 1/2", "e >= 0"),
        "8*(1/4 - x**2)**2 + 8*(1/4 - x**2)*e*x + e**2*(1 - 2*(1/4 - x**2)) <= (1 + 3*e**2)/2",
        Twin("(1 + 3*e**2)/2", "(99/100 + 3*e**2)/2"), {"x": "1/4", "e": "1/2"},
        ("dithered",), f"{_QUANTISER}, dithered (3)",
    ),
    Lemma(
        "gaussian-optimum", "no exponent of Chernoff's bound is below -t^2/(2V), which h = t/V attains",
        {"h": "parameter", "V": "variance", "t": "threshold"},
        ("V > 0",), "h**2*V/2 - h*t >= -t**2/(2*V)",
        Twin("-t**2/(2*V)", "-99/100*t**2/(2*V)"), {"h": 1, "V": 1, "t": 1},
        ("dithered",), f"{_QUANTISER}, gaussian",
    ),
)  # fmt: skip
