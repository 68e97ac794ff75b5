"""Explanations of tensor attention. Proofs: docs/proofs/tensor.md."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from kvverify.report.explain.numbers import Side, derived, figure
from kvverify.report.explain.template import Formula, Lemma, Teller, Template, Told, When

if TYPE_CHECKING:
    from kvverify.kernel.check import Result
    from kvverify.kernel.document import Document

_MOST = 16  # tokens whose rows are read at a glance

TEMPLATES = {
    "tensor-keys": Template(
        (
            When("dimension", "All words of {dimension} letters, {size} of them, are the halves of product keys."),
            When("generator.rows", "A linear code of {generator.rows} generators gives the halves of product keys; its "
                                   "words were counted by weight."),
        ),
        Lemma(
            "Sums of words are words, so from each of them as many others have distance w as words have weight w.",
            Formula("#{c' : d(c, c') = w} = A_w", r"\#\{c' : d(c, c') = w\} = A_w"),
            "tensor.md", "tensor-keys", "textbook; MacWilliams (1963) for the dual",
        ),
    ),
    "tensor-leak": Template(
        (
            When("sentinels", "The {payload} heaviest words carry a secret row of V1 and one of V2; {sentinels} tokens "
                              "of the zero word have values 1, and every other token has factors 0."),
            When("sentinels", "{payload} tokens carry a secret row of V1; K2 and V2 are all ones, which is ordinary "
                              "attention.", absent=True),
            "A read has its target pairs as the unit of mass. Pairs whose values the secret may move weigh at most "
            "{off_target_at_most}; pairs of value 0, those of the asker's own token among them, at most "
            "{rest_at_most}.",
            "Scores stay within {logit_at_most}.",
        ),
        Lemma(
            "A pair's weight is a product of a number of its first token and one of its second, so the mass of all "
            "pairs is a product of two sums over a code.",
            Formula("off ≤ (1 + Σ z^d + (s - 1) z^lightest)(1 + Σ y^weight / s) - 1,   rest ≤ ((n+1)² - (r+s)²)/s · "
                    "(zy)^(L/2)",
                    r"\mathrm{off} \le \Bigl(1 + \sum z^{d} + (s-1) z^{\mathrm{lightest}}\Bigr)\Bigl(1 + \tfrac1s \sum "
                    r"y^{\mathrm{wt}}\Bigr) - 1, \quad \mathrm{rest} \le \frac{(n+1)^2 - (r+s)^2}{s}\,(zy)^{L/2}"),
            "tensor.md", "tensor-leak", "ours",
        ),
        {"off_target_at_most": Side.UP, "rest_at_most": Side.UP, "logit_at_most": Side.UP},
    ),
    "tensor-symbols": Template(
        (
            "Every entry of a secret row is one of {alphabet} symbols, and an answer within the tolerance tells which "
            "one. All of them together are worth at least {bits_at_least} bits of state.",
        ),
        Lemma(
            "Whatever the other pairs hold moves an answer by no more than their mass; symbols that are read back "
            "wrongly with probability at most the failure cost bits, by Fano's inequality.",
            Formula("1/(L - 1) > ε(1 + off + rest) + off,   S ≥ symbols · (log2 L - H(δ) - δ log2(L - 1))",
                    r"\frac{1}{L-1} > \varepsilon(1 + \mathrm{off} + \mathrm{rest}) + \mathrm{off}, \quad S \ge "
                    r"\mathrm{symbols}\cdot(\log_2 L - H(\delta) - \delta\log_2(L-1))"),
            "tensor.md", "tensor-symbols", "ours, after Haris and Onak (COLT 2025)",
        ),
        {"bits_at_least": Side.DOWN},
    ),
    "tensor-orders": Template(
        (
            "The answer was computed in three orders, and is the same fraction in all of them. Multiplications, as "
            "they were counted: {four_cache} from four caches with all product rows formed, {two_cache} with product "
            "rows kept, {re_associated} from four caches with the query times K1 first and V1 last.",
            "The four caches take {state_bits_at_most} bits.",
        ),
        Lemma(
            "A score is a sum over coordinates of products of three numbers, and an answer a double sum over tokens: "
            "both may be taken in any order.",
            Formula("<q, k1 o k2> = <q o k1, k2>,   Σ_il w_il v1_i o v2_l = Σ_i v1_i o Σ_l w_il v2_l",
                    r"\langle q, k^1 \circ k^2\rangle = \langle q \circ k^1, k^2\rangle, \quad \sum_{il} w_{il}\, "
                    r"v^1_i \circ v^2_l = \sum_i v^1_i \circ \sum_l w_{il}\, v^2_l"),
            "tensor.md", "tensor-orders", "ours",
        ),
    ),
    "tensor-patterns": Template(
        ("All patterns were listed: {reachable} of them occur.",),
        Lemma(
            "A product of 0/1 columns that is not 0 determines both; a thresholded product of real columns is two "
            "nested patterns beside each other, by the signs of rows and columns.",
            Formula("(2^n - 1)² + 1 of 2^(n²);   a_i b_l ≥ θ, a_k b_m ≥ θ exclude a_i b_m < θ, a_k b_l < θ",
                    r"(2^n-1)^2 + 1 \text{ of } 2^{n^2}; \quad a_i b_l,\, a_k b_m \ge \theta \text{ exclude } "
                    r"a_i b_m,\, a_k b_l < \theta"),
            "tensor.md", "tensor-patterns", "ours",
        ),
    ),
}  # fmt: skip


def state_bits(result: Result, found: Document) -> Told:
    """The bits, against the four dense caches; the class and the promise."""
    node = found.statement
    tokens, heads, bits = (int(node[name]) for name in ("tokens", "kv_heads", "state_bits_at_least"))
    words = 2 * tokens * (int(node["head_dim"]) + int(node["value_dim"])) * heads
    claim = [
        f"This is a lower bound. Every compressor of tensor attention that keeps the promise below holds at least "
        f"{_shown(node['state_bits_at_least'])} bits of state, all heads together: "
        f"{derived(Fraction(bits, tokens), Side.DOWN).brief} bits a token.",
        f"The four dense caches are {figure(Fraction(words), Side.UP).brief} words.",
    ]
    limits = f"|q|_1 / scale, and so every score, is at most {_shown(node['max_logit'])}"
    if "max_query" in node:
        limits += f", and no entry of a query is above {_shown(node['max_query'])}"
    problem = [
        f"Tensor attention over {_shown(node['tokens'])} tokens and one of the asker's own, {_shown(node['kv_heads'])} "
        f"heads. A token has two key factors of {_shown(node['head_dim'])} entries and two value factors of "
        f"{_shown(node['value_dim'])}, each within [-1, 1]; every pair of tokens has the entrywise product of a first "
        "and a second factor as its key and value.",
        f"The score is the inner product over {_shown(node['scale'])}; {limits}.",
    ]
    kind = "tolerance" if "tolerance" in node else "relative"
    off = f"by more than {_shown(node[kind])}" + (" times its size" if kind == "relative" else "")
    problem.append(f"Every output coordinate is off {off} with probability at most {_shown(node['failure'])}.")
    not_said = (
        "Nothing about what an algorithm of this kind computes with, or how long it takes.",
        "Nothing about the particular factors of a model.",
    )
    return Told(tuple(claim), tuple(problem), not_said, _met(result))


def identity(result: Result, found: Document) -> Told:
    """Sizes, counts and the caches."""
    node = found.statement
    claim = (
        f"On the inputs below four caches of {_shown(node['state_bits_at_most'])} bits give exactly the answer that "
        "the cached product rows give, in three orders of evaluation.",
        f"For one new token these take {_shown(node['four_cache'])} multiplications (four caches, product rows formed "
        f"anew), {_shown(node['two_cache'])} (product rows kept) and {_shown(node['re_associated'])} (four caches, "
        "re-associated).",
    )
    problem = [
        f"{len(node['k1'])} tokens; a pair of tokens weighs {_shown(node['base'])} to the power of its score; every "
        f"entry is a word of {_shown(node['word_bits'])} bits.",
    ]
    if len(node["k1"]) <= _MOST:
        rows = ", ".join(f"{name} {' / '.join(node[name])}" for name in ("k1", "k2", "v1", "v2"))
        problem.append(f"Query ({node['query']}); rows of the caches: {rows}.")
    not_said = ("Nothing about rounding: floats added in another order may differ.", "Nothing about time of a machine.")
    return Told(claim, tuple(problem), not_said, _met(result))


def patterns(result: Result, found: Document) -> Told:
    """How many patterns there are, and of what kind."""
    node = found.statement
    tokens = int(node["tokens"])
    kind = "V1 and V2 have entries 0 and 1"
    if node["form"] == "threshold":
        kind = "V1 and V2 are real, and a pattern says which products reach one threshold above 0"
    claim = (
        f"A column of the product rows of {tokens} tokens has exactly {_shown(node['reachable'])} of "
        f"{figure(Fraction(2 ** (tokens * tokens)), Side.UP).brief} patterns of 0 and 1.",
    )
    return Told(claim, (f"{kind}.",), ("Nothing about rows that are no products.",), _met(result))


def _met(result: Result) -> tuple[str, ...]:
    return ("The last step gives what the statement claims.",) if result.verdict.value == "VALID" else ()


def _shown(number: str) -> str:
    return figure(Fraction(number), Side.UP).brief


TOLD: dict[str, Teller] = {"tensor-state-bits": state_bits, "tensor-identity": identity, "tensor-patterns": patterns}
