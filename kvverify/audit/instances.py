"""Which instance an audit plays: the kinds by name, each made from the options that it takes."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

from kvverify.bounds import instance_bound
from kvverify.bounds.given import random_keys, search_instance
from kvverify.bounds.key_files import open_tensors
from kvverify.bounds.playable import played
from kvverify.bounds.search import INSTANCE_LOGIT
from kvverify.errors import Incomplete, UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.layout import MAX_SCALARS, from_certificate


@dataclass(frozen=True)
class InstanceOptions:
    """The options that say what is played; None where one was not given. ``instance`` is the name of the kind."""

    instance: str | None = None
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


@dataclass(frozen=True)
class Kind:
    """A kind of instance: how it is made, the options that it cannot do without, and those that it takes besides."""

    make: Callable[[InstanceOptions], HardInstance]
    needs: tuple[str, ...]
    takes: tuple[str, ...]


def make_instance(options: InstanceOptions) -> HardInstance:
    """The instance that the options describe. Raises UsageError where they describe none, as ``from_certificate``."""
    check_options(
        {field.name for field in fields(options) if getattr(options, field.name) is not None}, options.instance
    )
    if options.certificate is not None:
        return played(options.certificate)
    return KINDS[options.instance or FIRST].make(options)


def check_options(given: Set[str], name: str | None) -> None:
    """Refuse, in one line, options that do not go together; ``given`` are their names in InstanceOptions."""
    if "certificate" in given:
        if given != {"certificate"}:
            raise UsageError("--certificate says what is played and its shape; give it, or other options, not both")
        return
    kind = KINDS.get(name or FIRST)
    if kind is None:
        raise UsageError(f"instance: {name!r} given, one of {', '.join(KINDS)} is needed")
    if set(kind.needs) - given:
        needed = " and ".join(map(_option, kind.needs))
        raise UsageError(f"--instance {name} needs {needed}" if name else f"give --certificate FILE, or {needed}")
    if left := sorted(given - {*kind.needs, *kind.takes, "instance"}):
        raise UsageError(f"{_option(left[0])} is no option of --instance {name or FIRST}")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _hard(options: InstanceOptions) -> HardInstance:
    """Sign keys of a code, certified for the class by the volume rule."""
    assert options.tokens is not None
    assert options.head_dim is not None
    logit = INSTANCE_LOGIT if options.max_logit is None else options.max_logit
    found = instance_bound(
        options.tokens, options.head_dim, options.kv_heads or 1, logit, options.value_dim, options.layers or 1
    )
    if found.certificate is None:
        raise UsageError(f"no hard instance of this shape: {found.reason}")
    return from_certificate(found.certificate)


def _crowded(options: InstanceOptions) -> HardInstance:
    """Random unit keys, as many as are asked for, certified as given keys."""
    assert options.tokens is not None
    assert options.head_dim is not None
    keys = random_keys(options.tokens, options.head_dim)
    found = search_instance(keys, value_dim=options.value_dim, max_logit=options.max_logit)
    return streams(replace(found, in_order=False, kind="crowded"), options)


def _captured(options: InstanceOptions) -> HardInstance:
    """One head of a file that ``kvverify capture`` wrote, read by queries found here or by recorded ones."""
    assert options.keys is not None
    file = open_tensors(options.keys)
    keys, queries = file.tensor(options.layer, options.head).values, None
    if options.query_head is not None:
        if options.layer is None or options.head is None:
            raise UsageError(f"query-head: {options.query_head} given; --layer and --head are needed beside it")
        group = file.heads(options.layer, "queries") // file.heads(options.layer, "keys")
        if options.query_head // group != options.head:
            first = options.head * group
            readers = f"{first} to {first + group - 1}"
            raise UsageError(f"query-head: {options.query_head} given, KV head {options.head} is read by {readers}")
        queries = file.tensor(options.layer, options.query_head, "queries").values
    return streams(search_instance(keys, queries, value_dim=options.value_dim, max_logit=options.max_logit), options)


def streams(one: HardInstance, options: InstanceOptions) -> HardInstance:
    """The instance in every head of every layer: secrets are independent, so that their bits add up."""
    heads, layers = options.kv_heads or 1, options.layers or 1
    if (scalars := one.tokens * one.value_dim * heads * layers) > MAX_SCALARS:
        raise Incomplete(
            f"a game of {one.tokens} tokens would hold {scalars} scalars, at most {MAX_SCALARS} are played"
        )
    bits = one.state_bits_at_least * heads * layers
    return replace(one, kv_heads=heads, layers=layers, state_bits_at_least=bits)


def _adversarial(options: InstanceOptions) -> HardInstance:
    """Where the search of ``audit.rehearse`` begins."""
    return replace(_hard(options), kind="adversarial")


FIRST = "hard"
"""The kind where none is named."""
_STREAMS = ("value_dim", "kv_heads", "layers", "max_logit")
KINDS = {
    "hard": Kind(_hard, ("tokens", "head_dim"), _STREAMS),
    "crowded": Kind(_crowded, ("tokens", "head_dim"), _STREAMS),
    "adversarial": Kind(_adversarial, ("tokens", "head_dim"), ("rehearsals", *_STREAMS)),
    "captured": Kind(_captured, ("keys",), ("layer", "head", "query_head", *_STREAMS)),
}
"""Every kind by its name."""
