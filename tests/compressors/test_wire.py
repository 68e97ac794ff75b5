"""The wire carries all that can be read and nothing behind it, and takes no bytes that no writer made."""

from __future__ import annotations

import collections
import functools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import needs

torch = needs("torch", "audit")

import numpy as np  # noqa: E402

from kvverify.compressors import wire  # noqa: E402
from kvverify.compressors.wire import WireError, common  # noqa: E402
from tests.compressors.messages import Colour, Halves, Layer, Pair, Slotted, layer, policy  # noqa: E402

HERE = (Layer.__module__,)


def sent(message: Any, allow: tuple[str, ...] = HERE) -> Any:
    data = wire.encode(message, allow)
    received = wire.decode(data, allow)
    assert wire.encode(received, allow) == data
    return received


DTYPES = sorted(common.DTYPES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 5), (2, 3, 4)])
def test_tensors_of_every_dtype(dtype: str, shape: tuple[int, ...]) -> None:
    size = math.prod(shape) * common.DTYPES[dtype].itemsize
    raw = torch.randint(0, 2 if dtype == "bool" else 256, (size,), dtype=torch.uint8)
    tensor = raw.view(common.DTYPES[dtype]).reshape(shape) if size else torch.empty(shape, dtype=common.DTYPES[dtype])
    received = sent(tensor)
    assert (received.dtype, received.shape) == (tensor.dtype, tensor.shape)
    assert wire.encode(received) == wire.encode(tensor)
    if size:
        assert torch.equal(received.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(1 << 900), max_value=1 << 900),
    st.floats(),
    st.text(),
    st.binary(),
)
messages = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(scalars.filter(lambda key: key == key), inner, max_size=4),
    ),
    max_leaves=20,
)


@given(messages)
def test_python_state_comes_back_as_it_was(message: Any) -> None:
    data = wire.encode(message)
    assert repr(wire.decode(data)) == repr(message)  # repr: NaN is not equal to itself, and True == 1
    assert wire.encode(wire.decode(data)) == data


@given(st.frozensets(scalars.filter(lambda key: key == key)))
def test_sets(message: frozenset[Any]) -> None:
    assert sent(message) == message
    assert sent(set(message)) == message
    assert type(sent(set(message))) is set


def test_scalars_keep_their_types() -> None:
    message = [True, 1, 1.0, -0.0, None, "1", b"1", bytearray(b"1"), 1 << 5000, math.inf, -math.inf]
    received = sent(message)
    assert [type(item) for item in received] == [type(item) for item in message]
    assert received == message
    assert math.copysign(1, received[3]) == -1
    assert math.isnan(sent(math.nan))


def test_objects_classes_enums_and_named_tuples() -> None:
    slotted = Slotted()
    slotted.kept = torch.arange(3)
    message = layer(
        kind=Layer, policy=policy, colour=Colour.RED, pair=Pair(1, (2,)), slotted=slotted, size=torch.Size([2, 3])
    )
    received = sent(message)
    assert type(received) is Layer
    assert (received.kind, received.policy, received.colour) == (Layer, policy, Colour.RED)
    assert received.pair == Pair(1, (2,))
    assert type(received.pair) is Pair
    assert type(received.size) is torch.Size
    assert torch.equal(received.slotted.kept, slotted.kept)
    assert not hasattr(received.slotted, "missing")


def test_ordered_dictionaries_dtypes_devices_and_generators() -> None:
    generator = torch.Generator().manual_seed(7)
    order = collections.OrderedDict(b=1, a=2)
    received = sent({"order": order, "dtype": torch.bfloat16, "device": torch.device("cpu"), "random": generator})
    assert list(received["order"].items()) == [("b", 1), ("a", 2)]
    assert type(received["order"]) is collections.OrderedDict
    assert (received["dtype"], received["device"]) == (torch.bfloat16, torch.device("cpu"))
    assert torch.equal(torch.rand(3, generator=received["random"]), torch.rand(3, generator=generator))


def test_numpy_arrays() -> None:
    array = np.arange(12, dtype=np.uint16).reshape(3, 4)
    received = sent({"view": array[:, 1:2], "empty": array[:0], "scalar": np.float32(0.5)})
    assert np.array_equal(received["view"], array[:, 1:2])
    assert received["view"].dtype == np.uint16
    assert received["empty"].shape == (0, 4)
    assert received["scalar"] == 0.5
    assert type(received["scalar"]) is np.float32
    size = wire.measure(array[:, 1:2])
    assert (size.allocated_bits, size.readable_bits) == (12 * 16, 3 * 16)
    with pytest.raises(WireError, match="numpy array of dtype object"):
        wire.encode(np.array([None]))


