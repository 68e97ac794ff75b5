"""The statement of visual streams, read from docs/format.md alone: a part of reader.py."""

from __future__ import annotations

import re
from itertools import pairwise

from tests.frozen.reader import CLAIMS, Incomplete, Node, _fields, _must, integer, rational

_WORDS = {
    "kernel": ("nearest", "bilinear", "bicubic", "catmull-rom"), "edge": ("clamp",),
    "cut": ("between-steps", "all-keys"), "inputs": ("real",),
}  # fmt: skip
_SIZES = {"model_dim", "key_dim", "value_dim", "kv_heads"}


def _state(node: Node) -> None:
    kinds = {"tolerance", "relative"} & node.keys()
    _must(len(kinds) == 1, "one tolerance")
    _fields(node, {"claim", "scales", "max_logit", "failure", "state_bits_at_least", *_WORDS, *_SIZES} | kinds)
    for name, words in _WORDS.items():
        _must(node[name] in words, name)
    scales = node["scales"]
    _must(isinstance(scales, list) and all(isinstance(word, str) for word in scales), "scales")
    found = [re.fullmatch(r"([1-9][0-9]{0,5})(?:x([1-9][0-9]{0,5}))?", word, re.ASCII) for word in scales]
    _must(all(found), "scales")
    sizes = [(int(each[1]), int(each[2] or each[1])) for each in found if each]
    _must(all(each is not None and each[1] != each[2] for each in found), "a square by one side")
    _must(len(sizes) >= (2 if node["cut"] == "between-steps" else 1), "enough scales")
    _must(all(a != b and a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(sizes)), "scales grow")
    for name in _SIZES:
        _must(integer(node[name]) >= 1, name)
    _must(integer(node["state_bits_at_least"]) >= 0, "bits")
    _must(rational(node["max_logit"])[0] > 0, "max_logit")
    for name in {"failure"} | kinds:
        p, q = rational(node[name])
        _must((p > 0 or (p == 0 and name != "tolerance")) and p < q, name)
    held = sizes[:-1] if node["cut"] == "between-steps" else sizes
    if max(map(max, sizes)) > 64 or sum(a * b for a, b in held) > 1 << 13 or integer(node["model_dim"]) > 1 << 14:
        raise Incomplete("sides, tokens or coordinates")


CLAIMS["visual-state-bits"] = _state
