"""A map: for every layer and head of a capture, what a compressor of that head's cache must keep. Source: ours.

Two floors: "keys", any queries within a logit budget on these keys, one for each KV head; and "queries", the recorded
ones, one for each query head. Every cell is a bound of its own, re-proved by the kernel, from files that hold this head
only. Results are lines of a file, so that a map that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from kvverify import batch
from kvverify.bounds.key_files import KeyTensor, TensorFile, open_tensors
from kvverify.bounds.own_keys import SECONDS, own_keys_bound
from kvverify.bounds.own_queries import measured_logit, own_queries_bound
from kvverify.bounds.witness import FileBound, write_bound
from kvverify.errors import Incomplete, UsageError
from kvverify.figures import at_least, exact
from kvverify.kernel.document import write_bytes
from kvverify.problem import Problem

FLOORS = ("keys", "queries")
CELLS = "cells.jsonl"
_MAX_HEADER = 1 << 24  # bytes
_SCHEMA = "kvverify-map-cells/1"

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Survey:
    """What a map asks of a capture. ``max_logit`` is the budget of the floor "keys"; ``seconds`` its search's, a cell.

    The floor "queries" takes the largest logit of the recorded queries themselves.
    """

    capture: Path
    tolerances: tuple[Fraction, ...]
    failure: Fraction
    max_logit: Fraction
    inputs: str = "real"
    layers: tuple[int, ...] | None = None
    floors: tuple[str, ...] = FLOORS
    seconds: float = SECONDS
    certificates: Path | None = None


@dataclass(frozen=True)
class Cell:
    """One question: ``head`` is a KV head for the floor "keys", a query head for "queries"."""

    floor: str
    layer: int
    head: int
    kv_head: int
    tolerance: Fraction
    value_dim: int

    @property
    def name(self) -> str:
        """Of the certificate's file."""
        tolerance = f"{self.tolerance.numerator}-{self.tolerance.denominator}"
        return f"layer-{self.layer}-{self.floor}-head-{self.head}-tolerance-{tolerance}.json"

    def known_as(self) -> tuple[str, int, int, str]:
        """What tells its line from the others."""
        return self.floor, self.layer, self.head, str(self.tolerance)


def draw(survey: Survey, folder: Path, workers: int = 1, progress: Progress | None = None) -> list[dict[str, Any]]:
    """All cells of the map, those that ``folder`` has from an earlier run taken as they are.

    A cell: floor, layer, head, kv_head, tolerance, state_bits_at_least, bits_per_token_and_coordinate (both null, with
    a reason, where nothing is proved), tokens that carry values, certificate, seconds. Raises UsageError where the file
    has no keys or the folder holds another map.
    """
    cells = _cells(survey, _opened(survey.capture))
    lines = _Lines(folder / CELLS, _about(survey))
    todo = [cell for cell in cells if cell.known_as() not in lines.known]
    begun = time.monotonic()
    for done, (cell, answer) in enumerate(_answers(survey, todo, workers), 1):
        lines.add(answer)
        if progress is not None:
            left = (time.monotonic() - begun) / done * (len(todo) - done)
            value = answer["bits_per_token_and_coordinate"]
            shown = "no bound" if value is None else f"{value:.3g} bits"
            stage = f"layer {cell.layer}, {cell.floor}, head {cell.head}, {cell.tolerance}: {shown}; {left:.0f} s left"
            progress(stage, (len(cells) - len(todo) + done) / len(cells))
    return [lines.known[cell.known_as()] for cell in cells]


def metadata(capture: Path) -> dict[str, str]:
    """What ``kvverify capture`` wrote of the model and the text; empty for a file from elsewhere."""
    kept = _header(capture)[0].get("__metadata__")
    return {str(name): str(text) for name, text in kept.items()} if isinstance(kept, dict) else {}


def _opened(capture: Path) -> TensorFile:
    """A capture of any size, without its digest: certificates refer to small copies, which are read strictly."""
    header, start = _header(capture)
    return TensorFile(capture, {name: entry for name, entry in header.items() if name != "__metadata__"}, start, "")


def _header(capture: Path) -> tuple[dict[str, Any], int]:
    """(header, where the tensors begin) of a safetensors file. Raises UsageError."""
    with capture.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(length if length <= _MAX_HEADER else 0).decode())
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{capture}: not a safetensors file ({error})") from None
    if not isinstance(header, dict):
        raise UsageError(f"{capture}: not a safetensors file (its header is no object)")
    return header, 8 + length


