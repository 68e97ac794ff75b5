"""``quickstart``: the main job in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kvverify.cli.output import say, show


def quickstart(
    output: Annotated[Path, typer.Option(help="Folder for certificates, table and plot.")] = Path(
        "kvverify-quickstart"
    ),
) -> None:
    """The main job in one go: certify, check twice, audit five compressors, save table and plot."""
    from kvverify.quickstart import quickstart as job

    show(job(output, say))
