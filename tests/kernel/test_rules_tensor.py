"""Tensor attention: every secret of small instances read back from exact answers; orders, patterns, ranges, limits."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest

from kvverify.attention.tensor import Factors, evaluate, multiplications
from kvverify.codes import by_name
from kvverify.kernel import document
from kvverify.kernel.check import Verdict, check
from kvverify.kernel.context import Context
from kvverify.kernel.rules import tensor_explicit
from tests.kernel import controls as plain
from tests.kernel.controls import rebuild
from tests.kernel.families import family
from tests.kernel.mutants import put
from tests.kernel.real import ball
from tests.kernel.tensor_controls import controls, orders, patterns, state
from tests.kernel.tensored import explicit, masses, solvable

Node = dict[str, Any]


def named(name: str) -> Node:
    return next(control.tree for control in controls() if control.name == name)


def changed(tree: Node, *where: Any, to: Any) -> Node:
    found: Node = rebuild(put(tree, where, to))
    return found


def at(tree: Node, name: str) -> int:
    return next(i for i, step in enumerate(tree["steps"]) if step["id"] == name)


def rejected(tree: Node, reason: str, step: str | None) -> None:
    result = check(tree)
    assert (result.verdict, result.step) == (Verdict.INVALID, step), result.reason
    assert reason in result.reason


def limited(tree: Node, reason: str) -> None:
    result = check(tree)
    assert result.verdict is Verdict.INCOMPLETE, result.reason
    assert reason in result.reason


# tensor-keys, tensor-leak, tensor-symbols


def instance(words: list[int], length: int, sentinels: int, xs: Any, ys: Any, extra: int) -> Factors:
    """The table of docs/proofs/tensor.md, ``extra`` tokens of factors 0 behind, the asker's own among them."""
    signs = [[(-1) ** (word >> j & 1) for j in range(length)] for word in words] + [[1] * length] * sentinels
    ones, zero = [1] * length, [0] * (2 * length)
    dim = len(xs[0])
    return Factors(
        [row + ones for row in signs] + [zero] * extra,
        [ones + row for row in signs] + [zero] * extra,
        [*xs, *[[1] * dim] * sentinels, *[[0] * dim] * extra],
        [*ys, *[[1] * dim] * sentinels, *[[0] * dim] * extra],
    )


@pytest.mark.parametrize(
    ("length", "payload", "sentinels", "pads"), [(1, 1, 1, 0), (1, 1, 3, 1), (2, 2, 1, 0), (2, 3, 2, 1)]
)
def test_all_secrets_are_read_from_exact_answers(length: int, payload: int, sentinels: int, pads: int) -> None:
    """z = y = 1/16, c = c' = (ln 16)/2: weights 2^(2 <.,.>); a symbol of -1, 0, 1 is D Z rounded, for every secret."""
    words = sorted(range(1 << length), key=lambda word: -word.bit_count())[:payload]
    z, tokens = Fraction(1, 16), payload + sentinels + pads
    off, rest = true_masses(words, length, sentinels, pads + 1, z)
    code = {"rule": "hypercube", "given": {"dimension": str(length)}, "gives": {"size": str(2**length)}}
    most, mass = masses(family(code, "cube", "real"), tokens, payload, sentinels, z, z, both=True)
    assert max(off) <= most < Fraction(1, 2)
    assert mass.overlaps(ball(rest))
    levels, seen = (-1, 0, 1), set()
    secrets = list(product(levels, repeat=2 * payload))[:: 1 if payload < 3 else 7]
    for secret in secrets:
        xs, ys = ([[x] for x in secret[:payload]], [[y] for y in secret[payload:]])
        held = instance(words, length, sentinels, xs, ys, pads + 1)
        found = []
        for first, i in product((True, False), range(payload)):
            sign = [2 * (-1) ** (words[i] >> j & 1) for j in range(length)]
            query = sign + [2] * length if first else [2] * length + sign
            (answer,) = evaluate("re-associated", query, held, 2).answer
            scaled = answer * (1 + off[i] + rest)
            found.append(min(levels, key=lambda level: abs(level - scaled)))
            assert abs(found[-1] - scaled) <= off[i]
        assert tuple(found) == secret
        seen.add(tuple(found))
    assert len(seen) == len(secrets)


