"""The blend of a run, made anew as members come: at once, or in the background of the next trial."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.foreseen import foreseen_auc
from ensemble_ad.blend.of_members import blend_members
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.members.choose import select
from ensemble_ad.members.store import DamagedError, Member


class Made(NamedTuple):
    """A blend, and its value: its separation, or without test images what it foresees."""

    blend: SavedBlend
    value: float


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
        blend: the last blend.
        seconds: what making it took, with reading the members and writing it; 0 before the first.
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
    _keys: frozenset[str] = field(default=frozenset(), init=False)
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
        while members := self.members():
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
                    overwrite=True,
                )
            except DamagedError as error:
                self.warn(error.set_aside())
                continue
            value = _value(made, members)
            self.blend, self._keys, self.seconds = made, keys, monotonic() - started
            return Made(made, value)
        return None

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


def _value(blend: SavedBlend, members: Sequence[Member]) -> float:
    """By what families earn their time: the blend's separation, or, without test images, what it foresees."""
    if blend.info.separation is not None:
        return blend.info.separation.value
    return foreseen_auc(stacked(list(blend.weights), members))
