"""The page of audits without a browser: what is read, what is refused, what is said, and that it stays bounded."""

from __future__ import annotations

import json
import re
import resource
import shlex
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from kvverify.audit.statistics import GRID
from kvverify.bounds import best_bound
from kvverify.bounds.ceiling import ceiling
from kvverify.problem import Problem
from kvverify.report.site_bounds import Shape, curves, reached
from kvverify.report.site_command import of_audit, of_request
from kvverify.report.site_evidence import bits, share
from kvverify.report.site_fields import audit as checked
from kvverify.report.site_html import Html, element
from kvverify.report.site_plot import NARROW, WIDE, Point, plot
from kvverify.report.site_read import read_results
from tests.cli.command import ROOT, kvverify
from tests.conftest import needs
from tests.report.results import HOSTILE, audit, changed, flagged, incomplete, several, sweep_line, write_lines

QUICK = ("--no-curves", "--no-claims")


def page(folder: Path, *results: object, options: tuple[str, ...] = QUICK) -> str:
    done = kvverify("report", *results, "-o", folder / "site", *options)
    assert done.code == 0, done
    return (folder / "site" / "index.html").read_text()


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    found = read_results(several(tmp_path), 100)
    assert found.files == ["audits.json", "sweep.jsonl", "guide.jsonl", "audit.json"]
    assert (found.read, len(found.shown)) == (11, 11)
    assert found.counts() == {"NO FLAG": 7, "FLAGGED": 2, "INCOMPLETE": 1, "REFUSED": 1}
    assert found.flags["HIDDEN STATE"] == 2
    names = [one.name for one in found.shown]
    assert names[0] == "dense bf16"
    assert (names[1], names[9], names[10]) == (HOSTILE, HOSTILE, "fp8")
    assert found.shown[2].settings == {"bits": "3"}
    assert (found.shown[3].audit, found.shown[3].reason) == (None, "uniform: bits: 99 given")


def test_parquet_is_read_as_its_lines(tmp_path: Path) -> None:
    needs("pyarrow", "sweep")
    from kvverify.sweep.parquet import table_bytes

    lines = [sweep_line(audit()), sweep_line(None), sweep_line(incomplete())]
    table = tmp_path / "results.parquet"
    table.write_bytes(table_bytes(lines))
    plain = read_results([write_lines(tmp_path / "results.jsonl", *lines)], 100)
    assert read_results([table], 100).shown == plain.shown
    table.write_bytes(table.read_bytes()[:-20])
    kvverify("report", table, "-o", tmp_path).refuses(2, "results.parquet: no table of a sweep")


def test_the_field_guides_own_results_make_a_page(tmp_path: Path) -> None:
    results = sorted((ROOT / "instances" / "field-guide").glob("*.jsonl"))
    lines = sum(len(path.read_text().splitlines()) for path in results)
    found = read_results(results, 10**6)
    assert found.read == lines >= 50
    text = page(tmp_path, *results)
    assert text.count('<details id="a') == lines
    assert "Knorm" in text


NO_RESULT: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "spaces": lambda: "\n\n",
    "no JSON": lambda: "PK\x03\x04 something else\n",
    "a list": lambda: "[1, 2]\n",
    "a certificate": lambda: json.dumps({"schema": "kvverify-bound/1", "statement": {}}) + "\n",
    "another version": lambda: json.dumps(audit(schema="kvverify-audit/2")) + "\n",
    "a corrupt line": lambda: json.dumps(sweep_line(audit())) + "\n{]\n" + json.dumps(sweep_line(audit())) + "\n",
    "NaN": lambda: json.dumps(audit(efficiency=float("nan"))) + "\n",
    "nested": lambda: "[" * 10**5,
    "nested in a line": lambda: json.dumps(audit()) + "\n" + '{"a":' * 10**5 + "\n",
    "a number of many digits": lambda: json.dumps(audit()).replace("18752", "9" * 5000),
    "status": lambda: json.dumps(audit(status="FINE")),
    "words for bits": lambda: json.dumps(audit(wire_bits="many")),
    "negative": lambda: json.dumps(audit(reads_asked=-1)),
    "more asked than there are": lambda: json.dumps(audit(reads_asked=4000)),
    "a dense cache of nothing": lambda: json.dumps(audit(dense_bits=0)),
    "no tokens": lambda: json.dumps(changed(audit(), "instance", "tokens", to=0)),
    "no figures": lambda: json.dumps(audit(curve=None)),
    "a bin of more wrong reads than reads": lambda: json.dumps(
        changed(audit(), "recovery", "wrong_reads", to=[999] * 4)
    ),
    "bins of different lengths": lambda: json.dumps(changed(audit(), "recovery", "wrong_reads", to=[1] * 3)),
    "flags": lambda: json.dumps(audit(flags="none")),
    "a sweep without a request": lambda: json.dumps(sweep_line(audit(), request=None)),
    "an object that is no audit": lambda: json.dumps({"a": audit(), "b": {}}),
}


