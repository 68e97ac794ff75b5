"""The command line: one function per command. Exit codes: 0 done, 1 invalid or flagged, 2 wrong usage, 3 incomplete."""

from __future__ import annotations

import json
import os
import sys
from fractions import Fraction
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import TyperException

from kvverify import __version__
from kvverify.errors import Incomplete, UsageError

if TYPE_CHECKING:
    from kvverify.bounds import Bound
    from kvverify.problem import Problem

app = typer.Typer(
    name="kvverify", add_completion=False, rich_markup_mode=None,
    help="How small can a KV cache be? Proved bounds, certificates that a small kernel re-checks, audits.",
)  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Tokens = Annotated[str, typer.Option(help="Cached tokens, also 2^k.")]
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
Seconds = Annotated[str, typer.Option(help="Seconds for each player.")]

_INTERRUPTED, _CLOSED_PIPE = 130, 141  # as a shell counts them: 128 and the signal's number
_LINE = 600


def main() -> None:
    """Entry point: every failure is one line on standard error and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be any bytes
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        code = _fail(str(error), 2)
    except Incomplete as error:
        code = _fail(str(error), 3)
    except TyperException as error:
        code = _fail(error.format_message(), 2)
    except OSError as error:
        code = _fail(f"{error.filename or 'standard output'}: {error.strerror or error}", 2)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        _fail("interrupted", code)
    _close_output()
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Versions and the rule files' digests.")] = False,
) -> None:
    if version:
        from kvverify.kernel.check import rule_files
        from kvverify.kernel.document import FORMAT

        lines = [f"  rules/{name} {digest}" for name, digest in rule_files()]
        _print("\n".join([f"kvverify {__version__}, format {FORMAT}", *lines]))
        raise typer.Exit
    if context.invoked_subcommand is None:
        _say(context.get_help())
        raise typer.Exit(2)


@app.command()
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

    question = _problem(tokens, head_dim, key_dim, value_dim, tolerance, relative, failure, max_logit, body, inputs,
                        kv_heads, layers)  # fmt: skip
    scalar = _whole(bits_per_scalar, "bits-per-scalar")
    floor = None
    if bits_per_token is None:
        found = best_bound(question)
    else:
        if tolerance is not None or relative is not None:
            raise UsageError("--bits-per-token asks for the tolerance; give it, or --tolerance or --relative, not both")
        floor = tolerance_floor(question, _positive(bits_per_token, "bits-per-token"))
        found = floor.bound
    path = _write(found, output)
    _print(bound_json(found, scalar, path, floor) if as_json else bound_text(found, scalar, path, floor))


@app.command()
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
            value_dim=_whole(value_dim, "value-dim") if value_dim is not None else None,
            layer=layer, head=head, inputs=inputs,
        )  # fmt: skip
    else:
        if tokens is None or not (layer is None and head is None):
            raise UsageError("give --tokens and --head-dim for a class, or --keys FILE.safetensors (--layer, --head)")
        found = best_bound(
            _problem(tokens, head_dim, key_dim, value_dim, tolerance, relative, failure, max_logit, body, inputs,
                     kv_heads, layers)
        )  # fmt: skip
    if found.certificate is None and not as_json:
        raise Incomplete(f"no certificate, as no bound above 0 was found: {found.reason}")
    if output is None and not as_json:
        _print(found.certificate or {})
        return
    path = _write(found, output)
    _print(bound_json(found, 16, path) if as_json else bound_text(found, 16, path))
    if path is not None and keys is not None and path.parent.resolve() != keys.parent.resolve():
        _say(f"kvverify: the certificate refers to {keys.name}: check it beside that file, or with --files FOLDER")
    raise typer.Exit(0 if found.certificate else 3)


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(help="Certificates, or folders that are searched for *.json.")],
    files: Annotated[Path | None, typer.Option(help="Folder of the files that certificates refer to.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here.")] = None,
    changed_since: Annotated[
        str | None, typer.Option(help="Only files that git saw change since this revision.")
    ] = None,
    expect: Annotated[
        Path | None, typer.Option(help="A statement: same class, and a bound at least as strong.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Re-prove certificates with the kernel, and ask Arb for a second opinion."""
    from kvverify.report.checks import check_all, checks_json, checks_text, junit_bytes

    outcomes = check_all(paths, files=files, changed_since=changed_since, expect=expect)
    if junit is not None:
        _save(junit, junit_bytes(outcomes))
    _print(checks_json(outcomes) if as_json else checks_text(outcomes))
    raise typer.Exit({"VALID": 0, "INVALID": 1, "INCOMPLETE": 3}[checks_json(outcomes)["verdict"]])


