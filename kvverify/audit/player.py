"""What runs in a player's process: confine yourself, load the compressor, then play Alice or Bob over the pipes.

Alice gets the stream and writes her message; Bob gets a message and the queries and writes answers. Whatever the
compressor prints goes to standard error; whatever it raises goes to the referee as one line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from kvverify.audit.confine import Cell, confine, end_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import torch

    from kvverify.compressors.protocol import Compressor, Settings

_PATH_KEPT, _DEAD_KEPT = 120, 64
ULPS = 4
"""Two answers to one question may differ by so many units of rounding (at 1): sums on a GPU have no fixed order."""


def main() -> None:
    """Entry of the fresh interpreter: ``argv[2]`` is the public job, standard input and output are the pipes."""
    job = json.loads(sys.argv[2])
    jobs, answers = _pipes()
    try:
        isolation, how = confine(Cell(**job["cell"]))
        end_with(job["referee"])  # only now: giving up rights takes the signal back
        _play(job, isolation, how, jobs, answers)
    except Exception as error:  # noqa: BLE001  whatever a compressor raises is the referee's to report
        from kvverify.audit import pipe
        from kvverify.errors import UsageError

        pipe.write(answers, {"error": _line(error), "usage": isinstance(error, UsageError)})


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes under new numbers; standard input is empty from now on and standard output is standard error."""
    jobs, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return jobs, answers


def _peak_bytes() -> int:
    """Most resident memory so far. Not ``ru_maxrss``, which begins with what the starting process had."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))


def _line(error: BaseException) -> str:
    from kvverify.errors import Incomplete, UsageError

    text = " ".join(str(error).split())
    if isinstance(error, UsageError | Incomplete):
        return text
    return type(error).__name__ + (f": {text}" if text else "")


def _play(job: dict[str, Any], isolation: str, how: str, jobs: IO[bytes], answers: IO[bytes]) -> None:
    import torch  # noqa: F401  the slowest import of a game, done while waiting

    from kvverify.audit import pipe
    from kvverify.audit.target import load, loaded
    from kvverify.compressors.protocol import Settings, Shape, residual_length

    pipe.write(answers, {"isolation": isolation, "how": how})
    pipe.read(jobs, 0)  # the referee says when; nothing of the compressor has been loaded yet
    public = job["settings"]
    settings = Settings(**{**public, "shape": Shape(**public["shape"])})
    table = Table(settings, job["layers"], load(job["target"], tuple(job["folders"])))
    table.sit_down()
    first = table.compressors[0]
    pipe.write(answers, {"residual_length": residual_length(first), "loaded": loaded(first)})
    header, arrays = pipe.read(jobs, sys.maxsize)
    {"alice": alice, "bob": bob}[job["role"]](table, header, arrays, answers)


@dataclass
class Table:
    """One side of the game: the public settings, the factory, and one compressor a layer."""

    settings: Settings
    layers: int
    factory: Any
    compressors: tuple[Compressor, ...] = ()

    def sit_down(self) -> None:
        """Make fresh compressors: one a layer, or all by the factory's ``together(settings, layers)`` if it has one."""
        from kvverify.compressors.protocol import Compressor

        together = getattr(getattr(self.factory, "factory", None), "together", None)
        if together is None:
            self.compressors = tuple(self.factory(self.settings) for _ in range(self.layers))
        else:
            self.compressors = tuple(together(self.settings, self.layers))
        for made in self.compressors:
            if not isinstance(made, Compressor):
                raise TypeError(f"{self.settings.compressor} returned a {type(made).__name__}, which is no Compressor")
        if len(self.compressors) != self.layers:
            given = len(self.compressors)
            raise ValueError(f"{self.settings.compressor} made {given} compressors for {self.layers} layers")

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """An array as a tensor of the game's dtype and device."""
        import torch

        return torch.from_numpy(array).to(device=self.settings.device, dtype=getattr(torch, self.settings.dtype))


