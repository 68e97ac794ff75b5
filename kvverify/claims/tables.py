"""Tables of the ledger, computed by the searches behind the certificates; ``certify ID --set`` certifies one cell."""

from __future__ import annotations

from fractions import Fraction
from math import log, log2

from kvverify.attention.visual import VAR_SCALES, Scales, free_tokens, growth, parse_scales, tokens_at
from kvverify.claims.base import Node, Table
from kvverify.claims.evidence import attention, projections, subgen, tensor

_DIMENSIONS = (1, 2, 4, 8, 16, 32, 64)
_SIZES = (16, 64, 256, 1024, 4096)
_WORDS = (("fp16", 16), ("8 bits", 8), ("4 bits", 4), ("2 bits", 2), ("1 bit", 1))
_ERRORS, _REACHES = (Fraction(1), Fraction(1, 2), Fraction(1, 10)), (Fraction(1, 4), Fraction(1), Fraction(2))

_PYRAMIDS = (
    ("VAR", "var"),
    ("doubling", "1,2,4,8,16"),
    ("tripling", "1,3,9,27"),
    ("every side", ",".join(map(str, range(1, 17)))),
    ("one step", "1,16"),
)
_KERNEL = "bicubic"


def dimensions() -> Table:
    """C4: what n keys need, eps = 49/100 where keys are random."""
    found = [projections.dimensions(tokens) for tokens in _SIZES]
    names = ("papers", "gaussian", "signs", "kerdock", "hypercube", "paraboloid")
    return Table(
        "Dimension that n keys need (random ones: the least at which a union bound gives existence, eps = 49/100)",
        (
            "n",
            "4 ln n/(eps^2/2 - eps^3/3)",
            "Gaussian, Chernoff",
            "signs, exact sums",
            "Kerdock",
            "hypercube",
            "paraboloid",
        ),
        tuple((f"{row.tokens:,}", *(f"{getattr(row, name):,}" for name in names)) for row in found),
    )


def budgets() -> Table:
    """HO-4: norm budgets |q||k|/scale at which the cube's corners separate at eta = 1/2, and what C4 allows there."""
    rows = []
    for dim in _DIMENSIONS:
        budget = Fraction(attention.state(f"hypercube({dim})", body="ball")["statement"]["max_logit"])
        most = _most_keys(float(budget))
        shown = f"{most}" if most < 10**6 else f"about 2^{log2(most):.1f}"
        rows.append((str(dim), f"2^{dim}", f"{float(budget):.2f}", f"{float(budget) / dim:.2f}", shown))
    return Table(
        "Norm budgets R, eta = 1/2: tokens of the cube's corners, and the most that any keys separate at that R",
        ("d", "tokens", "R", "R/d", "any keys, at most"), tuple(rows),
    )  # fmt: skip


def _most_keys(budget: float) -> int:
    """The largest n with ln(3 (n - 1)) < R n/(n - 1), in floats: of n >= 3 one side grows, the other falls."""
    low, high = 2, 4
    while log(3 * (high - 1)) < budget * high / (high - 1):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        holds = log(3 * (middle - 1)) < budget * middle / (middle - 1)
        low, high = (middle, high) if holds else (low, middle)
    return low


def words() -> Table:
    """C5: caches of several widths against the bound of INDEX at delta = 1/10."""
    bound = f"{float(attention.fano_bits(1)):.3f} n d"
    rows = ((name, f"{2 * bits} n d", bound, attention.cache_factor(bits)) for name, bits in _WORDS)
    return Table(
        "Bits against words (delta = 1/10, d_k = d_v = d)",
        ("keys and values of", "cache in bits", "bound in bits", "compression not excluded, up to"), tuple(rows),
    )  # fmt: skip


def savings() -> Table:
    """SG-4: slots and break-even at d = 64, one cell, failure 1/100."""
    rows = []
    for error in _ERRORS:
        for reach in _REACHES:
            equal, best = subgen.sizes(error, reach), subgen.best_split(error, reach)
            papers, sharp, product = (_right(equal, place) for place in (0, 2, 4))
            cells = str(error), str(reach), *(f"{n:,}" for n in (papers, sharp, product, _tokens(equal), _tokens(best)))
            rows.append(cells)
    return Table(
        "Slots, and the least n at which words are saved (d = 64, one cell, failure 1/100 by Chebyshev)",
        ("eps", "delta r", "t as recorded", "t by sinh^2", "s", "n, equal split", "n, best split"), tuple(rows),
    )  # fmt: skip


