"""From symbols and numbers that can be read to bits: Fano, counting, volume, determinants, exact numbers."""

from __future__ import annotations

from kvverify.lemmas.base import Lemma, Twin

_VOLUME, _INFORMATION, _NUMBERS = "docs/proofs/volume.md", "docs/proofs/information.md", "docs/proofs/numbers.md"

LEMMAS = (
    Lemma(
        "index-tenth", "1 - H(1/10) >= 53/100, raised to the power 100",
        {}, (), "10**100 <= 2**47*9**90", Twin("2**47", "2**46"), {},
        ("random-access-code", "C1", "HO-2", "HO-8"), "C1, exact check", integers=True,
    ),
    Lemma(
        "index-third", "1 - H(1/3) >= 8/100, to the power 300",
        {}, (), "3**300 <= 2**476", Twin("2**476", "2**475"), {},
        ("random-access-code", "C1"), "C1, exact check", integers=True,
    ),
    Lemma(
        "index-counting", "half of the inputs read wrongly at a quarter of the places: mean failure 1/8",
        {"p": "share of inputs that are far from every state", "w": "share of places read wrongly on them"},
        ("p >= 1/2", "w >= 1/4"), "p*w >= 1/8",
        Twin("w >= 1/4", "w >= 99/400"), {"p": "1/2", "w": "1/4"},
        ("counting", "C1"), "C1, alternative without logarithms",
    ),
    Lemma(
        "counting-states", "fewer states leave more strings unread",
        {"T": "strings", "m": "states", "p": "more states", "V": "strings near one centre"},
        ("0 <= m <= p", "V >= 1", "p*V < T"), "T - m*V >= T - p*V > 0",
        Twin("m <= p", "m <= p + 1/100"), {"T": 8, "m": 1, "p": 2, "V": 3},
        ("counting",), f"{_INFORMATION}, counting",
    ),
    Lemma(
        "entropy-curvature", "the binary entropy is concave: its second derivative is -(log2 e)/(x(1 - x))",
        {"x": "probability"},
        ("0 < x < 1",), "1/(x*(1 - x)) >= 4",
        Twin(">= 4", ">= 404/100"), {"x": "1/4"},
        ("random-access-code", "volume", "C1"), f"{_INFORMATION}, random-access-code (4)",
    ),
    Lemma(
        "jensen-two-points", "a function above its tangent at the mean: two points",
        {"p": "weight of the first", "h": "their distance", "E": "value at the first", "F": "at the second"},
        ("0 <= p <= 1", "E >= 1 + (1 - p)*h", "F >= 1 - p*h"), "p*E + (1 - p)*F >= 1",
        Twin("F >= 1 - p*h", "F >= 99/100 - p*h"), {"p": "1/2", "h": 1, "E": 2, "F": 1},
        ("random-access-code", "volume", "joint", "amplitude", "C4"), "docs/proofs/README.md, Jensen",
    ),
    Lemma(
        "fano-range", "F(L, delta) falls up to delta = 1 - 1/L: its derivative is the logarithm of this",
        {"x": "delta", "L": "symbols"},
        ("L > 1", "0 <= x <= 1 - 1/L"), "x/((1 - x)*(L - 1)) <= 1",
        Twin("1 - 1/L", "101/100*(1 - 1/L)"), {"x": "1/4", "L": 2},
        ("random-access-code", "C1"), f"{_INFORMATION}, random-access-code (5)",
    ),
    Lemma(
        "divergence-range", "g(eps, delta) falls up to delta = 1 - eps: its derivative is the logarithm of this",
        {"x": "delta", "a": "eps"},
        ("0 < a < 1", "0 <= x <= 1 - a"), "x*a/((1 - x)*(1 - a)) <= 1",
        Twin("x <= 1 - a", "x <= 101/100*(1 - a)"), {"x": "1/4", "a": "1/2"},
        ("volume", "joint", "amplitude"), f"{_VOLUME}, volume (4)",
    ),
    Lemma(
        "clamp", "an answer above 1 - eps, clamped to it, is still within eps",
        {"o": "answer", "y": "exact value", "a": "eps"},
        ("0 < a < 1", "y <= 1", "o > 1 - a", "o - y <= a"), "-a <= (1 - a) - y <= a",
        Twin("y <= 1", "y <= 101/100"), {"o": 1, "y": "3/4", "a": "1/2"},
        ("volume",), f"{_VOLUME}, volume (3)",
    ),
    Lemma(
        "schur-pair", "near-identity at r = 2: det(I + A) = 1 - a b is at least 1 less half of the squares",
        {"a": "one entry beside the diagonal", "b": "the other"},
        (), "1 - a*b >= 1 - (a**2 + b**2)/2",
        Twin("(a**2 + b**2)/2", "99/200*(a**2 + b**2)"), {"a": "1/4", "b": "1/2"},
        ("determinant", "volume"), f"{_VOLUME}, near-identity",
    ),
    Lemma(
        "near-identity-tail", "cutting c(s) off one term later gives no larger bound: s^(K-2) taken out",
        {"s": "off-target mass", "K": "terms"},
        ("0 <= s < 1", "K >= 2"), "1/(K*(1 - s)) >= 1/K + s/((K + 1)*(1 - s))",
        Twin("s/((K + 1)*(1 - s))", "101/100*s/((K + 1)*(1 - s))"), {"s": "1/2", "K": 2},
        ("determinant", "joint", "amplitude"), f"{_NUMBERS}, c(sigma)",
    ),
    Lemma(
        "ostrowski-step", "eliminating a column keeps each row's surplus: it adds to the row at most what it takes",
        {"c": "the row's entry in the column", "s": "the pivot row beside its pivot, over the pivot",
         "x": "its part in the row's own column"},
        ("c >= 0", "0 <= x <= s", "s <= 1"), "c*x + c*(s - x) <= c",
        Twin("s <= 1", "s <= 101/100"), {"c": 1, "s": "1/2", "x": "1/4"},
        ("determinant",), f"{_VOLUME}, ostrowski",
    ),
    Lemma(
        "ostrowski-pair", "two rows with surplus 1 - a and 1 - b",
        {"a": "first row beside the diagonal", "b": "second"},
        ("0 <= a < 1", "0 <= b < 1"), "1 - a*b >= (1 - a)*(1 - b)",
        Twin("1 - a*b", "99/100 - a*b"), {"a": "1/4", "b": "1/2"},
        ("determinant",), f"{_VOLUME}, ostrowski",
    ),
    Lemma(
        "precondition-floor", "eight bytes of a packed field are the number but for less than the field's unit",
        {"x": "the exact integer", "y": "its leading bytes"},
        ("2**36*y <= x < 2**36*(y + 1)",), "0 <= x - 2**36*y <= 2**36 - 1",
        Twin("2**36 - 1", "2**36 - 2"), {"x": 1, "y": 0},
        ("determinant", "attention-row"), f"{_VOLUME}, preconditioned", integers=True,
    ),
    Lemma(
        "precondition-row", "entries off by at most E cost a row of two 2 E of its surplus",
        {"z": "surplus as read", "E": "error of an entry", "u": "diagonal", "v": "the other less what was read"},
        ("u >= z - E", "v <= E"), "u - v >= z - 2*E",
        Twin("2*E", "198/100*E"), {"z": 3, "E": "1/4", "u": 3, "v": 0},
        ("determinant",), f"{_VOLUME}, preconditioned 3",
    ),
    Lemma(
        "exp-loss", "a term of the series loses less than two units, if the one before did",
        {"l": "loss of the term before", "y": "argument", "k": "the term"},
        ("0 <= l < 2", "0 <= y <= 1", "k >= 2"), "l*y/k + 1 < 2",
        Twin("k >= 2", "k >= 1"), {"l": 1, "y": "1/2", "k": 2},
        ("exp-bound", "attention-row", "comparison"), f"{_NUMBERS}, exp",
    ),
    Lemma(
        "log2-invariant", "the mantissa stays within [1, 2] when its square is halved",
        {"m": "mantissa"},
        ("0 <= m <= 2",), "m**2/2 <= 2",
        Twin("m <= 2", "m <= 202/100"), {"m": 1},
        ("volume", "random-access-code", "comparison"), f"{_NUMBERS}, log2",
    ),
    Lemma(
        "bernstein-point", "u >= 0 runs through the interval: (a + b u)/(1 + u) lies in it",
        {"a": "lower end", "b": "upper end", "u": "the variable of the form"},
        ("a < b", "u >= 0"), "a <= (a + b*u)/(1 + u) <= b",
        Twin("(a + b*u)", "(a + 101/100*b*u)"), {"a": 0, "b": 1, "u": 1},
        ("positive-polynomial",), "docs/proofs/polynomials.md, bernstein",
    ),
    Lemma(
        "rounded-products", "products of upper bounds of numbers that are not negative are upper bounds",
        {"a": "a number", "x": "its bound", "b": "another", "y": "its bound"},
        ("a >= 0", "a <= x", "0 <= b <= y"), "a*b <= x*y",
        Twin(without="a >= 0"), {"a": "1/4", "x": "1/2", "b": 1, "y": 2},
        ("leak",), f"{_NUMBERS}, powers",
    ),
)  # fmt: skip