def alice(table: Table, header: dict[str, Any], arrays: dict[str, np.ndarray], answers: IO[bytes]) -> None:
    """Feed the stream by the schedule, write the message and its sizes; then feed a shorter stream, for the slope."""
    import numpy as np
    import torch

    from kvverify.audit import pipe
    from kvverify.audit.schedule import without_first
    from kvverify.compressors import wire
    from kvverify.compressors.protocol import claimed_bits

    keys, values = table.tensor(arrays["keys"]), table.tensor(arrays["values"])
    started = time.monotonic()
    with torch.no_grad():
        _feed(table, header["chunks"], keys, values, header["context_norm"])
        messages = [compressor.message() for compressor in table.compressors]
    claims = [claimed_bits(compressor) for compressor in table.compressors]
    size = wire.measure(messages)
    data = wire.encode(messages, wire.allowed(table.compressors[0]))
    sizes = {
        "claimed_bits": None if None in claims else sum(claim or 0 for claim in claims),
        "held_bits": size.allocated_bits,
        "readable_bits": size.readable_bits,
        "seconds": time.monotonic() - started,
        "peak_bytes": _peak_bytes(),
    }
    pipe.write(answers, sizes, {"message": np.frombuffer(data, dtype=np.uint8)})

    if not (dropped := header["dropped"]):
        return
    table.sit_down()
    chunks = without_first(tuple(header["chunks"]), dropped)
    with torch.no_grad():
        _feed(table, chunks, keys[:, dropped:], values[:, :, dropped:], header["context_norm"])
        shorter = wire.encode([one.message() for one in table.compressors], wire.allowed(table.compressors[0]))
    pipe.write(answers, {"shorter_bytes": len(shorter)})


def _feed(table: Table, chunks: tuple[int, ...], keys: torch.Tensor, values: torch.Tensor, norm: float) -> None:
    """Absorb keys (factors, tokens, key_dim) and values (layers, kv_heads, tokens, value_dim) chunk by chunk.

    Context queries are public random signs of the logit budget; they know nothing of Bob's.
    """
    import torch

    shape = table.settings.shape
    coins = torch.Generator().manual_seed(table.settings.seed)
    start = 0
    for length in chunks:
        signs = torch.randint(0, 2, (1, 1, length, shape.key_dim), generator=coins) * 2 - 1
        context = (signs * (norm / shape.key_dim)).to(keys).expand(1, shape.heads, -1, -1)
        chunk = _heads(keys[:, start : start + length], shape.kv_heads)
        for layer, compressor in enumerate(table.compressors):
            own = values[layer, :, start : start + length].unsqueeze(0)
            compressor.absorb(context.contiguous(), chunk.clone(), own.contiguous())
        start += length


