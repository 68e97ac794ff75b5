"""Real Kerdock codes (Kerdock 1972): length^2 sign keys whose inner products are at most the root of the length."""

from __future__ import annotations

from kvverify.codes.bch import powers
from kvverify.codes.coset_union import CosetUnion
from kvverify.codes.reed_muller import reed_muller
from kvverify.errors import UsageError


def kerdock(length: int) -> CosetUnion:
    """The code of length 16, 64 or 256: RM(1, m) and its cosets by a set of quadratic forms, r = m - 1 odd.

    Letters are the points (x, e) of GF(2^r) x GF(2), and the form of a in GF(2^r) is
    ``Q_a(x, e) = sum over 1 <= j <= (r-1)/2 of Tr((a x)^(2^j + 1)) + e Tr(a x)`` (Kantor 1982; MacWilliams and Sloane,
    chapter 15): the difference of any two has full rank m.
    """
    if length not in (16, 64, 256):
        raise UsageError(f"Kerdock codes are built for length 16, 64 and 256, not {length}")
    m = length.bit_length() - 1
    r = m - 1
    power = powers(r)
    order = len(power)

    def trace(exponent: int) -> int:
        total = 0
        for i in range(r):
            total ^= power[exponent * 2**i % order]
        return total

    value = [(sum(trace(i * (2**j + 1)) for j in range(1, r // 2 + 1)) % 2, trace(i)) for i in range(order)]
    forms = [0]
    for shift in range(order):
        word = 0
        for i in range(order):
            quadratic, linear = value[(i + shift) % order]
            word |= quadratic << power[i] | (quadratic ^ linear) << (power[i] | 1 << r)
        forms.append(word)
    root = 1 << m // 2
    known = {
        (length - root) // 2: length * (length // 2 - 1),
        length // 2: 2 * length - 2,
        (length + root) // 2: length * (length // 2 - 1),
        length: 1,
    }
    return CosetUnion(length, reed_muller(1, m).rows, tuple(forms), f"kerdock({length})", known)
