"""A mutation engine over certificates: broken documents, rewritten numbers, claims strengthened by the least step."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.kernel.controls import Control, rebuild
from tests.kernel.families import TooLarge
from tests.kernel.oracle import first_false

Node = dict[str, Any]
Where = tuple[Any, ...]

WORDS = {
    "claim", "attention", "body", "budget", "inputs", "form", "name", "sha256", "tensor", "id", "rule", "tail", "lower",
    "upper", "left", "right", "may_differ", "lattice", "relation", "kernel", "edge", "cut",
}  # fmt: skip
WHOLE = {
    "tokens", "key_dim", "value_dim", "kv_heads", "layers", "state_bits_at_least", "head", "dimension", "size", "side",
    "cutoff", "order", "variables", "shortened", "punctured", "payload", "alphabet", "key_coordinates", "keys",
    "queries", "weights", "exponents", "values", "query", "cells", "states", "cell_slots", "norm_slots",
    "slots_together", "window", "coordinate", "left_words_at_most", "right_words_at_most",
    "key_levels", "value_levels", "bits_per_token", "state_bits_enough",
    "head_dim", "sentinels", "k1", "k2", "v1", "v2", "word_bits", "word_from", "four_cache", "two_cache",
    "re_associated", "state_bits_at_most", "reachable",
    "dim", "at_least", "at_most", "program", "holds", "elevation", "scales", "model_dim", "down", "across",
}  # fmt: skip
TEXTS = (
    ("cube", "ball", "given"), ("real", "bf16"), ("near-identity", "ostrowski", "exact"), ("gaussian", "log-concave"),
    ("state-bits", "state-bits-enough"), ("quantiser", "dithered"), ("cell", "norm"), ("binary", "threshold"),
    ("masked-window", "running-sum"), ("ball", "sphere"), ("Z", "A*"),
    ("few", "volume", "caps", "ball-through-sphere", "arcs", "packing", "lattice", "lovasz-stein", "shells"),
    ("nearest", "bilinear", "bicubic", "catmull-rom"), ("between-steps", "all-keys"),
)  # fmt: skip
FINEST, COARSEST = 60, -6  # steps of 2^-60 .. 2^6


@dataclass(frozen=True)
class Mutant:
    """``content`` is a tree or raw bytes; ``rule`` the rule whose step was changed ("document" for the rest)."""

    name: str
    rule: str
    content: Node | bytes


@dataclass(frozen=True)
class Stronger(Mutant):
    """A claim strengthened by the least step that makes it false; ``step`` is the first false one, by the oracle."""

    step: str | None = None


@dataclass(frozen=True)
class Number:
    """One number of a certificate: a string, or a word of a string that holds a row of integers."""

    where: Where
    word: int | None
    value: Fraction
    whole: bool

    def put(self, tree: Node, text: str) -> Node:
        """The tree with ``text`` in the number's place, its digest left as it is."""
        if self.word is not None:
            words = get(tree, self.where).split(" ")
            words[self.word] = text
            text = " ".join(words)
        changed: Node = put(tree, self.where, text)
        return changed

    def replaced(self, tree: Node, text: str) -> Node:
        return rebuild(self.put(tree, text))


def get(tree: Any, where: Where) -> Any:
    for key in where:
        tree = tree[key]
    return tree


def put(tree: Any, where: Where, value: object) -> Any:
    """A copy with another value there; what lies beside the way is shared."""
    changed = copy.copy(tree)
    changed[where[0]] = put(tree[where[0]], where[1:], value) if len(where) > 1 else value
    return changed


def without(tree: Any, where: Where) -> Any:
    changed = copy.copy(tree)
    if len(where) > 1:
        changed[where[0]] = without(tree[where[0]], where[1:])
    else:
        del changed[where[0]]
    return changed


def rule_at(tree: Node, where: Where) -> str:
    return str(tree["steps"][where[1]]["rule"]) if where[:1] == ("steps",) and len(where) > 1 else "document"


def objects(node: Any, where: Where = ()) -> Iterator[tuple[Where, Node]]:
    """Every JSON object, the root first."""
    if isinstance(node, dict):
        yield where, node
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from objects(value, (*where, key))


def numbers(tree: Node) -> Iterator[Number]:
    """Every number of the statement and of the steps, bit strings apart."""

    def found(node: Any, where: Where, field: str) -> Iterator[Number]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key not in WORDS | {"uses"}:
                    yield from found(value, (*where, key), key if field not in ("weights", "exponents") else field)
        elif isinstance(node, list):
            for i, item in enumerate(node):
                yield from found(item, (*where, i), field)
        elif field in ("generator", "parity", "representatives") or (field == "scales" and "x" in node):
            return
        elif " " in node or field in ("keys", "queries"):
            for i, word in enumerate(node.split(" ")):
                if field not in ("program", "holds") or word.lstrip("-")[:1].isdigit():
                    yield Number(where, i, Fraction(word), True)
        else:
            counted = field == "bits_at_least" and tree["steps"][where[1]]["rule"] == "counting"
            yield Number(where, None, Fraction(node), field in WHOLE or counted)

    yield from found(tree["statement"], ("statement",), "")
    yield from found(tree["steps"], ("steps",), "")


