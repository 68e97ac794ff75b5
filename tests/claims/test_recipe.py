"""Words of ``--set`` as values of a recipe's annotations."""

from __future__ import annotations

import pytest

from kvverify.claims.ledger import CLAIMS, find
from kvverify.claims.recipe import arguments, choose
from kvverify.errors import UsageError


def given(*settings: str) -> dict[str, object]:
    return dict(arguments(choose(find("SG-5", CLAIMS), "saves"), list(settings)))


def test_yes_and_no() -> None:
    assert given("saves=no")["saves"] is False
    assert given("saves=yes")["saves"] is True
    with pytest.raises(UsageError, match="saves: 'True' given, yes or no is needed"):
        given("saves=True")
