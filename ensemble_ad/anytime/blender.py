"""The blend of a run, made anew as members come: at once, or in the background of the next trial.

A blend that is surely worse than the one that there is (`surely_worse`) is not taken: the one before stays, and the
members that came in since are left out of this command's later ones.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.foreseen import foreseen_auc
from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.blend.methods import PRIOR
from ensemble_ad.blend.of_members import Unsaved, blend_members
from ensemble_ad.blend.saved import SavedBlend, load_blend
from ensemble_ad.layout import blend_folder
from ensemble_ad.members.choose import select
from ensemble_ad.members.column import Column
from ensemble_ad.members.store import DamagedError, Member
from ensemble_ad.statistics import rank_correlations

_SURE = 3.0  # standard errors of a difference


class Made(NamedTuple):
    """What came of blending.

    Attributes:
        blend: the run's blend: the one that was made, or the one before where that was not taken.
        value: of the one that was made: its separation, or without test images what it foresees.
        taken: whether it was taken.
    """

    blend: SavedBlend
    value: float
    taken: bool


@dataclass(kw_only=True)
class Blender:
    """Makes a run's blend.

    Attributes:
        studies: the studies' folder.
        name: the blend's name.
        seed: of methods that draw.
        anomaly_share: what the user knows of the share of anomalies.
        arrive: called first; may fetch members that other machines have made.
        members: gives the members that the blend may have, oldest first.
        warn: told of a damaged member that was set aside.
        blend: the last blend that was taken.
        seconds: what making the last one took, with reading the members and writing it; 0 before the first.
    """

    studies: Path
    name: str
    seed: int
    anomaly_share: float | None
    arrive: Callable[[], None]
    members: Callable[[], Sequence[Member]]
    warn: Callable[[str], None]
    blend: SavedBlend | None = field(default=None, init=False)
    seconds: float = field(default=0.0, init=False)
    _keys: frozenset[str] = field(default=frozenset(), init=False)  # of the members of the last one that was made
    _left_out: frozenset[str] = field(default=frozenset(), init=False)
    _pending: "Future[Made | None] | None" = field(default=None, init=False)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1), init=False)

    @property
    def is_busy(self) -> bool:
        """Whether a blend is being made in the background, or was made there and not fetched yet."""
        return self._pending is not None

    def make(self) -> Made | None:
        """Blend the best members; None where there are none, or the same as before."""
        started = monotonic()
        self.arrive()
        while members := [member for member in self.members() if member.key not in self._left_out]:
            terms = select(members, ",".join(sorted({member.family for member in members})))
            keys = frozenset(member.key for term in terms for member in term.members)
            if keys == self._keys:
                return None
            try:
                made = blend_members(
                    self.studies,
                    terms,
                    method="auto",
                    anomaly_share=self.anomaly_share,
                    name=self.name,
                    seed=self.seed,
                )
            except DamagedError as error:
                self.warn(error.set_aside())
                continue
            value, before = _value(made.info, members), self._before(members)
            if before is not None and surely_worse(made, before):
                self._left_out |= keys - {*before.info.members}
                found = Made(before, value, taken=False)
            else:
                found = Made(made.save(self.studies, overwrite=True), value, taken=True)
            self.blend, self._keys, self.seconds = found.blend, keys, monotonic() - started
            return found
        return None

    def _before(self, members: Sequence[Member]) -> SavedBlend | None:
        """The blend that there is, of this command or of one before; None if it has members that it may not have."""
        before = self.blend
        if before is None and blend_folder(self.studies, self.name).exists():
            before = load_blend(self.studies, self.name)
        return before if before is not None and {*before.info.members} <= {member.key for member in members} else None

    def begin(self) -> None:
        """Begin a blend in the background."""
        self._pending = self._thread.submit(self.make)

    def fetch(self, *, wait: bool) -> tuple[bool, Made | None]:
        """Whether a blend in the background has ended, and what `make` gave there.

        Args:
            wait: whether to wait for its end.
        """
        if self._pending is None or not (wait or self._pending.done()):
            return False, None
        made = self._pending.result()
        self._pending = None
        return True, made

    def close(self) -> None:
        """Let the background end."""
        self._thread.shutdown(wait=True)


def _value(info: BlendInfo, members: Sequence[Member]) -> float:
    """By what families earn their time: the blend's separation, or, without test images, what it foresees."""
    if info.separation is not None:
        return info.separation.value
    return foreseen_auc(stacked(list(info.weights), members))


def surely_worse(made: Unsaved, before: SavedBlend) -> bool:
    """Whether the test images say that a blend is worse than the one before.

    Its separation has to be less by a standard error, and by three of the difference's, which is taken to be the
    smaller the more alike both rank the test images (Hanley and McNeil 1983, Radiology 148). Separation says nothing of
    that where pseudo-anomalies have a say in either blend, or where no member of the one before counts any more.
    """
    now, then = made.info.separation, before.info.separation
    if now is None or then is None or PRIOR in f"{made.info.method}+{before.info.method}".split("+"):
        return False
    lost = then.value - now.value
    if not lost > then.standard_error:
        return False
    alike = float(rank_correlations([before.scores()], made.arrays["test"])[0])
    error = then.standard_error * math.sqrt(2 * (1 - alike))
    still = {Column.of(name).key for name, weight in made.info.weights.items() if weight > 0}
    return lost > _SURE * error and not still.isdisjoint(before.info.members)
