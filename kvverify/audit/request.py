"""An audit as it is asked for on the command line: the instance, the claim, and the evidence that is kept."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.attention.softmax import attend_reference
from kvverify.audit import replay
from kvverify.audit.game import play
from kvverify.audit.instances import InstanceOptions, make_instance
from kvverify.audit.verdict import Claim
from kvverify.bounds import Bound, best_bound
from kvverify.errors import UsageError
from kvverify.instances.hard import HardInstance
from kvverify.kernel.document import write
from kvverify.problem import Problem, number

Progress = Callable[[str, float], None]
_DEVICES = ("cpu", "cuda")


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
    if request.heads is not None and request.heads % instance.kv_heads:
        raise UsageError(f"heads: {request.heads} given, a multiple of the {instance.kv_heads} KV heads is needed")
    group = 1 if request.heads is None else request.heads // instance.kv_heads
    if request.options["device"] not in _DEVICES:
        raise UsageError(f"device: {request.options['device']} given, {' or '.join(_DEVICES)} is needed")
    claim = None if request.claim is None else _claim(request.claim, instance)
    if claim is not None and not os.access(request.output, os.W_OK | os.X_OK):
        raise UsageError(f"output: {request.output} is no folder to write to; evidence against a claim goes there")
    against: list[Bound] = []

    def floor_for(tolerance: Fraction, failure: Fraction) -> tuple[int, str] | None:
        found = best_bound(_claimed_problem(instance, tolerance, failure))
        against.append(found)
        return None if found.certificate is None else (int(found.bits), str(found.certificate["digest"]))

    seconds = _attention_seconds(instance, request.options["reads"])
    progress(f"about {ceil(seconds)} s of attention, beside what the players import", 0.0)
    report = play(
        request.target, instance, parameters=_pairs(request.settings, "set"), group=group, claim=claim,
        floor_for=floor_for, progress=progress, **request.options,
    )  # fmt: skip
    example = None
    if report.counterexample is not None:
        content = json.dumps(report.counterexample, sort_keys=True).encode()
        example = request.output / f"counterexample-{hashlib.sha256(content).hexdigest()[:16]}.json"
        replay.write(report.counterexample, example)
    answer = report.to_json(None if example is None else str(example))
    if "CLAIM IMPOSSIBLE" in report.flags:
        certificate = against[0].certificate
        assert certificate is not None
        path = request.output / f"floor-{str(certificate['digest'])[:16]}.json"
        write(path, certificate)
        answer["claim"]["certificate"] = str(path)
    return answer


def _attention_seconds(instance: HardInstance, reads: int | None) -> float:
    """An estimate: Bob answers everything twice, the referee once, at the pace of a few reads that are tried here."""
    tried = min(instance.tokens, 128)
    values = np.zeros((1, 1, instance.tokens, instance.value_dim))
    queries, keys, own_keys = (
        a[None, None] for a in (instance.queries[:tried], instance.keys, instance.own_keys[:tried])
    )
    paces = []
    for _ in range(3):  # the first warms up
        start = time.perf_counter()
        attend_reference(queries, keys, values, own_keys, values[:, :, :tried], 1.0)
        paces.append((time.perf_counter() - start) / tried)
    asked = min(instance.tokens, reads or instance.tokens) * instance.kv_heads * instance.layers
    return 3 * asked * min(paces)


def _claim(text: str, instance: HardInstance) -> Claim:
    """What is claimed, in numbers of the class; seen before the game, which takes its time."""
    words = _pairs(text.split(","), "claim")
    if not {"tolerance", "failure"} <= words.keys() or words.keys() - {"bits-per-token", "tolerance", "failure"}:
        raise UsageError(f"claim: {text!r} given, [bits-per-token=B,]tolerance=E,failure=D is needed")
    values = {name: number(word, f"claim {name}") for name, word in words.items()}
    bits = values.get("bits-per-token")
    if bits is not None and bits < 0:
        raise UsageError(f"claim bits-per-token: {bits} given, at least 0 is needed")
    _claimed_problem(instance, values["tolerance"], values["failure"])
    return Claim(None if bits is None else int(bits * instance.tokens), values["tolerance"], values["failure"])


def _claimed_problem(instance: HardInstance, tolerance: Fraction, failure: Fraction) -> Problem:
    """The class in which a claim about the instance's shape is made."""
    return Problem(
        instance.tokens, instance.key_dim, instance.value_dim, instance.max_logit, failure, tolerance=tolerance,
        inputs=instance.inputs, kv_heads=instance.kv_heads, layers=instance.layers,
    )  # fmt: skip


def _pairs(words: list[str], name: str) -> dict[str, str]:
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise UsageError(f"{name}: {word!r} given, name=value is needed")
        found[key.strip()] = value.strip()
    return found
