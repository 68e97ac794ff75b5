"""What a certificate claims: the problem class, and how many bits its compressors must keep or need to keep.

The class (docs/proofs/class.md): softmax attention over ``tokens`` cached tokens and one token of the asker's own;
keys in a convex body (cube: |k_j| <= 1; ball: |k|_2 <= 1), values in [-1, 1]; queries real, with logit at most
``max_logit`` on the whole body (``budget`` "class"), or on the given keys of a named file and the asker's own
("own-keys"), and moreover the recorded ones of a second file ("own-queries");
every read (query, output coordinate) off by more than the tolerance with probability at most ``failure``. Heads and
layers are independent streams. The claim ``state-bits``: log2 of the number of states of any such compressor is at
least ``state_bits_at_least``. The claim ``state-bits-enough``: some such compressor has at most
2^``state_bits_enough`` states. With ``top_mass_at_least`` a lower bound holds even for compressors that keep the
promise only where every causal row of attention has so much of its mass on one token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from kvverify.kernel.document import Malformed, Node, fields, integer, obj, rational, short, text
from kvverify.kernel.facts import Enough, Fact, Goal, StateBits, need, of_kind

_REQUIRED = {
    "claim", "attention", "tokens", "key_dim", "value_dim", "kv_heads", "layers", "body", "budget", "max_logit",
    "failure", "inputs",
}  # fmt: skip
CLAIMS = {"state-bits": "state_bits_at_least", "state-bits-enough": "state_bits_enough"}
_SIZES = {"tokens", "key_dim", "value_dim", "kv_heads", "layers"}
_WORDS = {
    "claim": tuple(CLAIMS),
    "attention": ("softmax",),
    "body": ("cube", "ball", "given"),
    "budget": ("class", "own-keys", "own-queries"),
    "inputs": ("real", "bf16"),
}

_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/-]{1,200}\Z", re.ASCII)

# Rounding x in [-1, 1] to a format with m stored mantissa bits moves it by at most 2^-(m+2); bf16 stores 7.
BF16_ROUNDING = Fraction(1, 1 << 9)


@dataclass(frozen=True)
class TensorFile:
    """A tensor of a safetensors file that is named by digest: keys or queries that a statement is about, or factors."""

    name: str
    sha256: str
    tensor: str
    head: int | None


@dataclass(frozen=True)
class Statement(Goal):
    """A claim of the class above, its fields in range. Exactly one of ``tolerance`` and ``relative`` is given.

    ``state_bits_enough`` is None in a lower bound, and ``state_bits_at_least`` 0 where that many are enough.
    """

    tokens: int
    key_dim: int
    value_dim: int
    kv_heads: int
    layers: int
    body: str
    budget: str
    max_logit: Fraction
    tolerance: Fraction | None
    relative: Fraction | None
    failure: Fraction
    inputs: str
    keys: TensorFile | None
    queries: TensorFile | None = None
    top_mass_at_least: Fraction = Fraction(0)
    state_bits_at_least: int = 0
    state_bits_enough: int | None = None

    @property
    def streams(self) -> int:
        """Independent streams: KV heads times layers."""
        return self.kv_heads * self.layers

    @property
    def value_rounding(self) -> Fraction:
        """How far the format of the inputs moves a value: outputs move by no more."""
        return BF16_ROUNDING if self.inputs == "bf16" else Fraction(0)

    def said(self) -> str:
        """The number of tokens, and of bits."""
        enough = self.state_bits_enough
        bound = f">= {self.state_bits_at_least}" if enough is None else f"<= {enough}"
        return f"state of {self.tokens} tokens {bound} bits"

    def met_by(self, last: Fact) -> Fraction:
        """The last step gives bits of state that are necessary, or enough, as the claim says."""
        least, enough = self.state_bits_at_least, self.state_bits_enough
        if enough is None:
            proved, mass = of_kind(last, StateBits, "the last step"), self.top_mass_at_least
            need(least <= proved.at_least, "state_bits_at_least <= what the steps prove", least, proved.at_least)
            need(mass <= proved.top_mass, "top_mass_at_least <= what the steps prove", mass, proved.top_mass)
            return proved.at_least
        most = of_kind(last, Enough, "the last step").at_most
        need(most <= enough, "state_bits_enough >= what the steps prove", enough, most)
        return Fraction(most)


def parse(node: Node) -> Statement:
    """Read a statement. Raises Malformed where a field is missing, unknown or out of the class's range."""
    one_of = sorted({"tolerance", "relative"} & node.keys())
    bound = CLAIMS.get(str(node.get("claim")), "state_bits_at_least")
    fields(node, "statement", _REQUIRED | {bound} | set(one_of), {"keys", "queries", "top_mass_at_least"})
    if len(one_of) != 1:
        raise Malformed("statement: expected exactly one of 'tolerance' and 'relative'")
    for name, words in _WORDS.items():
        if text(node[name], f"statement.{name}") not in words:
            raise Malformed(f"statement.{name}: expected one of {', '.join(words)}, found {short(node[name])!r}")
    size = {name: integer(node[name], f"statement.{name}") for name in sorted(_SIZES | {bound})}
    for name, value in size.items():
        _within(value >= (0 if name == bound else 1), name)
    names = ("max_logit", "failure", *one_of, *({"top_mass_at_least"} & node.keys()))
    number = {name: rational(node[name], f"statement.{name}") for name in names}
    _within(number["max_logit"] > 0, "max_logit")
    _within(0 <= number["failure"] < 1, "failure")
    _within(0 < number.get("tolerance", Fraction(1, 2)) < 1, "tolerance")
    _within(0 <= number.get("relative", Fraction(0)) < 1, "relative")
    mass = number.get("top_mass_at_least", Fraction(0))
    _within(0 <= mass < 1 and (mass == 0 or bound == "state_bits_at_least"), "top_mass_at_least")
    own = node["budget"] != "class"
    if own and (size["kv_heads"], size["layers"]) != (1, 1):
        raise Malformed("statement: keys of one head are a statement about one stream: kv_heads = layers = 1")
    if own != ("keys" in node) or own != (node["body"] == "given"):
        raise Malformed("statement: budgets of one's own go with the body 'given' and a file 'keys', 'class' does not")
    if ("queries" in node) != (node["budget"] == "own-queries"):
        raise Malformed("statement: a file 'queries' goes with the budget 'own-queries', no other does")
    return Statement(
        body=node["body"], budget=node["budget"], inputs=node["inputs"],
        max_logit=number["max_logit"], failure=number["failure"],
        tolerance=number.get("tolerance"), relative=number.get("relative"), top_mass_at_least=mass,
        keys=tensor_file(node["keys"], "statement.keys") if "keys" in node else None,
        queries=tensor_file(node["queries"], "statement.queries") if "queries" in node else None, **size,
    )  # fmt: skip


def tensor_file(value: object, where: str) -> TensorFile:
    """The file that ``value`` names, below the certificate's folder. Raises Malformed."""
    node = fields(obj(value, where), where, {"name", "sha256", "tensor"}, {"head"})
    name = text(node["name"], f"{where}.name")
    if not _PLAIN_PATH.match(name) or any(part.strip(".") == "" for part in name.split("/")):
        raise Malformed(f"{where}.name: expected a path below the certificate's folder, found {short(name)!r}")
    head = integer(node["head"], f"{where}.head") if "head" in node else None
    if head is not None and head < 0:
        raise Malformed(f"{where}.head: below 0")
    return TensorFile(name, text(node["sha256"], f"{where}.sha256"), text(node["tensor"], f"{where}.tensor"), head)


def _within(condition: bool, name: str) -> None:
    if not condition:
        raise Malformed(f"statement.{name}: outside the problem class")
