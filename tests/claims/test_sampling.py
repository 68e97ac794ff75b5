"""Certificates about the samplers: accepted by both engines, and parameters outside of their hypotheses."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from kvverify.claims.evidence.sampling import chebyshev, combination, reservoir_cell, reservoir_norm, stream
from kvverify.errors import UsageError
from tests.claims.accepted import Node, assert_accepted

BUILT: list[tuple[Callable[..., Node], dict[str, Any]]] = [
    (reservoir_cell, {}), (reservoir_cell, {"tokens": 1, "cells": 1, "slots": 1}),
    (reservoir_cell, {"tokens": 7, "cells": 3, "slots": 3, "base": 5, "seed": 4}),
    (reservoir_cell, {"tokens": 4, "spread": 0}),
    (reservoir_norm, {}), (reservoir_norm, {"tokens": 1}), (reservoir_norm, {"tokens": 6, "slots": 4, "seed": 2}),
    (reservoir_norm, {"head_dim": 5, "base": 3}),
    (combination, {}), (combination, {"tokens": 1, "cell_slots": 1, "norm_slots": 1}),
    (combination, {"tokens": 3, "relative": Fraction(1, 2), "spread": 2, "seed": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("build", "given"), BUILT)
def test_every_certificate_is_valid_and_the_second_opinion_agrees(build: Callable[..., Node], given: Node) -> None:
    assert_accepted(build, given)


def test_every_cell_has_a_token() -> None:
    for seed in range(20):
        assert len(stream(5, 4, seed=seed).cells) == 4


def test_the_first_value_is_zero() -> None:
    """0 / 0 in the record: the sampler passes it over."""
    assert stream().values[0] == (0, 0)
    assert reservoir_norm()["statement"]["marginals"][0] == "0"


def test_the_numbers_of_the_page() -> None:
    tree = combination()
    assert tree["statement"]["probability"] == "145/1024"
    assert 3 < chebyshev() < Fraction("3.4")


@pytest.mark.parametrize("seed", range(6))
def test_chebyshev_is_an_upper_bound(seed: int) -> None:
    for relative, slots in ((Fraction(1, 2), 2), (Fraction(2), 3), (Fraction(4), 4)):
        given: dict[str, Any] = {"tokens": 3, "cell_slots": 3, "norm_slots": slots, "relative": relative, "seed": seed}
        assert Fraction(combination(**given)["statement"]["probability"]) <= chebyshev(**given)


REFUSED: list[tuple[Callable[..., Node], dict[str, Any], str]] = [
    (reservoir_cell, {"tokens": 0}, "tokens = 0"), (reservoir_cell, {"cells": 0}, "cells = 0"),
    (reservoir_cell, {"tokens": 2, "cells": 3}, "cells = 3"),
    (reservoir_cell, {"slots": 0}, "slots = 0"), (reservoir_cell, {"base": 1}, "base = 1"),
    (reservoir_cell, {"spread": -1}, "spread = -1"), (reservoir_norm, {"head_dim": 0}, "head_dim = 0"),
    (reservoir_norm, {"slots": -1}, "slots = -1"), (combination, {"relative": Fraction(0)}, "relative = 0"),
    (combination, {"cell_slots": 0}, "cell_slots = 0"), (combination, {"norm_slots": 0}, "norm_slots = 0"),
    (combination, {"tokens": 9, "norm_slots": 9}, "2^20 outcomes"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "given", "reason"), REFUSED)
def test_parameters_out_of_range_are_named(build: Callable[..., Node], given: Node, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(**given)
    assert reason in str(caught.value)
    assert "expected" in str(caught.value)
