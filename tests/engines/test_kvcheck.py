"""The kernel in one file: what it is made of, and that it says what the kernel says."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvverify.kernel import document
from kvverify.kernel.__main__ import main
from scripts import make_kvcheck

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted(str(path) for folder in ("certificates", "instances") for path in (ROOT / folder).rglob("*.json"))
SMALL = ROOT / "certificates" / "ours" / "16-d4-logit8-relative.json"
BARE = [sys.executable, "-I", "-S"]
# -I leaves the folder of the package out of the search path, so it is named here, as nothing else is.
KERNEL = f"import runpy, sys; sys.path.append({str(ROOT)!r}); runpy.run_module('kvverify.kernel', run_name='__main__')"


@pytest.fixture(scope="module")
def kvcheck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, as the script writes it."""
    path = tmp_path_factory.mktemp("carried") / "kvcheck.py"
    path.write_text(make_kvcheck.one_file())
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with nothing in it, to start in."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def run(command: list[str], folder: Path) -> tuple[int, str, str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_the_script_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str], kvcheck: Path) -> None:
    path = tmp_path / "new" / "kvcheck.py"
    assert make_kvcheck.main(["-o", str(path)]) == 0
    data, said = path.read_bytes(), capsys.readouterr().out
    assert data == kvcheck.read_bytes()  # the same tree, the same bytes
    assert f"{len(data.splitlines())} lines, {len(data)} bytes\nsha256 {make_kvcheck.sha256(data)}\n" in said
    for name, source in make_kvcheck.modules().items():
        line = f"{source.relative_to(ROOT)} {make_kvcheck.sha256(source.read_bytes())[:16]}\n"
        assert f"  {line}" in said, name
        assert f"- {line}" in data.decode(), name


def plain(statements: list[ast.stmt]) -> list[str]:
    """Statements without imports of the kernel, texts as a reader sees them."""
    found = []
    for node in statements:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("__future__", "kvverify")):
            continue
        for inner in ast.walk(node):
            body = getattr(inner, "body", None)
            if isinstance(inner, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(inner) is not None:
                body[0].value.value = inspect.cleandoc(body[0].value.value)
        found.append(ast.dump(node))
    return found


def test_every_module_stands_there_word_for_word(kvcheck: Path) -> None:
    whole = ast.parse(kvcheck.read_text())
    functions = {node.name: node for node in whole.body if isinstance(node, ast.FunctionDef)}
    sources = make_kvcheck.modules()
    names = list(sources)
    assert len(names) == len(list((ROOT / "kvverify" / "kernel").rglob("*.py"))) - 1  # one holds a docstring only
    for name in names[:-1]:
        tree = ast.parse(sources[name].read_text())
        copy = functions[make_kvcheck.variable(name)]
        assert ast.get_docstring(copy) == ast.get_docstring(tree)
        rest = [node for node in copy.body[1:-1] if not taken_from_another(node)]
        assert plain(rest) == plain(tree.body[1:]), name


def taken_from_another(node: ast.stmt) -> bool:
    """Whether a statement takes a name from another module's function, as an import did."""
    return isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("kernel_")


def test_everything_committed_is_valid_and_the_lines_are_the_kernel_s(
    kvcheck: Path, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run([*BARE, str(kvcheck), *COMMITTED], empty)
    lines = dict(zip(COMMITTED, out.splitlines(), strict=True))
    assert (code, err, {line.split()[0] for line in lines.values()}) == (0, "", {"VALID"})
    assert list(empty.iterdir()) == []
    slow = ("smollm2", "nets-e8", "nets-half-cube-7")  # seconds each
    quick = [path for path in COMMITTED if not any(name in path for name in slow)]
    assert main(quick) == 0
    assert capsys.readouterr().out.splitlines() == [lines[path] for path in quick]


def signed(change: dict[str, Any]) -> bytes:
    """The small certificate with fields of its statement changed, its digest right."""
    tree = json.loads(SMALL.read_text())
    tree["statement"].update(change)
    return json.dumps(document.build(tree["statement"], tree["steps"])).encode()


WHOLE = SMALL.read_bytes()
FILE = {"name": "absent.safetensors", "sha256": "0" * 64, "tensor": "k"}
MUTANTS = {
    "one bit more": (signed({"state_bits_at_least": "34"}), 1),
    "more logit than there is": (signed({"max_logit": "7"}), 1),
    "a stale digest": (WHOLE.replace(b'"33"', b'"32"'), 1),
    "a bare number": (WHOLE.replace(b'"33"', b"33"), 1),
    "no JSON": (WHOLE[:-3], 1),
    "an unknown rule": (WHOLE.replace(b'"separation"', b'"separated"'), 1),
    "nested too deep": (b"[" * 9 + b"]" * 9, 3),
    "bytes of another text": (WHOLE.decode().encode("utf-16"), 1),
    "not of the class": (signed({"tokens": "0"}), 1),
    "keys of a file": (signed({"budget": "own-keys", "body": "given", "keys": FILE}), 1),
}


def test_mutants(kvcheck: Path, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for i, (content, _) in enumerate(MUTANTS.values()):
        paths.append(str(kvcheck.parent / f"mutant-{i}.json"))
        Path(paths[-1]).write_bytes(content)
    assert main(paths) == 1
    expected = capsys.readouterr().out
    assert run([*BARE, str(kvcheck), *paths], empty) == (1, expected, "")
    for line, (name, (_, code)) in zip(expected.splitlines(), MUTANTS.items(), strict=True):
        assert line.split()[0] == {1: "INVALID", 3: "INCOMPLETE"}[code], name


def test_an_absent_file_is_incomplete(kvcheck: Path, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ROOT / "instances" / "drifted-kerdock-96x16.json"
    alone = kvcheck.parent / "alone.json"
    alone.write_bytes(source.read_bytes())
    assert main([str(alone)]) == 3
    expected = capsys.readouterr().out
    assert expected.startswith("INCOMPLETE")
    assert run([*BARE, str(kvcheck), str(alone)], empty) == (3, expected, "")


@pytest.mark.parametrize("words", [[], ["--help"], ["absent.json"]])
def test_wrong_usage(words: list[str], kvcheck: Path, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    expected = capsys.readouterr().err.replace("python -m kvverify.kernel", "python kvcheck.py")
    assert run([*BARE, str(kvcheck), *words], empty) == (2, "", expected)


def test_the_kernel_itself_runs_isolated_where_its_folder_is_named(empty: Path) -> None:
    code, out, err = run([*BARE, "-c", KERNEL, str(SMALL)], empty)
    assert (code, out.split()[0], err) == (0, "VALID", "")
