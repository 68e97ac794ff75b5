"""``bound`` and ``certify``: lower bounds for a class of problems, or for the keys of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import (
    Body,
    Dim,
    Failure,
    HeadDim,
    Inputs,
    Json,
    KvHeads,
    Layers,
    MaxLogit,
    Relative,
    Scalar,
    Tokens,
    Tolerance,
    count,
    positive,
    problem,
)
from kvverify.cli.output import say, show, write_certificate
from kvverify.errors import Incomplete, UsageError


def bound(
    tokens: Tokens, head_dim: HeadDim = None, key_dim: Dim = None, value_dim: Dim = None,
    tolerance: Tolerance = None, relative: Relative = None, failure: Failure = "1/10", max_logit: MaxLogit = "24",
    body: Body = "cube", inputs: Inputs = "real", kv_heads: KvHeads = "1", layers: Layers = "1",
    bits_per_scalar: Scalar = "16",
    bits_per_token: Annotated[str | None, typer.Option(help="In place of --tolerance: a size, to ask for it.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "--certificate", help="Write the proof here.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The fewest bits that any compressor of a class of problems must keep."""
    from kvverify.bounds import best_bound
    from kvverify.bounds.inverse import tolerance_floor
    from kvverify.report.bounds import bound_json, bound_text

    question = problem(tokens, head_dim, key_dim, value_dim, tolerance, relative, failure, max_logit, body, inputs,
                        kv_heads, layers)  # fmt: skip
    scalar = count(bits_per_scalar, "bits-per-scalar")
    floor = None
    if bits_per_token is None:
        found = best_bound(question)
    else:
        if tolerance is not None or relative is not None:
            raise UsageError("--bits-per-token asks for the tolerance; give it, or --tolerance or --relative, not both")
        floor = tolerance_floor(question, positive(bits_per_token, "bits-per-token"))
        found = floor.bound
    path = write_certificate(found, output)
    show(bound_json(found, scalar, path, floor) if as_json else bound_text(found, scalar, path, floor))


def certify(
    tokens: Annotated[str | None, typer.Option(help="Cached tokens, also 2^k.")] = None,
    head_dim: HeadDim = None, key_dim: Dim = None, value_dim: Dim = None,
    tolerance: Tolerance = None, relative: Relative = None, failure: Failure = "1/10", max_logit: MaxLogit = "24",
    body: Body = "cube", inputs: Inputs = "real", kv_heads: KvHeads = "1", layers: Layers = "1",
    keys: Annotated[Path | None, typer.Option(help="A safetensors file of keys: certify these keys.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of the key file.")] = None,
    head: Annotated[int | None, typer.Option(help="KV head of the key file.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the certificate here, else to standard output.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """A certificate for a class of problems, or for the keys of a file."""
    from kvverify.api import DEFAULT_TOLERANCE, certify_keys
    from kvverify.bounds import best_bound
    from kvverify.problem import number
    from kvverify.report.bounds import bound_json, bound_text

    if keys is not None:
        if any((tokens, head_dim, key_dim, relative)) or (body, kv_heads, layers) != ("cube", "1", "1"):
            raise UsageError(
                "--keys speaks of one head's keys: its tokens, key dimension and body come from the file; with it go "
                "--layer, --head, --value-dim, --tolerance, --failure, --max-logit and --inputs"
            )
        found = certify_keys(
            keys, max_logit=number(max_logit, "max-logit"), failure=number(failure, "failure"),
            tolerance=number(tolerance, "tolerance") if tolerance is not None else DEFAULT_TOLERANCE,
            value_dim=count(value_dim, "value-dim") if value_dim is not None else None,
            layer=layer, head=head, inputs=inputs,
        )  # fmt: skip
    else:
        if tokens is None or not (layer is None and head is None):
            raise UsageError("give --tokens and --head-dim for a class, or --keys FILE.safetensors (--layer, --head)")
        found = best_bound(
            problem(tokens, head_dim, key_dim, value_dim, tolerance, relative, failure, max_logit, body, inputs,
                     kv_heads, layers)
        )  # fmt: skip
    if found.certificate is None and not as_json:
        raise Incomplete(f"no certificate, as no bound above 0 was found: {found.reason}")
    if output is None and not as_json:
        show(found.certificate or {})
        return
    path = write_certificate(found, output)
    show(bound_json(found, 16, path) if as_json else bound_text(found, 16, path))
    if path is not None and keys is not None and path.parent.resolve() != keys.parent.resolve():
        say(f"kvverify: the certificate refers to {keys.name}: check it beside that file, or with --files FOLDER")
    raise typer.Exit(0 if found.certificate else 3)
