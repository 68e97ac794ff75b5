"""Tiny random models of real families, saved as folders that transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import needs

torch = needs("torch", "audit")
transformers = needs("transformers", "caches")

WORDS = [f"w{i}" for i in range(60)]
TOKENS, LATER = 20, 12
SHAPE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "initializer_range": 0.4,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
# name: (config class, model class, what is its own). A large initializer_range makes attention far from uniform.
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {}),
    "mistral": ("MistralConfig", "MistralForCausalLM", {"sliding_window": 7, "head_dim": 8}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", {}),
    "gemma3": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {"sliding_window": 7, "head_dim": 8, "query_pre_attn_scalar": 8},
    ),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 16}),
}


def text(path: Path, words: int = TOKENS + LATER) -> Path:
    path.write_text(" ".join(WORDS[i * 7 % 60] for i in range(words)))
    return path


def network(config: str, model: str, own: dict[str, Any], dtype: Any = torch.float32) -> Any:
    torch.manual_seed(5)
    made = getattr(transformers, model)(getattr(transformers, config)(**SHAPE, **own))
    return made.to(dtype).eval()


def folder(path: Path, made: Any) -> Path:
    """The model, and a tokenizer that knows ``WORDS``."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made.save_pretrained(path)
    known = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(["<unk>", "<s>", "</s>", *WORDS])}, unk_token="<unk>")
    )
    known.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=known, unk_token="<unk>").save_pretrained(path)
    return path
