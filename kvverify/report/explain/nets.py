"""Explanations of explicit nets. Proofs: docs/proofs/nets.md."""

from __future__ import annotations

from kvverify.report.explain.numbers import Side
from kvverify.report.explain.template import Formula, Lemma, Template, When

TEMPLATES = {
    "net": Template(
        (
            "{points.rows} points and {simplices.rows} simplices between them were checked, one by one, in integers.",
            When("orthoplexes.rows", "So were {orthoplexes.rows} cross-polytopes, each given by pairs of opposite "
                                     "vertices."),
            "At most {at_most} pieces are enough: one about each point that is used.",
        ),
        Lemma(
            "Simplices of one orientation whose faces meet in pairs leave no direction out; a direction in a facet is "
            "near one of its vertices.",
            Formula("1 = Σ l_i <x, v_i> ≤ |a| max <x, v_i> and |a| cos ρ ≤ 1;   in a ball Σ l_i |x - p_i|² ≤ R² ≤ δ²",
                    r"1 = \sum l_i\langle x, v_i\rangle \le |a| \max \langle x, v_i\rangle, \quad |a|\cos\rho \le 1; "
                    r"\qquad \sum l_i |x - p_i|^2 \le R^2 \le \delta^2"),
            "nets.md", "net", "ours",
        ),
        {"at_most": Side.UP},
    ),
    "lattice-points": Template(
        (
            "Points of the lattice {lattice}, times {scale} and moved by the shift that is given, were counted: at "
            "most {at_most} of them are within reach of the ball.",
        ),
        Lemma(
            "Every point of the ball has a point of the lattice within its covering radius, and that one is at most "
            "that much farther out.",
            Formula("N ≤ number of x in s(L + t) with |x| ≤ r + δ,   s μ(L) ≤ δ",
                    r"N \le \#\{x \in s(L + t) : |x| \le r + \delta\}, \qquad s\,\mu(L) \le \delta"),
            "nets.md", "lattice-points", "ours; Conway and Sloane, ch. 4, for the covering radius",
        ),
        {"at_most": Side.UP, "scale": Side.DOWN},
    ),
}  # fmt: skip
