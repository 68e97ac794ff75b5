"""Counter-examples: a game that refuted a claim, written down so that its file alone plays it again."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from kvverify.audit import proof, referee
from kvverify.audit.sandbox import Limits
from kvverify.audit.statistics import CONFIDENCE, interval
from kvverify.audit.target import Target, locate
from kvverify.audit.verdict import Claim, refuted
from kvverify.errors import Incomplete, UsageError
from kvverify.figures import at_least
from kvverify.instances.attention import instance_class
from kvverify.kernel.document import write_bytes

SCHEMA = "kvverify-counterexample/2"
MAX_FILE_BYTES = 1 << 28
_ARRAYS = ("keys", "queries", "own_keys")


@dataclass(frozen=True)
class Replay:
    """``status``: reproduced (exit code 0), not reproduced (1), incomplete (3); ``line`` says it for people."""

    status: str
    line: str


def describe(game: referee.Game, record: referee.Record, claim: Claim) -> dict[str, Any]:
    """A finished game that refuted ``claim``, as a JSON object that holds all that is needed to play it again."""
    score = record.score
    assert score is not None
    one = game.instance
    numbers = {
        field.name: _plain(getattr(one, field.name)) for field in dataclasses.fields(one) if field.name not in _ARRAYS
    }
    return {
        "schema": SCHEMA,
        "compressor": game.target.name,
        "files": game.target.files,
        "versions": record.versions,
        "parameters": dict(game.parameters),
        "schedule": record.schedule,
        "group": game.group,
        "alphabet": game.alphabet,
        "dtype": game.dtype,
        "device": game.device,
        "reads": game.reads,
        "attention": one.attention,
        "instance": {**numbers, **{name: _packed(getattr(one, name)) for name in _ARRAYS}},
        "seed": record.secret_seed.hex(),
        "commit": record.commit,
        "claim": {name: _plain(value) for name, value in dataclasses.asdict(claim).items()},
        "read": _worst(game, record, claim),
        "missed_reads": score.missed,
        "reads_asked": score.asked,
        "missed_share_at_least": at_least(Fraction(interval(score.missed, score.asked)[0])),
        "confidence": str(CONFIDENCE),
    }


def _worst(game: referee.Game, record: referee.Record, claim: Claim) -> dict[str, Any]:
    """The read that misses the claim by most: its query, the exact answer between two rationals, and their proof."""
    assert record.score is not None
    assert record.commit is not None
    read = record.score.worst
    hidden, _, fed = referee.deal(game, record.commit, record.secret_seed)
    return {
        **dict(zip(("layer", "kv_head", "token", "coordinate"), read.place, strict=True)),
        "query": hidden.query_of(read.place).tolist(),
        "own_key": hidden.own_key_of(read.place).tolist(),
        "answer": str(Fraction(read.answer)) if math.isfinite(read.answer) else None,
        "exact_at_least": str(Fraction(read.exact[0])),
        "exact_at_most": str(Fraction(read.exact[1])),
        "certificate": proof.prove(proof.terms(hidden, fed, read.place), read, claim),
    }


def write(example: Mapping[str, Any], path: Path) -> None:
    """Write a counter-example, whole or not at all."""
    write_bytes(path, (json.dumps(example, indent=1, allow_nan=False) + "\n").encode())


def replay(path: Path, *, timeout: float = 600.0, memory_bytes: int = 16 << 30, isolation: str = "strongest") -> Replay:
    """Play a counter-example again from its file. Raises UsageError where the file is none."""
    from kvverify.audit.game import judge

    example = _read(path)
    try:
        game, claim, seed = _game(example, path)
        missing = _missing(example, game.target)
        if missing:
            return Replay("incomplete", missing)
        report = judge(game, lambda: seed, Limits(timeout, memory_bytes, isolation), fresh=False)
    except Incomplete as reason:
        return Replay("incomplete", str(reason))
    except (KeyError, TypeError, ValueError, ArithmeticError, zlib.error) as error:
        raise UsageError(f"{path.name}: no whole counter-example ({type(error).__name__}: {error})") from None
    if report.record.score is None:
        return Replay("incomplete", report.reason or "the game did not end")
    return compare(example, game, claim, report.record)


def compare(example: Mapping[str, Any], game: referee.Game, claim: Claim, record: referee.Record) -> Replay:
    """What the game that was played again says of the counter-example; its worst read is proved anew."""
    assert record.score is not None
    score, read = record.score, record.score.worst
    if record.commit != example["commit"]:
        return Replay("incomplete", "the file does not hold the game that it names (the commit differs)")
    seen = f"{score.missed} of {score.asked} reads miss {claim.allowed}"
    place = "layer {}, head {}, token {}, coordinate {}".format(*read.place)
    detail = f"{place}: {read.answer:.6g}, exactly {read.exact[0]:.6g}"
    if not refuted(score.missed, score.asked, claim.failure):
        return Replay("not reproduced", f"{seen}, which {claim.failure} allows; {detail}")
    hidden, _, fed = referee.deal(game, example["commit"], record.secret_seed)
    proved = proof.prove(proof.terms(hidden, fed, read.place), read, claim) is not None
    by = "proved by the kernel" if proved else "by the reference's error bound"
    return Replay("reproduced", f"{seen}; allowed {claim.failure}; {detail} ({by})")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"no file {path}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UsageError(f"{path.name}: more than {MAX_FILE_BYTES} bytes is no counter-example")
    try:
        example = json.loads(path.read_text())
    except (ValueError, RecursionError):
        raise UsageError(f"{path.name}: not a JSON file") from None
    if not isinstance(example, dict) or example.get("schema") != SCHEMA:
        raise UsageError(f"{path.name}: expected a counter-example of schema {SCHEMA}")
    return example


def _game(example: Mapping[str, Any], path: Path) -> tuple[referee.Game, Claim, bytes]:
    claimed, parts = example["claim"], dict(example["instance"])
    for name in _ARRAYS:
        parts[name] = _unpacked(parts[name])
    for name in ("log2_det_at_least", "leak_at_most", "max_logit", "failure", "tolerance"):
        parts[name] = None if parts[name] is None else Fraction(parts[name])
    parts["state_bits_at_least"] = int(parts["state_bits_at_least"])
    names = ("tolerance", "failure", "relative")
    tolerance, failure, relative = (None if claimed[name] is None else Fraction(claimed[name]) for name in names)
    claim = Claim(None if claimed["bits"] is None else int(claimed["bits"]), tolerance, failure, relative)
    game = referee.Game(
        target=_target(example["compressor"], path),
        instance=instance_class(example["attention"], parts["kind"])(**parts),
        tolerance=tolerance if relative is None else relative,
        relative=relative is not None,
        **{name: example[name] for name in ("parameters", "schedule", "group", "alphabet", "dtype", "device", "reads")},
    )
    return game, claim, bytes.fromhex(example["seed"])


def _target(name: str, path: Path) -> Target:
    """The compressor, at its own place or beside the counter-example's file."""
    place, colon, attribute = name.rpartition(":")
    if not (colon and place.endswith(".py")):
        return locate(name)
    for file in (Path(place), path.parent / Path(place).name):
        if file.is_file():
            return locate(f"{file}:{attribute}")
    raise Incomplete(f"the compressor's file {Path(place).name} is not at its place, nor beside {path.name}")


def _missing(example: Mapping[str, Any], target: Target) -> str | None:
    """The first package or file that differs from what the game was played with."""
    for name, version in example["versions"].items():
        if target.versions.get(name) != version:
            return f"{name} {version} is needed, here is {target.versions.get(name, 'none')}"
    for name, sha256 in example["files"].items():
        if target.files.get(name) != sha256:
            return f"the compressor's file {name} is not the one that was played with"
    return None


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Fraction) or (isinstance(value, int) and value > 1 << 53) else value


def _packed(array: np.ndarray) -> dict[str, Any]:
    """Float64 entries, compressed: keys of codes take little."""
    data = np.ascontiguousarray(array, dtype="<f8").tobytes()
    return {"shape": list(array.shape), "zlib": base64.b64encode(zlib.compress(data, 9)).decode()}


def _unpacked(packed: Mapping[str, Any]) -> np.ndarray:
    shape = packed["shape"]
    inflate = zlib.decompressobj()
    data = inflate.decompress(base64.b64decode(packed["zlib"]), 8 * math.prod(shape))
    return np.frombuffer(data, dtype="<f8").reshape(shape)
