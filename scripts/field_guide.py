"""docs/field-guide.md from audits that were really run: ``run`` plays them, ``page`` writes the page from them.

    python scripts/field_guide.py run --source kvpress      # with the interpreter that has the package
    python scripts/field_guide.py state                     # what is certified for the sizes that packages state
    python scripts/field_guide.py page

Cases are in instances/field-guide/cases.toml, results in instances/field-guide/*.jsonl: one line a case, the object of
``kvverify audit --json`` with the case beside it. A case that has a line already is not played again; delete the line
to have it played.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tomllib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kvverify.audit.claim import parse
from kvverify.audit.verdict import bytes_exceed_claim
from kvverify.bounds.inverse import tolerance_floor
from kvverify.figures import at_least
from kvverify.problem import Problem

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "instances" / "field-guide"
PAGE = ROOT / "docs" / "field-guide.md"
STATED = FOLDER / "stated.txt"  # JSON lines; *.jsonl are audits, *.json certificates
INSTANCE = "--tokens 512 --head-dim 64 --kv-heads 2 --heads 4"
TWO_LAYERS = "--certificate instances/field-guide/two-layers.json --heads 4"
# What a package is installed beside; kvpress and transformers come with kvverify's extras.
SOURCES = {
    "kvverify": ("Native compressors", "pip install 'kvverify[audit]'"),
    "transformers": ("Caches of transformers", "pip install 'kvverify[audit,caches]'"),
    "kvpress": ("Presses of kvpress", "pip install 'kvverify[audit,caches,presses]'"),
}


def cases() -> list[dict[str, Any]]:
    """All cases, in the order of the page."""
    found: list[dict[str, Any]] = tomllib.loads((FOLDER / "cases.toml").read_text())["case"]
    return found


def results() -> dict[tuple[str, str], dict[str, Any]]:
    """(source, method) -> the line of its audit."""
    lines = [json.loads(line) for file in sorted(FOLDER.glob("*.jsonl")) for line in file.read_text().splitlines()]
    return {(line["source"], line["method"]): line for line in lines}


def command(case: dict[str, Any]) -> str:
    """What repeats a case."""
    return f"kvverify audit {case['target']} {TWO_LAYERS if case.get('two_layers') else INSTANCE}"


def run(source: str, only: str | None) -> None:
    """Play the cases of a source that have no result yet, one after the other."""
    done = results()
    for case in cases():
        if case["source"] != source or (source, case["method"]) in done or only not in (None, case["method"]):
            continue
        words = shlex.split(command(case))[1:]
        played = subprocess.run(
            [sys.executable, "-m", "kvverify", *words, "--json"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if not played.stdout:
            print(f"{case['method']}: {played.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            continue
        audit = json.loads(played.stdout)
        with (FOLDER / f"{source}.jsonl").open("a") as file:
            file.write(json.dumps({"source": source, "method": case["method"], "audit": audit}) + "\n")
        print(f"{case['method']}: {audit['status']} {', '.join(audit['flags'])} {audit['reason'] or ''}")


def stated_bits(case: dict[str, Any], audit: dict[str, Any]) -> int:
    """The bits of the whole state that a package's words give: the claim's, newest tokens that it keeps apart."""
    stated, one = case["stated"], audit["instance"]
    if "claim" not in stated:
        return int(audit["claimed_bits"])
    words = dict(word.split("=") for word in stated["claim"].split(","))
    shape: Any = SimpleNamespace(**one)
    shape.tokens = one["tokens"] - stated.get("kept", 0)
    kept: int = 16 * stated.get("kept", 0) * one["kv_heads"] * one["layers"] * (one["key_dim"] + one["value_dim"])
    return int(parse(words, shape).bits or 0) + kept


def state() -> None:
    """For every stated size: the tolerance that no cache of it can promise, in the class of the instance."""
    done = results()
    lines = []
    for case in cases():
        if "stated" in case:
            audit = done[case["source"], case["method"]]["audit"]
            one, bits = audit["instance"], stated_bits(case, audit)
            problem = Problem(
                one["tokens"], one["key_dim"], one["value_dim"], Fraction(one["max_logit"]), Fraction(1, 10),
                tolerance=Fraction(1, 100), kv_heads=one["kv_heads"], layers=one["layers"],
            )  # fmt: skip
            found = tolerance_floor(problem, Fraction(bits, one["tokens"]))
            least = None if found.tolerance is None else at_least(found.tolerance)
            lines.append(
                {"source": case["source"], "method": case["method"], "bits": bits, "tolerance_at_least": least}
            )
    STATED.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


STATED_TABLE = """| method | words | where | stated | held | wire | slope | flag | no promise of |
|---|---|---|---|---|---|---|---|---|"""


def stated_section(done: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    """Sizes that packages state, beside what was held and what is certified for such a size."""
    by_name = {(case["source"], case["method"]): case for case in cases()}
    rows = []
    for line in map(json.loads, STATED.read_text().splitlines()):
        name = line["source"], line["method"]
        case, audit = by_name[name], done[name]["audit"]
        tokens = audit["instance"]["tokens"]
        assert line["bits"] == stated_bits(case, audit), f"{name}: run scripts/field_guide.py state"
        seen: Any = SimpleNamespace(
            claimed_bits=line["bits"], held_bits=int(audit["held_bits"]), wire_bits=int(audit["wire_bits"]),
            layers=audit["instance"]["layers"],
        )  # fmt: skip
        version = audit["settings"]["versions"].get(case["source"], "")
        slope = audit["wire_bits_slope"]
        cells = [
            f"{case['source']} {version}: {case['method']}",
            case["stated"]["says"],
            case["stated"]["where"],
            *(number(bits / tokens) for bits in (line["bits"], seen.held_bits, seen.wire_bits)),
            number(None if slope is None else slope / seen.layers),
            "`BYTES > CLAIM`" if bytes_exceed_claim(seen) else "-",
            "-" if line["tolerance_at_least"] is None else f"{line['tolerance_at_least']:g}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return [(FOLDER / "stated.md").read_text(), STATED_TABLE, *rows, ""]


def number(value: Any, digits: int = 0) -> str:
    """A figure for the table; '-' for what is unknown."""
    return "-" if value is None else f"{float(value):,.{digits}f}"


def row(case: dict[str, Any], line: dict[str, Any]) -> str:
    """One audit that came to an end."""
    audit = line["audit"]
    streams = audit["instance"]["tokens"] * audit["instance"]["layers"]

    def rate(name: str) -> str:
        value = audit[name]
        return number(None if value is None else float(value) / streams)

    slope = audit["wire_bits_slope"]
    flags = ", ".join(f"`{flag}`" for flag in audit["flags"]) or "NO FLAG"
    cells = [
        case["method"] + (" (two layers)" if case.get("two_layers") else ""),
        shown(case),
        rate("held_bits"), rate("wire_bits"),
        number(None if slope is None else slope / audit["instance"]["layers"]),
        rate("live_bits"), rate("claimed_bits"),
        f"{100 * audit['symbol_error']:.1f} %", number(audit["max_abs_error"], 3), rate("certified_floor_bits"), flags,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def shown(case: dict[str, Any]) -> str:
    """The settings of a case, without the target's name."""
    settings = case["target"].partition(" ")[2].replace("--set ", "").replace("--dtype ", "dtype=").split()
    return " ".join(f"`{setting}`" for setting in settings) or "defaults"


