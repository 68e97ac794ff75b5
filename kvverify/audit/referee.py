"""The referee: commits, draws the secret, passes one message from Alice to Bob, and scores what Bob says.

The order is the point: everything public is fixed and hashed, *then* the secret is drawn, and its seed never leaves
this process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from kvverify.audit import schedule as schedules
from kvverify.audit.sandbox import Limits, Player, PlayerFailed
from kvverify.audit.score import Rules, Score, score
from kvverify.audit.target import Target, locate
from kvverify.compressors.protocol import Settings, Shape
from kvverify.errors import UsageError
from kvverify.instances.payload import Secret, draw, scatter, to_bf16

if TYPE_CHECKING:
    from kvverify.instances.hard import HardInstance

PREFIX_BYTES = 8
"""The message's length goes before it: lengths are part of what Bob learns, and messages form a prefix-free code."""
_LIVE_SECONDS = 20.0
_NUMBER = int | float
_READY = {"residual_length": int, "loaded": list}
_EFFORT = {"seconds": _NUMBER, "peak_bytes": int}
_SIZES = {"claimed_bits": int | None, "held_bits": int, "readable_bits": int, **_EFFORT}

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Game:
    """Everything public of one game. ``alphabet`` None is a continuous secret; ``reads`` None asks for every token."""

    target: Target
    instance: HardInstance
    parameters: Mapping[str, str]
    schedule: str | None
    group: int
    alphabet: int | None
    dtype: str
    device: str
    reads: int | None
    tolerance: Fraction | None
    relative: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the secret: (layers, kv_heads, rows, value_dim)."""
        one = self.instance
        return one.layers, one.kv_heads, one.rows, one.value_dim

    @property
    def dense_bits(self) -> int:
        """A cache of 16 bits a scalar, all heads and layers."""
        one = self.instance
        return 16 * one.layers * one.kv_heads * one.tokens * (one.key_dim + one.value_dim)

    def public(self) -> dict[str, Any]:
        """What is committed to, but for what only the compressor can tell: default schedule, packages that it loads."""
        one = self.instance
        arrays = [np.ascontiguousarray(array, dtype="<f8") for array in (one.keys, one.queries, one.own_keys)]
        return {
            "compressor": self.target.label,
            "files": self.target.files,
            "parameters": dict(self.parameters),
            "shape": self.shape,
            "group": self.group,
            "alphabet": self.alphabet,
            "dtype": self.dtype,
            "device": self.device,
            "certificate": one.certificate,
            "inputs": one.inputs,
            "instance": [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays],
            **({} if one.payload is None else {"payload": list(one.payload)}),
            **({"in_order": True} if one.in_order else {}),
            **({} if one.attention == "softmax" else {"attention": one.attention, **one.described()}),
        }

    def settings(self) -> Settings:
        """The players' settings; the seed of public coins is the hash of everything public."""
        one = self.instance
        shape = Shape(one.kv_heads, one.kv_heads * self.group, one.key_dim, one.value_dim)
        seed = int(digest(self.public())[:12], 16)
        return Settings(
            self.target.label, shape, dict(self.parameters), 1.0, self.dtype, self.device, seed, one.attention
        )


@dataclass(frozen=True)
class Sizes:
    """Bits: claimed, held, readable, live as the players say; wire and wire_shorter as the referee counted.

    ``dead``: (place in the message, bits) of the largest tensors that no answer depends on, as Bob says.
    """

    claimed_bits: int | None
    held_bits: int
    readable_bits: int
    live_bits: int | None
    wire_bits: int
    wire_bits_shorter: int | None
    tokens_shorter: int
    dead: tuple[tuple[str, int], ...] = ()


@dataclass
class Record:
    """What is known so far; a game that ends early leaves the rest None."""

    isolation: str = "none"
    isolation_detail: str = ""
    schedule: str | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    commit: str | None = None
    sizes: Sizes | None = None
    score: Score | None = None
    chunk: int | None = None
    secret_seed: bytes = b""
    same_twice: bool = True
    code_unchanged: bool = True
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    memory_bytes: dict[str, int] = dataclasses.field(default_factory=dict)


