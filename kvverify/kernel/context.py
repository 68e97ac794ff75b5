"""What every rule sees: the goal, the folder of referenced files, and the account of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kvverify.kernel.document import Node, OverLimit, short
from kvverify.kernel.facts import Fact, Goal, reject
from kvverify.kernel.statement import Statement

WORK_LIMIT = 1 << 27  # elementary steps of one check, each well under a microsecond

G = TypeVar("G", bound=Goal)


class Absent(Exception):
    """A file that the certificate refers to is not there: INCOMPLETE."""


@dataclass
class Context:
    """The goal, the folder of referenced files, and the work left in this check."""

    goal: Goal
    folder: Path
    work: int = field(default=WORK_LIMIT)

    @property
    def statement(self) -> Statement:
        """The problem class. Rejects the step where the certificate claims something else."""
        return self.about(Statement)

    def about(self, kind: type[G]) -> G:
        """The goal, which must be of that kind."""
        if not isinstance(self.goal, kind):
            reject("the claim is of the kind that this rule is about", type(self.goal).__name__, kind.__name__)
        return self.goal

    def charge(self, steps: int) -> None:
        """Account for work before it is done; refuse what would take too long."""
        self.work -= steps
        if self.work < 0:
            raise OverLimit(f"limit: this step needs {short(str(steps))} units of work, more than one check may take")


Rule = Callable[[Context, dict[str, Fact], Node, Node], Fact]
