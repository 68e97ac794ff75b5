"""Certificates as documents: strict reading, atomic writing, canonical bytes, digest, limits.

A certificate is JSON made of objects, lists and strings only. Every number is a string: an integer "-12" or a rational
"p/q" in lowest terms. A bare JSON number, a literal, a duplicate key, an unknown or missing field is a rejection.
Sizes are bounded before anything is parsed, so that a document from an enemy costs bounded time and memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import Any, NoReturn

FORMAT = "kvverify-certificate/1"
MAX_BYTES = 8 << 20
MAX_DEPTH = 8
MAX_DIGITS = 4000  # of one integer; below Python's own limit of 4,300 for int()
MAX_STEPS = 256
MAX_COUNTS = 4096  # entries of a histogram

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)\Z", re.ASCII)
_STEP_ID = re.compile(r"[a-z][a-z0-9-]{0,63}\Z", re.ASCII)

Node = dict[str, Any]


class Malformed(Exception):
    """The document is not a certificate: INVALID."""


class OverLimit(Exception):
    """Well-formed, but larger than this checker decides: INCOMPLETE."""


@dataclass(frozen=True)
class Step:
    """One application of a rule: premises by name, the rule's own parameters, and what it is said to give."""

    id: str
    rule: str
    uses: dict[str, str]
    given: Node
    gives: Node


@dataclass(frozen=True)
class Document:
    """A well-formed certificate; nothing in it has been proved yet."""

    statement: Node
    steps: tuple[Step, ...]
    digest: str


def integer(text: object, where: str) -> int:
    """The integer that the string ``text`` writes in canonical form."""
    if not isinstance(text, str):
        raise Malformed(f"{where}: expected an integer in a string, found {_kind(text)}")
    if len(text) > MAX_DIGITS + 1:
        raise OverLimit(f"{where}: a number of {len(text)} characters (limit {MAX_DIGITS} digits)")
    if not _INTEGER.match(text) or text == "-0":
        raise Malformed(f"{where}: expected an integer in a string, found {short(text)!r}")
    try:
        return int(text)
    except ValueError:  # this Python was told to read shorter numbers only
        raise OverLimit(f"{where}: a number of {len(text)} characters") from None


def rational(text: object, where: str) -> Fraction:
    """The rational that ``text`` writes as an integer or as "p/q" in lowest terms with q > 1."""
    if not isinstance(text, str) or "/" not in text:
        return Fraction(integer(text, where))
    above, _, below = text.partition("/")
    p, q = integer(above, where), integer(below, where)
    if q < 2 or gcd(p, q) != 1:
        raise Malformed(f"{where}: expected p/q in lowest terms, found {short(text)!r}")
    return Fraction(p, q)


def text(value: object, where: str) -> str:
    """``value``, which must be a string."""
    if not isinstance(value, str):
        raise Malformed(f"{where}: expected a string, found {_kind(value)}")
    return value


def strings(value: object, where: str) -> list[str]:
    """``value``, which must be a list of strings."""
    if not isinstance(value, list):
        raise Malformed(f"{where}: expected a list of strings, found {_kind(value)}")
    return [text(item, f"{where}[{i}]") for i, item in enumerate(value)]


def integers(value: object, where: str) -> list[int]:
    """A row of integers written in one string, separated by single spaces."""
    return [integer(word, where) for word in text(value, where).split(" ")]


def counts(value: object, where: str) -> dict[int, int]:
    """A histogram {"exponent": "count"} with positive exponents and positive counts."""
    node = obj(value, where)
    if len(node) > MAX_COUNTS or any(len(k) > 18 for k in node):
        raise OverLimit(f"limit: {where} with more than {MAX_COUNTS} entries or an exponent of more than 18 digits")
    found = {integer(k, where): integer(v, f"{where}[{k}]") for k, v in node.items()}
    if any(k < 1 or v < 1 for k, v in found.items()):
        raise Malformed(f"{where}: exponents and counts are at least 1")
    return found


def obj(value: object, where: str) -> Node:
    """``value``, which must be an object."""
    if not isinstance(value, dict):
        raise Malformed(f"{where}: expected an object, found {_kind(value)}")
    return value


def fields(value: object, where: str, required: set[str], optional: frozenset[str] | set[str] = frozenset()) -> Node:
    """``value`` as an object with exactly the required fields and at most the optional ones."""
    node = obj(value, where)
    if missing := sorted(required - node.keys()):
        raise Malformed(f"{where}: missing field {missing[0]!r}")
    if unknown := sorted(node.keys() - required - optional):
        raise Malformed(f"{where}: unknown field {short(unknown[0])!r}")
    return node


