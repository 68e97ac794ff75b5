"""``bound`` and ``certify``: lower bounds for a class of problems, or for the keys of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvverify.cli.claims import Ledger, certify_claim
from kvverify.cli.options import (
    Attention,
    Body,
    Cut,
    Dim,
    Failure,
    HeadDim,
    Inputs,
    Json,
    Kernel,
    KvHeads,
    Layers,
    MaxLogit,
    Relative,
    Scalar,
    Scales,
    Tolerance,
    count,
    maybe_count,
    positive,
    problem,
)
from kvverify.cli.output import apart, say, show, write_certificate
from kvverify.errors import Incomplete, UsageError

if TYPE_CHECKING:
    from kvverify.bounds import Bound


def bound(
    tokens: Annotated[str | None, typer.Option(help="Cached tokens, also 2^k.")] = None, head_dim: HeadDim = None,
    key_dim: Dim = None, value_dim: Dim = None,
    tolerance: Tolerance = None, relative: Relative = None, failure: Failure = "1/10", max_logit: MaxLogit = "24",
    body: Body = "cube", inputs: Inputs = "real", kv_heads: KvHeads = "1", layers: Layers = "1",
    bits_per_scalar: Scalar = "16",
    bits_per_token: Annotated[str | None, typer.Option(help="In place of --tolerance: a size, to ask for it.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "--certificate", help="Write the proof here.")] = None,
    enough: Annotated[Path | None, typer.Option(help="Write the proof of the bits that are enough here.")] = None,
    attention: Attention = None,
    scales: Scales = None, kernel: Kernel = None, cut: Cut = None,
    free_streams: Annotated[bool, typer.Option("--free-streams", help="visual: any stream, not only of maps.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The fewest bits that any compressor of a class of problems must keep, and how many are enough."""
    from kvverify.bounds import best_bound
    from kvverify.bounds.ceiling import ceiling
    from kvverify.bounds.inverse import tolerance_floor
    from kvverify.cli.attention import answer_of, pyramid
    from kvverify.report.attention_bounds import attention_json, attention_text
    from kvverify.report.bounds import Sides, bound_json, bound_text

    maps = pyramid(attention, tokens, scales, kernel, cut, free_streams)
    if maps is None and tokens is None:
        raise UsageError("give --tokens and --head-dim")
    question = problem(str(maps.tokens) if maps else str(tokens), head_dim, key_dim, value_dim, tolerance, relative,
                        failure, max_logit, body, inputs, kv_heads, layers)  # fmt: skip
    scalar = count(bits_per_scalar, "bits-per-scalar")
    if attention == "tensor" or (maps is not None and not maps.free):
        answer = answer_of(maps, question, bits_per_token=bits_per_token, enough=enough)
        show((attention_json if as_json else attention_text)(answer, scalar, write_certificate(answer, output)))
        return
    floor = None
    if bits_per_token is None:
        found = best_bound(question)
    else:
        if tolerance is not None or relative is not None:
            raise UsageError("--bits-per-token asks for the tolerance; give it, or --tolerance or --relative, not both")
        floor = tolerance_floor(question, positive(bits_per_token, "bits-per-token"))
        found = floor.bound
    other = ceiling(found.problem)
    written = Sides(write_certificate(found, output), write_certificate(other, enough))
    if as_json:
        show({**bound_json(found, scalar, written, other, floor), **(maps.words() if maps else {})})
    else:
        show("\n".join([bound_text(found, scalar, written, other, floor), *([maps.line] if maps else ())]))


