"""What ``capture`` writes is what the model's own attention computes with, and nothing is written where it is not."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import needs

torch = needs("torch", "audit")
transformers = needs("transformers", "caches")
safetensors = needs("safetensors", "audit")

from kvverify.bounds.own_keys import read_keys  # noqa: E402
from kvverify.capture import capture  # noqa: E402
from kvverify.errors import Incomplete, UsageError  # noqa: E402
from tests.capture.models import FAMILIES, LATER, SHAPE, TOKENS, folder, network, text  # noqa: E402
from tests.cli.command import kvverify  # noqa: E402

SIZES = {"tokens": TOKENS, "later": LATER}


def ids(made: Path) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(made)
    return torch.tensor([tokenizer((made.parent / "text").read_text())["input_ids"]])


def loaded(model: Path, attention: str) -> Any:
    """From the folder, as ``capture`` does: a cast of the model in memory would round its rotary frequencies too."""
    return transformers.AutoModelForCausalLM.from_pretrained(model, dtype="auto", attn_implementation=attention).eval()


def tensors(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama; the text lies beside it."""
    place = tmp_path_factory.mktemp("llama")
    text(place / "text")
    return folder(place / "model", network(*FAMILIES["llama"]))


@pytest.mark.parametrize("family", FAMILIES)
def test_products_of_the_file_give_the_models_own_probabilities(family: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "model", network(*FAMILIES[family]))
    about = capture(model, text(tmp_path / "text"), tmp_path / "c.safetensors", **SIZES)
    found = tensors(tmp_path / "c.safetensors")
    with torch.inference_mode():
        truth = loaded(model, "eager")(ids(model), output_attentions=True).attentions
    assert about["layers"] == len(truth) == SHAPE["num_hidden_layers"]
    for layer, probabilities in enumerate(truth):
        queries, keys = found[f"layers.{layer}.queries"], found[f"layers.{layer}.keys"]
        assert (queries.shape[:2], keys.shape[:2]) == ((4, LATER), (2, TOKENS))
        logits = queries @ keys.repeat_interleave(2, 0).mT
        theirs = probabilities[0, :, TOKENS:, :TOKENS]
        if about["window"] is not None:
            distance = torch.arange(TOKENS, TOKENS + LATER)[:, None] - torch.arange(TOKENS)
            logits = logits.masked_fill(distance >= about["window"], -torch.inf)
            some = (distance < about["window"]).any(-1)
            logits, theirs = logits[:, some], theirs[:, some]
        ours = torch.softmax(logits, -1) * theirs.sum(-1, keepdim=True)  # the rest went to tokens after the cut
        assert ours.max() > 0.3, "attention so even that a wrong capture would pass"
        assert (ours - theirs).abs().max() < 1e-4
    assert about["window"] == FAMILIES[family][2].get("sliding_window")


def test_keys_and_values_are_those_of_the_cache_to_the_bit(tmp_path: Path) -> None:
    model = folder(tmp_path / "model", network(*FAMILIES["llama"], dtype=torch.bfloat16))
    capture(model, text(tmp_path / "text"), tmp_path / "c.safetensors", **SIZES)
    found = tensors(tmp_path / "c.safetensors")
    with torch.inference_mode():
        cache = loaded(model, "sdpa")(ids(model), use_cache=True).past_key_values
    for layer in range(2):
        for name, kept in (("keys", cache.layers[layer].keys), ("values", cache.layers[layer].values)):
            tensor = found[f"layers.{layer}.{name}"]
            assert tensor.dtype == torch.bfloat16
            assert torch.equal(tensor, kept[0, :, :TOKENS])
        assert found[f"layers.{layer}.queries"].dtype == torch.float32