def saving_from(error: Fraction = Fraction(1), reach: Fraction = Fraction(1, 4)) -> int:
    """The least number of tokens at which SG-4 saves words, equal split, d = 64, one cell."""
    return _tokens(subgen.sizes(error, reach))


def pyramid() -> Table:
    """VAR-1: the cache step by step, and what is free in each map."""
    rows = (
        (f"{step.scale} x {step.scale}", f"{step.before}", f"{step.after}", f"{step.free}")
        for step in growth(VAR_SCALES, _KERNEL)
    )
    return Table(
        "VAR's scales (bicubic, held at the border; nearest and bilinear have the same ranks)",
        ("map", "tokens before the step", "after it", "free tokens of the map"), tuple(rows),
    )  # fmt: skip


def cuts() -> Table:
    """VAR-3: tokens at both cuts, those that are free, and the bound for d = 64."""
    rows = []
    for name, text in _PYRAMIDS:
        scales = parse_scales(text)
        counts = [count(scales, cut) for cut in ("between-steps", "all-keys") for count in (tokens_at, _free)]
        share = counts[0] / scales[-1].tokens
        bits = [f"{float(attention.fano_bits(64 * many)):,.0f}" for many in (counts[0], counts[2])]
        rows.append(
            (name, f"{scales[-1]}", *map(str, counts[:2]), f"{share:.2f}", bits[0], *map(str, counts[2:]), bits[1])
        )
    return Table(
        "Tokens L at the cut, how many of them interpolation leaves free, and 0.53 L d bits (d = 64, Q, K, V free)",
        ("scales", "n", "L between steps", "free", "L/n^2", "bits", "L all keys", "free", "bits"), tuple(rows),
    )  # fmt: skip


def _free(scales: Scales, cut: str) -> int:
    return free_tokens(scales, cut, _KERNEL)


def patterns() -> Table:
    """TA-4: what one column of V1 * V2 shows, by listing."""
    counted = ((n, tensor.reachable(n), tensor.reachable(n, compared=True)) for n in (1, 2, 3, 4))
    return Table(
        "0/1 patterns of a column of V1 * V2, n^2 entries: reachable ones by listing, against 2^(n^2)",
        ("n", "values 0 or 1", "real values and a threshold", "free bits"),
        tuple((f"{n}", f"{plain:,}", f"{compared:,}", f"{2 ** (n * n):,}") for n, plain, compared in counted),
    )


def subgen_choices() -> Table:
    """TA-6: steps that the record leaves open, as the compressors of this package take them."""
    return Table(
        "Steps that the record leaves open, and what subgen4 and subgen2 do",
        ("step", "subgen4", "subgen2"),
        (
            ("what is clustered", "rows of K1 and of K2, each by itself", "product rows"),
            ("a cell", "within delta of its oldest key, as in SG-2", "the same"),
            ("the normaliser", "all pairs of slots of two cells, n_a n_b/t^2 each", "as in SG-2"),
            ("the norm sampler", "|v1|^2 and |v2|^2, all pairs of slots", "|v1 o v2|^2 of the product row"),
            ("what forms new product rows", "nothing has to", "the four caches, kept and counted in the state"),
            ("order of new rows", "-", "(n, 0) .. (n, n), then (0, n) .. (n - 1, n)"),
            ("the asker's own pairs", "one more entry of either factor", "summed exactly from the caches"),
            ("t, s and delta", "settings; SG-4's sizes are for one softmax", "settings, delta of product rows"),
        ),
        words=True,
    )


def _right(tree: Node, place: int) -> int:
    """The right side of a relation, which is a whole number."""
    return int(tree["statement"]["holds"][place].split()[2])


def _tokens(tree: Node) -> int:
    """n of the relation ".. < 2 n": the largest number that a certificate of sizes doubles."""
    lines = [line.split() for line in tree["statement"]["program"] if line.startswith("product 2 ")]
    return max(int(line[2]) for line in lines if line[2].isdecimal())
