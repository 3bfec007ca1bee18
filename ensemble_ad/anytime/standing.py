"""How the families of a run stand, and who is told of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ensemble_ad.anytime.record import Done
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.members.choose import best_first, judged_alike
from ensemble_ad.members.store import Member
from ensemble_ad.search.watcher import Watcher


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a family stands in a run.

    Attributes:
        family: its name.
        trials: how many the run has made.
        best: the value of its best member; None where it has none.
        gain: what its trials have added to the blend's value.
        seconds: what they took.
        by_labels: whether its members are judged by labels.
    """

    family: str
    trials: int
    best: float | None
    gain: float
    seconds: float
    by_labels: bool = False


def standings(done: Sequence[Done], members: Sequence[Member]) -> list[Standing]:
    """How each family stands, in the order of their first trials.

    Args:
        done: the run's trials.
        members: those that its blend may have, oldest first.
    """
    found = []
    for name in dict.fromkeys(trial.family for trial in done):
        own = [trial for trial in done if trial.family == name]
        alike = judged_alike([member for member in members if member.family == name])
        best = best_first(alike)[0] if alike else None
        found.append(
            Standing(
                family=name,
                trials=len(own),
                best=None if best is None else best.value,
                gain=sum(trial.gain for trial in own),
                seconds=sum(trial.seconds for trial in own),
                by_labels=best is not None and best.info.recipe.labels is not None,
            )
        )
    return found


class RunWatcher(Watcher, Protocol):
    """Is told how a run goes on."""

    def turn(self, family: str, seconds: float, left: float) -> None:
        """A trial of that family begins, which should take so many seconds of those that are left."""

    def trained(self, standing: Sequence[Standing]) -> None:
        """A trial has ended, and the families stand so."""

    def blended(self, made: SavedBlend, standing: Sequence[Standing], curve: Sequence[tuple[float, float]]) -> None:
        """There is a new blend; the curve's last point is its value."""

    def passed_over(self, point: tuple[float, float], value: float) -> None:
        """A blend, at so many seconds and of that value, is not taken: the one before stays, whose value is `value`."""

    def warn(self, text: str) -> None:
        """A family or a member is left out, and why."""


class SilentWatcher:
    """A `RunWatcher` that shows nothing."""

    def turn(self, *what: object) -> None:
        """Whatever it is told, it keeps quiet."""

    study = epoch = trial = trained = blended = passed_over = warn = turn
