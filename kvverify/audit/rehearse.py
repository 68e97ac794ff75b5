"""A search for what a compressor keeps worst: whole games over a family of public choices, with secrets thrown away.

Hill climbing, one choice at a time. Every rehearsal is a game between isolated players like any other; what it teaches
is public choices only, made before the real secret is drawn. So the one game that is played then proves what any game
with these choices proves, and however many rehearsals there were, nothing has to be corrected for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from kvverify.audit.instances import InstanceOptions, make_instance, streams
from kvverify.bounds.given import arranged
from kvverify.bounds.search import INSTANCE_LOGIT
from kvverify.errors import Incomplete, UsageError
from kvverify.figures import at_least
from kvverify.instances.payload import scatter

if TYPE_CHECKING:
    from kvverify.audit.report import Report
    from kvverify.instances.hard import HardInstance

Choice = Mapping[str, str]
"""A value for each name of the family."""
FAMILY: dict[str, tuple[str, ...]] = {
    "keys": ("hard", "crowded", "outliers"),
    "carriers": ("all", "oldest", "newest"),
    "schedule": ("default", "decode"),
    "secret": ("asked", "two levels"),
    "logit": ("whole", "half"),
}
"""What is varied, the values that a search begins with first.

- keys: of a code; random unit keys; or these with most channels shrunk (queries take the factor, so that attention
  stays as it is).
- carriers: all tokens, or the oldest or newest quarter alone, the others having value 0.
- schedule: the compressor's own, or ``decode``. - secret: as asked for, or of the two levels -1 and 1.
- logit: the whole budget, or half of it.
"""
REHEARSALS = 12
_SHRUNK = 2.0**-8  # channels other than one in sixteen
_PART = 4  # carriers are one token in so many


@dataclass(frozen=True, order=True)
class Loss:
    """How badly a compressor did, the worst last: reads that surely miss the claim, then bits that reads lost.

    ``bits``: of the ten tolerances 1/2 .. 1/1024, how many a read missed in the mean.
    """

    missed: Fraction
    bits: Fraction


@dataclass(frozen=True)
class Rehearsal:
    """One game of the search; ``loss`` is None where it could not be played, and ``reason`` says why."""

    choice: Choice
    loss: Loss | None
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        """The choice with what it did."""
        loss = self.loss
        return {
            **self.choice,
            "missed_share": None if loss is None else at_least(loss.missed),
            "bits_lost": None if loss is None else at_least(loss.bits),
            "reason": self.reason,
        }


def climb(
    family: Mapping[str, tuple[str, ...]], play: Callable[[Choice], Rehearsal], budget: int
) -> Iterator[Rehearsal]:
    """Play choices of a family, at most ``budget`` and none twice; the first is the family's first values.

    From the one that did worst so far to those that differ in one name; ends where none of them does worse.
    """
    seen: list[Choice] = []
    best: Rehearsal | None = None
    ahead: list[Choice] = [{name: values[0] for name, values in family.items()}]
    while ahead and len(seen) < budget:
        choice = ahead.pop(0)
        seen.append(choice)
        found = play(choice)
        yield found
        if best is None or (found.loss is not None and (best.loss is None or found.loss > best.loss)):
            best = found
            near = ({**choice, name: value} for name, values in family.items() for value in values)
            ahead = [other for other in near if other not in seen]


def worst(rehearsals: Sequence[Rehearsal]) -> Rehearsal:
    """The first of those that did worst. Raises Incomplete where none could be played."""
    played = [one for one in rehearsals if one.loss is not None]
    if not played:
        raise Incomplete(f"no rehearsal could be played: {rehearsals[0].reason}")
    return max(played, key=lambda one: (one.loss, -rehearsals.index(one)))


def loss(report: Report) -> Loss | None:
    """What a game shows; None where it did not end."""
    score = report.record.score
    if score is None:
        return None
    missed = Fraction(score.missed, score.asked) if report.claim is not None else Fraction(0)
    return Loss(missed, Fraction(sum(point.wrong_reads for point in score.curve), score.asked))


@dataclass(frozen=True)
class Found:
    """What a search chose: the instance and options of the game to be played, and every rehearsal."""

    instance: HardInstance
    options: dict[str, Any]
    games: tuple[Rehearsal, ...]

    def to_json(self) -> dict[str, Any]:
        """``rehearsals`` of the audit's object."""
        return {
            "played": len(self.games),
            "chosen": dict(worst(self.games).choice),
            "games": [game.to_json() for game in self.games],
        }


def search(
    wanted: InstanceOptions, options: Mapping[str, Any], play: Callable[[HardInstance, dict[str, Any]], Report],
    progress: Callable[[str, float], None],
) -> Found:  # fmt: skip
    """The choices that a compressor does worst with. ``play`` plays one game with an instance and options of a game.

    What the user has chosen is not varied. With a seed rehearsals have seeds of their own, the next ones. Raises what
    the first rehearsal raises, Incomplete where none could be played.
    """
    budget = REHEARSALS if wanted.rehearsals is None else wanted.rehearsals
    family = dict(FAMILY)
    if options["schedule"] is not None:
        family["schedule"] = family["schedule"][:1]
    if options["payload"] != "continuous":
        family["secret"] = family["secret"][:1]
    made: dict[tuple[str, ...], HardInstance] = {}
    games: list[Rehearsal] = []

    def instance(choice: Choice) -> HardInstance:
        place = tuple(choice[name] for name in ("keys", "carriers", "logit"))
        if place not in made:
            made[place] = _arranged(wanted, choice)
        return made[place]

    def rehearsal(choice: Choice) -> Rehearsal:
        progress(f"rehearsal {len(games) + 1}: {', '.join(choice.values())}", len(games) / budget)
        asked = _options(options, choice)
        if asked["seed"] is not None:
            asked["seed"] += 1 + len(games)
        try:
            report = play(instance(choice), asked)
        except (UsageError, Incomplete) as error:
            if not games:
                raise
            return Rehearsal(choice, None, str(error))
        return Rehearsal(choice, loss(report), report.reason)

    for game in climb(family, rehearsal, budget):
        games.append(game)
    chosen = worst(games).choice
    return Found(replace(instance(chosen), kind="adversarial"), _options(options, chosen), tuple(games))


def _options(options: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
    """The options of a game with a choice's schedule and secret."""
    chosen = dict(options)
    if choice["schedule"] == "decode":
        chosen["schedule"] = "decode"
    if choice["secret"] == "two levels":
        chosen |= {"payload": "discrete", "alphabet": 2}
    return chosen


def _arranged(wanted: InstanceOptions, choice: Choice) -> HardInstance:
    """The instance of a choice, in all streams; what is not the code's own attention is certified anew."""
    logit = INSTANCE_LOGIT if wanted.max_logit is None else wanted.max_logit
    kind = "hard" if choice["keys"] == "hard" else "crowded"
    base = replace(wanted, instance=kind, rehearsals=None, max_logit=logit if choice["logit"] == "whole" else logit / 2)
    one = make_instance(base)
    scale, carriers = np.ones(one.key_dim), np.arange(one.tokens)
    if choice["keys"] == "outliers":
        scale = np.where(np.arange(one.key_dim) % 16 == 0, 1.0, _SHRUNK)
    if choice["carriers"] != "all":
        one = scatter(one, b"one public order of the tokens")
        count = max(1, one.tokens // _PART)
        carriers = carriers[:count] if choice["carriers"] == "oldest" else carriers[-count:]
    elif choice["keys"] != "outliers":
        return one
    return streams(arranged(one, scale, carriers), base)
