"""The dearest certificates about files of keys, queries and factors: for scripts/worst_case.py."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from worst_certificates import HUGE, case, determinant, near, statement, step, tree

from kvverify.kernel.document import Node
from kvverify.kernel.tensors import MAX_FILE, MAX_HEADER

Numbers = Callable[[], float]
_RANDOM = random.Random(11)
_SIZES = {"F64": ("d", 8), "F32": ("f", 4)}


def wide() -> float:
    """Of any size that one file may hold: 2^300 apart, and 53 bits each."""
    return _RANDOM.choice((-1, 1)) * (1 + _RANDOM.random()) * 2.0 ** _RANDOM.randrange(-299, 1)


def sign() -> float:
    """-1 or 1."""
    return float(_RANDOM.choice((-1, 1)))


def file(
    folder: Path, name: str, tensors: dict[str, tuple[list[int], Numbers]], size: int = 0, junk: Node | None = None
) -> str:
    """Write a safetensors file of F64, filled up to ``size`` bytes; the sha256."""
    header: dict[str, object] = dict(junk or {})
    start = 0
    for tensor, (shape, _) in tensors.items():
        count = 8
        for x in shape:
            count *= x
        header[tensor] = {"dtype": "F64", "shape": shape, "data_offsets": [start, start + count]}
        start += count
    text = json.dumps(header, separators=(",", ":")).encode()
    digest = hashlib.sha256()
    with (folder / name).open("wb") as stream:

        def put(data: bytes) -> None:
            stream.write(data)
            digest.update(data)

        put(struct.pack("<Q", len(text)) + text)
        for shape, numbers in tensors.values():
            for _row in range(shape[0] if len(shape) == 2 else 1):
                put(struct.pack(f"<{shape[-1]}d", *(numbers() for _ in range(shape[-1]))))
        while stream.tell() < size:
            put(bytes(min(1 << 20, size - stream.tell())))
    return digest.hexdigest()


def own_keys(folder: Path, tokens: int, dim: int, numbers: Numbers, **fields: object) -> Node:
    """A statement about a file of keys that is written."""
    digest = file(folder, "keys.safetensors", {"keys": ([tokens, dim], numbers)})
    keys = {"name": "keys.safetensors", "sha256": digest, "tensor": "keys"}
    usual: Node = {"tokens": tokens, "key_dim": dim, "kv_heads": 1, "layers": 1, "body": "given", "budget": "own-keys"}
    return statement(**(usual | {"keys": keys} | fields))


def attention(payload: Iterable[int], queries: object, scale: object, name: str = "leak", **given: object) -> Node:
    """An attention-row step with bounds that hold always."""
    node = step(
        name, "attention-row", given={"payload": " ".join(map(str, payload)), "query_scale": scale, **given},
        off_target_at_most=HUGE, off_target_squares_at_most=HUGE, rest_at_most=HUGE,
    )  # fmt: skip
    if queries is not None:
        node["given"]["queries"] = queries
    return node


@case("attention-row: 2^18 keys of eight coordinates")
def _many_keys(folder: Path) -> Node:
    claimed = own_keys(folder, 1 << 18, 8, wide)
    return tree(claimed, [], [attention([0], [" ".join([str((1 << 320) - 1)] * 8)], f"1/{1 << 330}")])


@case("attention-row: 120,000 keys under 256 queries")
def _wide_block(folder: Path) -> Node:
    claimed = own_keys(folder, 120_000, 1, sign)
    return tree(claimed, [], [attention(range(256), [str(i + 1) for i in range(256)], "1")])


@case("attention-row: 5,000 keys, all of them payload")
def _square(folder: Path) -> Node:
    claimed = own_keys(folder, 5000, 1, wide)
    return tree(claimed, [attention(range(5000), ["1"] * 5000, "1")])


@case("attention-row: 4096 keys of 512 coordinates, payload 1024")
def _head(folder: Path) -> Node:
    claimed = own_keys(folder, 4096, 512, sign)
    rows = {"name": "keys.safetensors", "sha256": claimed["keys"]["sha256"], "tensor": "keys"}
    return tree(claimed, [], [attention(range(1024), rows, "1/2", rows=" ".join(map(str, range(1024))))])


@case("attention-row: entries 2^300 apart, both sides")
def _spread(folder: Path) -> Node:
    claimed = own_keys(folder, 2048, 64, wide)
    queries = [" ".join(str(_RANDOM.getrandbits(320)) for _ in range(64)) for _ in range(256)]
    return tree(claimed, [], [attention(range(256), queries, f"1/{1 << 400}")], most=40)


@case("attention-row: scores 4,095 apart")
def _table(folder: Path) -> Node:
    claimed = own_keys(folder, 2, 1, sign, max_logit=near(4000))
    digest = file(folder, "keys.safetensors", {"keys": ([2, 1], iter([1.0, -1.0]).__next__)})
    claimed["keys"]["sha256"] = digest
    return tree(claimed, [], [attention([0], ["2047"], "1")])


@case("attention-row: 8 keys and queries of 2^17 coordinates")
def _kept(folder: Path) -> Node:
    claimed = own_keys(folder, 8, 1 << 17, wide)
    digest = file(folder, "queries.safetensors", {"queries": ([8, 1 << 17], wide)})
    rows = {"name": "queries.safetensors", "sha256": digest, "tensor": "queries"}
    return tree(claimed, [], [attention(range(8), rows, f"1/{1 << 40}", rows=" ".join(map(str, range(8))))])


@case("attention-row: 8 keys and queries of 2^18 coordinates")
def _one(folder: Path) -> Node:
    claimed = own_keys(folder, 8, 1 << 18, wide)
    digest = file(folder, "queries.safetensors", {"queries": ([8, 1 << 18], wide)})
    rows = {"name": "queries.safetensors", "sha256": digest, "tensor": "queries"}
    return tree(claimed, [], [attention([0], rows, f"1/{1 << 40}", rows="0")])


@case("attention-row: recorded queries, 2^18 keys of eight coordinates")
def _recorded(folder: Path) -> Node:
    digest = file(folder, "queries.safetensors", {"queries": ([1 << 18, 8], wide)})
    rows = {"name": "queries.safetensors", "sha256": digest, "tensor": "queries"}
    claimed = own_keys(folder, 1 << 18, 8, wide, budget="own-queries", queries=rows)
    return tree(claimed, [], [attention([0], None, "1", rows="0")])


@case("attention-row: files of 256 MiB")
def _large(folder: Path) -> Node:
    digest = file(folder, "keys.safetensors", {"keys": ([2, 1 << 20], wide), "all": ([1], wide)}, MAX_FILE)
    keys = {"name": "keys.safetensors", "sha256": digest, "tensor": "keys"}
    claimed = statement(tokens=2, key_dim=1 << 20, kv_heads=1, layers=1, body="given", budget="own-keys", keys=keys)
    return tree(claimed, [], [attention([0], {**keys}, f"1/{1 << 40}", rows="0")])


@case("attention-row: a header of 1 MiB")
def _header(folder: Path) -> Node:
    claimed = own_keys(folder, 2, 1, sign)
    junk: Node = {format(i, "x"): {} for i in range(95_000)}
    claimed["keys"]["sha256"] = file(folder, "keys.safetensors", {"keys": ([2, 1], sign)}, junk=junk)
    return tree(claimed, [], [attention([0], {**claimed["keys"]}, "1", rows="0")])


@case("attention-row: a tensor of 340,000 dimensions")
def _dimensions(folder: Path) -> Node:
    claimed = own_keys(folder, 2, 1, sign)
    junk: Node = {"keys": {"dtype": "F64", "shape": [99] * (MAX_HEADER // 3 - 100), "data_offsets": [0, 16]}}
    claimed["keys"]["sha256"] = file(folder, "keys.safetensors", {"x": ([2, 1], sign)}, junk=junk)
    return tree(claimed, [attention([0], ["1"], "1")])


# determinants of given keys


def _signed(folder: Path, tokens: int, dim: int) -> tuple[Node, Node]:
    """Distinct sign vectors as keys and as queries, far enough apart for any determinant."""
    rows = [[1.0 if i >> j & 1 else -1.0 for j in range(dim)] for i in range(tokens)]
    numbers = iter([x for row in rows for x in row])
    claimed = own_keys(folder, tokens, dim, numbers.__next__, tolerance=near("1/100"))
    queries = {**claimed["keys"]}
    return claimed, attention(range(tokens), queries, 20, rows=" ".join(map(str, range(tokens))))


@case("determinant: ostrowski, 3,000 rows")
def _ostrowski(folder: Path) -> Node:
    claimed, rows = _signed(folder, 3000, 13)
    return tree(claimed, [rows], [determinant("ostrowski")])


@case("determinant: exact, 48 rows")
def _exact(folder: Path) -> Node:
    claimed, rows = _signed(folder, 48, 6)
    return tree(claimed, [rows], [determinant("exact")])


@case("determinant: preconditioned, 1024 rows")
def _preconditioned(folder: Path) -> Node:
    claimed, rows = _signed(folder, 1024, 10)
    names = {"lower": ([1024, 1024], _triangle(lower=True)), "upper": ([1024, 1024], _triangle(lower=False))}
    digest = file(folder, "factors.safetensors", names)
    factors = {"name": "factors.safetensors", "sha256": digest, "lower": "lower", "upper": "upper"}
    return tree(claimed, [rows], [determinant("preconditioned", factors=factors)])


@case("determinant: preconditioned, 300 rows")
def _smaller(folder: Path) -> Node:
    claimed, rows = _signed(folder, 300, 9)
    names = {"lower": ([300, 300], _triangle(300, lower=True)), "upper": ([300, 300], _triangle(300, lower=False))}
    digest = file(folder, "factors.safetensors", names)
    factors = {"name": "factors.safetensors", "sha256": digest, "lower": "lower", "upper": "upper"}
    return tree(claimed, [rows], [determinant("preconditioned", factors=factors)])


def _triangle(size: int = 1024, *, lower: bool) -> Numbers:
    """Nearly the identity, all of its triangle of 53 bits and some entries 2^-250 of others."""

    def numbers() -> Iterable[float]:
        for i in range(size):
            for j in range(size):
                inside = j < i if lower else j > i
                yield 1.0 if i == j else (1 + _RANDOM.random()) * 2.0 ** -_RANDOM.randrange(45, 240) if inside else 0.0

    return iter(numbers()).__next__