def digest(value: Any) -> str:
    """sha256 of canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run(game: Game, seed: Callable[[], bytes], limits: Limits, progress: Progress, record: Record) -> None:
    """Play the six steps and fill the record; ``seed`` is asked for the secret's seed once all that is public is fixed.

    Raises PlayerFailed or UsageError; the record then ends there.
    """
    progress("commit", 0.0)
    record.memory_bytes["limit"] = limits.memory_bytes
    job = _job(game)
    tokens = game.instance.tokens
    # Bob's interpreter starts with Alice's, to save its seconds, but loads none of the compressor's code yet.
    with Player("bob", limits, job) as bob:
        with Player("alice", limits, job) as alice:
            record.isolation, record.isolation_detail = alice.begin()
            ready, _ = alice.receive(0, _READY)
            record.schedule = (
                game.schedule or game.instance.schedule or schedules.default(tokens, ready["residual_length"])
            )
            chunks = schedules.parse(record.schedule, tokens)
            record.versions = {name: one for name, one in game.target.versions.items() if name in ready["loaded"]}
            record.commit = digest([game.public(), record.schedule, record.versions])
            record.secret_seed = seed()
            hidden, secret, fed = deal(game, record.commit, record.secret_seed)
            progress("alice", 0.1)
            message = _alice(alice, hidden, fed, chunks, limits, record)
        progress("bob", 0.5)
        asked = _positions(hidden.rows, game.reads, record.secret_seed)
        bob.begin()
        bob.receive(0, _READY)
        answers = _bob(bob, hidden, game.shape, message, asked, limits, record)
    progress("score", 0.9)
    record.score = score(hidden, secret, fed, answers, asked, Rules(game.alphabet, game.tolerance, game.relative))
    record.code_unchanged = _unchanged(game.target)
    progress("score", 1.0)


def deal(game: Game, commit: str, seed: bytes) -> tuple[HardInstance, Secret, np.ndarray]:
    """What a commit and a secret's seed make of a game: the instance in its order, the secret, the values to feed.

    What the secret has in keys is in the instance from now on.
    """
    hidden = scatter(game.instance, bytes.fromhex(commit))
    secret = draw(seed, game.shape, game.alphabet)
    rounded = to_bf16(secret.values) if game.instance.inputs == "bf16" else secret.values
    return hidden.holding(rounded), secret, hidden.lay_out(rounded)


def _job(game: Game) -> dict[str, Any]:
    settings = dataclasses.asdict(game.settings())
    return {
        "target": game.target.name,
        "folders": game.target.folders,
        "layers": game.instance.layers,
        "settings": settings,
    }


def _alice(
    alice: Player, hidden: HardInstance, fed: np.ndarray, chunks: tuple[int, ...], limits: Limits, record: Record
) -> np.ndarray:
    """Alice's message; her figures go into the record."""
    tokens = hidden.tokens
    dropped = tokens // 2
    header = {"chunks": chunks, "dropped": dropped, "context_norm": hidden.context_norm}
    keys = hidden.keys.reshape(hidden.factors, tokens, hidden.key_dim)
    alice.send(header, {"keys": keys.astype(np.float32), "values": fed.astype(np.float32)})
    said, arrays = alice.receive(limits.memory_bytes, _SIZES, {"message": None})
    message = arrays["message"]
    wire_bits = 8 * (PREFIX_BYTES + message.size)
    record.seconds["alice"], record.memory_bytes["alice"] = float(said.pop("seconds")), said.pop("peak_bytes")
    record.sizes = Sizes(
        **said, live_bits=None, wire_bits=wire_bits, wire_bits_shorter=None, tokens_shorter=tokens - dropped
    )
    if dropped:
        with contextlib.suppress(PlayerFailed):  # the slope is then unknown, the game goes on
            shorter = alice.receive(0, {"shorter_bytes": int})[0]["shorter_bytes"]
            record.sizes = dataclasses.replace(record.sizes, wire_bits_shorter=8 * (PREFIX_BYTES + shorter))
    return message


def _bob(
    bob: Player, hidden: HardInstance, shape: tuple[int, int, int, int], message: np.ndarray, asked: np.ndarray,
    limits: Limits, record: Record,
) -> np.ndarray:  # fmt: skip
    """Bob's answers (layers, kv_heads, len(asked), value_dim); what else he says goes into the record."""
    layers, heads, _, value_dim = shape
    header = {"columns": hidden.columns, "live_seconds": min(_LIVE_SECONDS, limits.seconds / 4)}
    queries, own_keys = (array.astype(np.float32) for array in hidden.sent(asked))
    bob.send(header, {"message": message, "queries": queries, "own_keys": own_keys})
    expected = (layers, heads // hidden.factors, len(queries), value_dim)
    fields = {"chunk": int, "same_twice": bool, **_EFFORT}
    said, arrays = bob.receive(4 * math.prod(expected), fields, {"answers": expected})
    record.chunk, record.same_twice = said["chunk"], said["same_twice"]
    record.seconds["bob"], record.memory_bytes["bob"] = float(said["seconds"]), said["peak_bytes"]
    with contextlib.suppress(PlayerFailed):  # blanking may break a compressor; its answers stand
        weight = bob.receive(0, {"live_bits": int, "dead": list})[0]
        assert record.sizes is not None
        pairs = [one for one in weight["dead"] if isinstance(one, list) and [type(part) for part in one] == [str, int]]
        live_bits = weight["live_bits"] + 8 * PREFIX_BYTES
        record.sizes = dataclasses.replace(record.sizes, live_bits=live_bits, dead=tuple(map(tuple, pairs)))
    return arrays["answers"].reshape(layers, heads, len(asked), value_dim)


def _positions(rows: int, reads: int | None, seed: bytes) -> np.ndarray:
    """Which queries to ask: all, or a sample that no player can foresee and a replay can repeat."""
    if reads is None or reads >= rows:
        return np.arange(rows)
    coins = np.random.default_rng(list(hashlib.sha256(b"positions" + seed).digest()))
    return np.sort(coins.choice(rows, size=reads, replace=False))


def _unchanged(target: Target) -> bool:
    try:
        return locate(target.name).files == target.files
    except UsageError:
        return False
