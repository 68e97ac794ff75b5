"""A row's certificate for other parameters: words become arguments of its recipe, which runs within limits."""

from __future__ import annotations

import inspect
import multiprocessing
import resource
import typing
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import Any

from kvverify.claims.base import Certificate, Claim, Node
from kvverify.errors import Incomplete, UsageError
from kvverify.problem import number

SECONDS = 60
MEMORY = 8 << 30  # bytes of address space
_LARGEST = 1 << 20  # a whole number, of either sign
_DIGITS = 9  # of a fraction's denominator


def choose(claim: Claim, name: str | None) -> Certificate:
    """The certificate of that name; the first one, which is the main one, where none is given. Raises UsageError."""
    if not claim.certificates:
        raise UsageError(f"{claim.id} has no certificate: it is open")
    if name is None:
        return claim.certificates[0]
    for certificate in claim.certificates:
        if certificate.name == name:
            return certificate
    names = ", ".join(certificate.name for certificate in claim.certificates)
    raise UsageError(f"{claim.id} has no artefact {name!r}; it has {names}")


def parameters(certificate: Certificate) -> dict[str, Any]:
    """What ``--set`` may change, with the value that stands in the ledger."""
    wanted = inspect.signature(certificate.build).parameters.values()
    return {p.name: certificate.given.get(p.name, p.default) for p in wanted if p.kind is not p.VAR_KEYWORD}


def arguments(certificate: Certificate, words: Iterable[str]) -> dict[str, Any]:
    """The recipe's arguments, some of them set by "name=value". Raises UsageError."""
    known = parameters(certificate)
    try:
        kinds = typing.get_type_hints(certificate.build)
    except (NameError, TypeError) as error:
        raise UsageError(f"{certificate.name}: the annotations of its recipe cannot be read: {error}") from None
    found = dict(certificate.given)
    for word in words:
        name, sign, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or name not in known:
            names = ", ".join(known) or "no parameters"
            raise UsageError(f"--set {word}: name=value is needed, of {certificate.name}: {names}")
        found[name] = _value(text.strip(), name, kinds.get(name, str))
    return found


def built(certificate: Certificate, given: Mapping[str, Any]) -> Node:
    """The certificate's tree, from a process of its own with limited time and memory.

    Raises UsageError where a hypothesis is violated, Incomplete where the limits are reached.
    """
    receive, send = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(send, certificate.build, given))
    process.start()
    send.close()
    try:
        if not receive.poll(SECONDS):
            raise Incomplete(f"{certificate.name} takes more than {SECONDS} seconds for these parameters")
        outcome, content = receive.recv()
    except EOFError:
        raise Incomplete(
            f"{certificate.name} ended without an answer: these parameters may need more than {MEMORY >> 30} GiB"
        ) from None
    finally:
        process.kill()
        process.join()
    if outcome == "tree":
        return typing.cast(Node, content)
    raise (UsageError if outcome == "usage" else Incomplete)(str(content))


def _run(send: Connection, build: Callable[..., Node], given: Mapping[str, Any]) -> None:
    """In the process of its own: what the recipe returns, or how it refused."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most), most))
    try:
        tree: object = build(**given)
        wrong = f"the recipe returned {type(tree).__name__}, no certificate"
        answer: tuple[str, object] = ("tree", tree) if isinstance(tree, dict) else ("incomplete", wrong)
    except UsageError as error:
        answer = "usage", str(error)
    except Exception as error:  # noqa: BLE001  a recipe may be somebody's own: one line says what it raised
        answer = "incomplete", f"the recipe raised {type(error).__name__}: {error}"
    send.send(answer)


def _value(text: str, name: str, kind: Any) -> Any:
    """The word as a value of the annotation: integer, fraction, yes or no, integers separated by commas, or text."""
    kinds = typing.get_args(kind) if type(None) in typing.get_args(kind) else (kind,)
    wanted = next(k for k in kinds if k is not type(None))
    if wanted is str:
        return text
    if wanted is bool:
        if text not in ("yes", "no"):
            raise UsageError(f"{name}: {text!r} given, yes or no is needed")
        return text == "yes"
    if wanted is int:
        return _whole(text, name)
    if wanted is Fraction:
        value = number(text, name)
        if len(str(value.denominator)) > _DIGITS or abs(value) > _LARGEST:
            raise UsageError(f"{name}: {text} given, at most {_DIGITS} digits below the line and 2^20 are needed")
        return value
    if typing.get_origin(wanted) is not None:
        return tuple(_whole(part, name) for part in text.split(","))
    raise UsageError(f"{name} cannot be set by a word")


def _whole(text: str, name: str) -> int:
    value = number(text, name)
    if value.denominator != 1 or abs(value) > _LARGEST:
        raise UsageError(f"{name}: {text} given, a whole number up to 2^20 is needed")
    return int(value)
