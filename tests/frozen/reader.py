"""A second reader of certificates, from docs/format.md alone: bytes, JSON, numbers, document, digest, statement.

It imports nothing of the kernel and no JSON library. ``read`` gives the document, or raises Invalid or Incomplete.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from math import gcd
from typing import Any

Node = dict[str, Any]
SPACE = " \t\n\r"
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
LETTERS = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", '"': '"', "\\": "\\"}


class Invalid(Exception):
    """Not a certificate."""


class Incomplete(Exception):
    """Over a limit."""


def read(data: bytes) -> Node:
    """Section 6, in its order, up to the statement; then the order of the steps."""
    if len(data) > 1 << 23:
        raise Incomplete("8 MiB")
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise Invalid("UTF-8") from None
    _depth(text)
    tree = _Json(text).document()
    _document(tree)
    _statement(tree["statement"])
    return tree


def _depth(text: str) -> None:
    depth, i = 0, 0
    while i < len(text):
        if text[i] == '"':
            i += 1
            while i < len(text) and text[i] != '"':
                i += 2 if text[i] == "\\" else 1
        elif text[i] in "[{":
            depth += 1
            if depth > 8:
                raise Incomplete("depth 8")
        elif text[i] in "]}":
            depth -= 1
        i += 1


class _Json:
    """A parser of objects, lists and strings."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def document(self) -> Any:
        value = self.value()
        self.space()
        if self.at != len(self.text):
            raise Invalid("more than a document")
        return value

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in SPACE:
            self.at += 1

    def next(self) -> str:
        """The next character that is not white space, taken."""
        self.space()
        return self.take()

    def take(self) -> str:
        if self.at == len(self.text):
            raise Invalid("the text ends")
        self.at += 1
        return self.text[self.at - 1]

    def value(self) -> Any:
        first = self.next()
        if first == "{":
            return self.items("}", self.pair, dict)
        if first == "[":
            return self.items("]", self.value, list)
        if first == '"':
            return self.string()
        raise Invalid(f"{first!r} where a value begins")

    def items(self, end: str, item: Callable[[], Any], kind: type) -> Any:
        found: list[Any] = []
        self.space()
        if self.text[self.at : self.at + 1] == end:
            self.at += 1
            return kind()
        while True:
            found.append(item())
            mark = self.next()
            if mark == end:
                break
            if mark != ",":
                raise Invalid("a comma, or the end of a list or of an object")
        if kind is dict and len({key for key, _ in found}) < len(found):
            raise Invalid("a key stands twice")
        return kind(found)

    def pair(self) -> tuple[str, Any]:
        if self.next() != '"':
            raise Invalid("a key")
        key = self.string()
        if self.next() != ":":
            raise Invalid("a colon")
        return key, self.value()

    def string(self) -> str:
        """The rest of a string whose quotation mark is taken; two escaped surrogates in order are one character."""
        found = ""
        while (char := self.take()) != '"':
            if char < " ":
                raise Invalid("a control character")
            if char != "\\":
                found += char
                continue
            letter = self.take()
            if letter != "u":
                if letter not in ESCAPES:
                    raise Invalid("an escape")
                found += ESCAPES[letter]
                continue
            code = self.four()
            if 0xD800 <= code < 0xDC00 and self.text[self.at : self.at + 2] == "\\u":
                back = self.at
                self.at += 2
                low = self.four()
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
                else:
                    self.at = back
            found += chr(code)
        return found

    def four(self) -> int:
        digits = self.text[self.at : self.at + 4]
        if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            raise Invalid("four hex digits")
        self.at += 4
        return int(digits, 16)


def canonical(node: Any) -> str:
    """The text whose bytes are digested."""
    if isinstance(node, dict):
        return "{" + ",".join(f"{canonical(key)}:{canonical(node[key])}" for key in sorted(node)) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(canonical, node)) + "]"
    return '"' + "".join(map(_escaped, node)) + '"'


def _escaped(char: str) -> str:
    if char in LETTERS:
        return "\\" + LETTERS[char]
    if " " <= char <= "~":
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def digest(tree: Node) -> str:
    """Of the document without its field ``digest``."""
    return hashlib.sha256(canonical({k: v for k, v in tree.items() if k != "digest"}).encode("ascii")).hexdigest()


