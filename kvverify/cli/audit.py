"""``audit``, ``replay`` and ``new-compressor``: the game, and what one plays it with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import (
    Attention,
    Cut,
    Dim,
    HeadDim,
    Json,
    Kernel,
    Scales,
    Seconds,
    amount,
    count,
    maybe_count,
    require,
)
from kvverify.cli.output import progress, save, show
from kvverify.errors import UsageError

_AUDIT = ("an audit", "audit", "torch", "scipy")


def audit(
    target: Annotated[str, typer.Argument(help="A built-in name, module:name or path/file.py:name.")],
    instance: Annotated[str | None, typer.Option(help="hard, crowded, key-payload, captured or adversarial.")] = None,
    attention: Attention = None,
    scales: Scales = None, kernel: Kernel = None, cut: Cut = None,
    certificate: Annotated[Path | None, typer.Option(help="Play the instance of this certificate.")] = None,
    keys: Annotated[Path | None, typer.Option(help="The file of captured keys.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of the captured keys.")] = None,
    head: Annotated[int | None, typer.Option(help="KV head of the captured keys.")] = None,
    query_head: Annotated[int | None, typer.Option(help="Read by the recorded queries of this query head.")] = None,
    rehearsals: Annotated[str | None, typer.Option(help="Games that an adversarial search may play (12).")] = None,
    tokens: Annotated[str | None, typer.Option(help="Cached tokens, where no certificate is given.")] = None,
    head_dim: HeadDim = None, value_dim: Dim = None,
    kv_heads: Annotated[str | None, typer.Option(help="KV heads, each with a secret of its own (1).")] = None,
    heads: Annotated[str | None, typer.Option(help="Query heads, a multiple of --kv-heads.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers, each with secrets of its own (1).")] = None,
    max_logit: Annotated[str | None, typer.Option(help="Largest logit of a query (24).")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of its own: name=value.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Feeding: decode, or prefill:448,step:64, chunk:8x64.")] = None,
    payload: Annotated[str | None, typer.Option(help="The secret: continuous (where it can be) or discrete.")] = None,
    alphabet: Annotated[str, typer.Option(help="Levels of a discrete secret.")] = "2",
    dtype: Annotated[str, typer.Option(help="Dtype that is fed: bfloat16 or float32.")] = "bfloat16",
    claim: Annotated[str | None, typer.Option(help="Judge a claim: bits-per-token=B,tolerance=E,failure=D.")] = None,
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

    require(*_AUDIT)
    from kvverify.audit.instances import InstanceOptions
    from kvverify.audit.request import AuditRequest, run_audit

    answer = run_audit(
        AuditRequest(
            target=target,
            instance=InstanceOptions(
                attention=attention, scales=scales, kernel=kernel, cut=cut, instance=instance, certificate=certificate,
                keys=keys, layer=layer, head=head, query_head=query_head,
                tokens=maybe_count(tokens, "tokens"), head_dim=maybe_count(head_dim, "head-dim"),
                value_dim=maybe_count(value_dim, "value-dim"), kv_heads=maybe_count(kv_heads, "kv-heads"),
                layers=maybe_count(layers, "layers"), rehearsals=maybe_count(rehearsals, "rehearsals"),
                max_logit=None if max_logit is None else number(max_logit, "max-logit"),
            ),
            heads=maybe_count(heads, "heads"), settings=settings or [], claim=claim, output=output,
            options={
                "schedule": schedule, "payload": payload, "alphabet": count(alphabet, "alphabet"), "dtype": dtype,
                "reads": maybe_count(reads, "reads"), "seed": seed, "device": device,
                "timeout": amount(timeout, "timeout"), "memory_bytes": int(amount(memory, "memory") * (1 << 30)),
                "isolation": isolation,
            },
        ),
        progress,
    )  # fmt: skip
    show(answer if as_json else audit_text(answer))
    raise typer.Exit(3 if answer["status"] == "INCOMPLETE" else 1 if answer["flags"] else 0)


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
        require(*_AUDIT)
        from kvverify.audit.replay import replay as play_again

        found = play_again(path, timeout=amount(timeout, "timeout"))
        status, line = found.status, found.line
    show({"schema": "kvverify-replay/1", "status": status, "line": line} if as_json else f"{status}: {line}")
    raise typer.Exit({"VALID": 0, "reproduced": 0, "INVALID": 1, "not reproduced": 1}.get(status, 3))


def new_compressor(path: Annotated[Path, typer.Argument(help="The file to write.")]) -> None:
    """Write a compressor to start from, which passes its own test."""
    from kvverify.compressors.skeleton import SKELETON

    if path.exists():
        raise UsageError(f"{path} exists; choose a new file")
    if path.suffix != ".py":
        raise UsageError(f"{path}: a Python file (*.py) is needed")
    save(path, SKELETON.encode())
    show(
        f"{path} is written. Its test: pytest {path}. Its audit: kvverify audit {path}:Mine --tokens 512 --head-dim 64"
    )
