"""The command that plays an audit again, safe to paste into a shell whatever the results say."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from kvverify.report.checks import printable

_ONCE = ("timeout", "memory", "files", "settings", "target")
"""Of a sweep's request: limits, which change no figure, and what is said otherwise."""


def of_request(request: Mapping[str, Any]) -> str:
    """From the request that a sweep wrote down, every choice said."""
    options = []
    for name, value in request.items():
        if name not in _ONCE and value is not None:
            words = ",".join(f"{key}={item}" for key, item in value.items()) if isinstance(value, dict) else value
            options.append((name.replace("_", "-"), words))
    settings = request.get("settings")
    return _line(request["target"], settings if isinstance(settings, dict) else {}, options)


def of_audit(audit: Mapping[str, Any]) -> str:
    """From an audit's object. The instance is by its shape where the command line makes it, else by certificate."""
    one = audit["instance"]
    options: list[tuple[str, object]] = []
    if one["attention"] not in (None, "softmax"):
        options.append(("attention", one["attention"]))
    elif one["kind"] not in (None, "hard"):
        options.append(("instance", one["kind"]))
    if one["kind"] == "captured":
        options.append(("keys", "FILE.safetensors"))
    elif _by_shape(one):
        made = {name: one[name] for name in ("scales", "kernel", "cut")} if one["scales"] else {"tokens": one["tokens"]}
        shape = {**made, "head-dim": one["key_dim"], "value-dim": one["value_dim"],
                 "kv-heads": one["kv_heads"], "layers": one["layers"], "max-logit": one["max_logit"]}  # fmt: skip
        usual = {"value-dim": one["key_dim"], "kv-heads": 1, "layers": 1, "max-logit": "24"}
        options += [(name, value) for name, value in shape.items() if usual.get(name) != value]
    else:
        options.append(("certificate", f"{str(one['certificate'])[:16]}.json"))
    if one["heads"] != one["kv_heads"]:
        options.append(("heads", one["heads"]))
    if one["alphabet"] is not None:
        options += [("payload", one["payload"]), ("alphabet", one["alphabet"])]
    usual = {"schedule": f"prefill:{one['tokens']}", "dtype": "bfloat16", "device": "cpu"}
    chosen = {"schedule": audit["schedule"], **{name: audit["settings"][name] for name in ("dtype", "device")}}
    options += [(name, value) for name, value in chosen.items() if value is not None and value != usual[name]]
    if claim := _claim(audit["claim"] or {}, one["tokens"]):
        options.append(("claim", claim))
    return _line(audit["compressor"], audit["settings"]["parameters"], options)


def _by_shape(one: Mapping[str, Any]) -> bool:
    usual = (Fraction(1, 100), Fraction(1, 10))
    plain = one["attention"] in (None, "softmax")
    return one["inputs"] == "real" and (not plain or (one["tolerance"], one["failure"]) == usual)


def _claim(claim: Mapping[str, str], tokens: int) -> str:
    """The words of --claim. Sizes in an audit's object are totals; bits-per-token says the same."""
    parts = [f"{name}={claim[name]}" for name in ("tolerance", "relative", "failure") if name in claim]
    if claim.get("by") != "compressor" and claim.get("bits", "").isdecimal() and tokens:
        parts.insert(0, f"bits-per-token={Fraction(int(claim['bits']), tokens)}")
    return ",".join(parts)


def _line(target: object, settings: Mapping[str, Any], options: Iterable[tuple[str, object]]) -> str:
    words = ["kvverify", "audit", str(target)]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    for name, value in options:
        words += [f"--{name}", str(value)]
    return shlex.join(printable(word) for word in words)
