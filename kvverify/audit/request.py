"""An audit as it is asked for on the command line: the instance, the claim, and the evidence that is kept."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.audit import claim as claims
from kvverify.audit import replay
from kvverify.audit.game import play
from kvverify.audit.instances import InstanceOptions, make_instance
from kvverify.audit.rehearse import search
from kvverify.audit.report import Report
from kvverify.errors import UsageError
from kvverify.instances.hard import HardInstance

Progress = Callable[[str, float], None]
_DEVICES = ("cpu", "cuda")
_TRIED = 1 << 22  # scores of an estimate of time


@dataclass(frozen=True)
class AuditRequest:
    """One audit as it was asked for; ``options`` go to ``audit.game.play`` as they are."""

    target: str
    instance: InstanceOptions
    heads: int | None
    settings: list[str]
    claim: str | None
    output: Path
    options: dict[str, Any]


def run_audit(request: AuditRequest, progress: Progress) -> dict[str, Any]:
    """The object of ``kvverify audit --json``; evidence against a claim is written to ``request.output``."""
    instance = make_instance(request.instance)
    kv_heads = instance.kv_heads // instance.factors
    if request.heads is not None and request.heads % kv_heads:
        raise UsageError(f"heads: {request.heads} given, a multiple of the {kv_heads} KV heads is needed")
    group = 1 if request.heads is None else request.heads // kv_heads
    if request.options["device"] not in _DEVICES:
        raise UsageError(f"device: {request.options['device']} given, {' or '.join(_DEVICES)} is needed")
    claim = None if request.claim is None else claims.parse(_pairs(request.claim.split(","), "claim"), instance)
    if claim is not None and not os.access(request.output, os.W_OK | os.X_OK):
        raise UsageError(f"output: {request.output} is no folder to write to; evidence against a claim goes there")

    def game(one: HardInstance, options: dict[str, Any], **rest: Any) -> Report:
        pairs = _pairs(request.settings, "set")
        return play(request.target, one, parameters=pairs, group=group, claim=claim, **rest, **options)

    options, rehearsed = dict(request.options), None
    if options["payload"] is None:
        options["payload"] = "discrete" if instance.log2_det_at_least is None else "continuous"
    if instance.kind == "adversarial":
        found = search(request.instance, options, game, progress)
        instance, options, rehearsed = found.instance, found.options, found.to_json()
    against = claims.Against(instance)
    seconds = _attention_seconds(instance, request.options["reads"])
    progress(f"about {ceil(seconds)} s of attention, beside what the players import", 0.0)
    report = game(instance, options, floor_for=against, progress=progress)
    example = None
    if report.counterexample is not None:
        content = json.dumps(report.counterexample, sort_keys=True).encode()
        example = request.output / f"counterexample-{hashlib.sha256(content).hexdigest()[:16]}.json"
        replay.write(report.counterexample, example)
    answer = report.to_json(None if example is None else str(example))
    answer["rehearsals"] = rehearsed
    if "CLAIM IMPOSSIBLE" in report.flags:
        answer["claim"]["certificate"] = against.save(request.output)
    return answer


def _attention_seconds(instance: HardInstance, reads: int | None) -> float:
    """An estimate: Bob answers everything twice, the referee once, at the pace of a few reads that are tried here."""
    tried = min(instance.rows, 128, max(1, _TRIED // instance.columns))
    values = np.zeros((1, instance.factors, instance.tokens, instance.value_dim))
    paces = []
    for _ in range(3):  # the first warms up
        start = time.perf_counter()
        instance.exact(values, np.arange(tried))
        paces.append((time.perf_counter() - start) / tried)
    heads = instance.kv_heads // instance.factors * instance.layers
    asked = min(instance.rows, reads or instance.rows) * heads
    return 3 * asked * min(paces)


def _pairs(words: list[str], name: str) -> dict[str, str]:
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise UsageError(f"{name}: {word!r} given, name=value is needed")
        found[key.strip()] = value.strip()
    return found
