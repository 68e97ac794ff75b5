"""The caches of Hugging Face transformers: dynamic, static, with a sliding window, and quantised by hqq or by quanto.

Needs ``pip install 'kvverify[caches]'``. Versions 5.0 to 5.2 have no cache in fp8; an offloaded cache is a dynamic one
whose layers wait in the host's memory, which on a CPU is where they are. quanto compiles a C++ extension once, in its
own folder, when its cache is first made (about 30 seconds; g++ and ninja must be on the PATH); later processes load it
without writing.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kvverify.compressors.adapters._update import UpdateCache, config
from kvverify.compressors.parameters import choice, complete, integer
from kvverify.errors import Incomplete, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from kvverify.compressors.protocol import Settings

_BITS = {"hqq": (1, 2, 3, 4, 8), "quanto": (2, 4)}
_VERSIONS = ((5, 0), (5, 3))
"""The first version that this adapter drives, and the first that it does not."""


class TransformersCache(UpdateCache):
    """DynamicCache, StaticCache or QuantizedCache of one layer with the package's own defaults.

    ``static`` allocates ``max_cache_len`` tokens at once; the two sliding ones keep the newest ``window``. Quantised
    caches hold groups of ``q_group_size`` scalars along ``axis`` (auto: 1 for hqq, 0 for quanto, as the package
    recommends) and requantise everything when ``residual_length`` newest tokens have come in.
    """

    parameters = (
        choice("cache", "dynamic", "hqq", "quanto", "static", "sliding", "static-sliding"),
        choice("bits", 4, 1, 2, 3, 8),
        choice("axis", "auto", -1, 0, 1),
        integer("q_group_size", 64, 1, 1 << 16),
        integer("residual_length", 128, 1, 1 << 24),
        integer("window", 256, 2, 1 << 24),
        integer("max_cache_len", 1024, 2, 1 << 24),
    )

    def __init__(self, settings: Settings) -> None:
        options = complete("transformers", self.parameters, settings.parameters)
        _check_version(_import("transformers").__version__)
        made = _quantised(options) if options["cache"] in _BITS else _plain(settings, options)
        super().__init__(settings, made)
        self.fixed = int(options["max_cache_len"]) if str(options["cache"]).startswith("static") else None
        self.nominal = int(options["bits"]) if options["cache"] in _BITS else None

    def claimed_bits(self) -> int | None:
        """What its name says: ``bits`` a scalar, and the newest tokens, which it keeps as they are, in full.

        The package says of ``nbits`` that so many bits are used for quantisation; scales and offsets of the groups come
        on top, and are no part of the name. None where nothing is quantised.
        """
        if self.nominal is None or not self.cache.layers:
            return None
        layer, shape = self.cache.layers[0], self.settings.shape
        newest = layer.keys.shape[-2] if layer.is_initialized and layer.keys.dim() == 4 else 0
        full = 8 * getattr(torch, self.settings.dtype).itemsize
        scalars = shape.batch * shape.kv_heads * (shape.key_dim + shape.value_dim)
        return int(scalars * (self.nominal * (layer.get_seq_length() - newest) + full * newest))

    def update(self, cache: Any, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """A static cache asks for positions, and hands its whole buffer back: what is not filled yet is cut off."""
        if self.fixed is None:
            return super().update(cache, keys, values)
        seen = int(cache.get_seq_length(0))
        end = seen + keys.shape[2]
        if end > self.fixed:
            raise UsageError(f"transformers: max_cache_len={self.fixed} is too small: {end} tokens come")
        positions = {"cache_position": torch.arange(seen, end, device=keys.device)}
        all_keys, all_values = cache.update(keys, values, 0, positions)
        return all_keys[:, :, :end], all_values[:, :, :end]


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"transformers: {error}; pip install 'kvverify[caches]'") from error


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2])
    first, end = _VERSIONS
    if not first <= numbers < end:
        raise UsageError(f"transformers: version {version} is installed; this adapter drives 5.0, 5.1 and 5.2")


def _plain(settings: Settings, options: dict[str, Any]) -> Any:
    transformers, kind = _import("transformers"), options["cache"]
    if kind == "dynamic":
        return transformers.DynamicCache()
    layer = {"sliding_window": options["window"], "layer_types": ["sliding_attention"]} if "sliding" in kind else {}
    if kind == "sliding":
        return transformers.DynamicCache(config=config(settings, **layer))
    return transformers.StaticCache(config=config(settings, **layer), max_cache_len=options["max_cache_len"])


def _quantised(options: dict[str, Any]) -> Any:
    backend, bits, axis = options["cache"], options["bits"], options["axis"]
    if bits not in _BITS[backend]:
        raise UsageError(f"transformers: bits={bits} is not legal for {backend}; legal: {_BITS[backend]}")
    if axis == "auto":
        axis = 1 if backend == "hqq" else 0
    elif axis == (-1 if backend == "hqq" else 1):
        raise UsageError(f"transformers: axis={axis} is not legal for {backend}")
    if backend == "quanto":
        _import("optimum.quanto")
        _load_extension()
    else:
        _import("hqq.core.quantize")
    transformers = _import("transformers")
    return transformers.QuantizedCache(
        backend=backend,
        config=transformers.LlamaConfig(num_hidden_layers=1),
        nbits=bits,
        axis_key=axis,
        axis_value=axis,
        q_group_size=options["q_group_size"],
        residual_length=options["residual_length"],
    )


def _load_extension() -> None:
    """Load quanto's compiled extension; compile it where it is not there yet.

    Its own loader takes a lock file and runs ninja each time, which a player without leave to write cannot.
    """
    extension = _import("optimum.quanto.library.extensions.cpp").ext
    if extension._lib is not None:
        return
    folder = Path(extension.build_directory)
    built_for = folder / "pytorch_version.txt"
    version = _import("torch").__version__
    if built_for.is_file() and built_for.read_text().strip() == version and (folder / f"{extension.name}.so").is_file():
        spec = importlib.util.spec_from_file_location(extension.name, folder / f"{extension.name}.so")
        assert spec is not None
        assert spec.loader is not None
        extension._lib = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(extension._lib)
        return
    try:
        assert extension.lib is not None  # compiles
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise Incomplete(
            f"transformers: quanto's extension does not compile (g++ and ninja on PATH?): {reason}"
        ) from error
