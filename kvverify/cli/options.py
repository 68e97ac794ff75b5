"""Options that several commands share, and how their words become numbers and problems."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from kvverify.errors import UsageError

if TYPE_CHECKING:
    from kvverify.problem import Problem

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
HeadDim = Annotated[str | None, typer.Option(help="Scalars of a key and of a value of one head.")]
Dim = Annotated[str | None, typer.Option(help="Scalars of a key, or of a value, where it is not --head-dim.")]
Tolerance = Annotated[str | None, typer.Option(help="Additive error allowed to a read (1/100 when nothing is given).")]
Relative = Annotated[str | None, typer.Option(help="Relative error allowed, in place of --tolerance.")]
Failure = Annotated[str, typer.Option(help="Probability with which a read may be off by more.")]
MaxLogit = Annotated[str, typer.Option(help="Largest |<q, k>|/scale on the body of keys.")]
Body = Annotated[str, typer.Option(help="Body that holds the keys: cube or ball.")]
Inputs = Annotated[str, typer.Option(help="Format of keys and values: real or bf16.")]
KvHeads = Annotated[str, typer.Option(help="KV heads of one layer; each is a stream of its own.")]
Layers = Annotated[str, typer.Option(help="Layers; each multiplies the streams.")]
Scalar = Annotated[str, typer.Option(help="Bits of a scalar of the dense cache.")]
Attention = Annotated[str | None, typer.Option(help="softmax (if nothing is said), visual or tensor.")]
Scales = Annotated[str | None, typer.Option(help="visual: sizes of the maps, as 1,2,4 or 4x6,8x12; var: VAR's ten.")]
Kernel = Annotated[str | None, typer.Option(help="visual: nearest, bilinear, bicubic (default) or catmull-rom.")]
Cut = Annotated[str | None, typer.Option(help="visual: between-steps (default: before the last map), or all-keys.")]
Seconds = Annotated[str, typer.Option(help="Seconds for each player.")]


def problem(
    tokens: str, head_dim: str | None, key_dim: str | None, value_dim: str | None, tolerance: str | None,
    relative: str | None, failure: str, max_logit: str, body: str, inputs: str, kv_heads: str, layers: str,
) -> Problem:  # fmt: skip
    """The class that the words describe. Raises UsageError, in the option's name, where they describe none."""
    from kvverify.problem import Problem, number

    key_dim, value_dim = key_dim or head_dim, value_dim or head_dim
    if key_dim is None or value_dim is None:
        raise UsageError("give --head-dim, or --key-dim and --value-dim")
    if tolerance is None and relative is None:
        tolerance = "1/100"
    return Problem(
        tokens=count(tokens, "tokens"), key_dim=count(key_dim, "key-dim"), value_dim=count(value_dim, "value-dim"),
        tolerance=None if tolerance is None else number(tolerance, "tolerance"),
        relative=None if relative is None else number(relative, "relative"),
        failure=number(failure, "failure"), max_logit=number(max_logit, "max-logit"), body=body, inputs=inputs,
        kv_heads=count(kv_heads, "kv-heads"), layers=count(layers, "layers"),
    )  # fmt: skip


def count(text: str, name: str) -> int:
    """A whole number, also 2^k. Raises UsageError in the option's name."""
    from kvverify.problem import whole

    return whole(text, name)


def amount(text: str, name: str) -> float:
    """Seconds or GiB: a number above 0, at most a million."""
    from kvverify.problem import number

    value = number(text, name)
    if not 0 < value <= 10**6:
        raise UsageError(f"{name}: {text} given, a number above 0 and at most 10^6 is needed")
    return float(value)


def positive(text: str, name: str) -> Fraction:
    """A number above 0, exact. Raises UsageError in the option's name."""
    from kvverify.problem import number

    value = number(text, name)
    if value <= 0:
        raise UsageError(f"{name}: {text} given, a number above 0 is needed")
    return value


def maybe_count(text: str | None, name: str) -> int | None:
    """As ``count``, where the option was given."""
    return None if text is None else count(text, name)


def require(what: str, extra: str, *modules: str) -> None:
    """Say at once which optional package ``what`` needs. Raises UsageError with the line that installs it."""
    from importlib.util import find_spec

    for module in modules:
        if find_spec(module) is None:
            raise UsageError(f"{what} needs {module}: pip install 'kvverify[{extra}]'")
