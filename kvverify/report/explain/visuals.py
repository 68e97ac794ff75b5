"""Explanations of visual streams. Proofs: docs/proofs/visual.md."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from kvverify.report.explain.numbers import Side, figure
from kvverify.report.explain.template import Formula, Lemma, Teller, Template, Told

if TYPE_CHECKING:
    from kvverify.kernel.check import Result
    from kvverify.kernel.document import Document

_BITS = {"bits_at_least": Side.DOWN}
_TOGETHER = "So the state holds at least {bits_at_least} bits, all heads together."
_SOURCE = "ours, for the reduction of Chen, Li, Ke, Liang, Shi and Song (2025) as recorded"

TEMPLATES = {
    "visual-rows": Template(
        (
            "The maps are told by {keys.rows} of their tokens, the carriers; all other tokens are combinations of "
            "these by the interpolation, in keys and in values alike.",
            "Keys, queries and values are coordinates of one map, no coordinate is used twice, and the keys of all "
            "tokens lie in the cube.",
            "Each carrier has a query. In its answer the other carriers weigh at most {off_target_at_most} of what it "
            "weighs itself, in all and signs aside.",
            "From secrets in [-1, 1] to the exact answers, the logarithm (base 2) of the determinant is at least "
            "{log2_det_at_least}.",
        ),
        Lemma(
            "What an answer tells of the carriers is a row of W C, with W the attention over all tokens and C each "
            "token as a combination of carriers; that matrix is nearly diagonal, and the free maps determine the "
            "carriers with a determinant of their own.",
            Formula("log2 |det| = log2 |det(W C)| + sum over maps of log2 |det Φ_T s^r|,   C = Φ Φ_T⁻¹",
                    r"\log_2|\det| = \log_2|\det(WC)| + \sum_{\mathrm{maps}} \log_2|\det \Phi_T\,s^r|, \qquad "
                    r"C = \Phi\,\Phi_T^{-1}"),
            "visual.md", "visual-rows", _SOURCE,
        ),
        {"off_target_at_most": Side.UP, "log2_det_at_least": Side.DOWN, "key_unit": Side.DOWN, "query_unit": Side.DOWN},
    ),
    "visual-volume": Template(
        (
            "The free maps' values are uniform and independent, as large as leaves all tokens in [-1, 1]. An answer "
            "within {s.tolerance} of the truth shuts it into an interval, and at most a share of {s.failure} of the "
            "answers is worse.",
            _TOGETHER,
        ),
        Lemma(
            "The exact answers fill a volume that the determinant gives; the intervals that the state's answers leave "
            "are small, and what the state must hold is the logarithm of the ratio.",
            Formula("S ≥ heads value_dim (log2 |det| + r g(ε, δ)),   g(ε, δ) = (1 - δ) log2((1 - δ)/ε) + "
                    "δ log2(δ/(1 - ε))",
                    r"S \ge \mathrm{heads}\cdot d_v\,(\log_2|\det| + r\,g(\varepsilon,\delta)), \qquad "
                    r"g(\varepsilon,\delta) = (1-\delta)\log_2\tfrac{1-\delta}{\varepsilon} + "
                    r"\delta\log_2\tfrac{\delta}{1-\varepsilon}"),
            "visual.md", "visual-volume", _SOURCE,
        ),
        _BITS,
    ),
    "visual-symbols": Template(
        (
            "Each carrier has the value 0 or the same positive number in every value coordinate. Answers within the "
            "share {s.relative} of the truth tell these apart, and at most a share of {s.failure} of the answers is "
            "worse.",
            _TOGETHER,
        ),
        Lemma(
            "Off-target weights move an answer by less than the bit does, so each bit is read with that probability "
            "of error, and Fano's inequality counts them.",
            Formula("(1 - η)(1 - σ) > (1 + η) σ   implies   S ≥ heads value_dim r (1 - H(δ))",
                    r"(1-\eta)(1-\sigma) > (1+\eta)\,\sigma \;\Longrightarrow\; "
                    r"S \ge \mathrm{heads}\cdot d_v\,r\,(1 - H(\delta))"),
            "visual.md", "visual-symbols", _SOURCE,
        ),
        _BITS,
    ),
}  # fmt: skip

_KERNELS = {
    "nearest": "the nearest token",
    "bilinear": "bilinear interpolation",
    "bicubic": "bicubic interpolation (Keys' kernel, a = -3/4)",
    "catmull-rom": "bicubic interpolation (Keys' kernel, a = -1/2)",
}


def visual(result: Result, found: Document) -> Told:
    """The pyramid, the cut, and the class."""
    node = found.statement
    bits = figure(Fraction(node["state_bits_at_least"]), Side.DOWN).brief
    between = node["cut"] == "between-steps"
    error = "tolerance" if "tolerance" in node else "relative"
    sides = {error: Side.DOWN, "failure": Side.DOWN, "max_logit": Side.UP}
    shown = {name: figure(Fraction(node[name]), side).brief for name, side in sides.items()}
    scales = ", ".join(node["scales"])
    heads = "one head" if node["kv_heads"] == "1" else f"each of {node['kv_heads']} heads"
    when = (
        "before the last scale's step, when the cache holds the tokens of all scales but the last"
        if between
        else "when the keys and values of all scales are in the cache and only the last scale's queries are not known"
    )
    claim = (f"Every compressor of visual autoregressive streams of this class keeps at least {bits} bits {when}.",)
    off = f"within {shown[error]}" if error == "tolerance" else f"within the share {shown[error]}"
    problem = (
        f"Token maps of the scales {scales}; each map but the first is made from a free map of the scale before by "
        f"{_KERNELS[node['kernel']]}, centres at half pixels, borders clamped.",
        f"Tokens have {node['model_dim']} coordinates; keys and queries of {node['key_dim']} and values of "
        f"{node['value_dim']} in {heads} are projections of them. Keys lie in the cube, "
        f"values in [-1, 1], and queries that are asked have |q|_1 <= {shown['max_logit']}.",
        f"An answer is right when it is {off} of the exact one; it may be wrong with probability {shown['failure']}.",
    )
    not_said = (
        "Nothing about later layers, whose maps a model computes: the free maps are chosen freely here.",
        "Nothing about one trained model: the projections are those of the certificate.",
    )
    met = ("The last step gives at least as many bits.",) if result.verdict.value == "VALID" else ()
    words = {f"s.{name}": text for name, text in shown.items()}
    return Told(claim, problem, not_said, met, words)


TOLD: dict[str, Teller] = {"visual-state-bits": visual}