def read(source: str | os.PathLike[str] | bytes) -> Document:
    """Read a certificate from a path or from bytes.

    Raises Malformed (INVALID), OverLimit (INCOMPLETE), OSError (no such file).
    """
    return parse(load(source))


def load(source: str | os.PathLike[str] | bytes) -> Node:
    """The JSON tree of a certificate, its syntax and sizes checked, its meaning not."""
    if isinstance(source, bytes):
        data = source
    else:
        with open(source, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OverLimit(f"document: more than {MAX_BYTES} bytes")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"document: not UTF-8 at byte {error.start}") from None
    _bound_depth(content)
    try:
        tree = json.loads(
            content, object_pairs_hook=_no_duplicates, parse_float=_bare, parse_int=_bare, parse_constant=_bare
        )
    except json.JSONDecodeError as error:
        raise Malformed(f"document: not JSON, {error.msg} at line {error.lineno}") from None
    _only_strings(tree)
    return obj(tree, "document")


def parse(tree: Node) -> Document:
    """Check the outer form and the digest of a certificate's JSON tree."""
    _only_strings(tree)
    node = fields(tree, "document", {"format", "statement", "steps", "digest"})
    if node["format"] != FORMAT:
        raise Malformed(f"document: format {short(str(node['format']))!r}, this checker reads {FORMAT!r}")
    if node["digest"] != digest(node):
        raise Malformed("document: stale digest, the content is not what was signed off")
    if not isinstance(node["steps"], list) or not node["steps"]:
        raise Malformed("steps: expected a list of at least one step")
    if len(node["steps"]) > MAX_STEPS:
        raise OverLimit(f"steps: {len(node['steps'])} steps (limit {MAX_STEPS})")
    return Document(
        obj(node["statement"], "statement"),
        tuple(_step(item, i) for i, item in enumerate(node["steps"])),
        node["digest"],
    )


def canonical(tree: Node) -> bytes:
    """The bytes that are digested: keys sorted, no white space, ASCII."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digest(tree: Node) -> str:
    """sha256 of the canonical bytes of everything but the digest itself."""
    return hashlib.sha256(canonical({k: v for k, v in tree.items() if k != "digest"})).hexdigest()


def build(statement: Node, steps: list[Node]) -> Node:
    """A certificate's JSON tree, with its digest."""
    tree: Node = {"format": FORMAT, "statement": statement, "steps": steps}
    return {**tree, "digest": digest(tree)}


def write(path: str | os.PathLike[str], tree: Node) -> None:
    """Write a certificate atomically: the old file stays whole until the new one is complete."""
    write_bytes(path, (json.dumps(tree, indent=1, ensure_ascii=True) + "\n").encode())


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to a temporary file beside ``path``, then rename it into place. Raises OSError, with ``path``."""
    target = Path(path)
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(target)) from None
        raise


def short(value: str, limit: int = 60) -> str:
    """``value`` on one line of ASCII, with its middle cut out when it is long."""
    if len(value) > limit:
        value = f"{value[: limit // 2]}...{value[-limit // 3 :]}"
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in value)


def _step(value: object, index: int) -> Step:
    where = f"steps[{index}]"
    node = fields(value, where, {"id", "rule", "uses", "given", "gives"})
    name = text(node["id"], f"{where}.id")
    if not _STEP_ID.match(name):
        raise Malformed(f"{where}.id: expected a short lower-case name, found {short(name)!r}")
    uses = {k: text(v, f"{where}.uses") for k, v in obj(node["uses"], f"{where}.uses").items()}
    rule = text(node["rule"], f"{where}.rule")
    return Step(name, rule, uses, obj(node["given"], f"{where}.given"), obj(node["gives"], f"{where}.gives"))


def _bound_depth(content: str) -> None:
    """Refuse deep nesting before the recursive parser sees it. Brackets inside strings are not nesting."""
    depth = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', content, re.DOTALL):
        first = content[token.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise OverLimit(f"document: nested deeper than {MAX_DEPTH}")
        elif first != '"':
            depth -= 1


def _only_strings(tree: object) -> None:
    if isinstance(tree, dict):
        for value in tree.values():
            _only_strings(value)
    elif isinstance(tree, list):
        for value in tree:
            _only_strings(value)
    elif not isinstance(tree, str):
        raise Malformed(f"document: {_kind(tree)} where only objects, lists and strings may stand")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> Node:
    node = dict(pairs)
    if len(node) != len(pairs):
        raise Malformed("document: a key stands twice in one object")
    return node


def _bare(token: str) -> NoReturn:
    raise Malformed(f"document: a bare JSON number {short(token)!r}; numbers are strings here")


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a string", bool: "a literal", type(None): "a literal"}.get(
        type(value), "a number"
    )
