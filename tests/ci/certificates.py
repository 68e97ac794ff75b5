"""Certificates for tests of what stands around the checker: one that holds, and one for each way not to."""

from __future__ import annotations

from pathlib import Path

from kvverify.kernel import document

ROOT = Path(__file__).resolve().parents[2]
GOOD = ROOT / "certificates" / "ours" / "16-d4-logit8-relative.json"


def good(path: Path) -> Path:
    """VALID."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(GOOD.read_bytes())
    return path


def stronger(path: Path) -> Path:
    """INVALID at the last step: one bit more is claimed than is proved."""
    return _changed(path, state_bits_at_least=str(int(document.load(GOOD)["statement"]["state_bits_at_least"]) + 1))


def mutated(path: Path) -> Path:
    """INVALID at the step ``decay``: its number is below what is true."""
    tree = document.load(GOOD)
    (step,) = [one for one in tree["steps"] if one["id"] == "decay"]
    step["gives"]["exp_minus_at_most"] = "1/1000"
    return _write(path, document.build(tree["statement"], tree["steps"]))


def over_limit(path: Path) -> Path:
    """INCOMPLETE: a number longer than the checker reads."""
    return _changed(path, tokens="1" * 5000)


def _changed(path: Path, **changes: str) -> Path:
    tree = document.load(GOOD)
    return _write(path, document.build({**tree["statement"], **changes}, tree["steps"]))


def _write(path: Path, tree: document.Node) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    document.write(path, tree)
    return path
