"""Bytes that no writer made: refused with one clear error, in bounded time and memory, without running code."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import needs

torch = needs("torch", "audit")

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.wire import WireError, common, read  # noqa: E402
from tests.compressors.messages import Layer, layer  # noqa: E402

HOME = Layer.__module__


def build(root: Any, nodes: Any, body: bytes = b"") -> bytes:
    header = json.dumps([root, nodes]).encode()
    return common.MAGIC + len(header).to_bytes(4, "little") + header + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"KVW1",
        b"PK\x03\x04" + bytes(40),
        common.MAGIC + (1000).to_bytes(4, "little") + b"[]",
        common.MAGIC + (2).to_bytes(4, "little") + b"[]",
        common.MAGIC + (4).to_bytes(4, "little") + b"null",
        common.MAGIC + (4).to_bytes(4, "little") + b"\xff\xfe\xfd\xfc",
        common.MAGIC + (100_000).to_bytes(4, "little") + b"[" * 100_000,
        build([0], []),
        build([1], [["l", []]]),
        build([-1], [["l", []]]),
        build([True], [["l", []], ["l", []]]),
        build([0], [["l", [[0]]]]),
        build([0], [["l", [[1]]], ["l", []]]),
        build([0], ["l"]),
        build([0], [7]),
        build([0], [[]]),
        build([0], [["?", []]]),
        build({"a": 1}, []),
        build(["i", "zz"], []),
        build(["f", "1e5"], []),
        build([0], [["T", "float32", [3]]], bytes(11)),
        build([0], [["T", "float32", [3]]], bytes(13)),
        build([0], [["T", "float32", [-3]]], b""),
        build([0], [["T", "float32", [1.0]]], bytes(4)),
        build([0], [["T", "float32", [1 << 80]]], bytes(4)),
        build([0], [["T", "float32", [1 << 30] * 100_000]], b""),
        build([0], [["T", "qint8", [1]]], bytes(1)),
        build([0], [["T", "load", [1]]], bytes(1)),
        build([0], [["T", "uint8", [1], [1 << 36, 2]]], bytes(1)),
        build([0], [["T", "uint8", [2], [3]]], bytes(2)),
        build([0], [["T", "uint8@nowhere:0", [1]]], bytes(1)),
        build([0], [["T"]]),
        build([0], [["b", 5]]),
        build([0], [["D", [1, 2], [1]]]),
        build([2], [["t", []], ["t", [[0], [0]]], ["s", [[1]]]]),
        build([1], [["l", []], ["D", [[0]], [1]]]),
        build([0], [["z", ["a"]]]),
        build([0], [["v", "nowhere"]]),
        build([0], [["d", "float33"]]),
        build([1], [["T", "uint8", [3]], ["g", [0]]], bytes(3)),
        build([0], [["c", "os:system"]]),
        build([0], [["c", "builtins:eval"]]),
        build([0], [["o", "subprocess:Popen", {}]]),
        build([0], [["o", "builtins:dict", {}]]),
        build([0], [["o", f"{HOME}:Layer.missing", {}]]),
        build([0], [["c", f"{HOME}:torch"]]),
        build([0], [["c", f"{HOME}:torch.load"]]),
        build([0], [["c", f"{HOME}:collections.namedtuple"]]),
        build([0], [["c", f"{HOME}:Any"]]),
        build([0], [["o", f"{HOME}:policy", {}]]),
        build([0], [["o", f"{HOME}:Slotted", {"absent": 1}]]),
        build([0], [["e", f"{HOME}:Colour", "GREEN"]]),
        build([0], [["e", f"{HOME}:Layer", "__init__"]]),
        build([0], [["n", f"{HOME}:Layer", []]]),
        build([0], [["S", f"{HOME}:Layer", {}, None, [], []]]),
        build([0], [["S", f"{HOME}:Halves", {}, None, [1], [1]]]),
        build([0], [["S", "torch:Tensor", {}, None, [1], [1]]]),
    ],
)
def test_bytes_that_no_writer_made(data: bytes) -> None:
    with pytest.raises(WireError) as raised:
        wire.decode(data, (HOME, "torch"))
    assert len(str(raised.value)) < 400


def test_more_references_than_time() -> None:
    """Sixty doublings: built in no time, as nothing compares, hashes or copies what it refers to."""
    nodes: list[Any] = [["t", []]] + [["t", [[i], [i]]] for i in range(60)]
    assert len(wire.decode(build([60], nodes))) == 2


def test_a_module_that_is_not_loaded_stays_so() -> None:
    assert "this" not in sys.modules
    with pytest.raises(WireError, match="cannot be found"):
        wire.decode(build([0], [["c", "this:s"]]), ("this",))
    assert "this" not in sys.modules


BASE = wire.encode(
    {"layer": layer(keys=torch.arange(6.0).reshape(2, 3), kind=Layer, size=torch.Size([1])), "n": 5, "b": b"xyz"},
    (HOME,),
)


@given(st.data())
@settings(max_examples=300)
def test_mutated_bytes_are_read_or_refused(data: st.DataObject) -> None:
    mutated = bytearray(BASE)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(mutated) - 1))
        match data.draw(st.sampled_from(["set", "cut", "repeat"])):
            case "set":
                mutated[position] = data.draw(st.integers(0, 255))
            case "cut":
                del mutated[position : position + data.draw(st.integers(1, 8))]
            case "repeat":
                mutated[position:position] = mutated[position : position + 8]
        mutated = mutated or bytearray(1)
    try:
        received = wire.decode(bytes(mutated), (HOME,))
    except WireError:
        return
    wire.encode(received, (HOME,))  # what is read is a message again


def test_the_limit_is_checked_before_anything_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wire.encode(torch.arange(100))
    monkeypatch.setattr(read, "LIMIT_BYTES", len(data) - 1)
    with pytest.raises(WireError, match=f"{len(data)} bytes"):
        wire.decode(data)
