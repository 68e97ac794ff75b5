"""Write the committed instance: keys in a safetensors file, and a certificate about exactly these keys.

``python scripts/make_instance.py [FOLDER]``. The keys are a Kerdock code's first words plus a fixed smooth drift, in
bf16: no code any more, so that the bound comes from the rows of its attention. Queries come from a float solver, so the
certificate may differ in its last digits between machines; what is committed is checked in CI.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from kvverify.api import certify_keys
from kvverify.bounds.witness import write_bound
from kvverify.codes import by_name
from kvverify.kernel.check import check
from kvverify.kernel.document import write_bytes

TOKENS, DIM = 96, 16


def keys() -> np.ndarray:
    """(TOKENS, DIM) float32, exact in bf16."""
    signs = by_name("kerdock(16)").keys(TOKENS).astype(np.float64)
    drift = np.sin(np.arange(TOKENS)[:, None] * 0.37 + np.arange(DIM)[None, :])
    drifted: np.ndarray = (np.round((signs + 0.25 * drift) * 64) / 64).astype(np.float32)
    return drifted


def safetensors(array: np.ndarray) -> bytes:
    """One bf16 matrix named "keys"."""
    raw = (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = {"keys": {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [0, len(raw)]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw


def main(folder: Path) -> int:
    """Write both files and check; the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    array = keys()
    if (array.view(np.uint32) & 0xFFFF).any():
        raise ValueError("a key is not exact in bf16")
    path = folder / "drifted-kerdock-96x16.safetensors"
    write_bytes(path, safetensors(array))
    bound = certify_keys(path, max_logit=Fraction(24), value_dim=64, inputs="bf16")
    if bound.certificate is None:
        print(f"no certificate: {bound.reason}")
        return 1
    target = path.with_suffix(".json")
    write_bound(target, bound)
    result = check(target)
    print(f"{result.verdict.value} {target.name}: {float(bound.bits_per_token):.6g} bits a token, {bound.family}")
    return 0


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1] / "instances"
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else root))