@pytest.mark.parametrize("name", NO_RESULT)
def test_what_is_no_result_is_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "given.jsonl"
    path.write_text(NO_RESULT[name]())
    kvverify("report", path, "-o", tmp_path / "site", *QUICK).refuses(2, "given.jsonl", "are needed")
    assert not (tmp_path / "site").exists()


def test_a_corrupt_line_is_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", audit(), audit(), audit(wire_bits=[]))
    kvverify("report", path, "-o", tmp_path, *QUICK).refuses(2, "r.jsonl, line 3", "wire_bits: [] is no count")


def test_the_line_that_a_kill_left_is_left_out_and_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", sweep_line(audit()))
    path.write_text(path.read_text() + json.dumps(sweep_line(audit()))[:200])
    text = page(tmp_path, path)
    assert "The last line of r.jsonl has no end" in text
    assert text.count('<details id="a') == 1
    whole = json.dumps(sweep_line(audit()))
    path.write_text(whole + "\n" + whole)  # no end of line, but all of it
    assert page(tmp_path, path).count('<details id="a') == 2


def test_the_same_results_make_the_same_bytes(tmp_path: Path) -> None:
    results = several(tmp_path)
    assert page(tmp_path, *results) == page(tmp_path, *results)


class _Reader(HTMLParser):
    """Elements, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_words_stay_text(tmp_path: Path) -> None:
    read = _Reader(page(tmp_path, *several(tmp_path)))
    assert read.text.count(HOSTILE) > 5
    assert [tag for tag, _ in read.tags].count("script") == 1
    assert not {"img", "iframe", "link", "object", "embed", "form", "base"} & {tag for tag, _ in read.tags}
    for _, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")]
        assert re.fullmatch(r"#a\d+", attributes.get("href") or "#a1")


def test_elements_escape_what_is_not_one() -> None:
    assert element("p", "<b>", class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;</p>'
    assert element("p", element("b", "&")) == "<p><b>&amp;</b></p>"
    assert element("p", Html("<i>") + "<b>") == "<p>&lt;i&gt;&lt;b&gt;</p>", "what was put together by hand is text"
    assert element("p", ["a", element("b", "c")], hidden=True, id=None) == "<p hidden>a<b>c</b></p>"
    assert element("p", "a\u202eb\x00\ud800") == "<p>a\\u202eb\\x00\\ud800</p>"


def test_flags_say_what_they_mean_and_evidence_what_was_seen(tmp_path: Path) -> None:
    text = _Reader(page(tmp_path, write_lines(tmp_path / "r.jsonl", flagged(), incomplete()))).text
    for words in (
        "no compressor can keep it", "more bits than it claims", "not in the message", "70,000", "Landlock ABI 7",
        "torch 2.13.0+cpu", "c" * 64, "kvverify replay counterexample-1.json", "claim bits-per-token=1,tolerance=1/100",
        "INCOMPLETE. It did not come to an end: alice: RuntimeError: no such kernel", "64 tokens, d = 16, 2 KV heads",
    ):  # fmt: skip
        assert words in text, words


def test_a_command_plays_the_same_again() -> None:
    tree = checked(audit())
    assert of_audit(tree) == "kvverify audit uniform --set bits=4 --tokens 64 --head-dim 16 --kv-heads 2 --heads 4"
    claim = {"bits": 640, "by": "request", "tolerance": "1/100", "failure": "0"}
    odd = checked(flagged(claim=claim, schedule="chunk:2x32"))
    assert of_audit(odd).endswith("--schedule chunk:2x32 --claim bits-per-token=10,tolerance=1/100,failure=0")
    from_file = checked(changed(audit(), "instance", "inputs", to="bf16"))
    assert "--certificate dddddddddddddddd.json" in of_audit(from_file)
    crowded = checked(changed(audit(), "instance", "kind", to="crowded"))
    assert "--instance crowded --tokens 64 --head-dim 16" in of_audit(crowded)
    pyramid = {"attention": "visual", "scales": "1,2,4", "kernel": "bilinear", "cut": "all-keys", "tolerance": None}
    visual = checked(changed(audit(), "instance", to=audit()["instance"] | pyramid))
    assert "--attention visual --scales 1,2,4 --kernel bilinear --cut all-keys --head-dim 16" in of_audit(visual)
    tensor = checked(changed(audit(), "instance", "attention", to="tensor"))
    assert "--attention tensor --tokens 64 --head-dim 16" in of_audit(tensor)
    request = sweep_line(None)["request"]
    assert of_request(request) == (
        "kvverify audit pkg.cache:Cache --set bits=3 --tokens 64 --head-dim 16 --kv-heads 2 --heads 4 "
        "--payload continuous --alphabet 2 --dtype bfloat16 --claim tolerance=1/100,failure=1/10 --seed 1 --device cpu "
        "--isolation strongest"
    )


def test_a_command_is_safe_to_paste() -> None:
    bad = "x; touch /tmp/hit $(touch /tmp/hit)\n`touch /tmp/hit`"
    line = of_audit(checked(changed(audit(compressor=bad), "settings", "parameters", to={bad: bad})))
    assert "\n" not in line
    words = shlex.split(line)
    assert words[:2] == ["kvverify", "audit"]
    assert words[2] == bad.replace("\n", "\\n")


def test_figures_are_rounded_to_what_is_true() -> None:
    assert [share(k, 10000) for k in (0, 1, 9, 10, 5000, 9991, 9999, 10000)] == [
        "0 %", "< 0.1 %", "< 0.1 %", "0.1 %", "50.0 %", "> 99.9 %", "> 99.9 %", "100 %",
    ]  # fmt: skip
    assert [bits(value) for value in (None, 0, 12, 2**60, Fraction(5, 2), Fraction(4001, 2), -7.25)] == [
        "–", "0", "12", "1,152,921,504,606,846,976", "2.5", "2,000", "-7.2",
    ]  # fmt: skip
    tree = checked(audit())
    assert reached(tree) == Fraction(1, 32)
    assert reached(checked(audit(reads_asked=2000))) == Fraction(1, 16)
    assert reached(checked(audit(curve=[{"tolerance": "1/3", "wrong_reads": 0, "floor_bits": 1}]))) is None


SMALL = Shape(32, 8, 8, 1, 1, "24", "real", None, None, None)


@pytest.fixture(scope="module")
def small() -> Any:
    said: list[str] = []
    found = curves(SMALL, lambda stage, _: said.append(stage))
    assert len(said) == len(GRID)
    return found


def test_curves_are_what_the_kernel_proved(small: Any) -> None:
    assert [error for error, _ in small.enough] == list(GRID)
    values, whole, enough = (dict(line) for line in (small.values, small.all_reads, small.enough))
    assert list(values.values()) == sorted(values.values()), "a smaller error needs no fewer bits"
    assert all(values[error] <= whole[error] < enough[error] for error in values)
    error = Fraction(1, 32)
    problem = Problem(32, 8, 8, Fraction(24), Fraction(1, 10), tolerance=error)
    ours, ceil = best_bound(problem), ceiling(problem)
    assert ceil.bits is not None
    assert 0 <= float(ours.bits) / 32 - whole[error] < 1e-3
    assert 0 <= enough[error] - ceil.bits / 32 < 1e-3


def test_there_are_no_curves_for_what_they_are_not_about() -> None:
    def silent(*_: object) -> None:
        raise AssertionError("nothing was to be computed")

    for shape, words in (
        (Shape.of({**vars(SMALL), "kind": "captured", "budget": "own-keys"}), "every key of the body"),
        (Shape.of({**vars(SMALL), "attention": "tensor"}), "softmax"),
        (Shape.of({**vars(SMALL), "tokens": 10**30}), "larger"),
        (Shape.of({**vars(SMALL), "kv_heads": 10**6}), "more heads"),
    ):
        found = curves(shape, silent)
        assert found.lines == {}
        assert words in (found.reason or "")
    assert Shape.of({**vars(SMALL), "kind": "hard", "budget": "class", "attention": "softmax"}) == SMALL
    worded = curves(Shape.of({**vars(SMALL), "max_logit": "<b>"}), lambda *_: None)
    assert "max-logit: '<b>' is no number" in (worded.reason or "")


@pytest.mark.parametrize("canvas", [WIDE, NARROW], ids=["wide", "narrow"])
def test_labels_and_points_lie_within_the_picture_and_not_on_each_other(small: Any, canvas: Any) -> None:
    points = [
        Point(i, f"compressor number {i}", error, 300.0 * 4 ** (i % 11 % 5) + i // 11, i % 3 == 0, "told")
        for i, error in enumerate([*GRID, None] * 6)
    ]
    text = plot(points, small, 256.0, canvas)
    assert text.count("<a ") == len(points)
    boxes = []
    for x, y, name in re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="start" class="name">([^<]*)<', text):
        width = 0.56 * canvas.type_size * len(name)
        boxes.append((float(x), float(y) - canvas.type_size, float(x) + width, float(y)))
        assert canvas.left < float(x) < float(x) + width < canvas.width
    assert boxes
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for x in map(float, re.findall(r'cx="([\d.]+)"', text)):
        assert canvas.left < x < canvas.edge


@pytest.mark.parametrize("audits", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_of_many_audits_all_are_counted_and_the_first_are_shown(audits: int, tmp_path: Path) -> None:
    line = json.dumps({"source": "s", "method": "m", "audit": audit()})
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join([line] * audits))
    text = page(tmp_path, path, options=(*QUICK, "--most", "20"))
    assert f"Counts are of all {audits:,} audits" in text
    assert text.count('<details id="a') == 20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_megabytes_take_bounded_memory(tmp_path: Path) -> None:
    line = json.dumps(sweep_line(audit())).encode() + b"\n"
    path = tmp_path / "long.jsonl"
    with path.open("wb") as stream:
        for _ in range(100):
            stream.write(line * (1_000_000 // len(line) + 1))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    text = page(tmp_path, path)
    assert len(text) < 12_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << (10 if sys.platform == "linux" else 20)
    assert time.process_time() - start < 60
    path.write_bytes(b" " * 100_000_000)
    kvverify("report", path, "-o", tmp_path, *QUICK).refuses(2, "longer than 16777216 bytes")


def _colours() -> dict[str, dict[str, str]]:
    """The style's colours, light and dark."""
    style = (files("kvverify.report") / "site.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(blocks) == 2
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in blocks)
    assert light.keys() == dark.keys()
    return {"light": light, "dark": dark}


