"""The dearest certificates of visual streams: for scripts/worst_case.py."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from worst_certificates import HUGE, case, near, step, tree

from kvverify.attention.visual import VAR_SCALES, parse_scales
from kvverify.bounds.visual_search import visual_bound
from kvverify.kernel.document import Node


def _bound(scales: str, kernel: str, cut: str = "all-keys", max_logit: int = 400, word: str = "tolerance") -> Node:
    return visual_bound(
        VAR_SCALES if scales == "var" else parse_scales(scales), kernel, cut,
        model_dim=1 << 14, key_dim=256, value_dim=1, max_logit=Fraction(max_logit),
        tolerance=Fraction(1, 10) if word == "tolerance" else None,
        relative=Fraction(1, 10) if word == "relative" else None,
    )  # fmt: skip


def _repeated(found: Node) -> Node:
    """Its first step over and over."""
    return tree(found["statement"], [], found["steps"][:1])


@case("visual-rows: an axis of long fractions")
def _axis(folder: Path) -> Node:
    return _repeated(_bound("1x63,1x64", "bicubic"))


@case("visual-rows: two such axes")
def _axes(folder: Path) -> Node:
    return _repeated(_bound("12,16", "bicubic"))


@case("visual-rows: many carriers and tokens")
def _carriers(folder: Path) -> Node:
    return _repeated(_bound("var", "bicubic"))


@case("visual-rows: a doubling pyramid")
def _doubling(folder: Path) -> Node:
    return _repeated(_bound("1,2,4,8,16,32", "bilinear"))


@case("visual-rows: many tokens of few carriers")
def _tokens(folder: Path) -> Node:
    return _repeated(_bound("1,64", "nearest"))


@case("visual-rows: long keys")
def _keys(folder: Path) -> Node:
    """As many entries as may be."""
    found = _bound("1,64", "nearest", max_logit=4000)
    given, claim = found["steps"][0]["given"], found["statement"] | {"key_dim": "256", "model_dim": "16384"}
    longer = {name: [" ".join([*row.split(" "), *["0"] * 251]) for row in given[name]] for name in ("keys", "queries")}
    count = len(longer["keys"][0].split(" "))
    apart = {name: " ".join(map(str, range(i * count, (i + 1) * count))) for i, name in enumerate(("keys", "queries"))}
    first = found["steps"][0] | {"given": given | longer | {"projections": apart | {"values": [str(2 * count)]}}}
    return tree(claim, [], [first])


def _long(last: str, word: str) -> Node:
    found = _bound("1,2", "nearest", word=word)
    wide = found["statement"] | {"failure": near(Fraction(1, 10)), "state_bits_at_least": str(HUGE)}
    wide |= {word: near(Fraction(1, 100))}
    loose = found["steps"][0]["gives"] | {"off_target_at_most": near(Fraction(1, 10))}
    rows = found["steps"][0] | {"gives": loose | {"log2_det_at_least": near(-100)}}
    return tree(wide, [rows], [step("bits", last, {"rows": "rows"}, {}, bits_at_least=near(-1000))])


@case("visual-volume: long numbers")
def _volume(folder: Path) -> Node:
    return _long("visual-volume", "tolerance")


@case("visual-symbols: long numbers")
def _symbols(folder: Path) -> Node:
    return _long("visual-symbols", "relative")
