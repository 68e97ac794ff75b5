"""Explanations of the rules that end a lower bound. Proofs: docs/proofs/information.md, volume.md, payload.md."""

from __future__ import annotations

from kvverify.report.explain.numbers import Side
from kvverify.report.explain.template import Formula, Lemma, Template, When

_BITS = {"bits_at_least": Side.DOWN}
_GAIN = "g(ε, δ) = (1 - δ) log2((1 - δ)/ε) + δ log2(δ/(1 - ε))"
_GAIN_TEX = (
    r"g(\varepsilon,\delta) = (1-\delta)\log_2\tfrac{1-\delta}{\varepsilon} + \delta\log_2\tfrac{\delta}{1-\varepsilon}"
)
_TOGETHER = "So the state holds at least {bits_at_least} bits, all heads and layers together."


def _determinant(text: str, formula: Formula, section: str, source: str) -> Lemma:
    return Lemma(text, formula, "volume.md", section, source)


_NEAR = _determinant(
    "The attention matrix is nearly the identity: each row sum of the rest is below 1, and the logarithm of its "
    "determinant falls with the squares of the rest alone.",
    Formula("ln |det(I + A)| ≥ -r F c(σ),   c(s) = sum over k ≥ 2 of s^(k-2)/k,   log2 |det W| = log2 |det(I + A)| - "
            "sum of log2 D_i",
            r"\ln|\det(I+A)| \ge -rF\,c(\sigma), \quad c(s) = \sum_{k\ge2}\frac{s^{k-2}}{k}, \quad "
            r"\log_2|\det W| = \log_2|\det(I+A)| - \sum_i \log_2 D_i"),
    "near-identity", "ours, from Schur's inequality",
)  # fmt: skip

