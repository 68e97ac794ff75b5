"""``kvverify cover``: both sides in JSON and in words, its certificate, nets, and one line for everything wrong."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from flint import arb, ctx

from kvverify.kernel.check import Verdict, check
from kvverify.report.covers import log2_shown
from tests.cli.command import kvverify
from tests.conftest import needs

KEYS = {
    "schema", "body", "dim", "radius", "ball_radius", "angle", "at_least", "at_most", "log2_at_least", "log2_at_most",
    "methods", "certificate", "verdict",
}  # fmt: skip


def test_a_sphere_in_json() -> None:
    answer = kvverify("cover", "--dim", 128, "--sphere", "--angle", "1/2", "--json").json
    assert answer.keys() == KEYS
    assert (answer["schema"], answer["verdict"], answer["angle"]) == ("kvverify-cover/1", "VALID", "1/2")
    assert isinstance(answer["at_least"], str), "above 2^53"
    assert isinstance(answer["at_most"], str)
    assert (answer["log2_at_least"], answer["log2_at_most"]) == (139.336, 149.27)
    assert answer["methods"]["at_most"] == "lovasz-stein"
    assert answer["methods"]["log2_at_most"]["packing"] > 260
    assert check(answer["certificate"]).verdict is Verdict.VALID
    assert answer["certificate"]["statement"]["at_least"] == answer["at_least"]


def test_a_ball_in_words_and_its_certificate_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    words = ("cover", "--dim", 3, "--radius", 2, "--ball-radius", 1, "--output", path)
    done = kvverify(*words)
    assert (done.code, done.err) == (0, "")
    assert "at least 15 balls" in done.out
    assert "at most 34 balls" in done.out
    assert kvverify("check", path).code == 0
    answer = kvverify(*words, "--json").json
    assert (answer["at_least"], answer["at_most"], answer["certificate"]) == (15, 34, str(path))
    assert json.loads(path.read_text())["statement"]["at_most"] == "34"


def test_the_ball_has_radius_1_where_none_is_given() -> None:
    answers = [
        kvverify("cover", "--dim", 5, *words, "--json").json
        for words in (("--ball-radius", "1/3"), ("--radius", 3, "--ball-radius", 1))
    ]
    assert [(a["at_least"], a["at_most"]) for a in answers] == [(answers[0]["at_least"], answers[0]["at_most"])] * 2


def test_a_net_of_a_file_is_the_better_bound(tmp_path: Path) -> None:
    needs("scipy", "audit")
    points = tmp_path / "octahedron.json"
    points.write_text(json.dumps([[str(s * (i == j)) for j in range(3)] for i in range(3) for s in (1, -1)]))
    answer = kvverify("cover", "--sphere", "--net", points, "--json").json
    assert (answer["at_least"], answer["at_most"], answer["dim"]) == (5, 6, 3)
    assert Fraction(answer["angle"]) < Fraction(95532, 10**5)
    wide = kvverify("cover", "--sphere", "--net", points, "--angle", "13/10", "--json").json
    assert (wide["methods"]["at_most"], wide["at_most"]) == ("few", 4), "a simplex is better than this net"
    assert kvverify("cover", "--sphere", "--net", points, "--angle", "1/2").code == 2
    assert kvverify("cover", "--sphere", "--net", points, "--dim", 4).code == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "give --dim and --ball-radius"), ("--dim 3", "give --dim and --ball-radius"),
        ("--dim 3 --sphere", "--angle with --sphere"), ("--sphere --angle 1", "give --dim"),
        ("--dim 3 --angle 1", "goes with --sphere"), ("--dim 3 --sphere --angle 1 --radius 2", "unit sphere"),
        ("--dim 3 --sphere --ball-radius 1", "unit sphere"), ("--dim 3 --sphere --angle 0", "angle: 0 given"),
        ("--dim 3 --sphere --angle -1", "angle: -1 given"), ("--dim 3 --sphere --angle 3.15", "at most pi"),
        ("--dim 3 --radius 0 --ball-radius 1", "radius: 0 given"), ("--dim 3 --ball-radius 0", "ball-radius: 0 given"),
        ("--dim 0 --ball-radius 1", "dim: 0 given"), ("--dim 1 --sphere --angle 1", "2 to 4096"),
        ("--dim 4097 --ball-radius 1", "1 to 4096"), ("--dim 4096 --ball-radius 1e-9", "4000 digits"),
        ("--dim x --ball-radius 1", "no number"), ("--dim 3 --ball-radius 1/0", "no number"),
        ("--sphere --net nowhere.json", "nowhere.json"), ("--dim 3 --sphere --angle 1 --output no/c.json", "no/c.json"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(words: str, reason: str, tmp_path: Path) -> None:
    done = kvverify("cover", *words.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert reason in done.err


def test_logarithms_are_rounded_to_the_safe_side() -> None:
    assert log2_shown(1, up=True) == log2_shown(1, up=False) == 0
    assert log2_shown(1 << 70, up=True) == log2_shown(1 << 70, up=False) == 70
    with ctx.workprec(200):
        for count in (3, 7, 1069, (1 << 139) + 12345, (1 << 4096) - 1):
            truth = arb(count).log() / arb.const_log2()
            low, high = (log2_shown(count, up=up) for up in (False, True))
            assert arb(low) < truth * (1 + arb(2) ** -50)
            assert arb(high) > truth * (1 - arb(2) ** -50)
            assert high - low < 2e-5 * high