def _linear(colour: str) -> list[float]:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    high, low = sorted((0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in map(_linear, (one, other))), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_pictures_stand_out_from_their_ground(scheme: str) -> None:
    colours = _colours()[scheme]
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for ground in ("paper", "panel"):
        for words in ("ink", "soft", "link"):
            assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground)
        for picture in ("good", "flag", "lower", "upper", "open"):
            assert contrast(colours[picture], colours[ground]) >= 3, (picture, ground)


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
SIGHTS = {
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}  # fmt: skip


def _lab(linear: list[float]) -> list[float]:
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    xyz = [sum(a * min(1.0, max(0.0, b)) for a, b in zip(row, linear, strict=True)) for row in to_xyz]
    x, y, z = (
        (v / w) ** (1 / 3) if v / w > 0.008856 else 7.787 * v / w + 16 / 116 for v, w in zip(xyz, white, strict=True)
    )
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_told_apart_by_all(scheme: str, sight: str) -> None:
    colours = _colours()[scheme]

    def seen(name: str) -> list[float]:
        linear = _linear(colours[name])
        return _lab([sum(a * b for a, b in zip(row, linear, strict=True)) for row in SIGHTS[sight]])

    for one, other in (("good", "flag"), ("lower", "flag"), ("lower", "upper"), ("good", "upper"), ("flag", "upper")):
        assert sum((a - b) ** 2 for a, b in zip(seen(one), seen(other), strict=True)) ** 0.5 > 20, (one, other)
