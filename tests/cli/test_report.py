"""``kvverify report`` on the command line: its usage, its object, and how it writes."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import kvverify
from tests.cli.conftest import Seal
from tests.report.results import audit, several, write_lines

QUICK = ("--no-curves", "--no-claims")


def test_wrong_usage_is_one_line(tmp_path: Path) -> None:
    good = write_lines(tmp_path / "r.jsonl", audit())
    kvverify("report", tmp_path / "none.jsonl").refuses(2, "none.jsonl: No such file")
    kvverify("report", tmp_path).refuses(2, "Is a directory")
    kvverify("report", good, "--most", "0").refuses(2, "most: 0 given")
    kvverify("report", good, "--most", "9999").refuses(2, "at most 5000")
    kvverify("report", good, "-o", good, *QUICK).refuses(2, "r.jsonl")
    kvverify("report", good, "--no-claims", "--ledger", good).refuses(2, "--ledger", "--no-claims")
    own = write_lines(tmp_path / "index.html", audit())
    kvverify("report", own, "-o", tmp_path).refuses(2, "would be lost")


def test_a_page_takes_its_place_at_once_and_nothing_elses(tmp_path: Path, sealed: Path) -> None:
    good = write_lines(tmp_path / "r.jsonl", audit())
    site = tmp_path / "site"
    site.mkdir()
    (site / "mine.txt").write_text("mine")
    (site / "index.html").write_text("before")
    assert kvverify("report", good, "-o", site, *QUICK).code == 0
    assert (site / "index.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in site.iterdir()) == ["index.html", "mine.txt"]
    assert (site / "mine.txt").read_text() == "mine"
    (sealed / "index.html").write_text("before")
    with Seal(sealed):
        kvverify("report", good, "-o", sealed, *QUICK).refuses(2, "index.html cannot be written")
    assert (sealed / "index.html").read_text() == "before"


def test_json_says_what_was_read_and_shown(tmp_path: Path) -> None:
    results = several(tmp_path)
    done = kvverify("report", *results, "-o", tmp_path / "site", *QUICK, "--most", "4", "--json")
    assert done.json == {
        "schema": "kvverify-report/1", "page": str(tmp_path / "site" / "index.html"), "audits": 11, "shown": 4,
        "counts": {"NO FLAG": 7, "FLAGGED": 2, "INCOMPLETE": 1, "REFUSED": 1}, "notes": [],
    }  # fmt: skip
