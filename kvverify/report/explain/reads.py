"""Explanations of the rules from distances to attention weights, and to what can be read.

Proofs: docs/proofs/softmax.md, payload.md, rows.md.
"""

from __future__ import annotations

from kvverify.report.explain.numbers import Side
from kvverify.report.explain.template import Formula, Lemma, Template, When

_MASSES = {"off_target_at_most": Side.UP, "off_target_squares_at_most": Side.UP, "rest_at_most": Side.UP}

TEMPLATES = {
    "exp-bound": Template(
        (
            "The scale is {exponent}: with each unit of distance a token's weight is multiplied by e to minus the "
            "scale, which is at most {exp_minus_at_most}.",
        ),
        Lemma(
            "A partial sum of the exponential series lies below e^c, so its inverse bounds e^(-c) from above.",
            Formula("z E ≥ 1,  E ≤ e^c   imply   e^(-c) ≤ z",
                    r"zE \ge 1,\; E \le e^{c} \;\Longrightarrow\; e^{-c} \le z"),
            "softmax.md", "exp-bound", "textbook",
        ),
        {"exponent": Side.UP, "exp_minus_at_most": Side.UP},
    ),
    "tilt": Template(
        (
            "To read a secret coordinate of a key, the query leans on it by {strength}. The secret is drawn so that "
            "the answer, were no other token there, is uniform between minus and plus {tanh_half_at_least}.",
        ),
        Lemma(
            "If (u - 1)/(u + 1) is uniform on [-T, T] with T at most tanh(t/2), then y = (ln u)/t stays within [-1, "
            "1]; the mean of u is at most t/T - 1.",
            Formula("T ≤ tanh(t/2),   E u ≤ t/T - 1,   h(u) - 2 E log2(1 + u) = log2 T",
                    r"T \le \tanh(t/2), \qquad \mathrm{E}\,u \le t/T - 1, \qquad "
                    r"h(u) - 2\,\mathrm{E}\log_2(1+u) = \log_2 T"),
            "payload.md", "tilt", "textbook (the bound), ours (its use)",
        ),
        {"strength": Side.UP, "tanh_half_at_least": Side.DOWN},
    ),
    "ball-tilt": Template(
        (
            "Each token's key hides a point, uniform in a ball of radius {radius} in {key_coordinates} coordinates. To "
            "read one coordinate the query leans on it by {strength}.",
            "The factor u by which that changes a weight has a mean of at most {mean_at_most}. What a read shows of "
            "the secret is at least {entropy_at_least} bits of entropy a coordinate, before the error is counted.",
        ),
        Lemma(
            "The moments of a point that is uniform in a ball are at most those of a Gaussian one of the same "
            "variance; this bounds the mean of u and the entropy of what is read.",
            Formula("s² = (bR)²/(d + 2),   E u ≤ e^(s²/2),   h(u)/d - 2 E log2(1 + u) ≥ h(y)/d + log2 b - 2 - s² "
                    "(log2 e)/4",
                    r"s^2 = \frac{(bR)^2}{d+2}, \quad \mathrm{E}\,u \le e^{s^2/2}, \quad \frac{h(u)}{d} - "
                    r"2\,\mathrm{E}\log_2(1+u) \ge \frac{h(y)}{d} + \log_2 b - 2 - \frac{s^2 \log_2 e}{4}"),
            "payload.md", "ball-tilt", "ours",
        ),
        {"strength": Side.DOWN, "radius": Side.DOWN, "mean_at_most": Side.UP, "entropy_at_least": Side.DOWN},
    ),
    "budget": Template(
        (
            "The first {payload} keys of step `{uses.keys}` carry the secret; the other cached tokens are pads of "
            "value 0.",
            "At the scale of step `{uses.decay}` the queries cost a logit of at most {logit_at_most} on the whole "
            "body. The statement allows {s.max_logit}.",
            When("uses.tilt", "This includes what it costs to lean on a secret coordinate as in step `{uses.tilt}`."),
        ),
        Lemma(
            "The largest score of a query on the body is its dual norm, which grows in proportion to the scale c; a "
            "tilt of strength t adds to it on the cube, and its square to the square in the ball.",
            Formula("c·unit + t ≤ logit ≤ ρ (cube),   (c·unit)² + t² ≤ logit² (ball)",
                    r"c \cdot \mathrm{unit} + t \le \mathrm{logit} \le \rho \text{ (cube)}, \qquad "
                    r"(c \cdot \mathrm{unit})^2 + t^2 \le \mathrm{logit}^2 \text{ (ball)}"),
            "softmax.md", "budget", "ours",
        ),
        {"logit_at_most": Side.UP},
    ),
    "leak": Template(
        (
            "The token that is asked for counts as weight 1. Beside it the other payload tokens weigh at most "
            "{off_target_at_most} together, their squares at most {off_target_squares_at_most}.",
            "The pads and the asker's own token weigh at most {rest_at_most}.",
        ),
        Lemma(
            "A weight falls with the distance, so the nearest tokens of the dominating list bound the sums of every "
            "row.",
            Formula("σ ≥ sum of n_e z^e,   F ≥ sum of n_e z^(2e),   rest ≥ z^own + pads · z^pad",
                    r"\sigma \ge \sum_e n_e z^{e}, \qquad F \ge \sum_e n_e z^{2e}, \qquad "
                    r"\mathrm{rest} \ge z^{\mathrm{own}} + \mathrm{pads}\cdot z^{\mathrm{pad}}"),
            "softmax.md", "leak", "ours",
        ),
        _MASSES,
    ),
    "attention-row": Template(
        (
            "{payload.count} tokens of the key file carry values, each with a query of its own.",
            When("queries.rows", "The queries are {queries.rows} rows of whole numbers, times {query_scale}."),
            When("rows.count", "The queries are {rows.count} recorded rows of a file, times {query_scale}."),
            "All logits of these queries, on every key of the file and on the asker's own, stay within {s.max_logit}.",
            "The token that is asked for counts as weight 1. Beside it the other payload tokens weigh at most "
            "{off_target_at_most} in the worst row; their squares at most {off_target_squares_at_most} in the mean.",
            "All other tokens and the asker's own weigh at most {rest_at_most} in the worst row.",
        ),
        Lemma(
            "Scores are whole numbers times one unit, so every weight is enclosed between two fractions, and sums of "
            "the upper ones bound each row.",
            Formula("w_al = e^(S_al - S_a,t),   S_al = <q_a, k_l>,   |S_al| ≤ ρ",
                    r"w_{al} = e^{S_{al} - S_{a,t_a}}, \qquad S_{al} = \langle q_a, k_l\rangle, \qquad |S_{al}| \le "
                    r"\rho"),
            "rows.md", "attention-row", "ours",
        ),
        {**_MASSES, "query_scale": Side.DOWN},
    ),
    "separation": Template(
        (
            "Values 0 and 1 can be told apart from every answer within the relative error {s.relative}: what the other "
            "tokens of step `{uses.leak}` can add stays below the gap. The secret has {alphabet} levels.",
        ),
        Lemma(
            "With one row sum D for both, bit 1 answers at least (1 - eta)/D and bit 0 at most (1 + eta) sigma/D.",
            Formula("1 - η > (1 + η) σ", r"1 - \eta > (1 + \eta)\,\sigma"),
            "softmax.md", "separation", "paper (the reduction of Haris and Onak, COLT 2025), this sharp form ours",
        ),
    ),
    "levels": Template(
        (
            "{alphabet} equally spaced values in [-1, 1] can be told apart from every answer within the error "
            "{s.tolerance}, whatever values the other payload tokens hold. Their weight is that of step `{uses.leak}`.",
            When("s.inputs", "Where these values are no bf16 numbers, the error counts as 1/512 larger.", "bf16"),
        ),
        Lemma(
            "Answers to neighbouring levels differ by 2/((L - 1) D); the other payload blurs each by sigma/D, the "
            "error by eps, and the intervals do not meet.",
            Formula("1/(L - 1) > ε (1 + σ + rest) + σ",
                    r"\frac{1}{L-1} > \varepsilon\,(1 + \sigma + \mathrm{rest}) + \sigma"),
            "softmax.md", "levels", "ours",
        ),
    ),
}  # fmt: skip
