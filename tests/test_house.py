"""The house rules that no other tool holds: what the kernel may use, how small files stay, what an import may load."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

import kvverify

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ROOT / "kvverify" / "kernel"
KERNEL_FILES = sorted(KERNEL.rglob("*.py"))
PYTHON_FILES = sorted(p for folder in ("kvverify", "tests", "scripts") for p in (ROOT / folder).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

CORE_LINES, RULE_LINES, FILE_LINES = 700, 250, 400
# Of math, what is exact on integers and rationals.
EXACT = {"ceil", "comb", "factorial", "floor", "gcd", "isqrt", "lcm", "perm", "prod"}
# What neither the command line's start nor certify-from-a-problem or check may load.
HEAVY = {"torch", "transformers", "hqq", "optimum", "kvpress", "numba", "scipy", "matplotlib"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(tree: ast.AST) -> set[str]:
    """Modules that a file imports, anywhere in it, under their full names."""
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return plain | {"." * n.level + (n.module or "") for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}


def inexact(tree: ast.AST) -> list[str]:
    """Floating point in a file: literals, float(...), complex(...), and the functions of math that round."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex()):
                found.append(f"line {node.lineno}: literal {node.value!r}")
            case ast.Call(func=ast.Name(id="float" | "complex" as name)):
                found.append(f"line {node.lineno}: {name}()")
            case ast.Attribute(value=ast.Name(id="math"), attr=name) if name not in EXACT:
                found.append(f"line {node.lineno}: math.{name}")
            case ast.ImportFrom(module="math", names=names) if {alias.name for alias in names} - EXACT:
                found.append(f"line {node.lineno}: from math import ...")
            case ast.Import(names=names) if any(
                a.name == "cmath" or (a.name, bool(a.asname)) == ("math", True) for a in names
            ):
                found.append(f"line {node.lineno}: cmath, or math under another name")
    return found


def code_lines(source: str) -> int:
    """Lines that hold code: neither blank nor comment nor docstring."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for t in tokens if t.type not in silent for line in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A new interpreter in the root of the checkout; ``-S`` among the arguments hides what is installed."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a new interpreter has loaded after ``statement``."""
    done = fresh("-c", f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_counting_code_lines() -> None:
    prose = '"""Title.\n\nText."""\n\n# why\n'
    code = 'x = (\n    1,  # one\n)\n\n\ndef f():\n    """Doc."""\n    return """a\n\nb"""\n'
    assert code_lines(prose + code) == 3 + 1 + 3


@pytest.mark.parametrize("source", ["0.5", "float(x)", "1j", "math.log(2)", "from math import exp", "import math as m"])
def test_floating_point_is_seen(source: str) -> None:
    assert inexact(ast.parse(source))


@pytest.mark.parametrize("path", KERNEL_FILES, ids=name_of)
def test_the_kernel_imports_itself_and_the_standard_library(path: Path) -> None:
    names = imported(ast.parse(path.read_text()))
    allowed = {
        n for n in names if n.split(".")[0] in sys.stdlib_module_names or (n + ".").startswith("kvverify.kernel.")
    }
    assert names - allowed == set()


@pytest.mark.parametrize("path", KERNEL_FILES, ids=name_of)
def test_the_kernel_is_exact(path: Path) -> None:
    assert inexact(ast.parse(path.read_text())) == []


def test_the_kernel_core_is_read_in_an_evening() -> None:
    sizes = {path.name: code_lines(path.read_text()) for path in KERNEL.glob("*.py")}
    assert sum(sizes.values()) <= CORE_LINES, sizes


@pytest.mark.parametrize("path", sorted((KERNEL / "rules").glob("*.py")), ids=name_of)
def test_rule_files_are_small(path: Path) -> None:
    assert code_lines(path.read_text()) <= RULE_LINES


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES


def test_the_kernel_runs_where_nothing_is_installed(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    assert fresh("-S", "-c", "import numpy").returncode == 1
    done = fresh("-S", "-m", "kvverify.kernel", str(tmp_path / "empty.json"))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("INVALID")


def test_import_kvverify_loads_the_standard_library_only() -> None:
    started = loaded_by("pass")
    assert loaded_by("import kvverify") - started - set(sys.stdlib_module_names) == {"kvverify"}


@pytest.mark.parametrize("statement", ["import kvverify.cli", "import kvverify; kvverify.bound, kvverify.check"])
def test_heavy_packages_are_loaded_late(statement: str) -> None:
    assert loaded_by(statement) & HEAVY == set()


@pytest.mark.parametrize("name", kvverify.__all__)
def test_the_public_surface_is_there(name: str) -> None:
    assert getattr(kvverify, name) is not None
    assert name in dir(kvverify)


def test_a_subpackage_does_not_hide_the_public_function() -> None:
    done = fresh("-c", "import kvverify.audit; print(callable(kvverify.audit))")
    assert done.stdout == "True\n", done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'floor'"):
        _ = kvverify.floor


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == kvverify.__version__
    assert f"## {kvverify.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {kvverify.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_extra_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in wanted} - {"kvverify"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line}
    assert names - pinned == set()
    assert "torch==2.13.0" in lines


def test_there_is_a_readme() -> None:
    assert ROOT / "README.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (page.parent / target).exists()] == []
