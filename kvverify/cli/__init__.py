"""The command line: one function per command. Exit codes: 0 done, 1 invalid or flagged, 2 wrong usage, 3 incomplete."""

from __future__ import annotations

import signal
import sys
from io import TextIOWrapper
from threading import current_thread, main_thread
from typing import Annotated

import typer
from typer import TyperException

from kvverify import __version__
from kvverify.cli import audit, bound, capture, check, claims, cover, explain, export, lemmas, map, report, start, sweep
from kvverify.cli.output import close_output, fail, say, show
from kvverify.errors import Incomplete, UsageError

app = typer.Typer(
    name="kvverify", add_completion=False, rich_markup_mode=None,
    help="How small can a KV cache be? Proved bounds, certificates that a small kernel re-checks, audits.",
)  # fmt: skip

_INTERRUPTED, _TERMINATED = 130, 143  # as a shell counts them, 128 and the signal's number


class _Terminated(BaseException):
    """SIGTERM: like an interrupt, so that temporary files are removed."""


def _terminate(*_: object) -> None:
    raise _Terminated


def main() -> None:
    """Entry point: every failure is one line on standard error and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be any bytes
    ours = current_thread() is main_thread()  # elsewhere Python sets no handlers
    before = signal.signal(signal.SIGTERM, _terminate) if ours else None
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        code = fail(str(error), 2)
    except Incomplete as error:
        code = fail(str(error), 3)
    except TyperException as error:
        code = fail(error.format_message(), 2)
    except OSError as error:
        code = fail(f"{error.filename or 'standard output'}: {error.strerror or error}", 2)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except _Terminated:
        code = fail("terminated", _TERMINATED)
    if ours:
        signal.signal(signal.SIGTERM, before)
    if code == _INTERRUPTED:
        fail("interrupted", code)
    close_output()
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Versions and the rule files' digests.")] = False,
) -> None:
    if version:
        from kvverify.kernel.document import FORMAT
        from kvverify.trust import rule_files

        lines = [f"  rules/{name} {digest}" for name, digest in rule_files()]
        show("\n".join([f"kvverify {__version__}, format {FORMAT}", *lines]))
        raise typer.Exit
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(2)


# In the order of the help.
app.command()(bound.bound)
app.command()(bound.certify)
app.command()(check.check)
app.command()(cover.cover)
app.command()(export.export)
app.command()(explain.explain)
app.command()(claims.claims)
app.command()(lemmas.lemmas)
app.command()(audit.audit)
app.command()(audit.replay)
app.command()(sweep.sweep)
app.command()(report.report)
app.command()(capture.capture)
app.command("map")(map.draw_map)
app.command()(start.quickstart)
app.command()(audit.new_compressor)
