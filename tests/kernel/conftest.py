"""Arb's precision for all tests of the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.real import precision


@pytest.fixture(autouse=True)
def _precise() -> Iterator[None]:
    with precision():
        yield
