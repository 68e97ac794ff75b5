"""Explanations of the rules that give keys. Proofs: docs/proofs/codes.md, docs/proofs/reed_muller.md."""

from __future__ import annotations

from kvverify.report.explain.numbers import Side
from kvverify.report.explain.template import Formula, Lemma, Template, When

_SIGNS = "As sign keys, asked for by queries along themselves, tokens weigh by the distance of their words alone. "
_DISTANCES = "The list gives, for each distance from a word, the number of other words there."
_WEIGHT = "w_il = e^(-c d(i,l))"
_WEIGHT_TEX = r"w_{il} = e^{-c\,d(i,l)}"

TEMPLATES = {
    "linear-code": Template(
        (
            "The {generator.rows} rows of the generator are independent. They span a binary code of {generator.words} "
            "words of length {generator.columns}; each word is the sign pattern of one key.",
            When(
                "parity.rows",
                "The weights of the code follow from those of its dual, {parity.words} words, by the MacWilliams "
                "identity in whole numbers.",
            ),
            When("parity.rows", "The weights of all words were counted, one word after the other.", absent=True),
            _DISTANCES,
        ),
        Lemma(
            _SIGNS + "A linear code looks the same from each of its words: A_w others lie at distance w.",
            Formula(
                f"{_WEIGHT},   #{{l : d(i,l) = w}} = A_w for every i",
                rf"{_WEIGHT_TEX}, \qquad \#\{{l : d(i,l) = w\}} = A_w \text{{ for every }} i",
            ),
            "codes.md", "linear-code", "textbook (MacWilliams 1963, for the dual)",
        ),
    ),
    "coset-union": Template(
        (
            "{representatives.rows} cosets of a linear code of {generator.words} words, of length "
            "{representatives.columns}, are joined. All words are different; each is the sign pattern of one key.",
            "From no word are there more others within any distance than the list counts up to it.",
        ),
        Lemma(
            _SIGNS + "Differences within a union of cosets do not depend on the word of a coset, so one word of each "
            "coset was looked at for all.",
            Formula(
                f"{_WEIGHT},   #{{l : d(i,l) <= t}} <= sum of A_w over w <= t".replace("<=", "≤"),
                rf"{_WEIGHT_TEX}, \qquad \#\{{l : d(i,l) \le t\}} \le \sum_{{w \le t}} A_w",
            ),
            "codes.md", "coset-union", "ours",
        ),
    ),
    "hypercube": Template(
        ("All {size} sign vectors of {dimension} coordinates are keys.",),
        Lemma(
            _SIGNS + "C(L, w) sign vectors differ from a given one in w places.",
            Formula(
                f"{_WEIGHT},   #{{l : d(i,l) = w}} = C(L, w)",
                rf"{_WEIGHT_TEX}, \qquad \#\{{l : d(i,l) = w\}} = \binom{{L}}{{w}}",
            ),
            "codes.md", "hypercube", "ours",
        ),
    ),
    "reed-muller": Template(
        (
            "The keys are the sign patterns of the Reed-Muller code of order {order} in {variables} variables, with "
            "{shortened} letters shortened and {punctured} punctured. Besides each word there are {weights.total} "
            "others.",
            _DISTANCES,
        ),
        Lemma(
            _SIGNS + "The weights of a Reed-Muller code of order at most 2, or of the dual of one, follow from a "
            "formula; the affine group moves any three letters to any other three, so removing them changes the "
            "weights by counting.",
            Formula(
                f"{_WEIGHT},   A'_v = sum over w - j = v of A_w C(p,j) (w)_j (n-w)_(s+p-j) / (n)_(s+p)",
                rf"{_WEIGHT_TEX}, \qquad A'_v = \sum_{{w-j=v}} A_w \binom{{p}}{{j}} "
                r"\frac{(w)_j\,(n-w)_{s+p-j}}{(n)_{s+p}}",
            ),
            "reed_muller.md", "3. Letters removed", "textbook (MacWilliams and Sloane, ch. 13 and 15)",
        ),
    ),
    "explicit-keys": Template(
        (
            "{keys.rows} keys of {keys.columns} whole numbers each. A key is asked for by a query along itself and "
            "scores higher there than every other key.",
            "No key has more others within any margin than the list counts up to it.",
        ),
        Lemma(
            "A token weighs by its margin, a whole number: how much lower it scores than the target.",
            Formula(
                "w_il = e^(-c e_il),   e_il = <k_i, k_i> - <k_i, k_l> ≥ 1",
                r"w_{il} = e^{-c\,e_{il}}, \qquad e_{il} = \langle k_i, k_i\rangle - \langle k_i, k_l\rangle \ge 1",
            ),
            "codes.md", "explicit-keys", "ours",
        ),
    ),
    "paraboloid": Template(
        (
            "{size} keys: the points of a grid of side {side}, lifted onto a paraboloid in {dimension} dimensions. "
            "Squared distances are counted up to {cutoff}, all larger ones as {cutoff} + 1.",
        ),
        Lemma(
            "On a paraboloid a token weighs by the squared distance of its grid point from the target's, and the "
            "number of grid points at a distance is at most a coefficient of a theta product.",
            Formula(
                "w_il = e^(-c |a_i - a_l|²),   T = (sum over |t| < b of x^(t²))^(d-1)",
                r"w_{il} = e^{-c\,|a_i - a_l|^2}, \qquad \sum_s T_s x^s = \Bigl(\sum_{|t| < b} x^{t^2}\Bigr)^{d-1}",
            ),
            "codes.md", "paraboloid", "ours",
        ),
    ),
    "shrunk-keys": Template(
        (
            "The keys of step `{uses.keys}` are shrunk to radius {code_radius} of the ball. Beside them there is room "
            "for a secret of norm up to {payload_radius}.",
        ),
        Lemma(
            "Keys times lambda and queries over lambda leave all weights as they are; a query costs 1/lambda as much "
            "logit, and the squares of lambda and of the secret's norm add up to at most 1.",
            Formula("λ² + R² ≤ 1,   <q/λ, λk> = <q, k>", r"\lambda^2 + R^2 \le 1, \qquad "
                    r"\langle q/\lambda, \lambda k\rangle = \langle q, k\rangle"),
            "payload.md", "shrunk-keys", "ours",
        ),
        {"code_radius": Side.DOWN, "payload_radius": Side.DOWN},
    ),
}  # fmt: skip
