"""Explanations of covering numbers. Proofs: docs/proofs/covering.md and nets.md."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from kvverify.report.explain.numbers import Side, figure
from kvverify.report.explain.template import Formula, Lemma, Teller, Template, Told, When

if TYPE_CHECKING:
    from kvverify.kernel.check import Result
    from kvverify.kernel.document import Document

_SOURCE = "textbook; the argument by shells and the form of the greedy bound are ours"


def _lemma(text: str, plain: str, tex: str, section: str = "cover-at-most", page: str = "covering.md") -> Lemma:
    return Lemma(text, Formula(plain, tex), page, section, _SOURCE if page == "covering.md" else "ours")


_BELOW = {
    "few": _lemma(
        "Dimension many caps below a right angle, or balls smaller than the ball, leave a direction out.",
        "N ≥ d + 1", r"N \ge d + 1", "cover-at-least",
    ),
    "volume": _lemma(
        "The balls' volumes together are at least that of the ball.",
        "N ≥ (r/δ)^d", r"N \ge (r/\delta)^d", "cover-at-least",
    ),
    "ball-through-sphere": _lemma(
        "The balls cover the surface as well, and each meets it in a cap of sine delta/r at most.",
        "N ≥ 1/σ(arcsin δ/r)", r"N \ge 1/\sigma(\arcsin \delta/r)", "cover-at-least",
    ),
}  # fmt: skip

_ABOVE = {
    "few": _lemma(
        "Caps about the vertices of a simplex cover if the cosine is at most 1/d, about those of a cross-polytope if "
        "its square is.",
        "N ≤ d + 1 or 2d", r"N \le d + 1 \text{ or } 2d",
    ),
    "arcs": _lemma("Equal parts cover an interval or a circle.", "N ≤ ⌈r/δ⌉ or ⌈π/ρ⌉",
                   r"N \le \lceil r/\delta \rceil \text{ or } \lceil \pi/\rho \rceil"),
    "packing": _lemma(
        "Points that are far from one another, as many as there may be, are near every point; pieces of half the size "
        "about them are disjoint.",
        "N ≤ (1 + 2r/δ)^d or 1/σ(ρ/2)", r"N \le (1 + 2r/\delta)^d \text{ or } 1/\sigma(\rho/2)",
    ),
    "lattice": _lemma(
        "Some shift of the lattice A_d*, of covering density Theta, has no more points near the ball than shifts have "
        "in the mean.",
        "N ≤ Θ (1 + r/δ)^d", r"N \le \Theta\,(1 + r/\delta)^d",
    ),
    "shells": _lemma(
        "Shell by shell: the one from q down to q - 2/q takes as many balls as its outer sphere takes caps.",
        "N ≤ 1 + Σ N(S, arcsin 1/q),   q → q - 2/q (in units of δ)",
        r"N \le 1 + \sum N(S, \arcsin 1/q), \qquad q \to q - 2/q \quad (\delta = 1)",
    ),
}  # fmt: skip

TEMPLATES = {
    "cover-at-least": Template(
        ("At least {at_least} pieces are needed, by the form {form}.",),
        _lemma("The caps' measures together are at least that of the sphere.", "N ≥ 1/σ(ρ)", r"N \ge 1/\sigma(\rho)",
               "cover-at-least"),
        {"at_least": Side.DOWN}, "form", _BELOW,
    ),
    "cover-at-most": Template(
        (
            "At most {at_most} pieces are enough, by the form {form}.",
            When("shrink", "Random pieces keep the share {shrink} of the angle's sine, or of the radius; the rest of "
                           "it is the size of the gaps that are filled one by one."),
        ),
        _lemma(
            "Pieces at random until little is left, then one for each gap: p is the share that each covers, s the "
            "measure that belongs to each gap.",
            "N ≤ 1 + (1 + ln(p/s))/p", r"N \le 1 + \frac{1 + \ln(p/s)}{p}",
        ),
        {"at_most": Side.UP, "shrink": Side.DOWN}, "form", _ABOVE,
    ),
    "cover": Template(
        ("Both sides: at least {at_least} by `{uses.lower}`, at most {at_most} by `{uses.upper}`.",),
        _lemma("Two bounds in one.", "at_least ≤ N ≤ at_most", r"\mathrm{at\_least} \le N \le \mathrm{at\_most}",
               "cover"),
        {"at_least": Side.DOWN, "at_most": Side.UP},
    ),
}  # fmt: skip


def told(result: Result, found: Document) -> Told:
    """The covering number and what bounds it."""
    node = found.statement
    sizes = [key for key in ("radius", "ball_radius", "angle") if key in node]
    size = {key: figure(Fraction(node[key]), Side.UP).brief for key in sizes}
    if node["body"] == "ball":
        what = f"closed balls of radius {size['ball_radius']} that cover a closed ball of radius {size['radius']} in"
        where = "Their centres may lie anywhere."
    else:
        what = f"closed caps of {size['angle']} radians that cover the unit sphere of"
        where = "Centres lie on the sphere."
    bounds = []
    if "at_least" in node:
        bounds.append(f"at least {figure(Fraction(node['at_least']), Side.DOWN).brief}")
    if "at_most" in node:
        bounds.append(f"at most {figure(Fraction(node['at_most']), Side.UP).brief}")
    dim = figure(Fraction(node["dim"]), Side.DOWN).brief
    claim = f"The least number of {what} dimension {dim} is {' and '.join(bounds)}."
    not_said = (
        "Nothing about how to find such a cover: a bound from above may be by chance or by counting.",
        "Nothing about covers whose centres must be points of the body, or of a given set.",
    )
    conclusion = ("The last step proves these bounds or better ones.",) if result.verdict.value == "VALID" else ()
    return Told((claim,), (where,), not_said, conclusion)


TOLD: dict[str, Teller] = {"cover": told}
