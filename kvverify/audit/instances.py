"""Which instance an audit plays: the kinds by name, each made from the options that it takes."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from kvverify.attention.visual import parse_scales
from kvverify.bounds import instance_bound
from kvverify.bounds.given import random_keys, search_instance
from kvverify.bounds.key_files import open_tensors
from kvverify.bounds.playable import played
from kvverify.bounds.search import INSTANCE_LOGIT
from kvverify.bounds.tensor import tensor_instance
from kvverify.bounds.visual import visual_instance
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.key_payload import KIND, KeyPayloadInstance
from kvverify.instances.layout import MAX_SCALARS, from_certificate

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class InstanceOptions:
    """The options that say what is played; None where one was not given.

    ``instance`` is the name of a kind of softmax attention, ``attention`` that of another attention.
    """

    instance: str | None = None
    attention: str | None = None
    certificate: Path | None = None
    tokens: int | None = None
    head_dim: int | None = None
    value_dim: int | None = None
    kv_heads: int | None = None
    layers: int | None = None
    max_logit: Fraction | None = None
    keys: Path | None = None
    layer: int | None = None
    head: int | None = None
    query_head: int | None = None
    rehearsals: int | None = None
    scales: str | None = None
    kernel: str | None = None
    cut: str | None = None

    @property
    def logit(self) -> Fraction:
        """The logit budget, INSTANCE_LOGIT unless given."""
        return INSTANCE_LOGIT if self.max_logit is None else self.max_logit


@dataclass(frozen=True)
class Kind:
    """A kind of instance: how it is made, the options that it cannot do without, and those that it takes besides."""

    make: Callable[[InstanceOptions], HardInstance]
    needs: tuple[str, ...]
    takes: tuple[str, ...]


def make_instance(options: InstanceOptions) -> HardInstance:
    """The instance that the options describe. Raises UsageError where they describe none, as ``from_certificate``."""
    given = {field.name for field in fields(options) if getattr(options, field.name) is not None}
    check_options(given, options.instance, options.attention)
    if options.certificate is not None:
        return played(options.certificate)
    kinds, _, name = _named(options.instance, options.attention)
    return kinds[name].make(options)


def check_options(given: Set[str], instance: str | None, attention: str | None = None) -> None:
    """Refuse, in one line, options that do not go together; ``given`` are their names in InstanceOptions."""
    if "certificate" in given:
        if given != {"certificate"}:
            raise UsageError("--certificate says what is played and its shape; give it, or other options, not both")
        return
    kinds, option, name = _named(instance, attention)
    kind = kinds.get(name)
    if kind is None:
        others = (*kinds, SOFTMAX) if option == "attention" else kinds
        raise UsageError(f"{option}: {name!r} given, one of {', '.join(others)} is needed")
    if set(kind.needs) - given:
        needed = " and ".join(map(_option, kind.needs))
        said = instance if option == "instance" else name
        raise UsageError(f"--{option} {name} needs {needed}" if said else f"give --certificate FILE, or {needed}")
    if left := sorted(given - {*kind.needs, *kind.takes, option} - ({"attention"} if attention == SOFTMAX else set())):
        raise UsageError(f"{_option(left[0])} is no option of --{option} {name}")


def _named(instance: str | None, attention: str | None) -> tuple[dict[str, Kind], str, str]:
    """The kinds to choose from, the option that chooses, and the kind's name."""
    if attention in (None, SOFTMAX):
        return KINDS, "instance", instance or FIRST
    return ATTENTION, "attention", str(attention)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _hard(options: InstanceOptions) -> HardInstance:
    """Sign keys of a code, certified for the class by the volume rule."""
    assert options.tokens is not None
    assert options.head_dim is not None
    found = instance_bound(
        options.tokens, options.head_dim, options.kv_heads or 1, options.logit, options.value_dim, options.layers or 1
    )
    if found.certificate is None:
        raise UsageError(f"no hard instance of this shape: {found.reason}")
    return from_certificate(found.certificate)


def _crowded(options: InstanceOptions) -> HardInstance:
    """Random unit keys, as many as are asked for, certified as given keys."""
    assert options.tokens is not None
    assert options.head_dim is not None
    keys = random_keys(options.tokens, options.head_dim)
    return replace(_searched(keys, None, options), in_order=False, kind="crowded")


