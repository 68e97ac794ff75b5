"""Extended primitive narrow-sense BCH codes (Hocquenghem 1959; Bose and Ray-Chaudhuri 1960)."""

from __future__ import annotations

from functools import cache

from kvverify.codes.linear import LinearCode, independent
from kvverify.errors import UsageError

_PRIMITIVE = {3: 0b1011, 4: 0b10011, 5: 0b100101, 6: 0b1000011, 7: 0b10001001, 8: 0b100011101}


@cache
def dimensions(m: int) -> tuple[int, ...]:
    """Dimensions of the codes of length 2^m, ascending."""
    return tuple(sorted(_generators(m)))


def extended_bch(m: int, dimension: int) -> LinearCode:
    """The code of length 2^m, 3 <= m <= 8; its leading rows span the smaller codes of the family."""
    if m not in _PRIMITIVE or dimension not in _generators(m):
        known = ", ".join(map(str, dimensions(m))) if m in _PRIMITIVE else "m = 3..8"
        raise UsageError(f"no extended BCH code of length 2^{m} and dimension {dimension}; there are: {known}")
    return LinearCode(1 << m, _nested(m, dimension), f"extended-bch({m},{dimension})")


def powers(m: int) -> list[int]:
    """The 2^m - 1 powers of a primitive element of GF(2^m), 3 <= m <= 8, as polynomials over GF(2)."""
    power = [1]
    for _ in range((1 << m) - 2):
        doubled = power[-1] << 1
        power.append(doubled ^ _PRIMITIVE[m] if doubled >> m else doubled)
    return power


@cache
def _nested(m: int, dimension: int) -> tuple[int, ...]:
    smaller = [k for k in dimensions(m) if k < dimension]
    parity = (1 << m) - 1
    shifted = (_generators(m)[dimension] << i for i in range(dimension))
    own = [row | (row.bit_count() & 1) << parity for row in shifted]
    return independent([*(_nested(m, smaller[-1]) if smaller else ()), *own])


@cache
def _generators(m: int) -> dict[int, int]:
    """{dimension: generator polynomial}: products of minimal polynomials of odd powers of a primitive element."""
    power = powers(m)
    order = len(power)
    log = {element: i for i, element in enumerate(power)}

    def minimal(exponents: list[int]) -> int:
        polynomial = [1]
        for i in exponents:  # times (x + power[i])
            scaled = [power[(log[c] + i) % order] if c else 0 for c in polynomial] + [0]
            polynomial = [a ^ b for a, b in zip([0, *polynomial], scaled, strict=True)]
        return sum(c << i for i, c in enumerate(polynomial))

    product, seen, result = 1, set(), {order: 1}
    for first in range(1, order, 2):
        if first not in seen:
            coset = sorted({first * 2**i % order for i in range(m)})
            seen.update(coset)
            factor = minimal(coset)
            product = _times(product, factor)
            result[order - product.bit_length() + 1] = product
    return result


def _times(a: int, b: int) -> int:
    """Product of two polynomials over GF(2)."""
    total = 0
    while b:
        if b & 1:
            total ^= a
        a, b = a << 1, b >> 1
    return total