def stronger(control: Control, folder: Path) -> Iterator[Stronger]:
    """For every number and both directions the least step (a power of two) that makes the certificate false."""
    for number in numbers(control.tree):
        for sign in (1, -1):
            text = _least_false(control.tree, number, sign, folder)
            if text is not None:
                yield _judged(
                    control, f"{number.where}[{number.word}] = {text}", number.replaced(control.tree, text), folder
                )
    for where, node in objects(control.tree):
        if where and where[-1] in ("weights", "exponents"):
            for e, shift in ((e, shift) for e in node for shift in (1, -1)):
                moved = {k: v for k, v in node.items() if k != e}
                key = str(int(e) + shift)
                moved[key] = str(int(moved.get(key, "0")) + int(node[e]))
                tree = rebuild(put(control.tree, where, moved))
                if int(key) >= 1 and first_false(tree, folder) is not None:
                    yield _judged(control, f"{where}: {e} -> {key}", tree, folder)


def _judged(control: Control, name: str, tree: Node, folder: Path) -> Stronger:
    step = first_false(tree, folder)
    steps = tree["steps"]
    rule = next((s["rule"] for s in steps if s["id"] == step), steps[-1]["rule"] if step == "claim" else "document")
    return Stronger(name, rule, tree, {"claim": steps[-1]["id"], "statement": None}.get(str(step), step))


def _least_false(tree: Node, number: Number, sign: int, folder: Path) -> str | None:
    def false(power: int) -> bool:
        text = str(number.value + sign * Fraction(2) ** -power)
        try:
            return first_false(number.put(tree, text), folder) is not None
        except TooLarge:
            return False

    coarse, fine = COARSEST, 0 if number.whole else FINEST
    if not false(coarse):
        return None
    while fine - coarse > 0:  # the finest power that is still false: it is at least ``coarse``
        middle = (fine + coarse + 1) // 2
        coarse, fine = (middle, fine) if false(middle) else (coarse, middle - 1)
    return str(number.value + sign * Fraction(2) ** -coarse)


def rewritten(control: Control) -> Iterator[Mutant]:
    """Well-formed documents whose content was changed without regard to truth: not VALID unless still true."""
    tree = control.tree
    for number in numbers(tree):
        p, q = number.value.numerator, number.value.denominator
        values = {
            Fraction(p + 1, q),
            Fraction(p - 1, q),
            -number.value,
            2 * number.value,
            number.value / 3,
            Fraction(0),
        }
        values |= {number.value + 1, number.value - 1} | ({Fraction(q, p)} if p else set())
        for value in sorted(values - {number.value}):
            if value.denominator == 1 or not number.whole:
                where = number.where
                yield Mutant(f"{where} = {value}", rule_at(tree, where), number.replaced(tree, str(value)))
    for where, node in objects(tree):
        for field, value in node.items():
            if field in ("generator", "parity", "representatives"):
                for i, row in enumerate(value):
                    for j in (0, len(row) - 1):
                        flipped = row[:j] + "10"[int(row[j])] + row[j + 1 :]
                        changed = put(tree, (*where, field, i), flipped)
                        yield Mutant(f"{field} {i} flipped at {j}", rule_at(tree, where), rebuild(changed))
                for i in range(len(value)):
                    yield Mutant(f"{field}: no {i}", rule_at(tree, where), rebuild(without(tree, (*where, field, i))))
                    twice = put(tree, (*where, field), [*value, value[i]])
                    yield Mutant(f"{field}: {i} twice", rule_at(tree, where), rebuild(twice))
            for words in TEXTS:
                for word in set(words) - {value} if isinstance(value, str) and value in words else ():
                    yield Mutant(f"{field} = {word}", rule_at(tree, where), rebuild(put(tree, (*where, field), word)))
    for i, step in enumerate(tree["steps"]):
        for rule in ("levels", "separation", "counting", "random-access-code", "volume", "joint"):
            if rule != step["rule"]:
                yield Mutant(f"{step['id']} by {rule}", step["rule"], rebuild(put(tree, ("steps", i, "rule"), rule)))
        if i:
            swapped = list(tree["steps"])
            swapped[i - 1 : i + 1] = swapped[i], swapped[i - 1]
            yield Mutant(f"{step['id']} one earlier", step["rule"], rebuild(put(tree, ("steps",), swapped)))


