"""Explanations of the rules that end an upper bound. Proofs: docs/proofs/quantiser.md."""

from __future__ import annotations

from kvverify.report.explain.template import Formula, Lemma, Template, When

_TOKEN = "A token is then one whole number, stored in {bits_per_token} bits."

TEMPLATES = {
    "quantiser": Template(
        (
            "A compressor stores every key coordinate as one of {key_levels} levels and every value coordinate as one "
            "of {value_levels}, the middles of equal cells of [-1, 1]. Nothing in it is random.",
            _TOKEN,
            "No answer is off by more than {s.tolerance}, so the promise is kept with failure 0.",
        ),
        Lemma(
            "A score off by at most a moves the weights so little that an answer moves by at most a; a value off by at "
            "most 1/L_v moves it by no more than that.",
            Formula("|answer - exact| ≤ a + 1/L_v ≤ ε,   a = ρ √S / L_k,   S = 1 (cube) or key_dim (ball)",
                    r"|\mathrm{answer} - \mathrm{exact}| \le a + \frac{1}{L_v} \le \varepsilon, \qquad "
                    r"a = \frac{\rho\sqrt{S}}{L_k}, \quad S = 1 \text{ (cube) or } \mathrm{key\_dim} \text{ (ball)}"),
            "quantiser.md", "quantiser", "ours",
        ),
    ),
    "dithered": Template(
        (
            "A compressor shifts every coordinate by public coins, independent of the input, and stores it as one of "
            "{key_levels} levels in keys and {value_levels} in values.",
            _TOKEN,
            When("tail", "The chance of a large error is bounded as for a Gaussian variable.", "gaussian"),
            When("tail", "The chance of a large error is bounded by the least variance that a log-concave law with "
                 "such a tail can have.", "log-concave"),
            "An answer is off by more than {s.tolerance} with probability at most {s.failure}, for every input.",
        ),
        Lemma(
            "With the shifts the rounding errors are uniform and independent of the input, so an answer's error is a "
            "symmetric log-concave variable of known variance, but for a small remainder.",
            Formula("P(|answer - exact| > ε) ≤ P(|X| > t) ≤ δ,   t = ε - (e^A - 1 - A)/2 - F (e^A - 1)",
                    r"P(|\mathrm{answer} - \mathrm{exact}| > \varepsilon) \le P(|X| > t) \le \delta, \qquad "
                    r"t = \varepsilon - \tfrac12(e^A - 1 - A) - F\,(e^A - 1)"),
            "quantiser.md", "dithered", "ours, with Schuchman (1964) for the shifts and Prekopa (1973) for the law",
        ),
    ),
}  # fmt: skip
