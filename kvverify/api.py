"""The public surface: ``bound``, ``certify``, ``check`` and ``audit``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvverify.bounds import Bound, best_bound
from kvverify.errors import UsageError
from kvverify.kernel.check import Result
from kvverify.kernel.check import check as kernel_check
from kvverify.problem import Problem

if TYPE_CHECKING:
    import os

    from kvverify.audit.report import Report

DEFAULT_TOLERANCE = Fraction(1, 100)
DEFAULT_FAILURE = Fraction(1, 10)


def bound(problem: Problem) -> Bound:
    """The best lower bound on the state of any compressor of the problem's class, re-proved by the kernel."""
    return best_bound(problem)


def certify(problem: Problem) -> dict[str, Any]:
    """The certificate of ``bound`` as a JSON tree. Raises UsageError where no family gives a bound above 0."""
    found = best_bound(problem)
    if found.certificate is None:
        raise UsageError(f"no bound above 0: {found.reason}")
    return found.certificate


def certify_keys(
    path: str | os.PathLike[str],
    *,
    max_logit: Fraction,
    tolerance: Fraction = DEFAULT_TOLERANCE,
    failure: Fraction = DEFAULT_FAILURE,
    value_dim: int | None = None,
    layer: int | None = None,
    head: int | None = None,
    inputs: str = "real",
) -> Bound:
    """A bound about the given keys of a safetensors file, under a logit budget on those keys."""
    from kvverify.bounds.own_keys import own_keys_bound, read_keys

    keys = read_keys(Path(path), layer, head)
    tokens, dim = keys.values.shape
    problem = Problem(tokens, dim, value_dim or dim, max_logit, failure, tolerance=tolerance, inputs=inputs)
    return own_keys_bound(keys, problem)


def check(certificate: str | os.PathLike[str] | dict[str, Any], files: str | os.PathLike[str] | None = None) -> Result:
    """The kernel's verdict on a certificate: a path or a JSON tree. Raises OSError where it cannot be read."""
    return kernel_check(certificate, files)


def audit(compressor: str, certificate: str | os.PathLike[str] | dict[str, Any], **options: Any) -> Report:
    """Play the game: a compressor by name, ``module:name`` or ``path/file.py:name``; options of ``audit.game.play``."""
    from kvverify.audit.game import play
    from kvverify.bounds.playable import playable
    from kvverify.instances.layout import from_certificate

    return play(compressor, from_certificate(playable(certificate)), **options)
