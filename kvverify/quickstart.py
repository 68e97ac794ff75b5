"""The main job in one go: certify a real head's shape, check it twice, audit five compressors, save table and plot."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from kvverify.bounds import Bound, best_bound, instance_bound
from kvverify.bounds.ceiling import Ceiling, ceiling
from kvverify.bounds.search import QUERY_BITS
from kvverify.crosscheck.arb import second_opinion
from kvverify.errors import Incomplete, UsageError
from kvverify.figures import at_least
from kvverify.instances.layout import from_certificate
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.document import write, write_bytes
from kvverify.problem import Problem
from kvverify.report.bounds import Sides, bound_text
from kvverify.report.plots import curve_png

FAILURE = Fraction(1, 10)
HEADLINE = Problem(1 << 17, 128, 128, Fraction(24), FAILURE, tolerance=Fraction(1, 100))
INSTANCE_TOKENS = 2048
GRID = [Fraction(1, 1 << j) for j in range(1, 11)]
SEATS: list[tuple[str, str, dict[str, str]]] = [
    ("dense bf16", "dense", {"dtype": "bf16"}),
    ("uniform 4-bit", "uniform", {"bits": "4"}),
    ("uniform 2-bit", "uniform", {"bits": "2"}),
    ("random eviction 1/2", "random-eviction", {"keep": "1/2"}),
    ("transformers hqq 4-bit", "transformers", {"cache": "hqq", "bits": "4"}),
]
Say = Callable[[str], None]
Proved = TypeVar("Proved", Bound, Ceiling)


@dataclass(frozen=True)
class Row:
    """One compressor's line: bits are per token; None where the game could not be finished."""

    name: str
    tolerance: Fraction | None
    must: Fraction | None
    stored: float | None
    returned: Fraction | None
    flags: list[str]
    note: str | None


def quickstart(folder: Path, say: Say) -> str:
    """Do the job and return the table. Writes certificates, ``table.md``, ``audits.json`` and ``plot.png``."""
    _require({"torch": "audit", "scipy": "audit", "transformers": "caches", "hqq": "caches", "matplotlib": "report"})
    folder.mkdir(parents=True, exist_ok=True)
    say(f"1/4 certifying {HEADLINE.tokens} tokens of a head with d = {HEADLINE.key_dim} ...")
    headline = _certified(best_bound(HEADLINE), folder / "headline.json")
    enough = _certified(ceiling(HEADLINE), folder / "headline-enough.json")
    say("2/4 certifying the instance that compressors will play, at ten tolerances ...")
    instance, floor = _instance(folder)
    say(f"3/4 auditing {len(SEATS)} compressors on {INSTANCE_TOKENS} tokens; each answers in a process of its own ...")
    answers, rows = {}, []
    for number, (name, target, parameters) in enumerate(SEATS, 1):
        say(f"    {number}/{len(SEATS)} {name}")
        answers[name] = _play(target, parameters, instance)
        rows.append(_row(name, answers[name], floor))
    say(f"4/4 writing to {folder}/ ...")
    table = _table(headline, enough, rows)
    points = [(row.name, float(row.tolerance), row.stored) for row in rows if row.tolerance and row.stored]
    curve = [(float(tolerance), at_least(bits)) for tolerance, bits in floor.items()]
    title = f"{INSTANCE_TOKENS} tokens, d = 128, failure {FAILURE}, logits to {HEADLINE.max_logit}"
    write_bytes(folder / "plot.png", curve_png(curve, points, title))
    write_bytes(folder / "audits.json", (json.dumps(answers, indent=1, allow_nan=False) + "\n").encode())
    write_bytes(folder / "table.md", (table + "\n").encode())
    return table


def _require(modules: Mapping[str, str]) -> None:
    """Say at once what is missing, not after a minute."""
    missing = sorted({extra for module, extra in modules.items() if importlib.util.find_spec(module) is None})
    if missing:
        raise UsageError(f"quickstart needs more packages: pip install 'kvverify[{','.join(missing)}]'")


def _certified(found: Proved, path: Path) -> Proved:
    """The bound, written, read back, re-proved by the kernel and by Arb."""
    if found.certificate is None:
        raise Incomplete(f"no certificate: {found.reason}")
    write(path, found.certificate)
    result, opinion = check(path), second_opinion(path)
    if result.verdict is not Verdict.VALID or opinion.verdict != "agrees":
        raise Incomplete(f"{path}: kernel {result.verdict.value}, Arb {opinion.verdict} {opinion.reason or ''}")
    return found


def _instance(folder: Path) -> tuple[dict[str, Any], dict[Fraction, Fraction]]:
    """The game's certificate, and the proved floor in bits a token at each tolerance of the grid."""
    played = _certified(instance_bound(INSTANCE_TOKENS, 128), folder / "instance.json")
    assert played.certificate is not None
    floor = {}
    curve = folder / "curve"
    curve.mkdir(exist_ok=True)
    for tolerance in GRID:
        point = replace(played.problem, tolerance=tolerance)
        path = curve / f"tolerance-{tolerance.numerator}-{tolerance.denominator}.json"
        found = best_bound(point, method="volume", scale_bits=QUERY_BITS)
        floor[tolerance] = _certified(found, path).bits_per_token
    return played.certificate, floor


def _play(target: str, parameters: dict[str, str], certificate: dict[str, Any]) -> dict[str, Any]:
    from kvverify.audit.game import play

    return play(target, from_certificate(certificate), parameters=parameters, dtype="bfloat16").to_json()


def _row(name: str, answer: dict[str, Any], floor: Mapping[Fraction, Fraction]) -> Row:
    if answer["status"] == "INCOMPLETE":
        return Row(name, None, None, None, None, [], f"INCOMPLETE: {answer['reason']}")
    allowed = FAILURE * answer["reads_asked"]
    reached = [Fraction(p["tolerance"]) for p in answer["curve"] if int(p["wrong_reads"]) <= allowed]
    tolerance = min(reached, default=None)
    returned = Fraction(int(answer["certified_floor_bits"]), INSTANCE_TOKENS)
    must = None if tolerance is None else floor[tolerance]
    return Row(name, tolerance, must, answer["wire_bits_per_token"], returned, answer["flags"], None)


def _table(headline: Bound, enough: Ceiling, rows: list[Row]) -> str:
    """Markdown that a newcomer can read."""
    lines = [
        bound_text(headline, 16, Sides(), enough),
        "",
        f"Played with {INSTANCE_TOKENS} tokens of one head, keys and values of 128 scalars; bits are per token:",
        "",
        "| compressor | 9 of 10 reads are within | so any compressor must store | it stores | came back | flags |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.note is not None:
            lines.append(f"| {row.name} | - | - | - | - | {row.note} |")
            continue
        must = "-" if row.must is None else f"{at_least(row.must)}"
        within = "no tolerance up to 1/2" if row.tolerance is None else str(row.tolerance)
        returned = "-" if row.returned is None else f"{at_least(row.returned)}"
        flags = ", ".join(row.flags) or "none"
        lines.append(f"| {row.name} | {within} | {must} | {row.stored} | {returned} | {flags} |")
    return "\n".join([*lines, "", *_LEGEND])


_LEGEND = [
    "- must store: proved, for every compressor that promises this error, with failure 1/10, on all of the class.",
    "- stores: the bits of the whole message from which a fresh process answered.",
    "- came back: information about a secret that the answers surely carry (a smaller message does so with",
    "  probability at most 2^-40).",
]
