"""How the command line starts and ends: help, versions, missing extras, interrupts, pipes, a bare Python."""

from __future__ import annotations

import ast
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kvverify.cli
from kvverify import __version__
from kvverify.kernel.document import FORMAT
from kvverify.trust import rule_files
from tests.cli.command import ROOT, process
from tests.cli.command import kvverify as call
from tests.cli.conftest import Seal
from tests.conftest import needs

COMMANDS = [
    "audit", "bound", "capture", "certify", "check", "claims", "cover", "explain", "export", "lemmas", "map",
    "new-compressor", "quickstart", "replay", "report", "sweep",
]  # fmt: skip


def test_version_names_package_format_and_rules() -> None:
    done = call("--version")
    assert done.code == 0
    assert done.out.splitlines()[0] == f"kvverify {__version__}, format {FORMAT}"
    assert done.out.splitlines()[1:] == [f"  rules/{name} {digest}" for name, digest in rule_files()]


def test_help_lists_every_command_and_needs_no_extra() -> None:
    done = process("--help")
    assert (done.code, done.err) == (0, "")
    listed = done.out.partition("Commands:\n")[2].splitlines()
    assert sorted(line.split()[0] for line in listed if line[2:3].strip()) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_explained(command: str) -> None:
    done = call(command, "--help")
    assert done.code == 0
    options = done.out.partition("Options:")[2].splitlines()
    assert options
    bare = [line for line in options if line.startswith("  --") and len(line.split()) < 3]
    # A long option's words stand on the next line.
    assert [line for line in bare if options[options.index(line) + 1 :][:1] in ([], [""])] == []


def test_no_word_at_all_is_answered_with_help() -> None:
    done = call()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err


def test_the_kernel_alone_runs_on_a_bare_python(tmp_path: Path) -> None:
    good = tmp_path / "c.json"
    assert call("certify", "--tokens", 64, "--head-dim", 16, "--output", good).code == 0
    (tmp_path / "bad.json").write_text("{}")
    start = (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_module('kvverify.kernel', None, '__main__')"
    )

    def bare(*words: object) -> tuple[int, str]:
        command = [sys.executable, "-I", "-S", "-c", start, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.stderr.count("\n") <= 1, done.stderr
        return done.returncode, done.stdout + done.stderr

    bits = json.loads(good.read_text())["statement"]["state_bits_at_least"]
    assert bare(good) == (0, f"VALID {good}: state of 64 tokens >= {bits} bits\n")
    code, text = bare(good, "bad.json")
    assert (code, text.splitlines()[1].partition(":")[0]) == (1, "INVALID bad.json")
    assert bare("nothere.json") == (2, "cannot read nothere.json: No such file or directory\n")
    assert bare() == (2, "usage: python -m kvverify.kernel CERTIFICATE.json ...\n")


@pytest.mark.parametrize("missing", ["torch", "scipy"])
@pytest.mark.parametrize(
    "words", [("audit", "dense", "--tokens", "64", "--head-dim", "16"), ("replay", "x.json")], ids=lambda w: w[0]
)
def test_a_missing_extra_is_said_with_the_pip_line(
    words: tuple[str, ...], missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.json").write_text("{}")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else name)
    call(*words).refuses(2, f"needs {missing}: pip install 'kvverify[audit]'")


def test_quickstart_says_all_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("hqq", "matplotlib") else name)
    call("quickstart", "--output", tmp_path / "out").refuses(2, "pip install 'kvverify[caches,report]'")
    assert not (tmp_path / "out").exists()


def test_certify_and_check_work_without_any_extra(tmp_path: Path) -> None:
    block = "import sys; sys.modules.update(dict.fromkeys(('torch', 'scipy', 'numba', 'matplotlib', 'safetensors')))"
    code = f"{block}; sys.argv[0] = 'kvverify'; from kvverify.cli import main; main()"
    for words in (("certify", "--tokens", "64", "--head-dim", "16", "--output", "c.json"), ("check", "c.json")):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kvverify.bounds.best_bound", interrupted)
    call("bound", "--tokens", 64, "--head-dim", 16).refuses(130, "interrupted")


def test_a_real_interrupt_is_one_line(tmp_path: Path) -> None:
    """SIGINT while the command waits for a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    # A shell starts its background jobs deaf to SIGINT, and children inherit that.
    code = "import os, signal; from kvverify.cli import main; signal.signal(signal.SIGINT, signal.default_int_handler)"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{code}; os.write(1, b'go'); main()", "check", "pipe"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.read(2) == b"go"
    status = Path(f"/proc/{child.pid}/wchan")
    for _ in range(200):  # until it has opened the pipe's one end and waits there
        if status.read_text() == "wait_for_partner":
            break
        signal.sigtimedwait([], 0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (130, b"", b"kvverify: interrupted\n")


@pytest.mark.parametrize("words", [("--version",), ("certify", "--tokens", "4096", "--head-dim", "64")])
def test_a_reader_that_goes_away_is_no_error(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = process(*words, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.code, done.err) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = process("bound", "--tokens", 64, "--head-dim", 16, stdout=full, stderr=subprocess.PIPE)
    assert (done.code, done.err) == (2, "kvverify: standard output: No space left on device\n")


def test_a_new_compressor_passes_its_own_test_and_is_never_overwritten(tmp_path: Path) -> None:
    needs("torch", "audit")
    path = tmp_path / "mine.py"
    done = call("new-compressor", path)
    assert done.code == 0
    assert f"pytest {path}" in done.out
    assert f"kvverify audit {path}:Mine" in done.out
    written = path.read_text()
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)], cwd=tmp_path,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout
    call("new-compressor", path).refuses(2, f"{path} exists; choose a new file")
    assert path.read_text() == written


def test_where_a_new_compressor_cannot_be(tmp_path: Path, sealed: Path) -> None:
    call("new-compressor", tmp_path / "mine.txt").refuses(2, "mine.txt: a Python file (*.py) is needed")
    call("new-compressor", tmp_path / "no" / "mine.py").refuses(2, "no/mine.py cannot be written: No such file")
    with Seal(sealed):
        done = call("new-compressor", sealed / "mine.py")
    done.refuses(2, f"{sealed / 'mine.py'} cannot be written", "denied")


def test_main_is_what_the_entry_points_call(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(kvverify.cli, "main", lambda: called.append(True))
    runpy.run_path(str(ROOT / "kvverify" / "__main__.py"), run_name="__main__")  # pytest's own loader runs no module
    assert called == [True]
    assert 'kvverify = "kvverify.cli:main"' in (ROOT / "pyproject.toml").read_text()


def test_no_command_prints_but_through_one_function() -> None:
    """What goes to standard output by another way would miss the flush that tells a full disk."""
    callers = {
        function.name
        for path in Path(kvverify.cli.__file__).parent.glob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert callers == {"show", "say", "fail", "close_output"}
