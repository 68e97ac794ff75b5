"""Random mutants of a certificate of any size, one or up to three changes at once: what an enemy would try."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

from kvverify.crosscheck.arb import AGREES, CONTRARY, second_opinion
from kvverify.kernel.rules import RULES
from tests.kernel.controls import rebuild
from tests.kernel.families import TooLarge
from tests.kernel.instance import claim_holds
from tests.kernel.mutants import TEXTS, Node, Number, Where, get, numbers, objects, put, rule_at, without
from tests.kernel.oracle import first_false
from tests.kernel.real import precision

SAME, WEAKER, WRONG, OPEN = "VALID, the same", "VALID, and true", "wrong VALID", "VALID, unproved"
FILE = "changed.safetensors"  # the name of a changed file
ROWS = ("generator", "parity", "representatives")
# Of a lower bound, what a cheat would like to change: the claim says more where the field moves that way.
CHEAT = {
    "state_bits_at_least": 1, "tolerance": 1, "relative": 1, "failure": 1, "tokens": -1, "key_dim": -1, "value_dim": -1,
    "kv_heads": -1, "layers": -1, "max_logit": -1,
}  # fmt: skip


# Of the claim itself, and of what is asked in claims of other kinds.
ENDS = {
    "state_bits_enough": -1, "top_mass_at_least": 1, "at_least": 1, "at_most": -1, "angle": -1, "ball_radius": -1,
    "radius": 1, "right_words_at_most": -1, "weight_ratio_at_most": -1, "variance": -1, "probability": -1,
    "state_bits_at_most": -1, "reachable": 1, "four_cache": 1, "two_cache": -1, "re_associated": -1, "max_query": -1,
    "scale": 1, "head_dim": -1,
}  # fmt: skip
WHOLE = {"state_bits_at_least", "state_bits_enough", "tokens", "key_dim", "value_dim", "kv_heads", "layers",
         "at_least", "at_most", "right_words_at_most", "state_bits_at_most", "reachable", "four_cache", "two_cache",
         "re_associated", "head_dim"}  # fmt: skip
OTHER = {"cube": "ball", "ball": "cube", "real": "bf16", "bf16": "real"}


@dataclass(frozen=True)
class Change:
    """A changed tree without its digest; ``rule`` whose step it is, ``file`` that goes with it."""

    rule: str
    tree: Node
    file: bytes | None = None


@dataclass(frozen=True)
class Attempt:
    """A mutant: a tree with its digest, or bytes."""

    kind: str
    rule: str
    content: Node | bytes
    file: bytes | None


@dataclass(frozen=True)
class Target:
    """A certificate, the files that it names, and steps of others to put into it."""

    tree: Node
    files: dict[str, bytes]
    donors: Sequence[Node]


Kind = Callable[[Target, Node, Random], Change | None]


def attempt(target: Target, rng: Random) -> Attempt:
    """The next mutant."""
    while True:
        kind = rng.choice([*KINDS, "combined", "document"])
        if kind == "document":
            return Attempt(kind, "document", _outside(target.tree, rng), None)
        names = [kind]
        if kind == "combined":
            names = sorted(rng.choices(list(KINDS), k=rng.choice((2, 3))), key=list(KINDS).index)
        change: Change | None = None
        for name in names:
            try:
                later = KINDS[name](target, change.tree if change else target.tree, rng)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                if change is None:
                    raise
                continue  # what the earlier change left is nothing that can be changed in this way
            if later is not None:
                change = Change(change.rule, later.tree, later.file or change.file) if change else later
        if change is not None:
            return Attempt(kind, change.rule, rebuild(change.tree), change.file)


def judged(original: Node, content: Node | bytes, folder: Path, *, small: bool) -> str:
    """What a VALID mutant is: the same in other words, true, false, or proved by nobody but the kernel.

    By the second opinion; where the certificate is ``small``, also step by step and from the instance itself.
    """
    tree = content if isinstance(content, dict) else json.loads(content)
    if tree == original:
        return SAME
    opinion = second_opinion(tree, folder)
    if opinion.verdict == CONTRARY:
        return WRONG
    if small:
        try:
            with precision():
                return WEAKER if first_false(tree, folder) is None and claim_holds(tree, folder) else WRONG
        except (TooLarge, KeyError, StopIteration):
            pass  # too large by now, or steps of other names than the instance's reader knows
    return WEAKER if opinion.verdict == AGREES else OPEN


def _altered(value: Fraction, rng: Random) -> Fraction:
    p, q = value.numerator, value.denominator
    near = 1 + Fraction(1, 1 << rng.choice((20, 40, 60)))
    return rng.choice((
        value + 1, value - 1, Fraction(p + 1, q), Fraction(p - 1, q), -value, 2 * value, value / 2, value * near,
        value / near, Fraction(0), 1 / value if value else value, value + Fraction(1, 1 << 64),
    ))  # fmt: skip


def _number(target: Target, tree: Node, rng: Random) -> Change | None:
    """One number: by one, by one in the last place, its sign, twice, half, nearly the same, 0, its inverse."""
    found = list(numbers(tree))
    return _to(tree, number := rng.choice(found), _altered(number.value, rng)) if found else None


def _to(tree: Node, number: Number, value: Fraction) -> Change | None:
    if value == number.value or (number.whole and value.denominator > 1):
        return None
    return Change(rule_at(tree, number.where), number.put(tree, str(value)))


def _swap(target: Target, tree: Node, rng: Random) -> Change | None:
    """Two numbers change places."""
    found = list(numbers(tree))
    if not found:
        return None
    first, second = rng.sample(found, 2) if len(found) > 1 else (found[0], found[0])
    changed = _to(tree, first, second.value)
    return changed and Change(changed.rule, second.put(changed.tree, str(first.value)))


def _claim(target: Target, tree: Node, rng: Random) -> Change | None:
    """A statement that says more: a field one step, or by half, in the direction that a cheat would like."""
    node = tree["statement"]
    lower = "state_bits_at_least" in node
    names = [name for name in (*CHEAT, *ENDS) if name in node]
    names += [name for name in ("body", "inputs") if node.get(name) in OTHER]
    if not names:
        return None
    name = rng.choice(names)
    if name in ("body", "inputs"):
        return Change("statement", put(tree, ("statement", name), OTHER[node[name]]))
    sign = ENDS[name] if name in ENDS else CHEAT[name] * (1 if lower else -1)
    value = Fraction(node[name])
    step = rng.choice((Fraction(1), value / 2, value)) if value.denominator == 1 else value * Fraction(1, 1 << 20)
    value += sign * step
    if name not in WHOLE or value.denominator == 1:
        return Change("statement", put(tree, ("statement", name), str(value)))
    return None


def _word(target: Target, tree: Node, rng: Random) -> Change | None:
    """A word for another of its kind."""
    places = [
        ((*where, field), other)
        for where, node in objects(tree)
        for field, value in node.items()
        for words in TEXTS
        if isinstance(value, str) and value in words
        for other in words
        if other != value
    ]
    if not places:
        return None
    where, word = rng.choice(places)
    return Change(rule_at(tree, where), put(tree, where, word))


def _row(target: Target, tree: Node, rng: Random) -> Change | None:
    """Rows of a code: a letter flipped, a row left out, written twice, two exchanged, one added to another."""
    places: list[Where] = [(*where, field) for where, node in objects(tree) for field in node if field in ROWS]
    places = [where for where in places if get(tree, where)]
    if not places:
        return None
    where = rng.choice(places)
    rows = list(get(tree, where))
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
    letter = rng.randrange(len(rows[i]))
    what = rng.randrange(5)
    if what == 0:
        rows[i] = rows[i][:letter] + "10"[int(rows[i][letter])] + rows[i][letter + 1 :]
    elif what == 1:
        del rows[i]
    elif what == 2:
        rows.insert(j, rows[i])
    elif what == 3:
        rows[i], rows[j] = rows[j], rows[i]
    else:
        rows[i] = f"{int(rows[i], 2) ^ int(rows[j], 2):0{len(rows[i])}b}"
    return Change(rule_at(tree, where), put(tree, where, rows))


def _histogram(target: Target, tree: Node, rng: Random) -> Change | None:
    """A word of a histogram at another weight."""
    places = [w for w, node in objects(tree) if w and w[-1] in ("weights", "exponents") and node]
    if not places:
        return None
    where = rng.choice(places)
    counts = {int(e): int(n) for e, n in get(tree, where).items()}
    weight = rng.choice(list(counts))
    other = rng.choice([*counts, weight + 1, weight - 1])
    moved = rng.choice((1, counts[weight]))
    counts[weight] -= moved
    counts[other] = counts.get(other, 0) + rng.choice((moved, moved, 0))
    return Change(rule_at(tree, where), put(tree, where, {str(e): str(n) for e, n in counts.items() if n}))


def _rewire(target: Target, tree: Node, rng: Random) -> Change | None:
    """A premise from any other step, of whatever kind, earlier or not."""
    places: list[Where] = [("steps", i, "uses", u) for i, s in enumerate(tree["steps"]) for u in s["uses"]]
    if not places:
        return None
    where = rng.choice(places)
    return Change(rule_at(tree, where), put(tree, where, rng.choice(tree["steps"])["id"]))


def _step(target: Target, tree: Node, rng: Random) -> Change | None:
    """Steps left out, twice, exchanged, merged, renamed, under another rule."""
    steps = list(tree["steps"])
    i, j = rng.randrange(len(steps)), rng.randrange(len(steps))
    step, rule, what = steps[i], steps[i]["rule"], rng.randrange(7)
    if what == 0:
        del steps[i]
    elif what == 1:
        steps.insert(j, step)
    elif what == 2:
        steps.insert(j, {**step, "id": f"{step['id']}-again"})
    elif what == 3:
        steps[i], steps[j] = steps[j], steps[i]
    elif what == 4:
        merged = {part: {**step[part], **steps[j][part]} for part in ("uses", "given", "gives")}
        steps[i] = {**step, **merged}
        del steps[j]
    elif what == 5:
        steps[i] = {**step, "id": rng.choice([s["id"] for s in steps] + ["other"])}
    else:
        steps[i] = {**step, "rule": rng.choice(sorted(RULES))}
    return Change(rule, {**tree, "steps": steps})


def _graft(target: Target, tree: Node, rng: Random) -> Change | None:
    """A step for one of the same rule from another certificate: what it is given, what it gives, or both."""
    places = [(i, d) for i, s in enumerate(tree["steps"]) for d in target.donors if d["rule"] == s["rule"]]
    if not places:
        return None
    i, donor = rng.choice(places)
    taken = rng.choice((("given",), ("gives",), ("given", "gives")))
    return Change(donor["rule"], put(tree, ("steps", i), {**tree["steps"][i], **{part: donor[part] for part in taken}}))


def _file(target: Target, tree: Node, rng: Random) -> Change | None:
    """A file of another content under its right digest: a bit or a byte changed, two numbers exchanged, cut, longer."""
    places = [w for w, node in objects(tree) if node.get("name") in target.files and "sha256" in node]
    if not places:
        return None
    where = rng.choice(places)
    data = bytearray(target.files[get(tree, where)["name"]])
    start = 8 + int.from_bytes(data[:8], "little")
    at, other = rng.randrange(start, len(data) - 8), rng.randrange(start, len(data) - 8)
    what = rng.randrange(6)
    if what == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif what == 1:
        data[rng.randrange(start)] = rng.randrange(256)
    elif what == 2:
        data[at : at + 8], data[other : other + 8] = data[other : other + 8], data[at : at + 8]
    elif what == 3:
        del data[at:]
    elif what == 4:
        data += bytes(8)
    else:
        data[at] = rng.randrange(256)
    changed = bytes(data)
    node = {**get(tree, where), "name": FILE, "sha256": hashlib.sha256(changed).hexdigest()}
    return Change(rule_at(tree, where), put(tree, where, node), changed)


def _field(target: Target, tree: Node, rng: Random) -> Change | None:
    """A field left out, renamed, of another type, exchanged with another, moved between what is given and gives."""
    places = [(w, f) for w, node in objects(tree) for f in node if f not in ("digest", "format")]
    where, field = rng.choice(places)
    node, what = get(tree, where) if where else tree, rng.randrange(5)
    value, rule = node[field], rule_at(tree, (*where, field))
    if what == 0:
        return Change(rule, without(tree, (*where, field)))
    if what == 1:
        return Change(rule, put(without(tree, (*where, field)), (*where, field.upper()), value))
    if what == 2:
        strange: Sequence[object] = ("", [], {}, [value], {field: value}, "0", "1", "-1")
        return Change(rule, put(tree, (*where, field), rng.choice(strange)))
    if what == 3:
        other = rng.choice(list(node))
        return Change(rule, put(put(tree, (*where, field), node[other]), (*where, other), value))
    if where and where[-1] in ("given", "gives"):
        beside = (*where[:-1], "gives" if where[-1] == "given" else "given")
        return Change(rule, put(without(tree, (*where, field)), (*beside, field), value))
    return None


def _outside(tree: Node, rng: Random) -> Node | bytes:
    """The document: fields in another order, one twice, stale digests, bytes changed."""
    what = rng.randrange(5)
    if what == 0:
        return _shuffled(tree, rng)
    if what == 1:
        where, node = rng.choice([(w, n) for w, n in objects(tree) if n])
        field = rng.choice(list(node))
        twice = json.dumps(put(tree, (*where, "@"), node[field])).replace('"@"', json.dumps(field))
        return twice.encode()
    if what == 2 and (found := list(numbers(tree))):
        number = rng.choice(found)
        return number.put(tree, str(number.value + 1))
    data = bytearray(json.dumps(tree).encode())
    at = rng.randrange(len(data))
    if what == 3:
        data[at] ^= 1 << rng.randrange(8)
    else:
        data[at : at + rng.randrange(4)] = bytes(rng.choices(b'{}[]":,-/0129 \\ue\n', k=rng.randrange(4)))
    return bytes(data)


def _shuffled(node: Any, rng: Random) -> Any:
    if isinstance(node, dict):
        return {key: _shuffled(node[key], rng) for key in rng.sample(list(node), len(node))}
    return [_shuffled(item, rng) for item in node] if isinstance(node, list) else node


# In the order in which several are applied: what leaves a well-formed tree first.
KINDS: dict[str, Kind] = {
    "number": _number, "swap": _swap, "claim": _claim, "word": _word, "code row": _row, "histogram": _histogram,
    "premise": _rewire, "graft": _graft, "file": _file, "step": _step, "field": _field,
}  # fmt: skip