def test_the_file_says_where_it_is_from_and_certify_reads_it(llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    about = capture(llama, llama.parent / "text", path, **SIZES)
    with safetensors.safe_open(path, "pt") as file:
        kept = file.metadata()
    assert kept == {name: x if isinstance(x, str) else json.dumps(x) for name, x in about.items()}
    assert kept["text_sha256"] == hashlib.sha256((llama.parent / "text").read_bytes()).hexdigest()
    assert (kept["heads"], kept["kv_heads"], kept["head_dim"], kept["scaling"]) == ("4", "2", "8", str(8**-0.5))
    keys = read_keys(path, 1, 1)
    assert torch.equal(torch.from_numpy(keys.values).float(), tensors(path)["layers.1.keys"][1])
    assert [f.name for f in tmp_path.iterdir()] == ["c.safetensors"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_nothing_is_fetched(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    capture(llama, llama.parent / "text", tmp_path / "c.safetensors", **SIZES)


@pytest.mark.parametrize(
    ("config", "model", "own", "words"),
    [
        ("Gemma2Config", "Gemma2ForCausalLM", {"head_dim": 8, "attn_logit_softcapping": 5.0},
         "Gemma2Attention (layer 0)"),
        ("GptOssConfig", "GptOssForCausalLM", {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1},
         "GptOssAttention (layer 0)"),
        ("BloomConfig", "BloomForCausalLM", {}, "BloomAttention (layer 0)"),
        ("FalconConfig", "FalconForCausalLM", {}, "FalconForCausalLM was not understood"),
        ("MambaConfig", "MambaForCausalLM", {}, "MambaBlock (layer 0)"),
        ("Lfm2Config", "Lfm2ForCausalLM", {"layer_types": ["conv", "full_attention"]}, "Lfm2DecoderLayer (layer 0)"),
        ("MptConfig", "MptForCausalLM", {"d_model": 32, "n_heads": 4, "n_layers": 2}, "MptForCausalLM does not run"),
    ],
)  # fmt: skip
def test_other_attention_is_refused_by_name(
    config: str, model: str, own: dict[str, Any], words: str, tmp_path: Path
) -> None:
    made = folder(tmp_path / "model", network(config, model, own))
    with pytest.raises(UsageError) as refusal:
        capture(made, text(tmp_path / "text"), tmp_path / "c.safetensors", **SIZES)
    assert words in str(refusal.value)
    assert {f.name for f in tmp_path.iterdir()} == {"model", "text"}


def test_a_window_that_is_not_in_the_mask_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers does with a mask function that it overlooks."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    made = folder(tmp_path / "model", network(*FAMILIES["mistral"]))
    monkeypatch.setattr(ALL_MASK_ATTENTION_FUNCTIONS, "register", lambda *_: None)
    monkeypatch.delitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "kvverify-capture", raising=False)
    with pytest.raises(UsageError, match=r"MistralAttention \(layer 0\) .* other tokens .*window 7"):
        capture(made, text(tmp_path / "text"), tmp_path / "c.safetensors", **SIZES)


def rewrite(model: Path, change: dict[str, Any]) -> None:
    from safetensors.torch import load_file, save_file

    kept = load_file(model / "model.safetensors")
    kept.update(change)
    save_file({n: t for n, t in kept.items() if t is not None}, model / "model.safetensors", {"format": "pt"})


WEIGHT = "model.layers.1.self_attn.k_proj.weight"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda m: (m / "config.json").unlink(), "a folder with config.json"),
        (lambda m: (m / "config.json").write_text("{"), "transformers"),
        (lambda m: (m / "config.json").write_text('{"model_type": "unheard-of"}'), "unheard-of"),
        (lambda m: [f.unlink() for f in m.glob("tokenizer*")], "no tokenizer"),
        (lambda m: (m / "model.safetensors").unlink(), "weights"),
        (lambda m: (m / "model.safetensors").write_bytes(b"\x08"), "weights"),
        (lambda m: rewrite(m, {WEIGHT: None}), f"weights are missing, among them {WEIGHT}"),
        (lambda m: rewrite(m, {WEIGHT: torch.full((16, 32), torch.nan)}), "layers.1: queries, keys or values hold NaN"),
    ],
)
def test_a_broken_folder_is_one_line(harm: Any, words: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "model", network(*FAMILIES["llama"]))
    harm(model)
    with pytest.raises(UsageError) as refusal:
        capture(model, text(tmp_path / "text"), tmp_path / "c.safetensors", **SIZES)
    assert words in str(refusal.value)
    assert {f.name for f in tmp_path.iterdir()} == {"model", "text"}


def test_a_short_text_says_how_short(llama: Path, tmp_path: Path) -> None:
    short = text(tmp_path / "short", 31)
    with pytest.raises(UsageError, match=r"short: it has 31 tokens, 32 are needed"):
        capture(llama, short, tmp_path / "c.safetensors", **SIZES)
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin: not UTF-8 text .* at byte 0"):
        capture(llama, tmp_path / "latin", tmp_path / "c.safetensors", **SIZES)
    with pytest.raises(UsageError, match="the model reads 64 tokens, 65 asked for"):
        capture(llama, text(tmp_path / "long", 70), tmp_path / "c.safetensors", tokens=33, later=32)


def test_a_full_disk_is_said_at_the_first_layer(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=512))
    with pytest.raises(Incomplete, match="the keys alone are 2560 bytes, the output's disk has 512 left"):
        capture(llama, llama.parent / "text", tmp_path / "c.safetensors", **SIZES)
    assert list(tmp_path.iterdir()) == []


def test_the_command(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("capture", llama, "--text", llama.parent / "text", "--output", tmp_path / "c.safetensors", "--tokens", 20)
    done = kvverify(*words, "--later", 12, "--json")
    assert done.code == 0
    assert (done.json["schema"], done.json["layers"], done.json["tokens"]) == ("kvverify-capture/1", 2, 20)
    assert "100% layer 1" in done.err
    plain = kvverify(*words, "--later", 12)
    assert "2 layers of LlamaForCausalLM, keys and values of 20 tokens, queries of 12 more" in plain.out
    kvverify(*words, "--later", 13).refuses(2, "it has 32 tokens, 33 are needed")
    kvverify("capture", tmp_path / "no", "--text", llama.parent / "text").refuses(2, "no: a folder with config.json")
    kvverify(*words[:-4], "--output", tmp_path / "no" / "c", *words[-2:], "--later", 12).refuses(2, "cannot be written")
    there = kvverify(*words, "--later", 12, "--output", tmp_path)
    there.refuses(2, f"{tmp_path} cannot be written: Is a directory")
    kvverify("capture", llama, "--text", tmp_path / "absent").refuses(2, "absent: No such file")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "transformers" else name)
    kvverify(*words).refuses(2, "a capture needs transformers: pip install 'kvverify[audit,caches]'")
