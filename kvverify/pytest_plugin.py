"""pytest plugin: certificates as test items (``--kvverify``), and the fixture ``kvverify_audit``.

pytest loads this file in every project where kvverify is installed, so it imports nothing but pytest until it is asked
for something. PYTEST_DONT_REWRITE: it has no assertion to rewrite, and may be imported before pytest looks.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from kvverify.audit.report import Report


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two options, both of certificates."""
    group = parser.getgroup("kvverify", "certificates of KV-cache bounds")
    group.addoption(
        "--kvverify", action="store_true", help="Collect every *.json under the given paths as a certificate."
    )
    group.addoption(
        "--kvverify-incomplete", choices=("fail", "skip"), default="fail",
        help="What a certificate is that could not be decided (fail).",
    )  # fmt: skip


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CertificateFile | None:
    """Every ``*.json``, where ``--kvverify`` was given."""
    if file_path.suffix == ".json" and parent.config.getoption("--kvverify"):
        return CertificateFile.from_parent(parent, path=file_path)
    return None


class CertificateFile(pytest.File):
    """A file with one test item, whose node id is the file's own."""

    def collect(self) -> Iterator[Certificate]:
        """The item."""
        yield Certificate.from_parent(self, name=self.path.name, nodeid=self.nodeid)


class Certificate(pytest.Item):
    """One certificate, judged as by ``kvverify check``; a JSON file that is none fails."""

    def runtest(self) -> None:
        """The kernel's verdict, and Arb's opinion on what it accepts."""
        from kvverify.kernel.check import Verdict
        from kvverify.report.checks import check_all, failure_text

        (outcome,) = check_all([self.path])
        self.user_properties += [("claim", outcome.result.claim), ("second_opinion", outcome.opinion or "none")]
        if outcome.result.verdict is Verdict.VALID:
            return
        undecided = outcome.result.verdict is Verdict.INCOMPLETE
        if undecided and self.config.getoption("--kvverify-incomplete") == "skip":
            pytest.skip(failure_text(outcome))
        pytest.fail(failure_text(outcome), pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is, and what a failure is headed by."""
        return self.path, None, self.nodeid


@pytest.fixture
def kvverify_audit() -> Callable[..., Report]:
    """``pin``: an audit whose bits and errors a test promises. Skips where the extra [audit] is missing."""
    if any(find_spec(module) is None for module in ("torch", "scipy")):
        pytest.skip("needs kvverify[audit]")
    return pin


def pin(
    target: str,
    *,
    certificate: str | os.PathLike[str] | None = None,
    tokens: int | None = None,
    head_dim: int | None = None,
    value_dim: int | None = None,
    kv_heads: int | None = None,
    max_logit: object = None,
    wire_bits_per_token_at_most: object = None,
    held_bits_per_token_at_most: object = None,
    tolerance: object = None,
    wrong_reads_at_most: int | None = None,
    allow_flags: Collection[str] = (),
    **options: Any,
) -> Report:
    """Audit ``target`` (as ``kvverify audit`` names it) and hold it to what is promised.

    The game is played on the certificate's instance, or on one of the given shape. Bits are of all heads, over the
    tokens. A read is wrong unless it is surely within ``tolerance``. Numbers may be written "1/16"; ``options`` go to
    ``audit.game.play``: ``parameters``, ``dtype``, ``seed``, ``timeout`` (seconds) and so on.

    Raises AssertionError where a promise is not kept, a flag is raised that is not allowed, or the game could not be
    played to its end; UsageError where the request makes no sense, Incomplete where the target's module is missing.
    """
    __tracebackhide__ = True
    from kvverify.api import audit
    from kvverify.audit.verdict import RULES, Claim
    from kvverify.errors import UsageError
    from kvverify.problem import number
    from kvverify.report.audits import audit_text

    if unknown := sorted(set(allow_flags) - RULES.keys()):
        raise UsageError(f"allow_flags: {unknown[0]!r} given, one of {', '.join(RULES)} is needed")
    if (tolerance is None) != (wrong_reads_at_most is None):
        raise UsageError("tolerance and wrong_reads_at_most: give both or neither")
    allowed = None if tolerance is None else number(str(tolerance), "tolerance")
    if allowed is not None and (allowed <= 0 or options.get("payload") == "discrete"):
        raise UsageError(f"tolerance: {tolerance} given, a number above 0 and a continuous payload are needed")
    shape = {"head_dim": head_dim, "value_dim": value_dim, "kv_heads": kv_heads, "max_logit": max_logit}
    # Failure 1: how many reads may be wrong is counted below, exactly, and not judged as a frequency.
    claim = None if allowed is None else Claim(None, allowed, number(1, "failure"))
    report = audit(target, _instance(certificate, tokens, **shape), claim=claim, **options)
    broken = [f"flag {flag}, which is not allowed here" for flag in report.flags if flag not in allow_flags]
    sizes, score = report.record.sizes, report.record.score
    if report.status == "INCOMPLETE" or sizes is None or score is None:
        broken = [f"could not be decided: {report.reason}"]
    else:
        broken += _over("bits on the wire a token", wire_bits_per_token_at_most, sizes.wire_bits, report)
        broken += _over("bits held a token", held_bits_per_token_at_most, sizes.held_bits, report)
        if wrong_reads_at_most is not None and score.wrong_reads > wrong_reads_at_most:
            measured = f"measured {score.wrong_reads} of {score.asked} reads off by more than {score.tolerance}"
            broken.append(f"promised at most {wrong_reads_at_most} wrong reads, {measured}")
    if broken:
        raise AssertionError("\n".join([*(f"{target}: {line}" for line in broken), audit_text(report.to_json())]))
    return report


def _instance(certificate: str | os.PathLike[str] | None, tokens: int | None, **shape: Any) -> Any:
    """The certificate, or one of the given shape, as ``kvverify audit`` makes it."""
    from kvverify.bounds import instance_bound
    from kvverify.bounds.search import INSTANCE_LOGIT
    from kvverify.errors import UsageError
    from kvverify.problem import number

    if certificate is not None:
        if any(given is not None for given in (tokens, *shape.values())):
            raise UsageError("the certificate says tokens, dimensions, KV heads and logit; give it, or them, not both")
        return certificate
    if tokens is None or shape["head_dim"] is None:
        raise UsageError("give certificate, or tokens and head_dim")
    logit = INSTANCE_LOGIT if shape["max_logit"] is None else number(str(shape["max_logit"]), "max_logit")
    found = instance_bound(tokens, shape["head_dim"], shape["kv_heads"] or 1, logit, shape["value_dim"])
    if found.certificate is None:
        raise UsageError(f"no hard instance of this shape: {found.reason}")
    return found.certificate


def _over(what: str, promised: object, bits: int, report: Report) -> list[str]:
    """The line of a promise about bits that is not kept; the comparison is exact."""
    from fractions import Fraction

    from kvverify.figures import at_most
    from kvverify.problem import number

    tokens = report.game.instance.tokens
    if promised is None or bits <= number(str(promised), what) * tokens:
        return []
    measured = f"measured {at_most(Fraction(bits, tokens))} ({bits} bits for {tokens} tokens)"
    return [f"promised at most {promised} {what}, {measured}"]
