"""Covers, packings and nets."""

from __future__ import annotations

from kvverify.lemmas.base import Envelope, Lemma, Twin

_COVERING, _NETS = "docs/proofs/covering.md", "docs/proofs/nets.md"
_E_FROM_BELOW = Envelope("E", "e", "a number above a rational", ("2718/1000 <= exp 1",))
_E_FROM_ABOVE = Envelope("E", "e", "a number below a rational", ("exp 1 <= 2719/1000",))

LEMMAS = (
    Lemma(
        "packing", "balls of radius r/2 around points that are more than r apart do not meet",
        {"a": "|x - p|^2 over r^2", "b": "|x - q|^2 over r^2", "D": "|p - q|^2 over r^2"},
        ("D <= 2*a + 2*b", "a <= 1/4", "b <= 1/4"), "D <= 1",
        Twin("b <= 1/4", "b <= 101/400"), {"a": 0, "b": 0, "D": 0},
        ("cover-at-most", "HO-5", "SG-2"), f"{_COVERING}, packing; the first hypothesis is lemma cell-diameter, summed",
    ),
    Lemma(
        "packing-ratio", "the radii's ratio in the packing bound",
        {"R": "radius of the ball", "x": "least distance"},
        ("x > 0",), "(R + x/2)/(x/2) == 1 + 2*R/x",
        Twin("2*R/x", "202/100*R/x"), {"R": 1, "x": 1},
        ("cover-at-most", "HO-5"), f"{_COVERING}, packing",
    ),
    Lemma(
        "packing-base", "from x >= 1165/1000 R on at most e^d representatives: the base 1 + 2R/x is at most e",
        {"R": "radius of the ball", "x": "least distance", "E": "e"},
        ("R > 0", "E >= 2718/1000", "x >= 1165/1000*R"), "1 + 2*R/x <= E",
        Twin("1165/1000", "1155/1000"), {"R": 1, "x": 2, "E": "2719/1000"},
        ("HO-5",), "HO-5, constants", envelopes=(_E_FROM_BELOW,),
    ),
    Lemma(
        "diameter-form-vacuous", "by diameters the same bound needs cells wider than the ball",
        {"R": "radius of the ball", "x": "diameter of a cell", "E": "e"},
        ("R > 0", "x > 0", "1 < E <= 2719/1000", "1 + 4*R/x <= E"), "x > 2326/1000*R",
        Twin("2326/1000", "2349/1000"), {"R": 1, "x": 3, "E": "2718/1000"},
        ("HO-5", "SG-1"), "HO-5, constants", envelopes=(_E_FROM_ABOVE,),
    ),
    Lemma(
        "ball-cap", "a ball of radius x meets the unit sphere in a cap of sine at most x, wherever its centre is",
        {"c": "distance of the centre", "x": "radius"},
        (), "(1 + c**2 - x**2)**2 >= 4*c**2*(1 - x**2)",
        Twin("4*c**2", "404/100*c**2"), {"c": 1, "x": "1/2"},
        ("cover-at-least", "cover-at-most", "HO-5"),
        f"{_COVERING}, caps cut by balls: the cosine is at least (1 + c^2 - x^2)/(2 c)",
    ),
    Lemma(
        "lovasz-stein-margin", "the sine of the margin beside a cap whose sine is shrunk by k, its root moved below",
        {"k": "factor of the sine", "x": "squared sine of the cap", "a": "cosine of the shrunk cap", "b": "of the cap"},
        ("a**2 == 1 - k**2*x", "b**2 == 1 - x"), "(a - k*b)*(a + k*b) == 1 - k**2",
        Twin("(a + k*b) == 1 - k**2", "(a + k*b) == 101/100 - k**2"), {"k": "4/5", "x": 1, "a": "3/5", "b": 0},
        ("cover-at-most",), f"{_COVERING}, lovasz-stein",
    ),
    Lemma(
        "shell", "a unit ball centred at sqrt(q^2 - 1) holds its ray at the cap's edge from q - 2/q to q",
        {"q": "outer radius", "u": "distance on the ray"},
        ("q > 0", "q - 2/q <= u <= q"), "u**2 - 2*u*(q**2 - 1)/q + q**2 - 2 <= 0",
        Twin("- 2/q <= u", "- 202/100/q <= u"), {"q": 2, "u": "3/2"},
        ("cover-at-most",), f"{_COVERING}, shells",
    ),
    Lemma(
        "shell-rounded", "the next shell's squared radius grows with this one's, so it may be rounded up",
        {"x": "squared radius", "y": "a smaller one"},
        ("x >= y >= 2",), "x - 4 + 4/x >= y - 4 + 4/y",
        Twin("y >= 2", "y >= 199/100"), {"x": 4, "y": 2},
        ("cover-at-most",), f"{_COVERING}, shells",
    ),
    Lemma(
        "gap-variance", "two points of a circle that is cut at random: the mean square of their distance",
        {"g": "arc between them"},
        (), "g*(1 - g)**2 + (1 - g)*g**2 == g*(1 - g)",
        Twin("== g*(1 - g)", "== 101/100*g*(1 - g)"), {"g": "1/4"},
        ("cover-at-most", "lattice-points"), f"{_COVERING}, lattice: the covering radius of A_d*",
    ),
    Lemma(
        "fan-angle", "a facet a.x = 1 of a fan has a vertex within the angle of cosine 1/|a|",
        {"l": "sum of the coefficients of a unit vector", "c": "largest cosine to a vertex", "A": "|a|"},
        ("l > 0", "l <= A", "1 <= l*c"), "c >= 1/A",
        Twin("l <= A", "l <= 101/100*A"), {"l": 1, "c": 1, "A": 1},
        ("net",), f"{_NETS}, sphere: 1 = sum l_i <x, v_i> <= l c, l = <a, x> <= |a|",
    ),
    Lemma(
        "fan-mean", "a positive combination of cosines is at most their largest times the sum: two vertices",
        {"l": "first coefficient", "m": "second", "c": "larger cosine", "x": "smaller cosine"},
        ("l >= 0", "m >= 0", "x <= c"), "l*c + m*x <= (l + m)*c",
        Twin("x <= c", "x <= c + 1/100"), {"l": 1, "m": 1, "c": 1, "x": "1/2"},
        ("net",), f"{_NETS}, sphere",
    ),
    Lemma(
        "ball-net", "mean squared distance to the vertices of a simplex is R^2 - |x - c|^2: a segment of half length R",
        {"l": "weight of the first end", "R": "circumradius"},
        (), "l*(2*(1 - l)*R)**2 + (1 - l)*(2*l*R)**2 == R**2 - ((1 - 2*l)*R)**2",
        Twin("== R**2", "== 101/100*R**2"), {"l": "1/4", "R": 1},
        ("net",), f"{_NETS}, ball",
    ),
    Lemma(
        "ball-net-outside", "beyond the border, up to s = 2, the squared distance is largest where the face is",
        {"y": "distance from the origin", "s": "sum of the face's coefficients", "A": "|a| of the face"},
        ("A > 0", "1 <= s <= 2", "y >= s/A"), "y**2*(1 - 2/s) <= (s**2 - 2*s)/A**2",
        Twin("s/A", "99/100*s/A"), {"y": 1, "s": 1, "A": 1},
        ("net",), f"{_NETS}, ball: M(y) = 0",
    ),
    Lemma(
        "ball-net-grows", "and that bound grows with s from 1 on",
        {"s": "sum of the face's coefficients", "t": "a larger one"},
        ("1 <= s <= t",), "s**2 - 2*s <= t**2 - 2*t",
        Twin("1 <= s", "99/100 <= s"), {"s": 1, "t": 2},
        ("net",), f"{_NETS}, ball: M(y) = 0",
    ),
)  # fmt: skip
