"""Names, settings and files: what a user can get wrong is one line that says what would be right."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kvverify.compressors import find, names
from kvverify.compressors.protocol import Settings, Shape
from kvverify.compressors.skeleton import SKELETON
from kvverify.errors import Incomplete, UsageError
from tests.conftest import needs

torch = needs("torch", "audit")

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = Shape(kv_heads=1, heads=2, key_dim=8, value_dim=8)


def test_names() -> None:
    assert set(names()) >= {"dense", "uniform", "random-eviction", "sliding-window", "transformers"}


def test_names_are_known_without_torch() -> None:
    script = "import sys, kvverify.compressors as c; c.names(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_unknown_name_lists_the_nearest_first() -> None:
    with pytest.raises(UsageError, match=r"no compressor 'unifrom'; built in are uniform, .*dense") as raised:
        find("unifrom")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("uniform", {"bits": 9}, "uniform: bits=9 is not legal; legal: an integer from 1 to 8"),
        ("uniform", {"bits": "many"}, "an integer from 1 to 8"),
        ("uniform", {"bit": 4}, "uniform has no setting 'bit'; it has bits, group"),
        ("uniform", {"keys": "per-head"}, "per-channel | per-token"),
        ("dense", {"dtype": "fp8"}, "dense: dtype=fp8 is not legal; legal: bf16 | fp32"),
        ("random-eviction", {"keep": "3/2"}, "a fraction above 0, at most 1"),
        ("random-eviction", {"keep": "1/0"}, "a fraction above 0, at most 1"),
        ("sliding-window", {"window": "0"}, "an integer from 1"),
        ("transformers", {"cache": "paged"}, "dynamic | hqq | quanto"),
    ],
)
def test_illegal_settings(name: str, given: dict[str, str | int], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        find(name)(Settings(name, SHAPE, given))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_settings_are_completed_and_parsed() -> None:
    assert find("uniform").complete({"bits": "3"}) == {
        "bits": 3,
        "group": 64,
        "keys": "per-channel",
        "values": "per-token",
        "metadata": "fp16",
        "residual": 0,
    }
    assert find("random-eviction").complete({"keep": "0.50"}) == {"keep": "1/2"}


def test_a_group_that_does_not_divide_the_channels() -> None:
    with pytest.raises(UsageError, match="group=3 does not divide the 8 channels of the values"):
        find("uniform")(Settings("uniform", SHAPE, {"group": 3}))


@pytest.mark.parametrize(("backend", "bits"), [("quanto", 8), ("quanto", 3)])
def test_bits_that_a_backend_does_not_have(backend: str, bits: int) -> None:
    with pytest.raises(UsageError, match=f"bits={bits} is not legal for {backend}"):
        find("transformers")(Settings("transformers", SHAPE, {"cache": backend, "bits": bits}))


def test_the_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("transformers", "hqq", "hqq.core", "hqq.core.quantize", "optimum", "optimum.quanto"):
        monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    for backend in ("dynamic", "hqq", "quanto"):
        with pytest.raises(UsageError, match=r"pip install 'kvverify\[caches\]'"):
            find("transformers")(Settings("transformers", SHAPE, {"cache": backend}))


@pytest.mark.slow  # as the file that ``kvverify new-compressor`` writes it runs in tests/cli/test_start.py
def test_the_skeleton_passes_its_own_test(tmp_path: Path) -> None:
    file = tmp_path / "my_compressor.py"
    file.write_text(SKELETON)
    compressor = find(f"{file}:Mine")(Settings("mine", SHAPE))
    compressor.absorb(None, *(torch.ones(1, 1, 3, 8) for _ in range(2)))
    assert {tensor.dtype for tensor in compressor.message().values()} == {torch.float16}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    ran = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


def test_a_skeleton_that_forgets_fails_its_test(tmp_path: Path) -> None:
    file = tmp_path / "forgetful.py"
    forgets = SKELETON.replace("values=values.half())", "values=values.half()); self.extra = 1.0")
    file.write_text(forgets.replace("self.pair()", "[side + getattr(self, 'extra', 0.0) for side in self.pair()]"))
    module = sys.modules[find(f"{file}:Mine").factory.__module__]
    with pytest.raises(AssertionError, match="not the whole state"):
        module.test_mine()


def test_a_module_by_name_and_a_cache_class() -> None:
    needs("transformers", "caches")
    compressor = find("transformers:DynamicCache")(Settings("dynamic", SHAPE))
    compressor.absorb(None, *(torch.ones(1, 1, 3, 8) for _ in range(2)))
    answers = compressor.attend(*(torch.ones(1, heads, 2, 8) for heads in (2, 1, 1)))
    torch.testing.assert_close(answers, torch.ones(1, 2, 2, 8))


@pytest.mark.parametrize(
    ("text", "name", "error", "says"),
    [
        ("", "Mine", UsageError, "'Mine' is not callable there; callables are none"),
        ("Mine = 3\ndef other(): pass", "Mine", UsageError, "callables are other"),
        ("import no_such_module_anywhere", "Mine", UsageError, "no module 'no_such_module_anywhere'"),
        ("1 / 0", "Mine", Incomplete, "failed while it was imported: ZeroDivisionError"),
        ("def", "Mine", Incomplete, "SyntaxError"),
    ],
)
def test_files_that_do_not_work(tmp_path: Path, text: str, name: str, error: type[Exception], says: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(error) as raised:
        find(f"{file}:{name}")
    assert says in str(raised.value)


def test_files_and_modules_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        find(f"{tmp_path}/absent.py:Mine")
    with pytest.raises(UsageError, match="no module 'no_such_package'"):
        find("no_such_package:Mine")


def test_a_factory_that_makes_something_else(tmp_path: Path) -> None:
    file = tmp_path / "something_else.py"
    file.write_text("def make(settings):\n    return 'a cache'\n")
    with pytest.raises(UsageError, match=r"made a str; it must have attend \(a compressor\) or update"):
        find(f"{file}:make")(Settings("make", SHAPE))


def test_a_file_imports_its_neighbour_and_is_named_alike_everywhere(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("WIDTH = 5\n")
    file = tmp_path / "with_neighbour.py"
    file.write_text("import neighbour_of_mine\n\ndef make(settings):\n    return neighbour_of_mine.WIDTH\n")
    target = find(f"{file}:make")
    assert target.factory(None) == 5
    assert target.factory.__module__ == "kvverify_file_with_neighbour"
    assert find(f"{file}:make").factory is target.factory
