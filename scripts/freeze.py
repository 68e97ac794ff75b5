"""Freeze certificates for good: ``python scripts/freeze.py [FOLDER]``, FOLDER = tests/frozen/v1.

Certificates of a version must stay checkable, so what is frozen is never written again: a name that stands in the index
is left alone, a file that is in the way is an error. A new rule or form gets a new name in the lists below, taken from
the controls that the kernel's tests build, when its version is made. The index says of each file the verdict, the
proved bits where these are claimed, the format, the rules and the sha256.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "frozen" / "v1"
INDEX = "index.json"
Node = dict[str, Any]

# One control or more for every rule and each of its forms.
VALID = (
    "golay, volume", "golay, pads", "odd length, pads", "rm, levels", "rm, parity, ball, bf16", "rm, separation",
    "hypercube 3, ostrowski", "hypercube 2, counting", "hypercube 6, ball", "one token", "paraboloid 2 2",
    "paraboloid 3 2, ball", "explicit, volume", "explicit, ball", "explicit, bf16", "explicit, ball, bf16",
    "union, ostrowski", "union, ball, bf16", "reed-muller 2 5", "reed-muller, dual", "reed-muller, ball, bf16, pads",
    "rows, exact", "rows, near-identity", "rows, ostrowski", "rows, levels", "own-queries, preconditioned",
    "own-queries, near-identity", "queries of a file, ostrowski", "queries of a file, preconditioned, bf16",
    "joint, rm", "joint, rm, bf16", "joint, parity, sure", "joint, paraboloid", "ball, rm", "ball, rm, bf16",
    "ball, axes", "amplitude, pads", "amplitude, keys and values", "midpoints", "midpoints, bf16", "midpoints, ball",
    "dither, few levels", "dither, fails seldom", "dither, ball",
    "interval", "caps, packed", "caps, two", "caps, random", "a ball, a lattice", "a ball, random", "a ball, shells",
    "a ball, a shell and its middle", "from below alone",
    "net, circle", "net, box", "net, pyramid", "net, disc", "net, disc with shells", "integer points, 2",
    "permutohedral points, 2",
    "cell", "cell, one slot walked", "norm", "norm, no value", "combination", "window", "window, exchanged",
    "unread entry", "unread entry, by e", "collision", "two inputs, signs",
    "rationals alone", "numbers, all operations", "signs of powers", "bits of INDEX", "Gaussian keys",
    "polynomial, a line", "polynomial, a square", "Bernstein, the line", "Bernstein, a square",
    "visual, nearest", "visual, bilinear", "visual, words for keys", "visual, between steps", "visual, relative",
    "visual, bicubic", "visual, exact", "visual, often wrong",
    "tensor, cube", "tensor, sentinels and pads", "tensor, skeleton", "orders", "orders, narrow", "patterns 3, binary",
    "patterns 3, threshold",
)  # fmt: skip


@dataclass(frozen=True)
class Frozen:
    """A certificate's bytes, and the files that it refers to."""

    content: bytes
    files: tuple[tuple[str, bytes], ...] = ()


def controls() -> Node:
    """The controls of the kernel's tests, by name."""
    families = (
        "",
        "own_",
        "payload_",
        "payload_ball_",
        "amplitude_",
        "quantiser_",
        "covering_",
        "nets_",
        "sampling_",
        "instances_",
        "comparison_",
        "polynomials_",
        "visual_",
        "tensor_",
    )
    modules = [importlib.import_module(f"tests.kernel.{family}controls") for family in families]
    return {control.name: control for module in modules for control in module.controls()}


def text(tree: Node) -> bytes:
    """As kernel.document writes it."""
    return (json.dumps(tree, indent=1) + "\n").encode()


def changed(control: Any, where: str, value: Any) -> Frozen:
    """The control with another value at ``step/part``, ``step/part/field`` or ``statement/field``, its digest right.

    ``value`` may be a function of the number or the node that stands there.
    """
    tree = copy.deepcopy(control.tree)
    first, *way, last = where.split("/")
    node = tree if first == "statement" else next(step for step in tree["steps"] if step["id"] == first)
    for key in [*(["statement"] if first == "statement" else []), *way]:
        node = node[key]
    node[last] = value(node[last]) if callable(value) else value
    return Frozen(text(document.build(tree["statement"], tree["steps"])), control.files)


