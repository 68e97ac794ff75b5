"""Coverage-guided fuzzing of what reads an enemy's bytes: ``python scripts/fuzz_document.py TARGET [OPTION ...]``.

Targets: ``document``, bytes as they come into check(); ``signed``, the same after the digest was computed anew, so that
the rules see what was changed; ``tensors``, bytes as a safetensors file. Whatever the bytes: a verdict or a refusal of
the kernel's own kinds. What is VALID and what is read must be so by the second opinion, which shares no code with it.

Needs atheris 3.0.0 (2.3.0 miscompiles a comparison with a conditional expression) and the tests' packages, in an
environment of its own; OPTIONs are libFuzzer's, as -max_total_time=600. Inputs that reach new code gather in
build/fuzz/TARGET; what crashed lies in build/fuzz/found.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import struct
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "fuzz"
WORK = 1 << 22  # units of work of one check: seconds at most, so that the inputs stay many
LARGEST = 6000  # bytes of a seed


def targets() -> dict[str, Any]:
    """The three targets, over a kernel whose bytecode reports what it covers."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["kvverify.kernel"]):
        checker = importlib.import_module("kvverify.kernel.check")
        document = importlib.import_module("kvverify.kernel.document")
        contexts = importlib.import_module("kvverify.kernel.context")
        facts = importlib.import_module("kvverify.kernel.facts")
        statement = importlib.import_module("kvverify.kernel.statement")
        tensors = importlib.import_module("kvverify.kernel.tensors")
    arb = importlib.import_module("kvverify.crosscheck.arb")  # after the kernel, whose document it imports
    vars(checker)["Context"] = partial(contexts.Context, work=WORK)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))

    for control in importlib.import_module("tests.kernel.test_mutants").controls():
        for name, content in control.files:
            (folder / name).write_bytes(content)

    def judged(source: Any) -> None:
        result = checker.check(source, folder)
        assert isinstance(result.verdict, checker.Verdict)
        assert len(result.reason) < 400
        assert result.reason.isascii()
        if result.verdict is checker.Verdict.VALID:
            opinion = arb.second_opinion(source, folder)
            assert opinion.verdict != arb.CONTRARY, f"VALID, but {opinion.step}: {opinion.reason}"

    def signed(data: bytes) -> None:
        try:
            tree = document.load(data)
        except (document.Malformed, document.OverLimit):
            return
        if all(isinstance(key, str) for key in tree):
            judged({**tree, "digest": document.digest(tree)})

    def matrices(data: bytes) -> None:
        (folder / "keys.safetensors").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        seen = statement.parse(_statement())
        for head in (None, 1):
            file = statement.TensorFile("keys.safetensors", digest, "keys", head)
            try:
                found = tensors.read_matrix(contexts.Context(seen, folder), file, 2)
            except (document.Malformed, document.OverLimit, facts.Rejected, contexts.Absent):
                continue
            _same(folder, file, found)

    return {"document": judged, "signed": signed, "tensors": matrices}


def _same(folder: Path, file: Any, found: tuple[list[list[int]], int, str]) -> None:
    """The same matrix by the second reader, or none where that one refuses its size."""
    tensor = importlib.import_module("kvverify.crosscheck.tensor")
    try:
        array, power, dtype = tensor.read(folder, file)
    except tensor.Undecided:
        return
    rows, scale, name = found
    assert (name, len(rows), len(rows[0])) == (dtype, *array.shape)
    low = min(scale, power)
    for row, other in zip(rows, array.tolist(), strict=True):
        assert [x << (scale - low) for x in row] == [x << (power - low) for x in other]


def _statement() -> dict[str, str]:
    return {
        "claim": "state-bits", "attention": "softmax", "tokens": "4", "key_dim": "2", "value_dim": "1",
        "kv_heads": "1", "layers": "1", "body": "cube", "budget": "class", "inputs": "real", "max_logit": "8",
        "tolerance": "1/100", "failure": "0", "state_bits_at_least": "1",
    }  # fmt: skip


def seeds(target: str) -> dict[str, bytes]:
    """Committed certificates and the tests' controls, or small tensor files; and the target's regression inputs."""
    found = {path.name: path.read_bytes() for path in (ROOT / "tests" / "kernel" / "corpus" / target).glob("*")}
    if target != "tensors":
        for path in (*ROOT.glob("certificates/*/*.json"), *ROOT.glob("instances/*.json")):
            data = json.dumps(json.loads(path.read_bytes()), separators=(",", ":")).encode()
            found |= {path.name: data} if len(data) <= LARGEST else {}
        controls = importlib.import_module("tests.kernel.test_mutants").controls()
        trees = {control.name: json.dumps(control.tree, separators=(",", ":")).encode() for control in controls}
        return found | {name: data for name, data in trees.items() if len(data) <= LARGEST}
    for dtype, width in (("F64", 8), ("F32", 4), ("F16", 2), ("BF16", 2)):
        for shape in ([2, 2], [2, 2, 2]):
            size = width * (8 if len(shape) == 3 else 4)
            entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}
            header = json.dumps({"keys": entry, "__metadata__": {}}).encode()
            data = bytes((37 * i + 11) % 120 for i in range(size))
            found[f"{dtype}-{len(shape)}"] = struct.pack("<Q", len(header)) + header + data
    return found


def main(arguments: list[str]) -> int:
    """Fuzz the target until libFuzzer's options end it, or an input fails."""
    if not arguments or arguments[0] not in ("document", "signed", "tensors"):
        print("usage: python scripts/fuzz_document.py document|signed|tensors [LIBFUZZER-OPTION ...]", file=sys.stderr)
        return 2
    target, options = arguments[0], arguments[1:]
    corpus = BUILD / target
    for folder in (corpus, BUILD / "found"):
        folder.mkdir(parents=True, exist_ok=True)
    function = targets()[target]  # first of all, so that nothing of the kernel is loaded without its counters
    for data in seeds(target).values():
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    atheris = importlib.import_module("atheris")
    fixed = [f"-max_len={2 * LARGEST}", "-timeout=60", "-rss_limit_mb=2048", f"-artifact_prefix={BUILD}/found/"]
    atheris.Setup([sys.argv[0], *fixed, *options, str(corpus)], function)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