def _document(tree: Any) -> None:
    _fields(tree, {"format", "statement", "steps", "digest"})
    _must(tree["format"] == "kvverify-certificate/1", "the format's name")
    _must(tree["digest"] == digest(tree), "the digest")
    steps = tree["steps"]
    _must(isinstance(steps, list) and steps != [], "a list of steps")
    if len(steps) > 256:
        raise Incomplete("256 steps")
    _must(isinstance(tree["statement"], dict), "a statement")
    for step in steps:
        _fields(step, {"id", "rule", "uses", "given", "gives"})
        _must(isinstance(step["id"], str) and isinstance(step["rule"], str), "names of step and rule")
        _must(re.fullmatch(r"[a-z][a-z0-9-]{0,63}", step["id"]) is not None, "a step's name")
        _must(all(isinstance(step[name], dict) for name in ("uses", "given", "gives")), "three objects")
        _must(all(isinstance(used, str) for used in step["uses"].values()), "premises are names")


def in_order(tree: Node) -> bool:
    """Whether every step is new, uses earlier ones, and is used unless it is the last."""
    before: set[str] = set()
    for step in tree["steps"]:
        if step["id"] in before or not set(step["uses"].values()) <= before:
            return False
        before.add(step["id"])
    used = {name for step in tree["steps"] for name in step["uses"].values()}
    return all(step["id"] in used for step in tree["steps"][:-1])


def integer(text: Any) -> int:
    _must(isinstance(text, str), "a number in a string")
    if len(text) > 4001:
        raise Incomplete("4,001 characters")
    _must(re.fullmatch(r"-?(0|[1-9][0-9]*)", text, re.ASCII) is not None and text != "-0", "an integer")
    return int(text)


def rational(text: Any) -> tuple[int, int]:
    """(p, q) in lowest terms."""
    if not isinstance(text, str) or "/" not in text:
        return integer(text), 1
    above, below = text.split("/", 1)
    p, q = integer(above), integer(below)
    _must(q >= 2 and gcd(p, q) == 1, "lowest terms")
    return p, q


CLAIMS: dict[str, Callable[[Node], None]] = {}


def _statement(node: Node) -> None:
    """Section 3; what claims of other kinds have is with their rules in section 5."""
    if str(node.get("claim")) in CLAIMS:
        CLAIMS[node["claim"]](node)
        return
    own, recorded = node.get("budget") in ("own-keys", "own-queries"), node.get("budget") == "own-queries"
    bound = "state_bits_enough" if node.get("claim") == "state-bits-enough" else "state_bits_at_least"
    error = "relative" if "relative" in node else "tolerance"
    sizes = {"tokens", "key_dim", "value_dim", "kv_heads", "layers"}
    names = {"claim", "attention", "body", "budget", "max_logit", "failure", "inputs", error, bound} | sizes
    files = ({"keys"} if own else set()) | ({"queries"} if recorded else set())
    _fields(node, names | files | ({"top_mass_at_least"} & node.keys()))
    _must(node["claim"] in ("state-bits", "state-bits-enough") and node["attention"] == "softmax", "claim, attention")
    _must(node["budget"] in ("class", "own-keys", "own-queries") and node["inputs"] in ("real", "bf16"), "words")
    _must(node["body"] == "given" if own else node["body"] in ("cube", "ball"), "body")
    _must(all(integer(node[name]) >= 1 for name in sorted(sizes)) and integer(node[bound]) >= 0, "sizes and bits")
    (logit, _), (p, q) = rational(node["max_logit"]), rational(node["failure"])
    _must(logit > 0 and 0 <= p < q, "max_logit and failure")
    p, q = rational(node[error])
    _must(p >= (1 if error == "tolerance" else 0) and p < q, error)
    p, q = rational(node.get("top_mass_at_least", "0"))
    _must(0 <= p < q and (p == 0 or bound == "state_bits_at_least"), "top mass")
    _must(not own or integer(node["kv_heads"]) == integer(node["layers"]) == 1, "one stream")
    for name in {"keys", "queries"} & node.keys():
        _tensor(node[name])


def _tensor(node: Any) -> None:
    _fields(node, {"name", "sha256", "tensor"} | ({"head"} if isinstance(node, dict) and "head" in node else set()))
    _must(all(isinstance(node[name], str) for name in ("name", "sha256", "tensor")), "names of a file and a tensor")
    _must(re.fullmatch(r"[A-Za-z0-9._/-]{1,200}", node["name"]) is not None, "a plain path")
    _must(all(part.strip(".") for part in node["name"].split("/")), "no part empty or of dots")
    _must("head" not in node or integer(node["head"]) >= 0, "a head")


def _fields(node: Any, names: set[str]) -> None:
    _must(isinstance(node, dict) and node.keys() == names, "the fields")


def _must(condition: bool, what: str) -> None:
    if not condition:
        raise Invalid(what)