def true_masses(
    words: list[int], length: int, sentinels: int, zeros: int, z: Fraction
) -> tuple[list[Fraction], Fraction]:
    """Pair by pair: off-target of each row, and the mass of pairs with a factor 0, over the targets."""
    live = [*words, *[0] * sentinels]
    off = []
    for i, word in enumerate(words):
        total = Fraction(0)
        for a, b in product(range(len(live)), repeat=2):
            if a != i or b < len(words):
                total += z ** ((word ^ live[a]).bit_count() + live[b].bit_count())
        off.append(total / sentinels)
    tokens = len(live) + zeros
    return off, (tokens**2 - len(live) ** 2) * z**length / sentinels


def test_the_record_of_four_tokens() -> None:
    """n = d = 4, base 14, eta = 1/2: (15/14)^4 - 1 < 1/3, 24 bits; base 13 misses."""
    cube = {"given": {"dimension": "2"}, "gives": {"size": "4"}}
    for base, holds in ((14, True), (13, False)):
        words = family({**cube, "rule": "hypercube"}, "cube", "real")
        off, _ = masses(words, 4, 3, 1, Fraction(1, base), Fraction(1, base), both=True)
        assert off == Fraction(base + 1, base) ** 4 - 1
        assert (off * 3 < 1) == holds
    half = Fraction(1, 2)
    tree = state(cube, 3, 1, (Fraction(3), Fraction(3)), head_dim=4, value_dim=4, relative=half, failure=0, scale=4)
    assert check(tree).bits == 24


def test_more_sentinels_need_less_budget() -> None:
    """The held half tells rows from sentinels only: with 4 of them c' may be smaller for the same levels."""
    small = by_name("extended-bch(3,4)").step()
    found = {}
    for sentinels in (1, 4):
        trees = [
            state(small, 9, sentinels, (Fraction(5, 2), Fraction(k, 8)), tolerance=Fraction(1, 100))
            for k in range(4, 24)
        ]
        levels = [int(tree["steps"][at(tree, "bits")]["gives"]["alphabet"]) for tree in trees]
        found[sentinels] = next(k for k, level in enumerate(levels) if level >= 20)
        assert check(trees[found[sentinels]]).verdict is Verdict.VALID
    assert found[4] < found[1]


def test_a_parity_check_proves_the_weights_as_well() -> None:
    tree = named("tensor, sure")
    with_parity = changed(tree, "steps", 0, "given", "parity", to=["11111"])
    assert check(with_parity).verdict is Verdict.VALID
    rejected(changed(tree, "steps", 0, "given", "parity", to=["11110"]), "orthogonal", "keys")


LEAKS = [
    ("payload", "0", "one secret row"), ("payload", "-1", "one secret row"), ("sentinels", "0", "one sentinel"),
    ("payload", "16", "zero word"), ("payload", "12", "secret rows and sentinels <= tokens"),
    ("sentinels", "7", "secret rows and sentinels <= tokens"), ("payload", "1/2", "integer"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "reason"), LEAKS)
def test_rows_that_do_not_fit(field: str, value: str, reason: str) -> None:
    tree = named("tensor, sentinels and pads")
    rejected(changed(tree, "steps", at(tree, "leak"), "given", field, to=value), reason, "leak")


def test_premises_and_forms_are_not_mixed() -> None:
    tree = named("tensor, sentinels and pads")
    leak = at(tree, "leak")
    uses, steps = tree["steps"][leak]["uses"], tree["steps"]
    rejected(
        changed(tree, "steps", leak, "uses", to={**uses, "keys": "read", "read": "keys"}), "of the kind Words", "leak"
    )
    without = [step for step in steps if step["id"] != "held"]
    skeleton = {**steps[leak], "uses": {"keys": "keys", "read": "read"}}
    bare = [skeleton if step["id"] == "leak" else step for step in without]
    rejected(rebuild({**tree, "steps": bare}), "unknown field 'sentinels'", "leak")
    rejected(changed(tree, "steps", at(tree, "bits"), "uses", "leak", to="keys"), "a step that nothing uses", "leak")
    softmax = {"id": "keys", "rule": "linear-code", **{part: steps[0][part] for part in ("uses", "given", "gives")}}
    rejected(rebuild({**tree, "steps": [softmax, *steps[1:]]}), "kind", "keys")
    ordinary = {**steps[0], "rule": "tensor-keys"}
    other = named_elsewhere("rm, separation")
    rejected(rebuild({**other, "steps": [{**ordinary, "id": "keys"}, *other["steps"][1:]]}), "kind", "keys")


def named_elsewhere(name: str) -> Node:
    return next(control.tree for control in plain.controls() if control.name == name)


