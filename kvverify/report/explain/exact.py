"""Explanations of samplers and of explicit inputs. Proofs: docs/proofs/sampling.md, docs/proofs/instances.md."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from kvverify.report.explain.numbers import Side, figure, name
from kvverify.report.explain.template import Formula, Lemma, Teller, Template, Told, When

if TYPE_CHECKING:
    from kvverify.kernel.check import Result
    from kvverify.kernel.document import Document

_MOST = 16  # entries of a row, and listed entries, that are read at a glance

TEMPLATES = {
    "reservoir": Template(
        (
            When("slots_together", "Every coin of {slots_together} slots was followed through the stream, update by "
                                   "update; groups of so many slots are independent and alike."),
            When("slots_together", "Mean and variance of all outcomes are what the formulas say, and what is stated: "
                                   "variance {variance}."),
            When("probability", "Every outcome of all coins of both samplers was followed through the stream; the "
                                "error is above the radius with probability {probability}."),
            "The query and the stream are fixed before the coins are drawn.",
        ),
        Lemma(
            "A slot ends with a token with probability in proportion to its mass, slots are independent, and the mean "
            "over slots has the variance of one slot divided by their number.",
            Formula("E τ = Z,   Var τ = sum over cells of (n Σ w² - (Σ w)²)/t,   E z = y,   "
                    "E|z - y|² = (|V|_F² Σ w² - |y|²)/s",
                    r"\mathrm{E}\,\tau = Z, \quad \mathrm{Var}\,\tau = \sum_{\mathrm{cells}} "
                    r"\frac{n\sum w^2 - (\sum w)^2}{t}, \quad \mathrm{E}\,z = y, \quad "
                    r"\mathrm{E}|z-y|^2 = \frac{|V|_F^2\sum w^2 - |y|^2}{s}"),
            "sampling.md", "reservoir", "ours, for SubGen's samplers (Zandieh, Han, Mirrokni and Karbasi 2024)",
        ),
        {"variance": Side.UP, "probability": Side.UP},
    ),
    "running-sum": Template(
        (
            "Both evaluations were run on the stream, and at every step their answers are equal as fractions.",
            "Between steps the left one keeps at most {left_words_at_most} words, the right one at most "
            "{right_words_at_most}; a word is one coordinate of a key, of a value or of a sum of values. The running "
            "sum also has a counter.",
        ),
        Lemma(
            "A token whose score is masked to 0 weighs 1 whatever the query, so the sum of the values of all of these "
            "and their number say what they add to any answer.",
            Formula("Z_i = (Σ_window e^s v + Σ_outside v) / (Σ_window e^s + number outside)",
                    r"Z_i = \frac{\sum_{\mathrm{window}} e^s v + \sum_{\mathrm{outside}} v}"
                    r"{\sum_{\mathrm{window}} e^s + \#\mathrm{outside}}"),
            "instances.md", "running-sum", "ours",
        ),
    ),
    "two-inputs": Template(
        (
            "The exact answer of the first input is at least {first_at_least} and at most {first_at_most}.",
            "The exact answer of the second input is at least {second_at_least} and at most {second_at_most}.",
            "The inputs differ in listed entries only.",
        ),
        Lemma(
            "Who sees none of the listed entries answers both inputs alike, and no answer is within the tolerance of "
            "both.",
            Formula("A + η|A| < B - η|B| for the smaller answer A and the larger B",
                    r"A + \eta|A| < B - \eta|B| \text{ for the smaller answer } A \text{ and the larger } B"),
            "instances.md", "two-inputs", "ours, after Haris and Onak (COLT 2025)",
        ),
        {
            "first_at_least": Side.DOWN, "first_at_most": Side.UP,
            "second_at_least": Side.DOWN, "second_at_most": Side.UP,
        },
    ),
}  # fmt: skip


def sampling(result: Result, found: Document) -> Told:
    """What a sampler gives on a stream, and the stream."""
    node = found.statement
    form = node["form"]
    claim = [result.claim + "."]
    if form == "combination":
        claim = [
            "The estimate z / tau of an attention row, z from a sampler by norm and tau from reservoirs of cells, is "
            f"off by more than the root of {_shown(node['radius_square'])} with probability exactly "
            f"{_shown(node['probability'])}, over all coins."
        ]
    elif form == "cell":
        claim = [
            "The estimate tau of the softmax normaliser from reservoirs of cells has exactly the mean "
            f"{_shown(node['mean'][0])}, which is the normaliser, and the variance {_shown(node['variance'])}. Weights "
            f"of one cell differ by the factor {_shown(node['weight_ratio_at_most'])} at most, and the variance is "
            "within the bound that this gives.",
        ]
    else:
        claim = [
            "The estimate z of the weighted sum of values, from a sampler by norm, has that sum as its exact mean, and "
            f"{_shown(node['variance'])} as its mean squared distance from it. Tokens with value 0 are passed over.",
        ]
    slots = " and ".join(f"{node[key]} {key.replace('_', ' ')}" for key in ("cell_slots", "norm_slots") if key in node)
    problem = [f"Tokens weigh {_row(node['weights'])} in the order of arrival, in a common unit; {slots}."]
    if "cells" in node:
        problem.append(f"Cells, as lists of tokens: {_rows(node['cells'])}.")
    if "values" in node:
        problem.append(f"Values: {_rows(node['values'])}.")
    not_said = (
        "Nothing about queries that depend on earlier answers: the query is fixed before the coins are drawn.",
        "Nothing about other streams: formulas for all streams are proved in writing, not by this certificate.",
        "Nothing about how tokens come to their cells.",
    )
    return Told(tuple(claim), tuple(problem), not_said, _met(result))


def identity(result: Result, found: Document) -> Told:
    """Two evaluations and their stream."""
    node, stream = found.statement, found.statement["stream"]
    claim = (
        f"The evaluations `{name(node['left'])}` and `{name(node['right'])}` give the same answers at every step of "
        "the stream below, exactly. The second keeps at most "
        f"{_shown(node['right_words_at_most'])} words between steps.",
    )
    problem = (
        f"{len(stream['keys'])} tokens, a window of {_shown(stream['window'])} tokens with the current one among them, "
        f"weights {_shown(stream['base'])} to the power of the score. Scores outside of the window are set to 0, and "
        "these tokens stay in the denominator.",
        f"Queries: {_rows(stream['queries'])}. Keys: {_rows(stream['keys'])}. Values: {_rows(stream['values'])}.",
    )
    not_said = (
        "Nothing about other streams: that both evaluations always agree is proved in writing.",
        "Nothing about bits: a sum of values needs more of them than a value.",
    )
    return Told(claim, problem, not_said, _met(result))


def two_inputs(result: Result, found: Document) -> Told:
    """Both inputs, entry by entry, and where they may differ."""
    node = found.statement
    entries = [f"`{name(entry)}`" for entry in node["may_differ"]]
    shown = ", ".join(entries[:_MOST]) + (f" and {len(entries) - _MOST} more" if len(entries) > _MOST else "")
    claim = [
        f"Two inputs of attention are the same but for these entries: {shown or 'none'}. No number is within the share "
        f"{figure(Fraction(node['relative']), Side.DOWN).brief} of the exact answers of both, at output coordinate "
        f"{_shown(node['coordinate'])}.",
    ]
    if "states" in node:
        claim.append("A deterministic compressor whose states are listed keeps the same state for both.")
    base = f"{_shown(node['base'])}" if "base" in node else "e"
    problem = [f"Weights are {base} to the power of the score, the inner product over {_shown(node['scale'])}."]
    for which in ("first", "second"):
        each = node[which]
        problem.append(
            f"The {which} input: query {_row(each['query'])}; keys {_rows(each['keys'])}; values "
            f"{_rows(each['values'])}."
        )
    not_said = ("Nothing about what an algorithm keeps of entries that it has read.",)
    return Told(tuple(claim), tuple(problem), not_said, _met(result))


def _met(result: Result) -> tuple[str, ...]:
    """The conclusion of a claim that is met by its one step."""
    return ("The last step gives what the statement claims.",) if result.verdict.value == "VALID" else ()


def _shown(number: str) -> str:
    """A number of the statement."""
    return figure(Fraction(number), Side.UP).brief


def _row(row: str) -> str:
    """Integers of a row, its middle left out where it is long."""
    words = row.split(" ")
    if len(words) > _MOST:
        words = [*words[: _MOST // 2], "..", *words[-_MOST // 2 :]]
    return f"({' '.join(figure(Fraction(x), Side.UP).shown if x != '..' else x for x in words)})"


def _rows(rows: list[str]) -> str:
    if len(rows) > _MOST:
        return " ".join([*map(_row, rows[: _MOST // 2]), "..", *map(_row, rows[-_MOST // 2 :])])
    return " ".join(map(_row, rows))


TOLD: dict[str, Teller] = {"sampling": sampling, "identity": identity, "two-inputs": two_inputs}
