"""The statements of tensor attention, read from docs/format.md alone: a part of reader.py."""

from __future__ import annotations

from tests.frozen.explicit import _matrix
from tests.frozen.reader import CLAIMS, Node, _fields, _must, integer, rational

_COUNTS = {"four_cache", "two_cache", "re_associated", "state_bits_at_most"}


def _state(node: Node) -> None:
    sizes = {"tokens", "head_dim", "value_dim", "kv_heads"}
    kinds = {"tolerance", "relative"} & node.keys()
    _must(len(kinds) == 1, "one tolerance")
    optional = {"max_query"} & node.keys()
    _fields(node, {"claim", *sizes, "scale", "max_logit", "failure", "state_bits_at_least"} | kinds | optional)
    for name in sizes:
        _must(integer(node[name]) >= 1, name)
    _must(integer(node["state_bits_at_least"]) >= 0, "bits")
    for name in {"scale", "max_logit"} | optional:
        _must(rational(node[name])[0] > 0, name)
    for name in {"failure"} | kinds:
        p, q = rational(node[name])
        _must((p > 0 if name == "tolerance" else p >= 0) and p < q, name)


def _identity(node: Node) -> None:
    _fields(node, {"claim", "base", "query", "k1", "k2", "v1", "v2", "word_bits", "word_from"} | _COUNTS)
    (query,) = _matrix([node["query"]])
    k1, k2, v1, v2 = (_matrix(node[name]) for name in ("k1", "k2", "v1", "v2"))
    _must(len(k1) == len(k2) == len(v1) == len(v2), "rows")
    _must(len(query) == len(k1[0]) == len(k2[0]) and len(v1[0]) == len(v2[0]), "lengths")
    _must(rational(node["base"])[0] > 0 and 1 <= integer(node["word_bits"]) <= 320, "base and word_bits")
    for name in {"word_from"} | _COUNTS:
        integer(node[name])


def _patterns(node: Node) -> None:
    _fields(node, {"claim", "tokens", "form", "reachable"})
    _must(integer(node["tokens"]) >= 1 and node["form"] in ("binary", "threshold"), "tokens and form")
    integer(node["reachable"])


CLAIMS.update({"tensor-state-bits": _state, "tensor-identity": _identity, "tensor-patterns": _patterns})