def _cells(survey: Survey, source: TensorFile) -> list[Cell]:
    found = source.layers("keys")
    if not found:
        raise UsageError(f"{survey.capture}: no tensor layers.I.keys there; kvverify capture writes such files")
    wanted = found if survey.layers is None else list(survey.layers)
    if absent := sorted(set(wanted) - set(found)):
        raise UsageError(f"{survey.capture}: --layers: {absent[0]} given, it has layers {found[0]} to {found[-1]}")
    cells = []
    for layer in wanted:
        keys, queries, values = (f"layers.{layer}.{kind}" for kind in ("keys", "queries", "values"))
        kv_heads, dim = _shape(source, keys)[0], _shape(source, values if values in source.header else keys)[2]
        cells += [Cell("keys", layer, h, h, eps, dim) for h in range(kv_heads) for eps in survey.tolerances]
        if queries in source.header:
            heads = _shape(source, queries)[0]
            if heads % kv_heads:
                raise UsageError(f"{survey.capture}: layer {layer} has {heads} query heads for {kv_heads} KV heads")
            group = heads // kv_heads
            cells += [Cell("queries", layer, h, h // group, e, dim) for h in range(heads) for e in survey.tolerances]
    cells = [cell for cell in cells if cell.floor in survey.floors]
    if not cells:
        raise UsageError(f"{survey.capture}: no tensor layers.I.queries there, which this floor is about")
    return cells


def _shape(source: TensorFile, name: str) -> tuple[int, int, int]:
    match source.header[name]:
        case {"shape": [int(heads), int(tokens), int(dim)]} if min(heads, tokens, dim) >= 1:
            return heads, tokens, dim
    raise UsageError(f"{source.path}: {name} is no tensor of shape (heads, tokens, dim)")


def _about(survey: Survey) -> dict[str, Any]:
    """What lines of one file share: of another capture or budget they would be another map."""
    with survey.capture.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "schema": _SCHEMA, "capture_sha256": digest, "max_logit": str(survey.max_logit),
        "failure": str(survey.failure), "inputs": survey.inputs, "seconds": survey.seconds,
        "certificates": survey.certificates is not None,
    }  # fmt: skip


class _Lines:
    """A file of JSON lines: what the map is about, then a cell a line. A line that was cut short is forgotten."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.known = path, dict[tuple[str, int, int, str], dict[str, Any]]()
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.read_bytes() if path.exists() else b""
        whole = held.rpartition(b"\n")[0]
        try:
            before, *cells = [json.loads(line) for line in whole.splitlines()] or [about]
            self.known = {(c["floor"], c["layer"], c["head"], c["tolerance"]): c for c in cells}
        except (ValueError, LookupError, TypeError):
            raise UsageError(f"{path}: not a map's lines; choose another --output, or remove it") from None
        if before != about:
            other = "holds a map of another capture, or with other options"
            raise UsageError(f"{path.parent} {other}; choose another --output")
        if (lines := b"".join(json.dumps(line).encode() + b"\n" for line in (about, *cells))) != held:
            write_bytes(path, lines)  # else another map of this folder may be adding to it

    def add(self, cell: dict[str, Any]) -> None:
        """On the disk before the next cell. Raises OSError where it does not fit as a whole."""
        with self.path.open("ab", buffering=0) as stream:
            batch.append(self.path, stream, cell)
        self.known[cell["floor"], cell["layer"], cell["head"], cell["tolerance"]] = cell


def _answers(survey: Survey, todo: list[Cell], workers: int) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Cells as they are answered, by this process or by several."""
    if min(workers, len(todo)) < 2:
        yield from ((cell, answer(survey, cell)) for cell in todo)
        return
    with batch.workers(min(workers, len(todo))) as pool:
        futures = {pool.submit(batch.obedient, answer, survey, cell): cell for cell in todo}
        yield from ((futures[future], future.result()) for future in as_completed(futures))


def answer(survey: Survey, cell: Cell) -> dict[str, Any]:
    """The line of one cell; where certificates are wanted, written with the files that they refer to."""
    begun, found, name, reason = time.monotonic(), None, None, None
    with _folder(survey.certificates) as folder:
        try:
            found = _bound(survey, cell, folder)
            reason = found.reason
            if found.certificate is not None and survey.certificates is not None:
                name = cell.name
                write_bound(folder / name, found)
        except (UsageError, Incomplete) as error:
            reason = str(error)
    proved = found if found is not None and found.certificate is not None else None
    return {
        "floor": cell.floor, "layer": cell.layer, "head": cell.head, "kv_head": cell.kv_head,
        "tolerance": str(cell.tolerance), "max_logit": None if found is None else str(found.problem.max_logit),
        "state_bits_at_least": None if proved is None else exact(int(proved.bits)),
        "bits_per_token_and_coordinate": None if proved is None else at_least(proved.bits_per_token / cell.value_dim),
        "tokens_that_carry_values": None if proved is None else proved.payload,
        "reason": reason, "certificate": name, "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


def _bound(survey: Survey, cell: Cell, folder: Path) -> FileBound:
    source = _opened(survey.capture)
    keys = _alone(source, cell.layer, "keys", cell.kv_head, folder)
    queries = None if cell.floor == "keys" else _alone(source, cell.layer, "queries", cell.head, folder)
    tokens, dim = keys.values.shape
    budget = survey.max_logit if queries is None else measured_logit(keys, queries)
    problem = Problem(
        tokens, dim, cell.value_dim, budget, survey.failure, tolerance=cell.tolerance, inputs=survey.inputs
    )
    if queries is None:
        return own_keys_bound(keys, problem, seconds=survey.seconds)
    return own_queries_bound(keys, queries, problem)


def _alone(source: TensorFile, layer: int, kind: str, head: int, folder: Path) -> KeyTensor:
    """One head of a tensor, copied to the bit into a small file of its own."""
    tensor, entry = f"layers.{layer}.{kind}", source.header[f"layers.{layer}.{kind}"]
    source.tensor(layer, head, kind)  # says what is wrong with it, if anything
    part = (entry["data_offsets"][1] - entry["data_offsets"][0]) // entry["shape"][0]
    with source.path.open("rb") as stream:
        stream.seek(source.start + entry["data_offsets"][0] + head * part)
        raw = stream.read(part)
    header = {tensor: {"dtype": entry["dtype"], "shape": [1, *entry["shape"][1:]], "data_offsets": [0, part]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = folder / f"layer-{layer}-{kind}-{head}.safetensors"
    write_bytes(path, len(text).to_bytes(8, "little") + text + raw)
    return open_tensors(path).tensor(layer, 0, kind)


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """The folder of certificates, or one that is gone afterwards."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="kvverify-map-") as name:
        yield Path(name)