STATEMENT = [
    ("tokens", "0"), ("head_dim", "0"), ("value_dim", "0"), ("kv_heads", "0"), ("state_bits_at_least", "-1"),
    ("scale", "0"), ("max_logit", "0"), ("max_logit", "-1"), ("failure", "1"), ("failure", "-1/2"),
    ("tolerance", "0"), ("tolerance", "1"), ("relative", "1/2"), ("max_query", "0"), ("attention", "tensor"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), STATEMENT)
def test_statements_out_of_range_are_malformed(field: str, value: str) -> None:
    rejected(changed(named("tensor, sentinels and pads"), "statement", field, to=value), "statement", None)


def test_a_statement_has_one_tolerance() -> None:
    tree = named("tensor, cube")
    none = {name: value for name, value in tree["statement"].items() if name != "relative"}
    rejected(rebuild({**tree, "statement": none}), "exactly one of", None)
    for value in ("1", "-1/2"):
        rejected(changed(tree, "statement", "relative", to=value), "relative", None)


def test_the_scale_matters_to_bounded_queries_only() -> None:
    tree = named("tensor, skeleton")
    larger = changed(tree, "statement", "scale", to="17")
    rejected(larger, "entries of the queries <= max_query", "leak")
    free = {name: value for name, value in larger["statement"].items() if name != "max_query"}
    assert check(rebuild({**larger, "statement": free})).verdict is Verdict.VALID


def test_sizes_need_no_loop() -> None:
    """2^100 tokens of a hypercube of dimension 101 in either half, by the closed form."""
    tokens, length = 1 << 100, 101
    cube = {"dimension": str(length)}
    exponent, z = Fraction(20), Fraction(1, 1 << 28)
    weights = sum(comb(length, w) * z**w for w in range(1, length + 1))
    off = (1 + weights) ** 2 - 1
    found = {
        "claim": "tensor-state-bits", "tokens": str(tokens), "head_dim": "202", "value_dim": "1", "kv_heads": "1",
        "scale": "202", "max_logit": "2020", "failure": "0", "relative": "1/2",
        "state_bits_at_least": str(2 * tokens - 2),
    }  # fmt: skip
    leak = {
        "off_target_at_most": str(off.limit_denominator(10**9) + Fraction(1, 10**6)),
        "rest_at_most": "1",
        "logit_at_most": "2020",
    }
    decay = {
        "id": "decay",
        "rule": "exp-bound",
        "uses": {},
        "given": {"exponent": str(exponent)},
        "gives": {"exp_minus_at_most": str(z)},
    }
    steps = [
        {"id": "keys", "rule": "tensor-keys", "uses": {}, "given": cube, "gives": {"size": str(2**length)}},
        decay,
        {
            "id": "leak", "rule": "tensor-leak", "uses": {"keys": "keys", "read": "decay", "held": "decay"},
            "given": {"payload": str(tokens - 1), "sentinels": "1"}, "gives": leak,
        },
        {
            "id": "bits", "rule": "tensor-symbols", "uses": {"leak": "leak"}, "given": {},
            "gives": {"alphabet": "2", "bits_at_least": str(2 * tokens - 2)},
        },
    ]  # fmt: skip
    assert check(document.build(found, steps)).verdict is Verdict.VALID


# tensor-orders


def test_the_kernel_and_the_exact_evaluation_agree() -> None:
    tree = orders(4, 3, 2, "3/2", (5, -16), seed=3)
    problem, goal = explicit(tree["statement"]), tensor_explicit.identity(tree["statement"])
    assert isinstance(goal, tensor_explicit.TensorIdentity)
    held = Factors(*(cache.tolist() for cache in problem.caches))
    for order in ("four-cache", "two-cache", "re-associated"):
        exact = evaluate(order, list(problem.query), held, Fraction(3, 2))
        assert exact.multiplications == int(tree["statement"][order.replace("-", "_")])
        ledger, context = tensor_explicit.Ledger(), Context(goal, None)  # type: ignore[arg-type]
        weigh = tensor_explicit._weights(context, goal.inputs, 5)
        above, below = getattr(tensor_explicit, f"_{order.replace('-', '_')}")(ledger, goal.inputs, weigh)
        assert tuple(Fraction(x, below) for x in above) == exact.answer