def _heads(factors: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """(1, kv_heads, tokens, dim): the factors (factors, tokens, dim) of one head, in turn, for all heads."""
    return factors.repeat(kv_heads // len(factors), 1, 1).unsqueeze(0)


def bob(table: Table, header: dict[str, Any], arrays: dict[str, np.ndarray], answers: IO[bytes]) -> None:
    """Become the state of the message, answer every query twice, then see which tensors the answers depend on."""
    import numpy as np
    import torch

    from kvverify.attention.softmax_torch import chunk_queries
    from kvverify.audit import pipe
    from kvverify.compressors import wire

    data = arrays["message"].tobytes()
    allow = wire.allowed(table.compressors[0])
    queries, own_keys = table.tensor(arrays["queries"]), table.tensor(arrays["own_keys"])
    shape = table.settings.shape
    chunk = chunk_queries(header["columns"], shape.heads, shape.key_dim, shape.value_dim)
    asker = Asker(table, queries, own_keys, min(len(queries), chunk))
    started = time.monotonic()
    with torch.no_grad():
        asker.become(wire.decode(data, allow))
        first = [asker.ask(part) for part in asker.parts()]
        seconds = time.monotonic() - started
        rounding = ULPS * torch.finfo(getattr(torch, asker.precision)).eps
        again = reversed([*enumerate(asker.parts())])
        same = all(_same(asker.ask(part), first[index], rounding) for index, part in again)
        said = {"chunk": asker.chunk, "same_twice": same, "seconds": seconds, "peak_bytes": _peak_bytes()}
        pipe.write(answers, said, {"answers": np.concatenate(first, axis=-2)})
        pipe.write(answers, _weight(asker, data, allow, first, header["live_seconds"]))


@dataclass
class Asker:
    """Asks queries (reads, key_dim) of the compressors at the table, ``chunk`` reads at a time.

    ``own_keys`` (factors, reads, key_dim).
    """

    table: Table
    queries: torch.Tensor
    own_keys: torch.Tensor
    chunk: int
    precision: str = ""

    def become(self, messages: Any) -> None:
        """Load one message a layer into fresh compressors."""
        self.table.sit_down()
        for compressor, message in zip(self.table.compressors, messages, strict=True):
            compressor.load(message)

    def parts(self) -> Iterator[slice]:
        """The reads, chunk by chunk."""
        reads = len(self.queries)
        return (slice(start, min(reads, start + self.chunk)) for start in range(0, reads, self.chunk))

    def ask(self, part: slice) -> np.ndarray:
        """Answers (layers, kv_heads, reads, value_dim) as float32; read i is answered by query head i mod group.

        Raises TypeError or ValueError where a compressor answers with something else than (1, heads, reads, value_dim).
        """
        import numpy as np
        import torch

        settings = self.table.settings
        shape, heads = settings.shape, settings.answer_heads
        queries = self.queries[part]
        reads = len(queries)
        expected = (1, heads, reads, shape.value_dim)
        asked = queries.expand(1, heads, -1, -1).contiguous()
        keys = _heads(self.own_keys[:, part], shape.kv_heads)
        zeros = keys.new_zeros((1, shape.kv_heads, reads, shape.value_dim))
        turn = torch.arange(part.start, part.stop) % shape.group
        found = []
        for compressor in self.table.compressors:
            answer = compressor.attend(asked, keys, zeros)
            if not isinstance(answer, torch.Tensor) or not answer.is_floating_point():
                kind = str(answer.dtype) if isinstance(answer, torch.Tensor) else type(answer).__name__
                raise TypeError(f"attend returned a {kind}, expected a floating-point tensor of shape {expected}")
            if tuple(answer.shape) != expected:
                raise ValueError(f"attend returned shape {tuple(answer.shape)}, expected {expected}")
            self.precision = str(answer.dtype).removeprefix("torch.")
            grouped = answer[0].float().cpu().reshape(-1, shape.group, reads, shape.value_dim)
            found.append(grouped[:, turn, torch.arange(reads)].numpy())
        return np.stack(found)


def _same(one: np.ndarray, other: np.ndarray, rounding: float = 0.0) -> bool:
    import numpy as np

    return bool(np.allclose(one, other, rtol=0.0, atol=rounding, equal_nan=True))


def _weight(
    asker: Asker, data: bytes, allow: tuple[str, ...], first: list[np.ndarray], seconds: float
) -> dict[str, Any]:
    """``live_bits`` of the message, and the ``dead`` tensors that no answer depends on, each blanked in turn.

    A tensor counts as live when an answer changes, when the compressor fails without it, or when time has run out.
    Dead ones are pairs of their place in the message and their bits, largest first.
    """
    from kvverify.compressors import wire

    deadline = time.monotonic() + seconds

    def is_live(index: int) -> bool:
        try:
            asker.become(wire.blank(data, index, allow))
            for position, part in enumerate(asker.parts()):
                if time.monotonic() > deadline or not _same(asker.ask(part), first[position]):
                    return True
        except Exception:  # noqa: BLE001  it cannot do without that tensor
            return True
        return False

    sizes = wire.blob_bits(data)
    dead = [index for index, bits in enumerate(sizes) if bits and not is_live(index)]
    places = [path[:_PATH_KEPT] for path, _ in wire.tensors(wire.decode(data, allow))]
    if len(places) != len(sizes):  # a class that flattens in another way once it was sent
        places = [f"tensor {index}" for index in range(len(sizes))]
    named = sorted(((places[index], sizes[index]) for index in dead), key=lambda one: -one[1])
    live_bits = wire.header_bits(data) + sum(sizes) - sum(sizes[index] for index in dead)
    return {"live_bits": live_bits, "dead": named[:_DEAD_KEPT]}
