"""What a game reports: figures, flags and what is proved, as an object and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kvverify.audit import referee
from kvverify.audit.statistics import interval
from kvverify.audit.verdict import Claim, Floor
from kvverify.figures import at_least, at_most, exact

SCHEMA = "kvverify-audit/1"


@dataclass(frozen=True)
class Report:
    """One game. ``status``: NO FLAG, FLAGGED, INCOMPLETE (then ``reason`` says why, and what is unknown is None).

    ``claimed_bits``: those that were judged, the claim's or the compressor's own; ``floor``: certified for the claim.
    """

    game: referee.Game
    record: referee.Record
    claim: Claim | None
    flags: tuple[str, ...]
    fresh_secret: bool
    status: str
    reason: str | None
    counterexample: Mapping[str, Any] | None
    claimed_bits: int | None = None
    floor: Floor | None = None

    def to_json(self, counterexample: str | None = None) -> dict[str, Any]:
        """The object of ``audit --json``; ``counterexample`` is the path to which it was written, if it was."""
        game, record = self.game, self.record
        public = {
            "parameters": dict(game.parameters), "dtype": game.dtype, "device": game.device,
            "seed": _exact(game.settings().seed), "commit": record.commit, "versions": record.versions,
            "chunk": record.chunk,
        }  # fmt: skip
        return {
            "schema": SCHEMA,
            "compressor": game.target.label,
            "settings": public,
            "schedule": record.schedule,
            "instance": self._instance(),
            "claim": self._claim(),
            **self._sizes(),
            **self._score(),
            "certificate_bits_at_least": _exact(game.instance.state_bits_at_least),
            "dense_bits": _exact(game.dense_bits),
            "flags": list(self.flags),
            "isolation": record.isolation,
            "isolation_detail": record.isolation_detail,
            "fresh_secret": self.fresh_secret,
            "counterexample": counterexample,
            "seconds": {name: at_most(Fraction(value)) for name, value in record.seconds.items()},
            "memory_gib": {name: at_most(Fraction(size, 1 << 30)) for name, size in record.memory_bytes.items()},
            "status": self.status,
            "reason": self.reason,
        }

    def _claim(self) -> dict[str, Any] | None:
        claim = self.claim
        if claim is None:
            return None
        found = {name: getattr(claim, name) for name in ("tolerance", "relative", "failure")}
        score, floor = self.record.score, self.floor
        judged = score is not None and claim.failure is not None
        return {
            "bits": _exact(self.claimed_bits if claim.bits is None else claim.bits),
            "by": "compressor" if claim.bits is None else "request",
            **{name: None if value is None else str(value) for name, value in found.items()},
            "missed_reads": _exact(score.missed) if score and judged else None,
            "missed_share_at_least": at_least(Fraction(interval(score.missed, score.asked)[0]))
            if score and judged else None,
            "state_bits_at_least": None if floor is None else _exact(floor.bits),
            "certificate_digest": None if floor is None else floor.certificate,
            "certificate": None,
        }  # fmt: skip

    def _instance(self) -> dict[str, Any]:
        game, one = self.game, self.game.instance
        kv_heads = one.kv_heads // one.factors
        return {
            "attention": one.attention, **one.described(), "kind": one.kind,
            "budget": one.budget, "tokens_that_carry_values": one.carriers,
            "tokens": one.tokens, "key_dim": one.key_dim, "value_dim": one.value_dim, "kv_heads": kv_heads,
            "heads": kv_heads * game.group, "layers": one.layers, "inputs": one.inputs,
            "max_logit": str(one.max_logit), "tolerance": None if one.tolerance is None else str(one.tolerance),
            "failure": str(one.failure), "certificate": one.certificate or None,
            "payload": "continuous" if game.alphabet is None else "discrete", "alphabet": game.alphabet,
        }  # fmt: skip

    def _sizes(self) -> dict[str, Any]:
        names = ("claimed_bits", "held_bits", "readable_bits", "live_bits", "wire_bits")
        rates = ("wire_bits_fixed", "wire_bits_per_token", "wire_bits_slope")
        sizes = self.record.sizes
        if sizes is None:
            return {**dict.fromkeys((*names, "dead_bits", *rates)), "dead_tensors": []}
        tokens = self.game.instance.tokens
        found: dict[str, Any] = {name: _exact(getattr(sizes, name)) for name in names}
        found["dead_bits"] = None if sizes.live_bits is None else _exact(sizes.wire_bits - sizes.live_bits)
        found["dead_tensors"] = [{"place": place, "bits": _exact(bits)} for place, bits in sizes.dead]
        found["wire_bits_per_token"] = at_most(Fraction(sizes.wire_bits, tokens))
        if sizes.wire_bits_shorter is None:
            return {**found, "wire_bits_fixed": None, "wire_bits_slope": None}
        slope = Fraction(sizes.wire_bits - sizes.wire_bits_shorter, tokens - sizes.tokens_shorter)
        found["wire_bits_fixed"] = _exact(round(sizes.wire_bits - slope * tokens))
        found["wire_bits_slope"] = at_most(slope)
        return found

    def _score(self) -> dict[str, Any]:
        score, sizes = self.record.score, self.record.sizes
        if score is None or sizes is None:
            names = ("reads", "reads_asked", "wrong_reads", "tolerance", "tolerance_is_relative", "symbol_error",
                     "symbol_error_interval", "max_abs_error", "certified_floor_bits", "efficiency", "curve",
                     "recovery")  # fmt: skip
            return dict.fromkeys(names)
        low, high = interval(score.wrong_reads, score.asked)
        floor = score.certified_floor_bits
        return {
            "reads": _exact(score.reads),
            "reads_asked": _exact(score.asked),
            "wrong_reads": _exact(score.wrong_reads),
            "tolerance": str(score.tolerance),
            "tolerance_is_relative": score.relative,
            "symbol_error": at_most(Fraction(score.wrong_reads, score.asked)),
            "symbol_error_interval": [at_least(Fraction(low)), min(1.0, at_most(Fraction(high)))],
            "max_abs_error": None if score.max_abs_error is None else at_most(Fraction(score.max_abs_error)),
            "certified_floor_bits": _exact(floor),
            "efficiency": at_least(Fraction(floor, sizes.wire_bits)) if floor else None,
            "curve": [
                {
                    "tolerance": str(point.tolerance),
                    "wrong_reads": _exact(point.wrong_reads),
                    "floor_bits": _exact(point.floor_bits),
                }
                for point in score.curve
            ],
            "recovery": score.recovery.to_json(),
        }


def _exact(bits: int | None) -> int | str | None:
    return None if bits is None else exact(bits)
