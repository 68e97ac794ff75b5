"""What a certificate claims, and what it does not, in words. The meaning is defined in docs/proofs/class.md."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from kvverify.report.explain.numbers import Figure, Side, derived, figure, name
from kvverify.report.explain.template import Told

if TYPE_CHECKING:
    from kvverify.kernel.check import Result
    from kvverify.kernel.document import Document
    from kvverify.kernel.statement import Statement, TensorFile

_SCALAR_BITS = 16
_BODIES = {
    "cube": "Keys lie in the cube: every entry within [-1, 1].",
    "ball": "Keys lie in the ball: a Euclidean norm of at most 1.",
}


def told(result: Result, found: Document) -> Told:
    """The whole claim in words."""
    claimed = result.statement
    assert claimed is not None
    words = {f"s.{key}": number.shown for key, number in figures(claimed).items()}
    return Told(
        tuple(claim(claimed)), tuple(problem(claimed)), tuple(not_said(claimed, found.steps[-1].rule)),
        _conclusion(claimed, result), {"s.inputs": claimed.inputs, **words},
    )  # fmt: skip


def claim(found: Statement) -> list[str]:
    """What is claimed, and what it means a token and against a dense cache of 16-bit scalars."""
    enough = found.state_bits_enough
    bits = found.state_bits_at_least if enough is None else enough
    dense = _SCALAR_BITS * (found.key_dim + found.value_dim) * found.tokens * found.streams
    side, other = (Side.DOWN, Side.UP) if enough is None else (Side.UP, Side.DOWN)
    shown, each = figure(Fraction(bits), side).brief, derived(Fraction(bits, found.tokens), side).brief
    if enough is None:
        says = [
            f"This is a lower bound. Every compressor that keeps the promise below holds at least {shown} bits of "
            f"state, "
            f"all heads and layers together: it can be in 2^{shown} states or more. That is {each} bits a token."
        ]
    else:
        says = [
            f"This is an upper bound. Some compressor keeps the promise below with at most {shown} bits of state, all "
            f"heads and layers together. That is {each} bits a token."
        ]
    if found.streams > 1:
        alone = derived(Fraction(bits, found.tokens * found.streams), side).brief
        says.append(f"For each head of each layer it is {alone} bits a token.")
    if bits:
        ratio = derived(Fraction(dense, bits), other).brief
        limit = "no such compressor saves more than" if enough is None else "this compressor saves at least"
        size = figure(Fraction(dense), Side.DOWN).brief
        says.append(f"A dense cache of {_SCALAR_BITS}-bit scalars takes {size} bits: {limit} a factor of {ratio}.")
    return says


def problem(found: Statement) -> list[str]:
    """The class of inputs, and the promise."""
    heads = f"{_count(found.kv_heads, 'KV head')} in {_count(found.layers, 'layer')}"
    tokens = _count(found.tokens, "cached token")
    numbers = figures(found)
    says = [
        f"Softmax attention over {tokens} and one token that the asker brings, {heads}. A key has "
        f"{numbers['key_dim'].brief} coordinates; a value has {numbers['value_dim'].brief}, each within [-1, 1]."
    ]
    logit = numbers["max_logit"].brief
    if found.keys is None:
        says.append(f"{_BODIES[found.body]} Queries are all whose logits stay within {logit} on the whole of it.")
    elif found.queries is None:
        says.append(
            f"Keys are those of {_file(found.keys)}. Queries are all whose logits stay within {logit} on these keys "
            f"and "
            "on the asker's own."
        )
    else:
        says.append(
            f"Keys are those of {_file(found.keys)}. Queries are rows of {_file(found.queries)}, with logits within "
            f"{logit} on these keys and on the asker's own."
        )
    kind = "real numbers" if found.inputs == "real" else "bf16 numbers, the asker's own as well; queries are real"
    says.append(f"Keys and values are {kind}.")
    error = (
        f"more than {numbers['tolerance'].brief}" if found.relative is None
        else f"more than the share {numbers['relative'].brief} of the exact answer's size"
    )  # fmt: skip
    says.append(
        "The promise: for every such input and every read, that is one query at one output coordinate, the answer is "
        f"off by {error} with probability at most {numbers['failure'].brief}."
    )
    if found.top_mass_at_least:
        mass = numbers["top_mass_at_least"].brief
        says.append(f"It is asked for only where every causal row of attention has at least {mass} on one token.")
    return says


def figures(found: Statement) -> dict[str, Figure]:
    """The statement's numbers, rounded so that the claim stays true of them."""
    less, more = (Side.DOWN, Side.UP) if found.state_bits_enough is None else (Side.UP, Side.DOWN)
    numbers = {
        "tokens": (Fraction(found.tokens), less), "key_dim": (Fraction(found.key_dim), less),
        "value_dim": (Fraction(found.value_dim), less), "max_logit": (found.max_logit, more),
        "tolerance": (found.tolerance, less), "relative": (found.relative, less), "failure": (found.failure, less),
        "top_mass_at_least": (found.top_mass_at_least or None, less),
    }  # fmt: skip
    return {key: figure(value, side) for key, (value, side) in numbers.items() if value is not None}