def test_a_view_is_its_elements() -> None:
    storage = torch.arange(1000.0)
    for view in (storage[3:5], storage[::100], storage[:0], storage.reshape(10, 100).T[5:6]):
        received = sent(view)
        assert torch.equal(received, view)
        assert received.untyped_storage().nbytes() == 4 * view.numel()
        size = wire.measure(view)
        assert (size.allocated_bits, size.readable_bits) == (32 * 1000, 32 * view.numel())
        assert wire.blob_bits(wire.encode(view)) == (32 * view.numel(),)


def test_an_expanded_dimension_is_written_once() -> None:
    expanded = torch.arange(3.0)[None, :, None].expand(1000, 3, 1000)
    received = sent(expanded)
    assert torch.equal(received, expanded)
    assert received.untyped_storage().nbytes() == 12
    assert wire.measure(expanded).readable_bits == 3 * 32


def test_a_shared_tensor_is_written_once_and_stays_shared() -> None:
    shared = torch.arange(100.0)
    message = {"a": shared, "b": shared, "c": shared[:], "d": shared.view(10, 10)}
    received = sent(message)
    assert received["a"] is received["b"] is received["c"]
    size = wire.measure(message)
    assert size.allocated_bits == 3200
    assert size.readable_bits == 6400
    assert [part.allocated_bits for part in size.parts] == [3200, 0]
    assert [path for path, _ in wire.tensors(message)] == ["message['a']", "message['d']"]


def test_a_subclass_is_its_inner_tensors() -> None:
    both = Halves(torch.arange(4.0), torch.ones(4))
    received = sent([both, both])
    assert type(received[0]) is Halves
    assert received[0] is received[1]
    assert torch.equal(received[0].high, both.high)
    assert wire.measure(both).allocated_bits == 2 * 4 * 32
    assert [path for path, _ in wire.tensors(both)] == ["message.high", "message.low"]


def test_conjugate_and_transposed() -> None:
    tensor = torch.tensor([[1 + 2j, 3j], [0j, 1]])
    assert torch.equal(sent(tensor.conj().T), tensor.conj().T)
    assert torch.equal(sent(tensor.conj().imag), tensor.conj().imag)


def test_blank_zeroes_one_tensor_at_a_time() -> None:
    message = {"a": torch.arange(1, 4), "b": b"state", "c": torch.zeros(2, dtype=torch.uint8)}
    data = wire.encode(message)
    assert wire.blob_bits(data) == (3 * 64, 5 * 8, 2 * 8)
    assert wire.header_bits(data) == 8 * len(data) - 192 - 40 - 16
    first, second, third = (wire.blank(data, index) for index in range(3))
    assert first["a"].tolist() == [0, 0, 0]
    assert first["b"] == b"state"
    assert second["a"].tolist() == [1, 2, 3]
    assert second["b"] == bytes(5)
    assert third["c"].tolist() == [1, 1]  # zeros say something too
    assert wire.decode(data)["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (lambda: {"f": functools.partial(policy)}, "message['f']: cannot send a functools:partial"),
        (lambda: [iter(())], "message[0]: "),
        (lambda: {"m": json}, "message['m']"),
        (lambda: layer(made=lambda: None), "<lambda> cannot be found by that name"),
        (lambda: [lambda: None], "message[0]: "),
        (lambda: {(1, (2, 3)): 0}, "cannot be a key"),
        (lambda: {Pair(1, 2): 0}, "cannot be a key"),
        (lambda: torch.empty(3, device="meta"), "cannot send a"),
        (lambda: torch.eye(3).to_sparse(), "cannot send a"),
        (lambda: collections.deque([1]), "collections:deque is not among the modules that may be named"),
        (lambda: collections.defaultdict(list), "collections:defaultdict"),
    ],
)
def test_what_cannot_be_sent_is_named_by_its_path(message: Any, says: str) -> None:
    allow = (*HERE, __name__, "functools", "builtins")
    with pytest.raises(WireError) as raised:
        wire.encode(message(), () if "among" in says else allow)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_cycles_and_depth() -> None:
    cycle: list[Any] = []
    cycle.append({"again": cycle})
    with pytest.raises(WireError, match=r"message\[0\]\['again'\]: refers to itself"):
        wire.encode(cycle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(WireError, match="nested too deeply"):
        wire.encode(deep)


def test_the_allow_list_holds_on_both_sides() -> None:
    with pytest.raises(WireError, match=r"Layer is not among the modules that may be named \(none\)"):
        wire.encode(layer())
    with pytest.raises(WireError, match="not among the modules"):
        wire.encode(layer(), ("kvverify",))
    data = wire.encode(layer(), HERE)
    with pytest.raises(WireError, match="not among the modules"):
        wire.decode(data)
    with pytest.raises(WireError, match="not among the modules"):
        wire.decode(data, (HERE[0][:-1],))  # a prefix of the text is no prefix of the module


def test_allowed_names_the_own_module() -> None:
    made = layer(allow=("hqq",))
    assert wire.allowed(made) == ("hqq", *HERE)
    assert wire.allowed(torch.empty(0)) == ("torch",)