def plus(amount: Fraction | int) -> Callable[[str], str]:
    """A number by so much more."""
    return lambda number: str(Fraction(number) + amount)


UNIT = Fraction(1, 1 << 32)
# name: (control, where, value); each is INVALID at the step that is named, or at the claim.
INVALID: dict[str, tuple[str, str, Any]] = {
    "a bit more than proved": ("golay, volume", "statement/state_bits_at_least", plus(1)),
    "less mass than there is": ("golay, volume", "leak/gives/off_target_at_most", plus(-UNIT)),
    "less decay than there is": ("golay, volume", "decay/gives/exp_minus_at_most", plus(-Fraction(1, 1 << 48))),
    "a larger determinant": ("hypercube 3, ostrowski", "det/gives/log2_det_at_least", plus(2 * UNIT)),
    "a smaller budget": ("rm, levels", "statement/max_logit", plus(-UNIT)),
    "a word less": ("golay, volume", "keys/given/generator", lambda rows: rows[:-1]),
    "a level more": ("rm, levels", "reading/gives/alphabet", plus(1)),
    "a rule that is not there": ("rm, levels", "reading/rule", "levelled"),
    "a field that is not there": ("rm, levels", "bits/given", lambda node: {**node, "hint": "1"}),
    "a step that nothing uses": ("rm, levels", "bits/uses/reading", "leak"),
    "a later step": ("rm, levels", "budget/uses", lambda node: {**node, "tilt": "leak"}),
    "not in lowest terms": ("rm, levels", "statement/failure", "2/20"),
    "another file": ("rows, exact", "statement/keys/sha256", "0" * 64),
    "scores above the budget": ("rows, exact", "statement/max_logit", plus(-Fraction(1, 4))),
    "factors in the wrong order": (
        "own-queries, preconditioned",
        "det/given/factors",
        lambda node: {**node, "lower": node["upper"], "upper": node["lower"]},
    ),
    "no room in the ball": ("ball, rm", "shrunk/gives/payload_radius", plus(UNIT)),
    "a coordinate too many": ("joint, rm", "bits/given/key_coordinates", plus(1000)),
    "no slack": ("amplitude, pads", "bits/given/slack", "0"),
    "a bit too few": ("midpoints", "bits/gives/bits_per_token", plus(-1)),
    "levels too few": ("dither, few levels", "bits/given/key_levels", plus(-2)),
    "a simplex less": ("net, circle", "net/given/simplices", lambda rows: rows[:-1]),
    "an angle too fine": ("net, box", "statement/angle", plus(-UNIT)),
    "a tolerance too fine": ("midpoints, ball", "statement/tolerance", plus(-UNIT)),
    "a cap more": ("caps, packed", "lower/gives/at_least", plus(1)),
    "a cap less": ("caps, random", "upper/gives/at_most", plus(-1)),
    "a variance too small": ("cell", "outcomes/gives/variance", plus(-UNIT)),
    "a probability too large": ("combination", "outcomes/gives/probability", plus(UNIT)),
    "a state too small": ("window", "equal/gives/right_words_at_most", plus(-1)),
    "intervals that meet": ("unread entry", "statement/relative", "7/13"),
    "a comparison too strong": ("numbers, all operations", "statement/holds", lambda texts: ["@6 < 256", *texts[1:]]),
    "a root inside": ("polynomial, a line", "statement/coefficients", ["1", "-2", "1"]),
    "a cut less": ("Bernstein, the line", "positive/given/cuts", []),
    "a mass too small": ("tensor, sentinels and pads", "leak/gives/off_target_at_most", plus(-UNIT)),
    "a symbol more": ("tensor, skeleton", "bits/gives/alphabet", plus(1)),
    "a multiplication less": ("orders", "statement/re_associated", plus(-1)),
    "a pattern more": ("patterns 3, threshold", "patterns/gives/reachable", plus(1)),
    "a weight less": ("visual, bilinear", "rows/gives/off_target_at_most", plus(-UNIT)),
    "a larger last map": ("visual, between steps", "statement/scales", ["1", "1x3", "1x4", "4"]),
    "values that are keys": (
        "visual, exact",
        "rows/given/projections",
        lambda node: {**node, "values": [node["keys"]]},
    ),
    "a ball less": ("a ball, shells", "upper/gives/at_most", plus(-1)),
}


