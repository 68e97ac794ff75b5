"""The answer of ``audit`` and ``replay`` for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEAD = 8  # tensors that are listed


def audit_text(answer: Mapping[str, Any]) -> str:
    """What is stored, what came back, and the flags of one game (the object of ``audit --json``)."""
    one = answer["instance"]
    head = (
        f"{answer['compressor']} {_settings(answer)}on {_tokens(one)}, keys of {one['key_dim']}, values of "
        f"{one['value_dim']}, {one['kv_heads']} KV head(s), {one['payload']} secret, logits to {one['max_logit']}"
    )
    lines = [f"{head}, fed as {answer['schedule']}." if answer["schedule"] else f"{head}.", *_stream(answer, one)]
    if rehearsed := answer.get("rehearsals"):
        lines.append(
            f"Chosen after {rehearsed['played']} rehearsals: "
            f"{', '.join(f'{name} {value}' for name, value in rehearsed['chosen'].items())}."
        )
    if answer["status"] == "INCOMPLETE":
        return "\n".join([*lines, f"INCOMPLETE: {answer['reason']}"])
    tokens = one["tokens"]
    for name, words in (
        ("claimed_bits", "claimed"),
        ("held_bits", "held (allocated)"),
        ("wire_bits", "on the wire"),
        ("live_bits", "of it read by answers"),
        ("dead_bits", "of it never read"),
        ("certified_floor_bits", "came back, surely"),
        ("certificate_bits_at_least", "certificate asks for"),
    ):
        bits = answer[name]
        size = "none" if bits is None else f"{int(bits):>14,} bits {int(bits) / tokens:>10.2f} a token"
        lines.append(f"  {words:22} {size}")
    lines += [f"    never read: {one['place']}, {int(one['bits']):,} bits" for one in answer["dead_tensors"][:_DEAD]]
    memory = answer["memory_gib"]
    largest = "not a number" if answer["max_abs_error"] is None else f"at most {answer['max_abs_error']}"
    lines += [
        f"  reads off by more than {answer['tolerance']}{' of the exact answer' * answer['tolerance_is_relative']}: "
        f"{answer['wrong_reads']} of {answer['reads_asked']}",
        f"  largest error: {largest}",
        f"  queries answered {answer['settings']['chunk']} at a time; isolation: {answer['isolation_detail']}; "
        f"secret {'fresh' if answer['fresh_secret'] else 'not fresh'}",
        f"  memory: Alice up to {memory['alice']:.2f} GiB, Bob up to {memory['bob']:.2f}, each may have "
        f"{memory['limit']:g} (--memory)",
        *(_claim(answer["claim"], tokens) if answer["claim"] else ()),
        f"Flags: {', '.join(answer['flags']) or 'none (NO FLAG)'}.",
    ]
    if answer["counterexample"]:
        lines.append(f"Counter-example: kvverify replay {answer['counterexample']}")
    if answer["claim"] and answer["claim"]["certificate"]:
        lines.append(f"Certificate against the claim: {answer['claim']['certificate']}")
    return "\n".join(lines)


def _claim(claim: Mapping[str, Any], tokens: int) -> list[str]:
    """What was claimed, the bound that is certified for it, and how surely it was missed."""
    who = "as the compressor says" if claim["by"] == "compressor" else "as given"
    size = "no size" if claim["bits"] is None else f"at most {int(claim['bits']) / tokens:.2f} bits a token {who}"
    if claim["failure"] is None:
        return [f"  claim: {size}"]
    allowed = claim["tolerance"] or f"{claim['relative']} of the exact answer"
    lines = [f"  claim: {size}, off by more than {allowed} with probability at most {claim['failure']}"]
    if claim["state_bits_at_least"] is not None:
        bits = int(claim["state_bits_at_least"]) / tokens
        lines.append(
            f"    certified for it: at least {bits:.2f} bits a token (sha256 {claim['certificate_digest'][:16]})"
        )
    if claim["missed_reads"] is not None:
        missed, share = claim["missed_reads"], claim["missed_share_at_least"]
        surely = f", so a share of at least {share} at 99.9% confidence" if share else ""
        lines.append(f"    surely off: {missed} reads{surely}")
    return lines


def _stream(answer: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    """What the stream of another attention is made of."""
    if one["attention"] == "visual":
        free = f"{one['free_tokens']} of {one['tokens']} tokens are free"
        return [f"  maps {one['scales']}, kernel {one['kernel']}, cut {one['cut']}: {free}"]
    if one["attention"] == "tensor":
        dense, rows = int(answer["dense_bits"]), int(one["two_cache_bits"])
        return [f"  four caches of 16 bits a scalar: {dense:,} bits; their product rows, as two caches: {rows:,} bits"]
    return []


def _tokens(one: Mapping[str, Any]) -> str:
    kind = "" if one["kind"] == "hard" else f"{one['kind']} "
    some = (
        "" if one["tokens_that_carry_values"] == one["tokens"] else f" ({one['tokens_that_carry_values']} with a value)"
    )
    return f"{one['tokens']} {kind}tokens{some}"


def _settings(answer: Mapping[str, Any]) -> str:
    chosen = answer["settings"]["parameters"]
    return f"({', '.join(f'{name}={value}' for name, value in chosen.items())}) " if chosen else ""
