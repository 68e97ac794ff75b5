"""Explanations of comparisons and of positive polynomials. Proofs: docs/proofs/comparison.md, polynomials.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvverify.kernel.document import short
from kvverify.report.explain.template import Formula, Lemma, Teller, Template, Told, When

if TYPE_CHECKING:
    from kvverify.kernel.check import Result
    from kvverify.kernel.document import Document

_MOST = 48  # lines of a program, and comparisons, that are read at a glance

_STURM = Lemma(
    "By Sturm's theorem the changes of sign in p, p' and their negated remainders, counted at both ends, differ by the "
    "number of roots between them; here by none, and p is positive at an end.",
    Formula("V(a) - V(b) = number of roots of p in (a, b)", r"V(a) - V(b) = \#\{x \in (a, b) : p(x) = 0\}"),
    "polynomials.md", "positive-polynomial", "textbook (Sturm 1829)",
)  # fmt: skip

TEMPLATES = {
    "comparison": Template(
        ("Every line of the claim's program was enclosed between two rationals, and no comparison is left open.",),
        Lemma(
            "The number of every line lies between its bounds, so a comparison holds where the bounds are apart.",
            Formula("l ≤ x ≤ h,   l' ≤ y ≤ h',   h < l'   gives   x < y",
                    r"l \le x \le h, \quad l' \le y \le h', \quad h < l' \;\Rightarrow\; x < y"),
            "comparison.md", "comparison", "textbook",
        ),
    ),
    "positive-polynomial": Template(
        (
            When("square.rows", "The square of a polynomial is divided out first; it is not negative anywhere."),
            When("form", "Between the ends and {cuts.rows} cuts no coefficient is negative, after multiplying by the "
                         "power {elevation} of 1 + u.", "bernstein"),
            When("form", "The polynomial has no root where it would change its sign.", "sturm"),
        ),
        Lemma(
            "Where all coefficients of (1 + u)^(n+k) p are not negative, p is not negative for u >= 0.",
            Formula("(1 + u)^(n+k) p((c + d u)/(1 + u)) = Σ g_j u^j,   g_j ≥ 0",
                    r"(1+u)^{n+k}\, p\!\left(\frac{c + d u}{1 + u}\right) = \sum_j g_j u^j, \quad g_j \ge 0"),
            "polynomials.md", "positive-polynomial", "textbook (Bernstein 1915, Polya 1928)",
        ),
        by="form", cases={"sturm": _STURM},
    ),
}  # fmt: skip


def comparison(result: Result, found: Document) -> Told:
    """The comparisons, and the program's lines."""
    node = found.statement
    holds = [f"`{short(text, 200)}`" for text in node["holds"]]
    lines = [f"@{i}: `{short(text, 200)}`." for i, text in enumerate(node["program"][:_MOST])]
    more = [f"And {len(node['program']) - _MOST} further lines."] if len(node["program"]) > _MOST else []
    claim = f"These comparisons of real numbers hold: {'; '.join(holds[:_MOST])}"
    claim += f"; and {len(holds) - _MOST} more." if len(holds) > _MOST else "."
    problem = ("@i is the number of line i of this program, its operation before its operands:", *lines, *more)
    return Told(
        (claim,), problem if lines else ("All numbers are written out.",),
        ("Nothing about what the numbers mean: the claim's page of proofs says that.",), _met(result),
    )  # fmt: skip


def polynomial(result: Result, found: Document) -> Told:
    """The polynomial and its interval."""
    node = found.statement
    sign = "positive" if node["relation"] == ">" else "not negative"
    ends = [f"from `{short(node['from'])}`"] if "from" in node else []
    ends += [f"to `{short(node['to'])}`"] if "to" in node else []
    where = f"for every x {' '.join(ends)}, the ends included" if ends else "for every real x"
    row = ", ".join(f"`{short(c)}`" for c in node["coefficients"])
    return Told(
        (f"A polynomial is {sign} {where}.",), (f"Its coefficients, from the constant on: {row}.",),
        ("Nothing about x outside of the interval.",), _met(result),
    )  # fmt: skip


def _met(result: Result) -> tuple[str, ...]:
    return ("The last step decides the claim itself.",) if result.verdict.value == "VALID" else ()


TOLD: dict[str, Teller] = {"comparison": comparison, "polynomial": polynomial}