TEMPLATES = {
    "random-access-code": Template(
        (
            "Every payload token has {s.value_dim} value coordinates, each a symbol that a read tells with probability "
            "of error at most {s.failure}.",
            _TOGETHER,
        ),
        Lemma(
            "N independent symbols of L levels, each guessed wrongly with probability delta at most in the mean, need "
            "N times what Fano's inequality leaves of one.",
            Formula("S ≥ N F(L, δ),   F(L, δ) = log2 L - H(δ) - δ log2(L - 1)",
                    r"S \ge N\,F(L,\delta), \qquad F(L,\delta) = \log_2 L - H(\delta) - \delta\log_2(L-1)"),
            "information.md", "random-access-code", "textbook (Fano; Ambainis, Nayak, Ta-Shma and Vazirani for L = 2)",
        ),
        _BITS,
    ),
    "counting": Template(
        (
            "Fewer than 2^{bits_at_least} states make too many errors: too few secrets lie near what they can answer, "
            "and in the mean over all secrets the share of wrong reads exceeds {s.failure}.",
            "So the compressor has states for at least {bits_at_least} bits, all heads and layers together.",
        ),
        Lemma(
            "M states are M centres; at most M V(j) of the L^N secrets lie within j errors of one, so the errors of "
            "all secrets together have a least number.",
            Formula("sum over j < N of max(0, L^N - (2^b - 1) V(j)) > δ N L^N   implies   S ≥ b",
                    r"\sum_{j<N} \max\bigl(0,\, L^N - (2^b-1)\,V(j)\bigr) > \delta\,N L^N "
                    r"\;\Longrightarrow\; S \ge b"),
            "information.md", "counting", "ours",
        ),
        _BITS,
    ),
    "determinant": Template(
        (
            "Values become answers through the payload's square matrix W of attention weights, of step `{uses.leak}`. "
            "The logarithm (base 2) of its determinant is at least {log2_det_at_least}.",
            When("form", "Form `near-identity`: one bound of row sums and squares serves all rows.", "near-identity"),
            When("form", "Form `ostrowski`: row by row, what the target weighs more than the other payload tokens.",
                 "ostrowski"),
            When("form", "Form `exact`: the matrix was eliminated in whole numbers.", "exact"),
            When("form", "Form `preconditioned`: two triangles of a file, nearly an inverse, make the matrix nearly "
                 "diagonal; they need no proof, as any triangles give a true bound.", "preconditioned"),
        ),
        _NEAR,
        {"log2_det_at_least": Side.DOWN},
        "form",
        {
            "ostrowski": _determinant(
                "A matrix whose diagonal exceeds each row's other entries has at least the product of what is left as "
                "its determinant.",
                Formula("|det(I + A)| ≥ product of (1 - σ_i)", r"|\det(I+A)| \ge \prod_i (1-\sigma_i)"),
                "ostrowski", "paper (Ostrowski 1937)",
            ),
            "exact": _determinant(
                "A determinant is linear in each row, so it differs from that of a nearby matrix by no more than the "
                "products of row sums differ.",
                Formula("|det K| ≥ |det L| - (product of (|L_i| + r s) - product of |L_i|)",
                        r"|\det K| \ge |\det L| - \Bigl(\prod_i(|L_i|_1 + rs) - \prod_i|L_i|_1\Bigr)"),
                "exact", "ours, from Hadamard's inequality",
            ),
            "preconditioned": _determinant(
                "The determinant of a product is the product of determinants: that of triangles is read off, and that "
                "of the product has Ostrowski's bound.",
                Formula("log2 |det K| ≥ sum of log2 m_i - log2 |product of L_ii U_ii|,   m_i = |M_ii| - sum of "
                        "|M_ij|,   M = U L K",
                        r"\log_2|\det K| \ge \sum_i \log_2 m_i - \log_2\Bigl|\prod_i L_{ii}U_{ii}\Bigr|, \quad "
                        r"m_i = |M_{ii}| - \sum_{j\ne i}|M_{ij}|, \quad M = ULK"),
                "preconditioned", "ours, from Ostrowski's bound",
            ),
        },
    ),
    "volume": Template(
        (
            "The values of the payload are uniform on [-1, 1] and independent. An answer within {s.tolerance} of the "
            "truth shuts it into an interval, and at most a share of {s.failure} of the answers is worse.",
            When("s.inputs", "As values are rounded to bf16, the error counts as 1/512 larger.", "bf16"),
            _TOGETHER,
        ),
        Lemma(
            "The exact answers fill a volume of |det W| times that of the values; the intervals that the state's "
            "answers leave are small, and what the state must hold is the logarithm of the ratio.",
            Formula(f"S ≥ streams · value_dim · (log2 |det W| + r g(ε, δ)),   {_GAIN}",
                    r"S \ge \mathrm{streams}\cdot\mathrm{value\_dim}\cdot(\log_2|\det W| + r\,g(\varepsilon,\delta)), "
                    rf"\quad {_GAIN_TEX}"),
            "volume.md", "volume", "ours",
        ),
        _BITS,
    ),
    "joint": Template(
        (
            "Two secrets lie in the cache: values, read at the scale of step `{uses.values}`, and {key_coordinates} "
            "coordinates of each key beside its public part, read at the scale of step `{uses.keys}`.",
            "One value coordinate serves as a marker, +1 for cached tokens and -1 for the asker's own; it shows the "
            "key coordinates. The other value coordinates are secret.",
            When("s.inputs", "As keys and values are rounded to bf16, the error counts as larger by what that moves.",
                 "bf16"),
            _TOGETHER,
        ),
        Lemma(
            "Values and key coordinates are independent, so the informations that the state holds about them add up; "
            "each is bounded by the volume argument over its own pool of reads, and counts as 0 where that is below 0.",
            Formula("S ≥ streams ((value_dim - 1) a + key_coordinates b),   a = log2 |det W| + r g(ε, δ),   "
                    "b = r (entropy + g(ε, δ) - 2 log2(1 + (σ mean + rest)/2)) + log2 |det(I + A)|",
                    r"\begin{aligned} S &\ge \mathrm{streams}\,\bigl((\mathrm{value\_dim}-1)\,a + "
                    r"\mathrm{key\_coordinates}\cdot b\bigr), \\ a &= \log_2|\det W| + r\,g(\varepsilon,\delta), \\ "
                    r"b &= r\,\bigl(\mathrm{entropy} + g(\varepsilon,\delta) - 2\log_2(1 + (\sigma\,\mathrm{mean} + "
                    r"\mathrm{rest})/2)\bigr) + \log_2|\det(I+A)| \end{aligned}"),
            "payload.md", "joint", "ours",
        ),
        _BITS,
    ),
    "amplitude": Template(
        (
            "Besides values there is a secret in the sizes of the sign keys: each entry is a sign times a secret "
            "number between 1 - {width} and 1.",
            When(
                "key_coordinates", "Beside the code {key_coordinates} further coordinates of each key are secret.",
                "0", absent=True,
            ),
            "An amplitude is read by a query that leans on its coordinate by {strength}; the asker's own key is "
            "chosen to weigh {reference}, and the others' mass is allowed to miss its mean by {slack}.",
            "Value reads are those of steps `{uses.values}` and `{uses.values-worst}`, amplitude reads those of step "
            "`{uses.amplitudes}`.",
            When("uses.keys", "Reads of the further coordinates are those of steps `{uses.keys}` and "
                              "`{uses.keys-worst}`."),
            _TOGETHER,
        ),
        Lemma(
            "The state's informations about amplitudes, then about further coordinates given these, then about values "
            "given both, add up; an amplitude's answer is clear but for the others' mass, which Bernstein's inequality "
            "keeps near its mean.",
            Formula("H(M) ≥ I(M; R) + I(M; Y | R) + I(M; V | R, Y),   "
                    "I(M; R) ≥ streams r (L (g(ε', δ') + log2(w s β) - 2 log2(e^κ + σ e^κ + rest + β)) + log2(1 + C "
                    "L/s))",
                    r"\begin{aligned} H(M) &\ge I(M;R) + I(M;Y\mid R) + I(M;V\mid R,Y), \\ I(M;R) &\ge "
                    r"\mathrm{streams}\cdot r\,\bigl(L\,(g(\varepsilon',\delta') + \log_2(ws\beta) \\ &\qquad - "
                    r"2\log_2(e^\kappa + \sigma e^\kappa + \mathrm{rest} + \beta)) + \log_2(1 + CL/s)\bigr) "
                    r"\end{aligned}"),
            "amplitude.md", "amplitude", "ours, with Bernstein's inequality",
        ),
        {**_BITS, "width": Side.DOWN, "strength": Side.DOWN, "reference": Side.DOWN, "slack": Side.UP},
    ),
}  # fmt: skip