def broken(control: Control, *, outside: bool) -> Iterator[Mutant]:
    """Documents that are no certificates, or whose steps do not hang together: INVALID, whatever they say.

    ``outside``: break the statement and the document too, which differ little from one control to the next.
    """
    tree = control.tree
    for where, node in objects(tree):
        if not outside and rule_at(tree, where) == "document":
            continue
        rule, histogram = rule_at(tree, where), bool(where) and where[-1] in ("weights", "exponents")
        yield Mutant(f"{where} + note", rule, rebuild(put(tree, (*where, "note"), "1")))
        for field, value in node.items():
            name = f"{where} {field}"
            yield Mutant(f"{name} twice", rule, _twice(tree, where, field, value))
            if isinstance(value, list | dict) and value and field not in ("given", "uses"):
                yield Mutant(f"{name} emptied", rule, rebuild(put(tree, (*where, field), type(value)())))
            others: tuple[object, ...] = (7, -1.5, None, True, [], {})
            for other in others:
                if type(other) is not type(value):
                    changed = put(tree, (*where, field), other)
                    signed = changed if field == "digest" else rebuild(changed)
                    yield Mutant(f"{name} is {other}", rule, json.dumps(signed).encode())
            if not histogram and field != "digest" and (*where, field) != ("statement", "keys", "head"):
                less = without(tree, (*where, field))
                if (rule, field) != ("linear-code", "parity"):
                    yield Mutant(f"{name} dropped", rule, rebuild(less))
                yield Mutant(f"{name} renamed", rule, rebuild(put(less, (*where, f"{field}x"), value)))
    for number in numbers(tree):
        if not outside and number.where[0] == "statement":
            continue
        p, q = number.value.numerator, number.value.denominator
        texts = [f"+{p}", f"0{p}", f"{p}.0", f"{p}e0", f"{p}_0", f"{2 * p}/{2 * q}", f"{p}/-{q}", f"{p}//{q}", "", "-0"]
        texts += [f"{p}/1", f"{p}/0", chr(0xFF10 + p % 10), f"\t{p}", f"{p}\n", "0x1", "١", "NaN", "1/"]
        texts += [f" {p}", f"{p} "] if number.word is None and number.where[-1] != "payload" else []
        for text in texts:
            yield Mutant(f"{number.where} = {text!r}", rule_at(tree, number.where), number.replaced(tree, text))
    yield from _broken_steps(tree)
    stale = {**tree, "statement": {**tree["statement"], "state_bits_at_least": "0"}}
    for content in (
        stale,
        {**tree, "digest": tree["digest"].upper() + " "},
        {**tree, "digest": ""},
        without(tree, ("digest",)),
    ):
        yield Mutant("stale digest", "document", content)


def _broken_steps(tree: Node) -> Iterator[Mutant]:
    steps = tree["steps"]
    for i, step in enumerate(steps):
        rule, before = step["rule"], [s["id"] for s in steps[:i]]
        changes = {
            "dropped": [*steps[:i], *steps[i + 1 :]],
            "last": [*steps[:i], *steps[i + 1 :], step] if i + 1 < len(steps) else [],
            "alone": [step] if len(steps) > 1 else [],
            "twice": [*steps[: i + 1], step, *steps[i + 1 :]],
            "idle copy": [*steps[:i], {**step, "id": "copy"}, *steps[i:]],
            "renamed": [*steps[:i], {**step, "id": "other"}, *steps[i + 1 :]] if i + 1 < len(steps) else [],
            "bad id": [*steps[:i], {**step, "id": "No Id"}, *steps[i + 1 :]],
            "unknown rule": [*steps[:i], {**step, "rule": "trust-me"}, *steps[i + 1 :]],
        }
        if i + 1 < len(steps):
            merged = {part: {**step[part], **steps[i + 1][part]} for part in ("given", "gives")}
            changes["merged"] = [*steps[:i], {**steps[i + 1], **merged, "uses": step["uses"]}, *steps[i + 2 :]]
        for name, used in step["uses"].items():
            wrong = ["nowhere", step["id"], *(b for b in before if b != used)]
            for j, other in enumerate(wrong):
                changes[f"{name} from {j}"] = [
                    *steps[:i], {**step, "uses": {**step["uses"], name: other}}, *steps[i + 1 :]
                ]  # fmt: skip
        for name, changed in changes.items():
            yield Mutant(f"step {step['id']}: {name}", rule, rebuild({**tree, "steps": changed}))


def _twice(tree: Node, where: Where, field: str, value: object) -> bytes:
    """The same key written twice, with the same value, so that the digest is right under any reading."""
    return json.dumps(put(tree, (*where, "@twice"), value)).replace('"@twice"', json.dumps(field)).encode()
