"""Play one game with a compressor, and judge it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from kvverify.audit import referee, replay
from kvverify.audit import schedule as schedules
from kvverify.audit.confine import KINDS
from kvverify.audit.report import Report
from kvverify.audit.sandbox import Limits, PlayerFailed
from kvverify.audit.target import locate
from kvverify.audit.verdict import Claim, Evidence, LowerBound, flags
from kvverify.errors import UsageError
from kvverify.instances.payload import MAX_ALPHABET, fresh_seed, seed_from

if TYPE_CHECKING:
    from kvverify.instances.hard import HardInstance

_DTYPES = ("float32", "bfloat16")
_PAYLOADS = ("continuous", "discrete")


def play(
    target: str,
    instance: HardInstance,
    *,
    parameters: Mapping[str, str] | None = None,
    schedule: str | None = None,
    group: int = 1,
    payload: str = "continuous",
    alphabet: int = 2,
    seed: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    timeout: float = 600.0,
    memory_bytes: int = 16 << 30,
    claim: Claim | None = None,
    floor_for: LowerBound | None = None,
    reads: int | None = None,
    isolation: str = "strongest",
    progress: referee.Progress | None = None,
) -> Report:
    """Play the game of the proof with a real compressor.

    ``timeout`` (seconds) and ``memory_bytes`` bound each player; ``reads`` asks for that many tokens at random instead
    of all; ``floor_for`` gives the certified lower bound of a claim; ``isolation`` is strongest, or one kind to insist
    on. A compressor that fails makes an INCOMPLETE report. Raises UsageError for what cannot be played, Incomplete for
    a module that is not installed.
    """
    _check(group, payload, alphabet, dtype, timeout, memory_bytes, reads, isolation)
    _check_secret(instance, payload, reads)
    if schedule is not None:
        schedule = schedules.written_out(schedule, instance.tokens)
        schedules.parse(schedule, instance.tokens)
    game = referee.Game(
        target=locate(target),
        instance=instance,
        parameters=dict(parameters or {}),
        schedule=schedule,
        group=group,
        alphabet=alphabet if payload == "discrete" else None,
        dtype=dtype,
        device=device,
        reads=reads,
        tolerance=_tolerance(claim),
        relative=claim is not None and claim.relative is not None,
    )
    secret_seed = fresh_seed if seed is None else lambda: seed_from(seed)
    limits = Limits(timeout, memory_bytes, isolation)
    return judge(game, secret_seed, limits, claim, floor_for, progress, fresh=seed is None)


def judge(
    game: referee.Game,
    seed: Callable[[], bytes],
    limits: Limits,
    claim: Claim | None = None,
    floor_for: LowerBound | None = None,
    progress: referee.Progress | None = None,
    *,
    fresh: bool,
) -> Report:
    """Run a game with a given secret and apply the rules of the verdict."""
    record = referee.Record()
    try:
        referee.run(game, seed, limits, progress or _silent, record)
    except PlayerFailed as failure:
        return Report(game, record, claim, (), fresh, "INCOMPLETE", str(failure), None)
    seen = _evidence(game, record, claim, floor_for)
    raised = flags(seen)
    example = replay.describe(game, record, claim) if claim and "CLAIM REFUTED" in raised else None
    status = "FLAGGED" if raised else "NO FLAG"
    return Report(game, record, claim, raised, fresh, status, None, example, seen.claimed_bits, seen.lower_bound)


def _evidence(
    game: referee.Game, record: referee.Record, claim: Claim | None, floor_for: LowerBound | None
) -> Evidence:
    sizes, score = record.sizes, record.score
    assert sizes is not None
    assert score is not None
    return Evidence(
        dense_baseline=game.target.name == "dense",
        dense_bits=game.dense_bits,
        claimed_bits=sizes.claimed_bits if claim is None or claim.bits is None else claim.bits,
        held_bits=sizes.held_bits,
        wire_bits=sizes.wire_bits,
        certified_floor_bits=score.certified_floor_bits,
        layers=game.instance.layers,
        asked=score.asked,
        missed=score.missed,
        same_twice=record.same_twice,
        code_unchanged=record.code_unchanged,
        claim=claim,
        lower_bound=floor_for(claim) if claim and claim.failure is not None and floor_for else None,
    )


def _tolerance(claim: Claim | None) -> Fraction | None:
    """What reads are counted against, additive or relative."""
    if claim is None:
        return None
    return claim.tolerance if claim.relative is None else claim.relative


def _check(
    group: int, payload: str, alphabet: int, dtype: str, timeout: float, memory_bytes: int, reads: int | None,
    isolation: str,
) -> None:  # fmt: skip
    """Refuse, in one line, what cannot be played."""
    if payload not in _PAYLOADS:
        raise UsageError(f"payload {payload!r}: expected one of {', '.join(_PAYLOADS)}")
    if payload == "discrete" and not 2 <= alphabet <= MAX_ALPHABET:
        raise UsageError(f"an alphabet has 2..{MAX_ALPHABET} letters, not {alphabet}")
    if dtype not in _DTYPES:
        raise UsageError(f"dtype {dtype!r}: expected one of {', '.join(_DTYPES)}")
    if isolation not in ("strongest", *KINDS):
        raise UsageError(f"isolation {isolation!r}: expected one of strongest, {', '.join(KINDS)}")
    if group < 1 or (reads is not None and reads < 1):
        raise UsageError("group and reads must be at least 1")
    if timeout <= 0 or memory_bytes < 1 << 28:
        raise UsageError("a player needs some time, and 256 MiB of memory at least")


def _check_secret(instance: HardInstance, payload: str, reads: int | None) -> None:
    """Refuse secrets and samples of reads that the instance does not take."""
    if payload == "continuous" and instance.log2_det_at_least is None:
        raise UsageError(
            f"payload continuous: no volume is certified for this {instance.attention} attention; --payload discrete"
        )
    if reads is not None and not instance.secret_at.all():
        raise UsageError(f"reads {reads}: queries of {instance.kind} read unequal numbers of symbols, all are asked")
    if payload == "discrete" and reads is not None and instance.answers_together:
        raise UsageError(f"reads {reads}: symbols of {instance.attention} attention are read off all answers together")


def _silent(stage: str, done: float) -> None:
    """Progress that nobody asked for."""
