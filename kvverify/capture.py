"""Keys, values and queries of a real model on a real text, as its attention sees them, in a safetensors file.

``layers.I.keys`` (kv_heads, tokens, key_dim) and ``layers.I.values`` of the cached tokens in the model's own dtype,
``layers.I.queries`` (heads, later, key_dim) of the tokens after them in fp32, already multiplied by the model's
scaling: a logit is the plain product of a query and a key. Position embeddings are applied, KV heads not repeated.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch

from kvverify import __version__
from kvverify.errors import Incomplete, UsageError

MAX_TEXT = 1 << 26  # bytes
_NAME = "kvverify-capture"
_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "spiece.model")
_COMPARED = 8  # reads of each layer that are worked out twice
_AGREE = 1e-4  # of the largest value: how far the recorded numbers' attention may be from the model's own, in fp32

Progress = Callable[[str, float], None]


def capture(
    model: Path, text: Path, output: Path, *, tokens: int = 512, later: int = 512, progress: Progress | None = None
) -> dict[str, Any]:
    """Run ``tokens + later`` tokens of ``text`` through the model of a local folder, and write what attention saw.

    Nothing is fetched, and no code of the folder runs. Memory: the model, and one layer at a time. Returns the file's
    metadata. Raises UsageError where the folder, the text or the model's attention is not what is needed.
    """
    if min(tokens, later) < 1:
        raise UsageError(f"tokens {tokens}, later {later} given; at least 1 of each are needed")
    if not (model / "config.json").is_file():
        raise UsageError(f"{model}: a folder with config.json, *.safetensors and a tokenizer is needed")
    written = _read_text(text)
    ids = _token_ids(model, text, written, tokens + later)
    with _tensor_file(output) as stream, _recording(_Recorder(stream, tokens, later, progress)) as recorder:
        network = _load(model, tokens + later)
        recorder.expect(network.config.get_text_config())
        with torch.inference_mode(), _refusing(model, f"{type(network).__name__} does not run with attention recorded"):
            network.base_model(input_ids=torch.tensor([ids]), use_cache=False)
        if missing := recorder.missing():
            _not_understood(_attention_class(network, missing[0]), missing[0], "does not use transformers' interface")
        return recorder.finish(network, hashlib.sha256(written).hexdigest())


@dataclass
class _Recorder:
    """Stands in for the attention function: writes what it is given, then lets the usual one answer."""

    stream: BinaryIO
    tokens: int
    later: int
    progress: Progress | None
    layers: int = 0
    reserved: int = 0
    header: dict[str, Any] = field(default_factory=dict)
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)

    def expect(self, config: Any) -> None:
        """Leave room for the header, which is complete only at the end."""
        self.layers = int(config.num_hidden_layers)
        self.reserved = 4096 + 512 * self.layers
        self.stream.seek(8 + self.reserved)

    def missing(self) -> list[int]:
        return [layer for layer in range(self.layers) if layer not in self.seen]

    def __call__(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any,
        scaling: float | None = None, **others: Any,
    ) -> Any:  # fmt: skip
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        layer, kind = getattr(module, "layer_idx", None), type(module).__name__
        scaling = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
        length = self.tokens + self.later
        if type(layer) is not int or not 0 <= layer < self.layers or layer in self.seen:
            _not_understood(kind, layer, "does not say which layer it is, once for each")
        if [x.ndim for x in (query, key, value)] != [4, 4, 4] or key.shape[:3] != value.shape[:3]:
            _not_understood(kind, layer, f"has queries {tuple(query.shape)} and keys {tuple(key.shape)}")
        if query.shape[0] != 1 or query.shape[1] % key.shape[1] or {query.shape[2], key.shape[2]} != {length}:
            _not_understood(kind, layer, f"has queries {tuple(query.shape)} and keys {tuple(key.shape)}")
        if key.dtype not in _DTYPES or value.dtype != key.dtype:
            _not_understood(kind, layer, f"keeps keys in {key.dtype}")
        if not all(torch.isfinite(x).all() for x in (query, key, value)):
            raise UsageError(f"layers.{layer}: queries, keys or values hold NaN or infinity; are the weights sound?")
        window = _check(module, layer, (query, key, value), attention_mask, scaling, others)
        self._write(f"layers.{layer}.keys", key[0, :, : self.tokens])
        self._write(f"layers.{layer}.values", value[0, :, : self.tokens])
        self._write(f"layers.{layer}.queries", query[0, :, self.tokens :].float() * scaling)
        self.seen[layer] = {
            "heads": query.shape[1], "kv_heads": key.shape[1], "head_dim": key.shape[3], "value_dim": value.shape[3],
            "scaling": scaling, "window": window, "dtype": _DTYPES[key.dtype],
        }  # fmt: skip
        if self.progress is not None:
            self.progress(f"layer {layer}", len(self.seen) / self.layers)
        usual = ALL_ATTENTION_FUNCTIONS["sdpa"]
        return usual(module, query, key, value, attention_mask, scaling=scaling, **others)

    def _write(self, name: str, tensor: torch.Tensor) -> None:
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        start = self.stream.tell() - 8 - self.reserved
        if start == 0:
            self._need_room(len(raw))
        self.stream.write(raw)
        entry = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, start + len(raw)]}
        self.header[name] = entry

    def _need_room(self, first: int) -> None:
        """Say at the first tensor that the disk is too small, not at the last."""
        disk = os.fstatvfs(self.stream.fileno())
        free = disk.f_bavail * disk.f_frsize
        if first * self.layers > free:
            raise Incomplete(f"the keys alone are {first * self.layers} bytes, the output's disk has {free} left")

    def finish(self, network: Any, text_sha256: str) -> dict[str, Any]:
        """Complete the file with its header; returns the metadata, which safetensors keeps as strings."""
        import transformers

        shapes = {name: _one([self.seen[layer][name] for layer in range(self.layers)]) for name in self.seen[0]}
        about = {
            "made_by": f"kvverify {__version__}, transformers {transformers.__version__}, torch {torch.__version__}",
            "model_type": network.config.get_text_config().model_type, "model_class": type(network).__name__,
            "layers": self.layers, "tokens": self.tokens, "later": self.later, **shapes, "text_sha256": text_sha256,
        }  # fmt: skip
        strings = {name: x if isinstance(x, str) else json.dumps(x) for name, x in about.items()}
        packed = json.dumps({"__metadata__": strings, **self.header}, separators=(",", ":")).encode()
        if len(packed) > self.reserved:
            raise Incomplete(f"the header of {len(packed)} bytes does not fit the {self.reserved} left for it")
        self.stream.seek(0)
        self.stream.write(self.reserved.to_bytes(8, "little") + packed.ljust(self.reserved))
        return about


def _check(
    module: Any, layer: int, tensors: tuple[torch.Tensor, ...], mask: Any, scaling: float, others: dict[str, Any]
) -> int | None:
    """The sliding window, if any. Refuses attention that is not softmax of the products over the tokens it sees.

    Some reads are worked out twice in fp32, from what is recorded and by the eager function of the module's own file:
    caps on logits, sinks, biases or another order of heads tell them apart.
    """
    kind, (query, key, value) = type(module).__name__, (x.float() for x in tensors)
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if eager is None:
        _not_understood(kind, layer, "has no eager function to compare with")
    length, window = key.shape[2], others.get("sliding_window")
    rows = torch.linspace(0, length - 1, _COMPARED).round().long()  # the first sees little, where a sink weighs most
    distance = rows[:, None] - torch.arange(length)
    seen = (distance >= 0) & (distance < (window or length))
    allowed = distance >= 0  # what no mask means
    if mask is not None:
        chosen = mask[0, 0, rows, :length]
        if chosen.dtype != torch.bool and not ((chosen == 0) | (chosen < -1e4)).all():
            _not_understood(kind, layer, "adds a bias to its logits")
        allowed = chosen if chosen.dtype == torch.bool else chosen == 0
    if not torch.equal(seen, allowed):
        _not_understood(kind, layer, f"sees other tokens than those before it (window {window})")
    hidden = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    group = query.shape[1] // key.shape[1]
    keys, values = (x.repeat_interleave(group, 1) for x in (key, value))
    ours = torch.softmax((query[:, :, rows] * scaling) @ keys.mT + hidden, -1) @ values
    theirs, _ = eager(module, query[:, :, rows], key, value, hidden[None, None], scaling=scaling, **others)
    if not torch.allclose(ours.transpose(1, 2), theirs, rtol=0, atol=_AGREE * max(float(value.abs().max()), 1e-30)):
        _not_understood(kind, layer, "is more than softmax of queries times keys (a cap, a sink or a bias)")
    return int(window) if window and window < length else None


def _not_understood(kind: str, layer: object, why: str) -> NoReturn:
    where = kind if layer is None else f"{kind} (layer {layer})"
    raise UsageError(f"{where} was not understood: its attention {why}; Llama, Mistral, Qwen2 and Qwen3 are understood")


def _attention_class(network: Any, layer: int) -> str:
    """The class of the layer's attention, or of the layer."""
    inside = [m for n, m in network.named_modules() if f".{layer}." in f".{n}." and not n.endswith(f".{layer}")]
    named = [type(m).__name__ for m in inside if "attention" in type(m).__name__.lower()]
    layers = [type(m).__name__ for n, m in network.named_modules() if n.endswith(f".{layer}")]
    return (named or layers or [type(network).__name__])[0]


