"""The text of an audit: what is known is said, what is unknown is not made up."""

from __future__ import annotations

from typing import Any

import pytest

from kvverify.report.audits import audit_text

ANSWER: dict[str, Any] = {
    "compressor": "mine.py:Mine", "settings": {"parameters": {"bits": 4}, "chunk": 8}, "schedule": "prefill:60,step:4",
    "instance": {
        "attention": "softmax", "kind": "hard", "tokens_that_carry_values": 64, "tokens": 64, "key_dim": 16,
        "value_dim": 8, "kv_heads": 2,
        "payload": "discrete", "max_logit": "24",
    },
    "status": "NO FLAG", "claimed_bits": None, "held_bits": "18014398509481984", "wire_bits": 6400, "live_bits": 6000,
    "dead_bits": 400, "dead_tensors": [{"place": "message[0].old", "bits": 400}], "tolerance_is_relative": False,
    "certified_floor_bits": 640, "certificate_bits_at_least": 5644, "max_abs_error": 0.25, "tolerance": "1/100",
    "wrong_reads": 3, "reads_asked": 1024, "isolation_detail": "Landlock ABI 7", "fresh_secret": True, "flags": [],
    "counterexample": None, "claim": None, "reason": None, "memory_gib": {"limit": 16.0, "alice": 0.25, "bob": 0.5},
}  # fmt: skip


CLAIM: dict[str, Any] = {
    "bits": 160, "by": "request", "tolerance": "1/100", "relative": None, "failure": "1/10", "missed_reads": 30,
    "missed_share_at_least": 0.015, "state_bits_at_least": "192", "certificate_digest": "00112233",
    "certificate": "floor.json",
}  # fmt: skip


def test_sizes_in_bits_and_per_token() -> None:
    text = audit_text(ANSWER)
    assert text.startswith("mine.py:Mine (bits=4) on 64 tokens, keys of 16, values of 8, 2 KV head(s), discrete secret")
    lines = {line[2:24].strip(): line[25:].split() for line in text.splitlines() if "a token" in line}
    assert lines["on the wire"] == ["6,400", "bits", "100.00", "a", "token"]
    assert lines["came back, surely"] == ["640", "bits", "10.00", "a", "token"]
    assert lines["held (allocated)"][0] == "18,014,398,509,481,984"
    assert "  claimed                none" in text
    assert "reads off by more than 1/100: 3 of 1024" in text
    assert "  memory: Alice up to 0.25 GiB, Bob up to 0.50, each may have 16 (--memory)\n" in text
    assert "secret fresh" in text
    assert text.endswith("Flags: none (NO FLAG).")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"max_abs_error": None}, "largest error: not a number"),
        ({"fresh_secret": False}, "secret not fresh"),
        ({"flags": ["HIDDEN STATE", "BYTES > CLAIM"]}, "Flags: HIDDEN STATE, BYTES > CLAIM."),
        ({"counterexample": "x.json"}, "Counter-example: kvverify replay x.json"),
        ({"tolerance_is_relative": True}, "reads off by more than 1/100 of the exact answer: 3 of 1024"),
        ({"dead_tensors": [{"place": "message[1].new", "bits": 32}]}, "    never read: message[1].new, 32 bits"),
        ({"claim": CLAIM}, "  claim: at most 2.50 bits a token as given, off by more than 1/100 with probability at"),
        ({"claim": CLAIM}, "    certified for it: at least 3.00 bits a token (sha256 00112233)"),
        ({"claim": CLAIM}, "    surely off: 30 reads, so a share of at least 0.015 at 99.9% confidence"),
        ({"claim": {**CLAIM, "missed_reads": 0, "missed_share_at_least": 0.0}}, "    surely off: 0 reads\n"),
        ({"claim": CLAIM}, "Certificate against the claim: floor.json"),
        ({"claim": {**CLAIM, "by": "compressor"}}, "bits a token as the compressor says, off by more"),
        ({"claim": {**CLAIM, "tolerance": None, "relative": "1/2"}}, "off by more than 1/2 of the exact answer with"),
        ({"claim": {**dict.fromkeys(CLAIM), "bits": 640}}, "  claim: at most 10.00 bits a token as given\nFlags"),
        ({"claim": {**CLAIM, "bits": None, "by": "compressor"}}, "  claim: no size, off by more than 1/100"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_what_changes(changes: dict[str, Any], line: str) -> None:
    assert line not in audit_text(ANSWER)
    assert line in audit_text({**ANSWER, **changes})


def test_a_game_that_ended_early_says_why_and_nothing_else() -> None:
    text = audit_text({**ANSWER, "status": "INCOMPLETE", "reason": "Alice: KeyError: 'x'", "schedule": None})
    assert text.splitlines()[1:] == ["INCOMPLETE: Alice: KeyError: 'x'"]
    assert "fed as" not in text


def test_a_kind_that_is_not_the_first_is_named_with_its_carriers() -> None:
    instance = {**ANSWER["instance"], "kind": "captured", "tokens_that_carry_values": 40}
    text = audit_text({**ANSWER, "instance": instance})
    assert text.startswith("mine.py:Mine (bits=4) on 64 captured tokens (40 with a value), keys of 16")