def test_sixty_four_tokens_of_sixteen_coordinates_take_little_time() -> None:
    tree = orders(64, 16, 16, "2", (4, -8))
    assert [int(tree["statement"][name]) for name in tensor_explicit.ORDERS] == [262_144, 135_136, 133_120]
    assert tree["statement"]["state_bits_at_most"] == str(4 * 64 * 16 * 4)
    start = time.process_time()
    assert check(tree).verdict is Verdict.VALID
    assert time.process_time() - start < 20


def test_counts_at_one_and_two_tokens() -> None:
    assert len({multiplications(order, 1, 3, 3) for order in ("four-cache", "two-cache", "re-associated")}) == 1
    four, two, again = (multiplications(order, 2, 3, 3) for order in ("four-cache", "two-cache", "re-associated"))
    assert (four - two, two - again) == (2 * 3, 2 * 3)


IDENTITIES = [
    ("k1", ["1 2"], "as many rows"), ("v2", ["1 2 3"] * 3, "one length"), ("query", "1 2 3", "one length"),
    ("k2", ["1 2", "1", "1 2"], "rows of one length"), ("k1", [], "rows of one length"), ("base", "0", "base above 0"),
    ("base", "-2", "base above 0"), ("word_bits", "0", "word_bits"), ("word_bits", "321", "word_bits"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "reason"), IDENTITIES)
def test_explicit_inputs_out_of_range_are_malformed(field: str, value: Any, reason: str) -> None:
    rejected(changed(named("orders"), "statement", field, to=value), reason, None)


def test_entries_are_words() -> None:
    tree = named("orders")
    rejected(changed(tree, "statement", "word_from", to="-3"), "at least word_from", "orders")
    rejected(changed(tree, "statement", "word_from", to="-5"), "below word_from", "orders")
    wide = changed(tree, "statement", "word_bits", to="4")
    rejected(wide, "words of four caches <= state_bits_at_most", "orders")


def test_large_inputs_are_refused() -> None:
    tree = named("orders")
    limited(changed(tree, "statement", "base", to="1" + "0" * 2000), "weights that differ by more")
    limited(changed(tree, "statement", "k1", to=["1 " + "9" * 97] * 3), "entries, or one of more than 320")
    many = {name: ["1"] * 9000 for name in ("k1", "k2", "v1", "v2")}
    wide = {**tree["statement"], **many, "query": "1"}
    limited(rebuild({**tree, "statement": wide}), "units of work")


# tensor-patterns


def test_patterns_of_0_and_1_have_a_closed_form() -> None:
    for tokens in range(1, 9):
        number = str((2**tokens - 1) ** 2 + 1)
        tree = changed(
            changed(named("patterns 2, binary"), "statement", "tokens", to=str(tokens)),
            "statement",
            "reachable",
            to=number,
        )
        assert check(changed(tree, "steps", 0, "gives", "reachable", to=number)).verdict is Verdict.VALID


def test_thresholds_up_to_four_tokens() -> None:
    for tokens, number in ((1, 2), (2, 16), (3, 338), (4, 12_616)):
        tree = changed(named("patterns 2, threshold"), "statement", "tokens", to=str(tokens))
        tree = changed(
            changed(tree, "statement", "reachable", to=str(number)), "steps", 0, "gives", "reachable", to=str(number)
        )
        assert check(tree).verdict is Verdict.VALID
    assert patterns(3, "threshold")["statement"]["reachable"] == "338"


def test_reachable_patterns_have_witnesses_and_the_others_none() -> None:
    """n = 3: products of small numbers reach exactly the patterns that the constraints allow; theta = 16."""
    sizes = [sign * 2**k for sign in (1, -1) for k in range(1, 5)]
    columns = list(product(sizes, repeat=3))
    shown = {
        tuple(a * b >= 16 for a in one for b in other) for one in columns for other in columns[: len(columns) // 2]
    }
    shown |= {
        tuple(-a * -b >= 16 for a in one for b in other) for one in columns for other in columns[len(columns) // 2 :]
    }
    allowed = {cells for cells in product((False, True), repeat=9) if solvable(np.array(cells, int).reshape(3, 3))}
    assert shown == allowed
    assert len(shown) == 338


def test_more_tokens_are_not_enumerated() -> None:
    for form, tokens in (("binary", "9"), ("threshold", "5")):
        limited(
            changed(named(f"patterns 2, {form}"), "statement", "tokens", to=tokens),
            f"more than {int(tokens) - 1} tokens",
        )
    rejected(changed(named("patterns 2, binary"), "statement", "tokens", to="0"), "one token", None)
    rejected(changed(named("patterns 2, binary"), "statement", "form", to="signs"), "form binary or threshold", None)
