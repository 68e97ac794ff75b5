"""The answer of ``map``: a table and an object; the picture is in ``report/plots.py``."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from kvverify.bounds.map import Survey, metadata
from kvverify.bounds.own_keys import value_gain
from kvverify.figures import at_least
from kvverify.problem import Problem

MEANING = {
    "keys": "any compressor that answers every query with logits within the budget on these keys, whatever the values",
    "queries": "any compressor that answers only the recorded queries on these keys, whatever the values",
}


def map_json(survey: Survey, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The JSON object of ``kvverify map``. Figures are bits a cached token and value coordinate, lower bounds.

    A cell where nothing is proved counts as 0 in the means, which is true of it.
    """
    about = metadata(survey.capture)
    summaries = []
    for floor in dict.fromkeys(cell["floor"] for cell in cells):
        for tolerance in dict.fromkeys(cell["tolerance"] for cell in cells):
            group = [c for c in cells if (c["floor"], c["tolerance"]) == (floor, tolerance)]
            bits = [c["bits_per_token_and_coordinate"] or 0.0 for c in group]
            summaries.append(
                {
                    "floor": floor, "tolerance": tolerance, "heads": len(group),
                    "proved": sum(c["bits_per_token_and_coordinate"] is not None for c in group),
                    "mean_at_least": at_least(sum(map(Fraction, bits), Fraction(0)) / len(bits)),
                    "least": min(bits), "largest": max(bits),
                    "method_reaches_at_most": _ceiling(survey, Fraction(tolerance)),
                }
            )  # fmt: skip
    return {
        "schema": "kvverify-map/1",
        "capture": survey.capture.name,
        "made_from": about,
        "failure": str(survey.failure),
        "max_logit": str(survey.max_logit),
        "inputs": survey.inputs,
        "unit": "bits a cached token and value coordinate",
        "meaning": {summary["floor"]: MEANING[summary["floor"]] for summary in summaries},
        "summary": summaries,
        "cells": list(cells),
    }


def map_text(answer: dict[str, Any]) -> str:
    """The same for people: heads side by side, a table for each floor and tolerance."""
    lines = []
    for summary in answer["summary"]:
        floor, tolerance = summary["floor"], summary["tolerance"]
        kind = "KV" if floor == "keys" else "query"
        lines += [f"Floor of {floor}, error {tolerance}: bits a token and value coordinate, by layer and {kind} head"]
        for layer, values in grid(answer, floor, tolerance).items():
            lines.append(f"{layer:>5} " + " ".join("     -" if x is None else f"{x:6.3f}" for x in values))
        lines += [
            f" mean {summary['mean_at_least']:6.3f}, of at most {summary['method_reaches_at_most']} that the method "
            f"reaches; {summary['proved']} of {summary['heads']} heads have a bound",
            "",
        ]
    lines += [f"{floor}: {meaning}." for floor, meaning in answer["meaning"].items()]
    if answer["made_from"].get("window", "null") != "null":
        lines.append(
            f"The model reads through windows ({answer['made_from']['window']}); the floors let a query see all tokens."
        )
    budget = f"logits to {answer['max_logit']}" if "keys" in answer["meaning"] else "logits as recorded"
    lines.append(f"Failure {answer['failure']}, {answer['inputs']} inputs, {budget}. Each is VALID by the kernel.")
    return "\n".join(lines)


def grid(answer: dict[str, Any], floor: str, tolerance: str) -> dict[int, list[float | None]]:
    """Layer by layer, the heads' figures in their order; None where nothing is proved."""
    rows: dict[int, list[float | None]] = {}
    for cell in answer["cells"]:
        if (cell["floor"], cell["tolerance"]) == (floor, tolerance):
            rows.setdefault(cell["layer"], []).append(cell["bits_per_token_and_coordinate"])
    return rows


def _ceiling(survey: Survey, tolerance: Fraction) -> float:
    """What the volume rule gives at weights that single every token out."""
    one = Problem(1, 1, 1, survey.max_logit, survey.failure, tolerance=tolerance, inputs=survey.inputs)
    return float(f"{value_gain(one):.6g}")
