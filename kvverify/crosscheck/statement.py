"""What a certificate claims, read by a second reader: the class of problems, and how many bits its state must keep."""

from __future__ import annotations

from dataclasses import dataclass

from flint import fmpq

from kvverify.crosscheck.goal import Enough, Fact, Goal, StateBits, must
from kvverify.kernel.document import Malformed, Node, fields, integer, obj, rational, text

CLAIMS = ("state-bits", "state-bits-enough")
_WORDS = {
    "claim": {*CLAIMS},
    "attention": {"softmax"},
    "body": {"cube", "ball", "given"},
    "budget": {"class", "own-keys", "own-queries"},
    "inputs": {"real", "bf16"},
}
_COUNTS = ("tokens", "key_dim", "value_dim", "kv_heads", "layers")
_ALL = {*_WORDS, *_COUNTS, "max_logit", "failure"}


@dataclass(frozen=True)
class TensorFile:
    """The head of a tensor in a safetensors file, named by the file's digest."""

    name: str
    sha256: str
    tensor: str
    head: int | None


@dataclass(frozen=True)
class Statement(Goal):
    """The claim's fields in range; exactly one of ``tolerance`` (additive) and ``relative`` is there.

    ``upper``: that many ``bits`` are enough; else no fewer are.
    """

    tokens: int
    key_dim: int
    value_dim: int
    streams: int
    body: str
    budget: str
    bf16: bool
    max_logit: fmpq
    failure: fmpq
    tolerance: fmpq | None
    relative: fmpq | None
    keys: TensorFile | None
    queries: TensorFile | None
    bits: int
    upper: bool
    top_mass: fmpq

    @property
    def rounding(self) -> fmpq:
        """How far rounding to bf16 (8 significant bits) moves a number of [-1, 1]: half of the spacing 2^-8 below 1."""
        return fmpq(1, 512) if self.bf16 else fmpq(0)

    def met_by(self, last: Fact) -> None:
        """The last step states bits of the claim's kind, and no fewer (of those that are enough: no more)."""
        must(
            isinstance(last, Enough if self.upper else StateBits),
            "the last step gives bits, of the kind claimed",
        )
        if isinstance(last, Enough):
            must(last.bits <= self.bits, "state_bits_enough is not below what the last step states")
        if isinstance(last, StateBits):
            must(self.bits <= last.bits, "state_bits_at_least is at most what the last step states")
            must(self.top_mass <= last.top, "top_mass_at_least is at most what the last step gives")


def number(node: Node, name: str) -> fmpq:
    """The rational in that field."""
    value = rational(node[name], name)
    return fmpq(value.numerator, value.denominator)


def read(node: Node) -> Statement:
    """The statement of a document. Raises Malformed where it is not one of the class."""
    kinds = node.keys() & {"tolerance", "relative"}
    upper = node.get("claim") == "state-bits-enough"
    bound = "state_bits_enough" if upper else "state_bits_at_least"
    fields(node, "statement", _ALL | {bound} | kinds, {"keys", "queries", "top_mass_at_least"})
    for name, words in _WORDS.items():
        _require(text(node[name], name) in words, name)
    count = {name: integer(node[name], name) for name in _COUNTS}
    for name, value in count.items():
        _require(value > 0, name)
    max_logit, failure = number(node, "max_logit"), number(node, "failure")
    tolerance = number(node, "tolerance") if "tolerance" in kinds else None
    relative = number(node, "relative") if "relative" in kinds else None
    _require(len(kinds) == 1, "tolerance or relative")
    _require(max_logit > 0, "max_logit")
    _require(0 <= failure < 1, "failure")
    _require(tolerance is None or 0 < tolerance < 1, "tolerance")
    _require(relative is None or 0 <= relative < 1, "relative")
    bits = integer(node[bound], bound)
    _require(bits >= 0, bound)
    top_mass = number(node, "top_mass_at_least") if "top_mass_at_least" in node else fmpq(0)
    _require(top_mass == 0 or not upper, "top_mass_at_least")
    _require(0 <= top_mass < 1, "top_mass_at_least")
    own, recorded = node["budget"] != "class", node["budget"] == "own-queries"
    _require((node["body"] == "given", "keys" in node) == (own, own), "budget, body and keys")
    _require(("queries" in node) == recorded, "budget and queries")
    return Statement(
        count["tokens"], count["key_dim"], count["value_dim"], count["kv_heads"] * count["layers"],
        node["body"], node["budget"], node["inputs"] == "bf16", max_logit, failure, tolerance, relative,
        tensor_file(node["keys"], "keys") if own else None,
        tensor_file(node["queries"], "queries") if recorded else None, bits, upper, top_mass,
    )  # fmt: skip


def tensor_file(value: object, where: str) -> TensorFile:
    """The tensor that ``value`` names. Raises Malformed."""
    node = fields(obj(value, where), where, {"name", "sha256", "tensor"}, {"head"})
    name = text(node["name"], f"{where}.name")
    _require(not {"\\", "\0"} & set(name) and not {"", ".", ".."} & set(name.split("/")), f"{where}.name")
    head = integer(node["head"], f"{where}.head") if "head" in node else None
    return TensorFile(name, text(node["sha256"], f"{where}.sha256"), text(node["tensor"], f"{where}.tensor"), head)


def _require(condition: bool, name: str) -> None:
    if not condition:
        raise Malformed(f"statement: {name} outside the class")