def certify(
    claim: Annotated[str | None, typer.Argument(metavar="[ID]", help="A row of `claims`, in place of a class.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A parameter of that row: name=value.")] = None,
    artefact: Annotated[str | None, typer.Option(help="Another certificate of that row than its main one.")] = None,
    ledger: Ledger = None,
    tokens: Annotated[str | None, typer.Option(help="Cached tokens, also 2^k.")] = None,
    head_dim: HeadDim = None, key_dim: Dim = None, value_dim: Dim = None,
    tolerance: Tolerance = None, relative: Relative = None, failure: Failure = "1/10",
    max_logit: Annotated[
        str | None, typer.Option(help="Largest |<q, k>|/scale: 24, with --queries that of the recorded ones.")
    ] = None,
    body: Body = "cube", inputs: Inputs = "real", kv_heads: KvHeads = "1", layers: Layers = "1",
    keys: Annotated[Path | None, typer.Option(help="A safetensors file of keys: certify these keys.")] = None,
    queries: Annotated[Path | None, typer.Option(help="A file of recorded queries: certify what these read.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of the key file.")] = None,
    head: Annotated[int | None, typer.Option(help="KV head of the key file.")] = None,
    query_head: Annotated[int | None, typer.Option(help="Query head; the best of the KV head's if not given.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the certificate here, else to standard output.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """A certificate for a class of problems, for the keys of a file, or of a row of the ledger."""
    from kvverify.bounds import best_bound
    from kvverify.bounds.witness import FileBound
    from kvverify.report.bounds import Sides, bound_json, bound_text

    apart(output, keys, queries, ledger)
    defaults = (failure, body, inputs, kv_heads, layers)
    if claim is not None:
        class_of = (tokens, head_dim, key_dim, value_dim, tolerance, relative, max_logit, keys, queries, layer, head)
        if any(word is not None for word in (*class_of, query_head)) or defaults != ("1/10", "cube", "real", "1", "1"):
            raise UsageError(f"{claim} is a row of the ledger: its parameters are given as --set name=value")
        certify_claim(claim, artefact, settings or [], ledger, output, as_json)
        return
    if settings or artefact or ledger:
        raise UsageError("--set, --artefact and --ledger go with a row of the ledger: certify ID")
    if keys is not None:
        if any((tokens, head_dim, key_dim, relative)) or (body, kv_heads, layers) != ("cube", "1", "1"):
            raise UsageError(
                "--keys speaks of one head's keys: its tokens, key dimension and body come from the file; with it go "
                "--queries, --layer, --head, --query-head, --value-dim, --tolerance, --failure, --max-logit, --inputs"
            )
        if queries is not None and output is None and not as_json:
            raise UsageError("--queries writes a file of matrix factors beside the certificate: give --output")
        found = _of_files(keys, queries, layer, head, query_head, max_logit, failure, tolerance, value_dim, inputs)
    else:
        if tokens is None or any(given is not None for given in (queries, layer, head, query_head)):
            raise UsageError(
                "give --tokens and --head-dim for a class, or --keys FILE.safetensors (--queries, --layer, --head)"
            )
        found = best_bound(
            problem(tokens, head_dim, key_dim, value_dim, tolerance, relative, failure, max_logit or "24", body, inputs,
                     kv_heads, layers)
        )  # fmt: skip
    if found.certificate is None and not as_json:
        raise Incomplete(f"no certificate, as no bound above 0 was found: {found.reason}")
    if output is None and not as_json:
        if isinstance(found, FileBound) and found.files:
            raise UsageError("the certificate refers to files that are written beside it: give --output")
        show(found.certificate or {})
        return
    path = write_certificate(found, output)
    show((bound_json if as_json else bound_text)(found, 16, Sides(path)))
    if path is not None and keys is not None:
        away = sorted({file.name for file in (keys, queries or keys) if file.parent.resolve() != path.parent.resolve()})
        if away:
            names, those = " and ".join(away), "that file" if len(away) == 1 else "those files"
            say(f"kvverify: the certificate refers to {names}: check it beside {those}, or with --files FOLDER")
    raise typer.Exit(0 if found.certificate else 3)


def _of_files(
    keys: Path, queries: Path | None, layer: int | None, head: int | None, query_head: int | None,
    max_logit: str | None, failure: str, tolerance: str | None, value_dim: str | None, inputs: str,
) -> Bound:  # fmt: skip
    from kvverify.api import DEFAULT_TOLERANCE, certify_keys
    from kvverify.problem import number

    return certify_keys(
        keys, queries=queries, layer=layer, head=head, query_head=query_head, inputs=inputs,
        max_logit=None if max_logit is None else number(max_logit, "max-logit"), failure=number(failure, "failure"),
        tolerance=DEFAULT_TOLERANCE if tolerance is None else number(tolerance, "tolerance"),
        value_dim=maybe_count(value_dim, "value-dim"),
    )  # fmt: skip