@app.command()
def audit(
    target: Annotated[str, typer.Argument(help="A built-in name, module:name or path/file.py:name.")],
    certificate: Annotated[Path | None, typer.Option(help="Play the instance of this certificate.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Cached tokens, where no certificate is given.")] = None,
    head_dim: HeadDim = None, value_dim: Dim = None,
    kv_heads: Annotated[str | None, typer.Option(help="KV heads, each with a secret of its own (1).")] = None,
    heads: Annotated[str | None, typer.Option(help="Query heads, a multiple of --kv-heads.")] = None,
    max_logit: Annotated[str | None, typer.Option(help="Largest logit of a query (24).")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of its own: name=value.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Feeding: prefill:1792,step:256 or chunk:8x256.")] = None,
    payload: Annotated[str, typer.Option(help="The secret: continuous or discrete.")] = "continuous",
    alphabet: Annotated[str, typer.Option(help="Levels of a discrete secret.")] = "2",
    dtype: Annotated[str, typer.Option(help="Dtype that is fed: bfloat16 or float32.")] = "bfloat16",
    claim: Annotated[str | None, typer.Option(help="bits-per-token=B,tolerance=E,failure=D: judge this claim.")] = None,
    reads: Annotated[str | None, typer.Option(help="Ask for so many tokens at random, not for all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeatable secret (the report then says: not fresh).")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    timeout: Seconds = "600",
    memory: Annotated[str, typer.Option(help="GiB for each player.")] = "16",
    isolation: Annotated[str, typer.Option(help="strongest, landlock, namespaces or none.")] = "strongest",
    output: Annotated[Path, typer.Option(help="Folder for evidence against a claim.")] = Path(),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Play the proof's own game with a compressor: bits really held, information that really came back."""
    from kvverify.problem import number
    from kvverify.report.audits import audit_text

    _require_audit()
    from kvverify.audit.request import AuditRequest, run_audit

    answer = run_audit(
        AuditRequest(
            target=target, certificate=certificate,
            tokens=_maybe(tokens, "tokens"), head_dim=_maybe(head_dim, "head-dim"),
            value_dim=_maybe(value_dim, "value-dim"), kv_heads=_maybe(kv_heads, "kv-heads"),
            heads=_maybe(heads, "heads"),
            max_logit=None if max_logit is None else number(max_logit, "max-logit"),
            settings=settings or [], claim=claim, output=output,
            options={
                "schedule": schedule, "payload": payload, "alphabet": _whole(alphabet, "alphabet"), "dtype": dtype,
                "reads": _maybe(reads, "reads"), "seed": seed, "device": device,
                "timeout": _amount(timeout, "timeout"), "memory_bytes": int(_amount(memory, "memory") * (1 << 30)),
                "isolation": isolation,
            },
        ),
        _progress,
    )  # fmt: skip
    _print(answer if as_json else audit_text(answer))
    raise typer.Exit(3 if answer["status"] == "INCOMPLETE" else 1 if answer["flags"] else 0)


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(help="A counter-example, or a certificate.")],
    timeout: Seconds = "600",
    as_json: Json = False,
) -> None:
    """Execute a counter-example again, from its file alone; a certificate is checked."""
    from kvverify.report.checks import check_all, is_certificate

    if is_certificate(path):
        result = check_all([path])[0].result
        status, line = result.verdict.value, f"{result.claim}{': ' if result.reason else ''}{result.reason}"
    else:
        _require_audit()
        from kvverify.audit.replay import replay as play_again

        found = play_again(path, timeout=_amount(timeout, "timeout"))
        status, line = found.status, found.line
    _print({"schema": "kvverify-replay/1", "status": status, "line": line} if as_json else f"{status}: {line}")
    raise typer.Exit({"VALID": 0, "reproduced": 0, "INVALID": 1, "not reproduced": 1}.get(status, 3))


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option(help="Folder for certificates, table and plot.")] = Path(
        "kvverify-quickstart"
    ),
) -> None:
    """The main job in one go: certify, check twice, audit five compressors, save table and plot."""
    from kvverify.quickstart import quickstart as job

    _print(job(output, _say))


