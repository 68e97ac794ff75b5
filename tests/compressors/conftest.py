"""One thread: on a busy machine, threads that wait for each other cost more than these small sums."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> None:
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
