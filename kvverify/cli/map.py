"""``map``: what every layer and head of a model must keep."""

from __future__ import annotations

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from kvverify.cli.options import Failure, Inputs, Json, amount, count, positive, require
from kvverify.cli.output import progress, save, say, show
from kvverify.errors import UsageError


def draw_map(
    capture: Annotated[Path, typer.Argument(help="A file of `kvverify capture`.")],
    tolerance: Annotated[list[str] | None, typer.Option(help="Additive error allowed (1/100); repeatable.")] = None,
    failure: Failure = "1/10",
    max_logit: Annotated[str, typer.Option(help="Largest |<q, k>| on the keys, for the floor of keys.")] = "32",
    inputs: Inputs = "real",
    layers: Annotated[str | None, typer.Option(help="Some layers: 0-3,7.")] = None,
    floor: Annotated[str, typer.Option(help="keys, queries or both.")] = "both",
    seconds: Annotated[str, typer.Option(help="Seconds to search for queries, each cell of the floor of keys.")] = "5",
    workers: Annotated[str, typer.Option(help="Processes.")] = "1",
    certificates: Annotated[bool, typer.Option(help="Keep every cell's certificate and its files.")] = False,
    output: Annotated[Path, typer.Option(help="Folder; a map that was stopped goes on there.")] = Path("kvverify-map"),
    as_json: Json = False,
) -> None:
    """Floors of every layer and head of a capture: table, object and picture."""
    require("a map", "audit", "torch", "scipy")
    from kvverify.bounds.map import FLOORS, Survey, draw
    from kvverify.problem import number
    from kvverify.report.maps import map_json, map_text

    if floor not in (*FLOORS, "both"):
        raise UsageError(f"--floor: {floor} given; keys, queries or both is needed")
    survey = Survey(
        capture=capture, tolerances=_tolerances(tolerance or ["1/100"]), failure=number(failure, "failure"),
        max_logit=positive(max_logit, "max-logit"), inputs=inputs, layers=None if layers is None else _layers(layers),
        floors=FLOORS if floor == "both" else (floor,), seconds=amount(seconds, "seconds"),
        certificates=output / "certificates" if certificates else None,
    )  # fmt: skip
    answer = map_json(survey, draw(survey, output, count(workers, "workers"), progress))
    save(output / "map.json", answer)
    if find_spec("matplotlib") is None:
        say("kvverify: no picture, which needs matplotlib: pip install 'kvverify[report]'")
    else:
        save(output / "map.png", _picture(answer))
    show(answer if as_json else map_text(answer))


def _tolerances(words: list[str]) -> tuple[Fraction, ...]:
    return tuple(dict.fromkeys(positive(word, "tolerance") for word in words))


def _layers(words: str) -> tuple[int, ...]:
    """Layers from "0-3,7". Raises UsageError."""
    found: dict[int, None] = {}
    for word in words.split(","):
        first, dash, last = (part.strip() for part in word.partition("-"))
        if not (first.isdecimal() and (last.isdecimal() if dash else True) and len(first + last) < 12):
            raise UsageError(f"--layers: {words!r} given; layers and ranges as in 0-3,7 are needed")
        found |= dict.fromkeys(range(int(first), int(last or first) + 1))
    return tuple(found)


def _picture(answer: dict[str, Any]) -> bytes:
    from kvverify.report.maps import grid
    from kvverify.report.plots import map_png

    panels = []
    for summary in answer["summary"]:
        floor, tolerance = summary["floor"], summary["tolerance"]
        top = summary["method_reaches_at_most"] if floor == "keys" else summary["largest"]
        panels.append((f"{floor}, error {tolerance}", grid(answer, floor, tolerance), top or 1.0))
    columns = len({summary["tolerance"] for summary in answer["summary"]})
    return map_png(panels, columns, "bits a token and value coordinate")