@app.command("new-compressor")
def new_compressor(path: Annotated[Path, typer.Argument(help="The file to write.")]) -> None:
    """Write a compressor to start from, which passes its own test."""
    from kvverify.compressors.skeleton import SKELETON

    if path.exists():
        raise UsageError(f"{path} exists; choose a new file")
    if path.suffix != ".py":
        raise UsageError(f"{path}: a Python file (*.py) is needed")
    _save(path, SKELETON.encode())
    _print(
        f"{path} is written. Its test: pytest {path}. Its audit: kvverify audit {path}:Mine --tokens 512 --head-dim 64"
    )


def _require_audit() -> None:
    from importlib.util import find_spec

    for module in ("torch", "scipy"):
        if find_spec(module) is None:
            raise UsageError(f"an audit needs {module}: pip install 'kvverify[audit]'")


def _progress(stage: str, done: float) -> None:
    _say(f"{done:>4.0%} {stage}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _problem(
    tokens: str, head_dim: str | None, key_dim: str | None, value_dim: str | None, tolerance: str | None,
    relative: str | None, failure: str, max_logit: str, body: str, inputs: str, kv_heads: str, layers: str,
) -> Problem:  # fmt: skip
    from kvverify.problem import Problem, number

    key_dim, value_dim = key_dim or head_dim, value_dim or head_dim
    if key_dim is None or value_dim is None:
        raise UsageError("give --head-dim, or --key-dim and --value-dim")
    if tolerance is None and relative is None:
        tolerance = "1/100"
    return Problem(
        tokens=_whole(tokens, "tokens"), key_dim=_whole(key_dim, "key-dim"), value_dim=_whole(value_dim, "value-dim"),
        tolerance=None if tolerance is None else number(tolerance, "tolerance"),
        relative=None if relative is None else number(relative, "relative"),
        failure=number(failure, "failure"), max_logit=number(max_logit, "max-logit"), body=body, inputs=inputs,
        kv_heads=_whole(kv_heads, "kv-heads"), layers=_whole(layers, "layers"),
    )  # fmt: skip


def _whole(text: str, name: str) -> int:
    from kvverify.problem import whole

    return whole(text, name)


def _amount(text: str, name: str) -> float:
    """Seconds or GiB: a number above 0, at most a million."""
    from kvverify.problem import number

    value = number(text, name)
    if not 0 < value <= 10**6:
        raise UsageError(f"{name}: {text} given, a number above 0 and at most 10^6 is needed")
    return float(value)


def _positive(text: str, name: str) -> Fraction:
    from kvverify.problem import number

    value = number(text, name)
    if value <= 0:
        raise UsageError(f"{name}: {text} given, a number above 0 is needed")
    return value


def _maybe(text: str | None, name: str) -> int | None:
    return None if text is None else _whole(text, name)


def _write(found: Bound, output: Path | None) -> Path | None:
    """Write the certificate where there is one and a place was given."""
    if output is None or found.certificate is None:
        return None
    _save(output, found.certificate)
    return output


def _save(path: Path, content: dict[str, Any] | bytes) -> None:
    """Write a file, whole or not at all. Raises UsageError, in the name that was given, where that cannot be."""
    from kvverify.kernel.document import write, write_bytes

    try:
        if isinstance(content, bytes):
            write_bytes(path, content)
        else:
            write(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _print(answer: dict[str, Any] | str) -> None:
    """Print and flush, so that a full disk is an error of ours; a reader that went away is none."""
    try:
        print(answer if isinstance(answer, str) else json.dumps(answer, allow_nan=False), flush=True)
    except BrokenPipeError:
        raise typer.Exit(_CLOSED_PIPE) from None


def _fail(line: str, code: int) -> int:
    line = " ".join(line.split())
    shown = line if len(line) <= _LINE else f"{line[: _LINE // 2]} ... {line[-_LINE // 2 :]}"
    print(f"kvverify: {shown}", file=sys.stderr)
    return code


def _close_output() -> None:
    """After a closed pipe or a full disk nothing more goes there, or the interpreter would complain on its way out."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
