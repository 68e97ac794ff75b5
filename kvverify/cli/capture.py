"""``capture``: what a model's attention sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.options import Json, count, require
from kvverify.cli.output import apart, progress, show


def capture(
    model: Annotated[Path, typer.Argument(help="Folder of a transformers causal language model.")],
    text: Annotated[Path, typer.Option(help="UTF-8 text for the model to read.")],
    tokens: Annotated[str, typer.Option(help="Tokens to cache: their keys and values are recorded.")] = "512",
    later: Annotated[str, typer.Option(help="Tokens after them: their queries are recorded.")] = "512",
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("capture.safetensors"),
    as_json: Json = False,
) -> None:
    """Record keys, values and queries of a model's attention on a text."""
    require("a capture", "audit,caches", "torch", "transformers", "safetensors")
    from kvverify.capture import capture as record

    apart(output, text)
    about = record(model, text, output, tokens=count(tokens, "tokens"), later=count(later, "later"), progress=progress)
    if as_json:
        show({"schema": "kvverify-capture/1", "file": str(output), **about})
        return
    show(
        f"{output}: {about['layers']} layers of {about['model_class']}, keys and values of {tokens} tokens, "
        f"queries of {later} more. Next: kvverify map {output}"
    )
