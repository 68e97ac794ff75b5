"""What every test shares: how a missing extra is said, and how CI refuses to let one pass unseen.

Tests that need an optional package begin with ``torch = needs("torch", "audit")`` and are skipped, with the extra to
install as the reason, where it is missing. With ``KVVERIFY_NO_SKIP=1`` in the environment (as .ci/run sets it) any
skip whose reason starts with "needs" is a failure: a run without the extras cannot look like a green one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator

NO_SKIP = os.environ.get("KVVERIFY_NO_SKIP", "") not in ("", "0")

# Deadlines measure the machine, not the code. In CI the examples are the same in every run and nothing is stored.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def needs(module: str, extra: str) -> Any:
    """The module, imported; the test (or the whole test file, at its top) is skipped where ``extra`` is not installed.

    An installed module that fails to import is an error, not a skip.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"needs kvverify[{extra}]", allow_module_level=True)
    return importlib.import_module(module)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; ``-m 'not slow'`` is the default (pyproject.toml)."""
    config.addinivalue_line("markers", "slow: takes more than a few seconds; run with -m slow")
    config.addinivalue_line("markers", "extras: needs an optional extra; leave out with -m 'not extras'")


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _unskipped(report: Report) -> Report:
    """The report, failed where it says that an extra was missing and this is not allowed."""
    if NO_SKIP and report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if reason.startswith("needs"):
            report.outcome = "failed"
            report.longrepr = f"{reason}: skipping is not allowed here (KVVERIFY_NO_SKIP)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skips of single tests."""
    return _unskipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skips of whole files."""
    return _unskipped((yield))