def not_said(found: Statement, rule: str) -> list[str]:
    """What the statement leaves open. ``rule``: of the last step."""
    if found.state_bits_enough is not None:
        return [
            "Nothing about the best compressor: it may need fewer bits.",
            "Nothing about machine arithmetic: the proof is about real numbers and fair coins.",
            "Nothing about time, or about memory while the cache is being filled.",
        ]
    says = [
        "Nothing about heads and layers whose inputs depend on each other: they count as independent streams, and a "
        "model may save what one layer tells of another.",
        "Nothing about reads asked one after the other with answers fed back: all reads are of one state.",
        "Nothing about time, about memory while the cache is being filled, or about memory after the asker's token.",
        "Not that so few bits are enough: a lower bound need not be attained.",
    ]
    if found.keys is None:
        says.append("Nothing about the keys and queries of a model: the hard input is one of the class.")
    else:
        says.append("Nothing about other keys: only the values are secret, a compressor may know these keys by heart.")
    if found.queries is None and found.keys is not None:
        says.append("Nothing about the queries of a model: every query within the logit budget may be asked.")
    if found.queries is not None:
        says.append("Nothing about other queries than the recorded rows.")
    pools = {"joint": "value reads and over all key reads", "amplitude": "value, all key and all amplitude reads"}
    used = f" over all {pools[rule]}, each by itself" if rule in pools else " over all reads of the hard input"
    says.append(f"Of the promise only the mean failure is used{used}; a mean over other reads is not enough.")
    if rule == "counting":
        says.append("Nothing about the expected length of a message: the number of states alone is bounded.")
    return says


def _conclusion(claimed: Statement, result: Result) -> tuple[str, ...]:
    """What the last step gives against what is claimed."""
    if result.bits is None:
        return ()
    if claimed.state_bits_enough is None:
        proved = figure(result.bits, Side.DOWN).brief
        least = figure(Fraction(claimed.state_bits_at_least), Side.UP).brief
        return (
            f"The last step proves at least {proved} bits. The statement claims at least {least}: no more than that.",
        )
    proved = figure(result.bits, Side.UP).brief
    most = figure(Fraction(claimed.state_bits_enough), Side.DOWN).brief
    return (f"The last step proves that {proved} bits are enough. The statement claims {most}: no fewer than that.",)


def _count(number: int, noun: str) -> str:
    return f"{figure(Fraction(number), Side.DOWN).brief} {noun}{'' if number == 1 else 's'}"


def _file(file: TensorFile) -> str:
    head = "" if file.head is None else f", head {file.head}"
    return f"tensor `{name(file.tensor)}`{head} of file `{name(file.name)}` (sha256 `{name(file.sha256, 20)}`)"


TOLD = {"state-bits": told, "state-bits-enough": told}
