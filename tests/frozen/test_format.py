"""docs/format.md is enough: a reader written from it agrees with the kernel's, and its tables name every field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check, read_goal
from kvverify.kernel.document import Malformed, OverLimit
from kvverify.kernel.rules import RULES
from tests.frozen import compared, covers, explicit, reader, tensored, visual  # noqa: F401  (these bring further claims)
from tests.frozen.test_frozen import FOLDER, INDEX
from tests.kernel.test_document import MALFORMED

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted(path for folder in ("certificates", "instances") for path in (ROOT / folder).rglob("*.json"))
VERDICTS = {FOLDER / entry["name"] / "certificate.json": entry["verdict"] for entry in INDEX}
OUT_OF_ORDER = {"invalid/a-step-that-nothing-uses", "invalid/a-later-step"}
PAGE = (ROOT / "docs" / "format.md").read_text()
TREE = json.loads((FOLDER / "valid" / "rm-levels" / "certificate.json").read_text())
RAW = json.dumps(TREE).encode()


def by_page(data: bytes) -> str:
    try:
        reader.read(data)
    except reader.Invalid:
        return "INVALID"
    except reader.Incomplete:
        return "INCOMPLETE"
    return "read"


def by_kernel(data: bytes) -> str:
    try:
        read_goal(document.read(data).statement)
    except Malformed:
        return "INVALID"
    except OverLimit:
        return "INCOMPLETE"
    return "read"


def agreed(data: bytes) -> str:
    """What both say."""
    found = by_page(data)
    assert found == by_kernel(data), data[:200]
    return found


@pytest.mark.parametrize("path", [*COMMITTED, *VERDICTS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_and_frozen_documents_are_read_alike(path: Path) -> None:
    data = path.read_bytes()
    found = agreed(data)
    verdict = VERDICTS.get(path, "VALID")
    assert found == "read" or verdict != "VALID"
    if found == "read":
        tree = reader.read(data)
        assert tree == json.loads(data)
        assert reader.digest(tree) == document.digest(tree)
        assert reader.canonical(tree).encode() == document.canonical(tree)


@pytest.mark.parametrize("name", MALFORMED)
def test_bytes_that_are_no_certificate(name: str) -> None:
    assert agreed(MALFORMED[name]) == "INVALID"


def signed(change: dict[str, Any], part: str = "statement") -> bytes:
    """The certificate with fields of its statement (of its first step) changed; None leaves a field out."""
    tree = json.loads(RAW)
    node = tree["statement"] if part == "statement" else tree["steps"][0]
    node.update(change)
    for name in [name for name, value in node.items() if value is None]:
        del node[name]
    return json.dumps(document.build(tree["statement"], tree["steps"])).encode()


TENSOR = {"name": "a/b.safetensors", "sha256": "0", "tensor": "k"}
OWN = {"budget": "own-keys", "body": "given", "keys": TENSOR}
PATHS = ("", "/a", "a//b", "../a", "a/.", "a b", "a" * 201)
MANY = json.dumps(document.build(TREE["statement"], TREE["steps"][:1] * 257)).encode()
READ = [
    signed({}), signed(OWN), signed({**OWN, "budget": "own-queries", "queries": {**TENSOR, "head": "0"}}),
    signed({"claim": "state-bits-enough", "state_bits_at_least": None, "state_bits_enough": "0"}),
    signed({"tolerance": None, "relative": "0"}), signed({"max_logit": "9" * 4001}), signed({"max_logit": "1/3"}),
    b" \t\r\n" + RAW + b"\n", signed({"uses": {"x": ""}, "rule": "\ud800\u00e9\U0001f600\x7f\b\"\\/"}, "step"),
]  # fmt: skip
INVALID = [
    signed({"max_logit": number})
    for number in ("0", "-1", "01", "-0", "+1", "1/1", "2/4", "1/-2", "1/0", "1/2/3", "", " 1", "1.0", "\u0661", "0/3")
]
INVALID += [signed({name: None}) for name in TREE["statement"]]
INVALID += [
    signed({"tokens": "0"}), signed({"tokens": ["1"]}), signed({"layers": "1/2"}), signed({"failure": "1"}),
    signed({"tolerance": "0"}), signed({"tolerance": "1"}), signed({"relative": "0"}),
    signed({"state_bits_enough": "1"}), signed({"state_bits_at_least": "-1"}),
    signed({"tolerance": None, "relative": "1"}), signed({"body": "given"}), signed({"budget": "own-keys"}),
    signed({"keys": TENSOR}), signed({**OWN, "kv_heads": "2"}), signed({**OWN, "budget": "own-queries"}),
    signed({**OWN, "queries": TENSOR}), signed({**OWN, "keys": {**TENSOR, "head": "-1"}}),
    signed({**OWN, "keys": {**TENSOR, "file": "x"}}), signed({**OWN, "keys": "k"}), signed({"more": "1"}),
    *(signed({**OWN, "keys": {**TENSOR, "name": name}}) for name in PATHS),
    signed({"id": "Keys"}, "step"), signed({"id": ""}, "step"), signed({"id": "a" * 65}, "step"),
    signed({"uses": []}, "step"), signed({"uses": {"a": {}}}, "step"), signed({"given": "x"}, "step"),
    signed({"gives": None}, "step"), signed({"rule": {}}, "step"), signed({"hint": {}}, "step"),
    RAW.replace(b"certificate/1", b"certificate/2"), RAW.replace(b'"tokens"', b"\"t\\q\""), RAW.replace(b",", b",,", 1),
    RAW.replace(b'"16"', b'"1\n6"'), b"]" * 30, json.dumps(document.build(TREE["statement"], [])).encode(),
]  # fmt: skip
INCOMPLETE = [
    signed({"max_logit": "9" * 4002}), signed({"tokens": "-" + "9" * 4001}), b"[" * 9, b'{"a":' * 9,
    b"]" * 30 + b"[" * 39, b'"\\"' + b"[" * 9 + b'"' + b"[" * 9, MANY, b" " * (1 << 23) + RAW,
]  # fmt: skip


@pytest.mark.parametrize(("documents", "verdict"), [(READ, "read"), (INVALID, "INVALID"), (INCOMPLETE, "INCOMPLETE")])
def test_single_faults(documents: list[bytes], verdict: str) -> None:
    assert [data[:200] for data in documents if agreed(data) != verdict] == []


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.integers(0, len(RAW) - 1), st.sampled_from(b'{}[]",:\\/u09ad \n\x00\x80\xc3'), st.booleans()),
        max_size=4,
    )
)
def test_bytes_changed_at_random(changes: list[tuple[int, int, bool]]) -> None:
    data = bytearray(RAW)
    for at, byte, insert in changes:
        data[at : at + (not insert)] = bytes([byte])
    agreed(bytes(data))


@settings(max_examples=100)
@given(st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=4), st.booleans())
def test_texts_are_digested_alike(node: dict[str, str], plain: bool) -> None:
    tree = document.build(TREE["statement"], [{**TREE["steps"][0], "given": node}])
    assert reader.canonical(tree).encode() == document.canonical(tree)
    text = json.dumps(tree, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    assert agreed(text) == "read"


def test_the_example_of_canonical_bytes() -> None:
    text, found = re.search(r"document (\{.*?\}) has the canonical bytes `(.*?)`", PAGE).groups()  # type: ignore[union-attr]
    assert reader.canonical(json.loads(text)) == found == document.canonical(json.loads(text)).decode()


def rows() -> dict[str, list[str]]:
    """The tables of section 5: rule -> its cells uses, given, gives."""
    section = PAGE.partition("## 5.")[2].partition("## 6.")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:3] == "| `"
    ]
    return {found[0].strip("`"): found[1:] for found in cells}


def test_every_rule_has_a_row() -> None:
    assert rows().keys() == RULES.keys()


def test_the_rows_name_every_field_that_is_used() -> None:
    seen = set()
    for path in [*COMMITTED, *(path for path, verdict in VERDICTS.items() if verdict == "VALID")]:
        for step in json.loads(path.read_bytes())["steps"]:
            seen.add(step["rule"])
            for part, cell in zip(("uses", "given", "gives"), rows()[step["rule"]], strict=True):
                if cell == "as `leak`":
                    cell = rows()["leak"][2]
                assert set(step[part]) <= set(re.findall(r"`([a-z0-9_-]+)`", cell)), f"{step['rule']}: {part}"
                assert step[part] or cell == "-" or cell.endswith(" nothing"), f"{step['rule']}: {part}"
    assert seen == RULES.keys()


def test_steps_out_of_order_are_seen() -> None:
    read = [path for path in VERDICTS if by_page(path.read_bytes()) == "read"]
    disordered = [path for path in read if not reader.in_order(reader.read(path.read_bytes()))]
    assert {str(path.parent.relative_to(FOLDER)) for path in disordered} == OUT_OF_ORDER


def test_one_field_more_or_less_is_invalid() -> None:
    """But for a parity, which a linear code may do without."""
    valid = [path for path, verdict in VERDICTS.items() if verdict == "VALID"]
    kept = set()
    for path in valid:
        tree = json.loads(path.read_bytes())
        for i, step in enumerate(tree["steps"]):
            for part in ("uses", "given", "gives"):
                more = {**step[part], "further": tree["steps"][0]["id"]}
                less = [{name: value for name, value in step[part].items() if name != gone} for gone in step[part]]
                for changed in (more, *less):
                    steps = [*tree["steps"][:i], {**step, part: changed}, *tree["steps"][i + 1 :]]
                    result = check(document.build(tree["statement"], steps), path.parent)
                    if result.verdict is not Verdict.INVALID:
                        kept |= step[part].keys() - changed.keys()
    assert kept == {"parity"}