def frozen() -> Iterator[tuple[str, Frozen]]:
    """(folder and name, certificate), for all of the lists."""
    known = controls()
    for name in VALID:
        yield f"valid/{slug(name)}", Frozen(text(known[name].tree), known[name].files)
    for name, (control, where, value) in INVALID.items():
        yield f"invalid/{slug(name)}", changed(known[control], where, value)
    plain = text(known["rm, levels"].tree)
    yield "invalid/stale-digest", Frozen(plain.replace(b'"tokens": "16"', b'"tokens": "17"'))
    yield "invalid/bare-number", Frozen(plain.replace(b'"tokens": "16"', b'"tokens": 16'))
    yield "invalid/key-twice", Frozen(plain.replace(b'"tokens": "16"', b'"tokens": "16", "tok\\u0065ns": "16"'))
    yield "invalid/not-json", Frozen(plain[:-3])
    yield "incomplete/absent-file", Frozen(text(known["rows, exact"].tree))
    yield "incomplete/nested-too-deep", Frozen(plain.replace(b'"cube"', b"[" * 7 + b"]" * 7))
    yield "incomplete/too-many-digits", changed(known["rm, levels"], "statement/max_logit", "1" * 4002)


def slug(name: str) -> str:
    """A file's name."""
    return name.replace(",", "").replace(" ", "-")


def forms(tree: Node) -> list[str]:
    """The rules that a certificate uses, a determinant's form and a dither's tail beside them."""
    named = ((step["rule"], step["given"].get("form") or step["given"].get("tail")) for step in tree["steps"])
    return sorted({f"{rule}, {form}" if form else rule for rule, form in named})


def freeze(folder: Path) -> list[str]:
    """Write what is not frozen yet; the new names. Raises FileExistsError where a file is in the way."""
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    entries: list[Node] = json.loads(index.read_text()) if index.exists() else []
    names, new = {entry["name"] for entry in entries}, []
    for name, certificate in frozen():
        if name in names:
            continue
        (folder / name).mkdir(parents=True)
        files = [("certificate.json", certificate.content), *certificate.files]
        for file, content in files:
            (folder / name / file).write_bytes(content)
        entries.append(entry(folder, name, files))
        new.append(name)
    if new:
        document.write_bytes(index, (json.dumps(entries, indent=1) + "\n").encode())
    return new


def entry(folder: Path, name: str, files: list[tuple[str, bytes]]) -> Node:
    """What the index says: it is checked when it is frozen, and must be of the kind that its folder says."""
    result = check(folder / name / "certificate.json")
    if result.verdict.value != name.partition("/")[0].upper():
        raise ValueError(f"{name} is {result.verdict.value}: {result.reason}")
    found: Node = {"name": name, "format": document.FORMAT, "verdict": result.verdict.value}
    if result.verdict is Verdict.VALID:
        bits = {} if result.bits is None else {"bits": str(result.bits)}
        found |= {"claim": result.claim, **bits, "rules": forms(json.loads(files[0][1]))}
    elif result.step is not None:
        found["step"] = result.step
    return found | {"sha256": {file: hashlib.sha256(content).hexdigest() for file, content in files}}


def main(words: list[str]) -> int:
    """Freeze into the folder; say how many are new."""
    sys.path.insert(0, str(ROOT))
    folder = Path(words[0]) if words else FOLDER
    try:
        new = freeze(folder)
    except FileExistsError as error:
        print(f"{error.filename} is in the way: nothing frozen is written again", file=sys.stderr)
        return 2
    print(f"{len(new)} new, in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