def _one(values: list[Any]) -> Any:
    """The value that all layers share, or the list."""
    return values[0] if all(value == values[0] for value in values) else values


def _read_text(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise UsageError(f"{path}: more than {MAX_TEXT} bytes; give the part of the text that is to be read")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    return data


def _token_ids(model: Path, text: Path, written: bytes, needed: int) -> list[int]:
    """The text's first tokens, special ones of the start included."""
    from transformers import AutoTokenizer

    if not any((model / name).is_file() for name in _TOKENIZERS):  # transformers would go on with an empty one
        raise UsageError(f"{model}: no tokenizer there; one of {', '.join(_TOKENIZERS)} is needed")
    with _refusing(model, "transformers finds no tokenizer in this folder that it can load", OSError):
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    ids: list[int] = tokenizer(written.decode(), verbose=False)["input_ids"]
    if len(ids) < needed:
        raise UsageError(f"{text}: it has {len(ids)} tokens, {needed} are needed (--tokens and --later together)")
    return ids[:needed]


def _load(model: Path, length: int) -> Any:
    """The whole model, in its own dtype, on the CPU."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with _refusing(model, "transformers cannot load the weights of this folder", OSError, SafetensorError):
        try:
            network, report = AutoModelForCausalLM.from_pretrained(
                model, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="auto",
                attn_implementation=_NAME, output_loading_info=True,
            )  # fmt: skip
        except KeyError as no:  # some models look their attention up in a table of their own
            if no.args != (_NAME,):
                raise
            named = json.loads((model / "config.json").read_bytes()).get("architectures") or [str(model)]
            _not_understood(named[0], None, "does not use transformers' interface")
    if absent := [*report["missing_keys"], *report["mismatched_keys"]]:
        raise UsageError(f"{model}: weights are missing, among them {absent[0]}")
    reach = getattr(network.config.get_text_config(), "max_position_embeddings", None) or math.inf
    if length > reach:
        raise UsageError(f"{model}: the model reads {reach} tokens, {length} asked for (--tokens and --later together)")
    return network.eval()


@contextmanager
def _refusing(model: Path, what: str, *also: type[Exception]) -> Iterator[None]:
    """One line for whatever transformers says of a model that it, or its attention, cannot work with."""
    known: tuple[type[Exception], ...] = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError)
    try:
        yield
    except (*known, *also) as no:
        line = " ".join(str(no).split())[:200] or type(no).__name__
        raise UsageError(f"{model}: {what} ({line})") from None


@contextmanager
def _recording(recorder: _Recorder) -> Iterator[_Recorder]:
    """Put the recorder among transformers' attention functions, with the masks of the function that it calls."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS[_NAME] = recorder
    # For all, once: a mask function that is set for one table only is overlooked, and with it the sliding window.
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    try:
        yield recorder
    finally:
        del ALL_ATTENTION_FUNCTIONS[_NAME]


@contextmanager
def _tensor_file(target: Path) -> Iterator[BinaryIO]:
    """A stream that becomes ``target`` when all went well, and nothing otherwise."""
    if target.is_dir():
        raise UsageError(f"{target} cannot be written: Is a directory")
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
