"""Which instance an audit plays: the kinds by name, each made from the options that it takes."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path

from kvverify.bounds import instance_bound
from kvverify.bounds.playable import playable
from kvverify.bounds.search import INSTANCE_LOGIT
from kvverify.errors import UsageError
from kvverify.instances.hard import HardInstance
from kvverify.instances.layout import from_certificate


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
        return from_certificate(playable(options.certificate))
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


FIRST = "hard"
"""The kind where none is named."""
KINDS = {
    "hard": Kind(_hard, ("tokens", "head_dim"), ("value_dim", "kv_heads", "layers", "max_logit")),
}
"""Every kind by its name."""