def _captured(options: InstanceOptions) -> HardInstance:
    """One head of a file that ``kvverify capture`` wrote, read by queries found here or by recorded ones."""
    assert options.keys is not None
    if options.query_head is not None and (options.layer is None or options.head is None):
        raise UsageError(f"query-head: {options.query_head} given; --layer and --head are needed beside it")
    file = open_tensors(options.keys)
    keys, queries = file.tensor(options.layer, options.head).values, None
    if options.query_head is not None:
        assert options.layer is not None
        group = file.heads(options.layer, "queries") // file.heads(options.layer, "keys")
        if options.query_head // group != options.head:
            first = (options.head or 0) * group
            readers = f"{first} to {first + group - 1}"
            raise UsageError(f"query-head: {options.query_head} given, KV head {options.head} is read by {readers}")
        queries = file.tensor(options.layer, options.query_head, "queries").values
    return _searched(keys, queries, options)


def _searched(keys: np.ndarray, queries: np.ndarray | None, options: InstanceOptions) -> HardInstance:
    tokens, dim = keys.shape
    scalars = tokens * (options.value_dim or dim) * (options.kv_heads or 1) * (options.layers or 1)
    if scalars > MAX_SCALARS:
        raise Incomplete(f"a game of {tokens} tokens would hold {scalars} scalars, at most {MAX_SCALARS} are played")
    return streams(search_instance(keys, queries, value_dim=options.value_dim, max_logit=options.max_logit), options)


def streams(one: HardInstance, options: InstanceOptions) -> HardInstance:
    """The instance in every head of every layer: secrets are independent, so that their bits add up."""
    heads, layers = options.kv_heads or 1, options.layers or 1
    bits = one.state_bits_at_least * heads * layers
    return replace(one, kv_heads=heads, layers=layers, state_bits_at_least=bits)


def _adversarial(options: InstanceOptions) -> HardInstance:
    """Where the search of ``audit.rehearse`` begins."""
    return replace(_hard(options), kind="adversarial")


def _key_payload(options: InstanceOptions) -> HardInstance:
    """Sign keys in three quarters of the coordinates, or in all but 16, and a secret in the others."""
    assert options.tokens is not None
    assert options.head_dim is not None
    tilt, coordinates = KeyPayloadInstance.tilt, min(_KEY_COORDINATES, options.head_dim // 4)
    if not coordinates:
        raise UsageError(f"head-dim: {options.head_dim} given, at least 4 are needed for a secret in keys")
    if options.logit <= tilt:
        raise UsageError(f"max-logit: {options.logit} given, more than {tilt} is needed to read a secret in keys")
    smaller = replace(options, head_dim=options.head_dim - coordinates, max_logit=options.logit - tilt)
    half = _hard(replace(smaller, value_dim=options.value_dim or options.head_dim))
    scalars = half.tokens * (coordinates + 1) * half.value_dim
    if scalars > MAX_SCALARS:
        raise Incomplete(f"a game of {half.tokens} tokens would hold {scalars} scalars, at most {MAX_SCALARS}")
    return KeyPayloadInstance.of(half, coordinates)


def _visual(options: InstanceOptions) -> HardInstance:
    """A pyramid of maps, interpolated scale by scale."""
    assert options.scales is not None
    assert options.head_dim is not None
    return visual_instance(
        parse_scales(options.scales), options.kernel or KERNEL, options.cut or CUT, options.head_dim,
        options.value_dim or options.head_dim, options.kv_heads or 1, options.layers or 1, options.logit,
    )  # fmt: skip


def _tensor(options: InstanceOptions) -> HardInstance:
    """Two factors of keys and of values."""
    assert options.tokens is not None
    assert options.head_dim is not None
    return tensor_instance(
        options.tokens, options.head_dim, options.value_dim or options.head_dim, options.kv_heads or 1,
        options.layers or 1, options.logit,
    )  # fmt: skip


FIRST = "hard"
"""The kind where none is named."""
_KEY_COORDINATES = 16
_STREAMS = ("value_dim", "kv_heads", "layers", "max_logit")
KINDS = {
    "hard": Kind(_hard, ("tokens", "head_dim"), _STREAMS),
    "crowded": Kind(_crowded, ("tokens", "head_dim"), _STREAMS),
    "adversarial": Kind(_adversarial, ("tokens", "head_dim"), ("rehearsals", *_STREAMS)),
    KIND: Kind(_key_payload, ("tokens", "head_dim"), ("value_dim", "max_logit")),
    "captured": Kind(_captured, ("keys",), ("layer", "head", "query_head", *_STREAMS)),
}
"""Every kind of softmax attention by its name."""
SOFTMAX, KERNEL, CUT = "softmax", "bicubic", "between-steps"
"""What holds where nothing is said."""
ATTENTION = {
    "visual": Kind(_visual, ("scales", "head_dim"), ("kernel", "cut", *_STREAMS)),
    "tensor": Kind(_tensor, ("tokens", "head_dim"), _STREAMS),
}
"""Every other attention."""