def versions(lines: list[dict[str, Any]], source: str) -> str:
    """Versions of what was loaded, as the reports have them."""
    found: dict[str, set[str]] = {}
    for line in lines:
        for name, version in line["audit"]["settings"]["versions"].items():
            found.setdefault(name, set()).add(version)
    first = [source] if source in found else []
    others = sorted(name for name in found if name not in first and (source == "transformers" or name != "hqq"))
    return ", ".join(f"{name} {' and '.join(sorted(found[name]))}" for name in [*first, *others])


TABLE = """| method | settings | held | wire | slope | live | claimed | off | largest | came back | flags |
|---|---|---|---|---|---|---|---|---|---|---|"""


def section(source: str, mine: list[dict[str, Any]], done: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    """One source: its versions, its table, its failures, its commands."""
    lines = [done[source, case["method"]] for case in mine]
    title, install = SOURCES.get(source, (source, ""))
    package = next((v for name, v in lines[0]["audit"]["settings"]["versions"].items() if name == source), "")
    install = install or f"pip install torch==2.13.0 transformers==5.2.0 {source}=={package} 'kvverify[audit]'"
    out = [f"## {title}", "", f"Versions: {versions(lines, source)}. `{install}`", ""]
    ended = [case for case in mine if done[source, case["method"]]["audit"]["status"] != "INCOMPLETE"]
    if ended:
        out += [TABLE, *(row(case, done[source, case["method"]]) for case in ended), ""]
    for case in mine:
        audit = done[source, case["method"]]["audit"]
        if audit["status"] == "INCOMPLETE":
            out += [f"{case['method']} ({shown(case)}) did not come to an end; its message: `{audit['reason']}`", ""]
    out += [f"- {case['method']}: {case['note']}" for case in mine if "note" in case]
    out += [""] if out[-1] else []
    out += ["To repeat:", "", "```", *(command(case) for case in mine), "```", ""]
    return out


def page() -> str:
    """The whole page."""
    done = results()
    known = [case for case in cases() if (case["source"], case["method"]) in done]
    sources = list(dict.fromkeys(case["source"] for case in known))
    ended = [case for case in known if done[case["source"], case["method"]]["audit"]["status"] != "INCOMPLETE"]
    methods = {(case["source"], case.get("same_as", case["method"])) for case in ended}
    others = {one for one in methods if one[0] != "kvverify"}
    packages = {one[0] for one in others} - {"kvpress", "transformers"}
    failed = len(known) - len(ended)
    counts = (
        f"{len(ended)} audits of {len(methods)} distinct methods, {len(others)} of them not written by this project, "
        f"from {len(packages)} packages besides kvpress and transformers."
        + (f" Audits that did not come to an end, each below with its message: {failed}." if failed else "")
    )
    one = next(done[c["source"], c["method"]]["audit"] for c in ended if not c.get("two_layers"))
    floor = number(float(one["certificate_bits_at_least"]) / one["instance"]["tokens"])
    two = ", ".join(case["method"] for case in known if case.get("two_layers"))
    out = [(FOLDER / "head.md").read_text().format(counts=counts, floor=floor, two=two or "none")]
    for source in sources:
        out += section(source, [case for case in known if case["source"] == source], done)
    out += stated_section(done)
    out += not_driven()
    return "\n".join(out).rstrip() + "\n"


def not_driven() -> list[str]:
    """Presses without a row, and why."""
    from kvverify.compressors.adapters._presses import NOT_DRIVEN

    head = [
        "## Presses that are not driven",
        "",
        "Of kvpress 0.5; `kvverify audit kvpress --set press=NAME` says so too.",
    ]
    return [*head, "", "| press | why |", "|---|---|", *(f"| {name} | {why} |" for name, why in NOT_DRIVEN.items())]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "state", "page"])
    parser.add_argument("--source", help="run: cases of this source only")
    parser.add_argument("--only", help="run: this method only")
    given = parser.parse_args()
    if given.what == "run":
        for one in [given.source] if given.source else dict.fromkeys(case["source"] for case in cases()):
            run(one, given.only)
    elif given.what == "state":
        state()
    else:
        PAGE.write_text(page())
