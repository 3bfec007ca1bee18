"""How a run is shown: a bar of its time or trials, and a line for each trial and blend."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ensemble_ad.cli._output import Say
from ensemble_ad.cli._progress import Counter, counted

if TYPE_CHECKING:
    from ensemble_ad.anytime.schedule import Done
    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.members.objectives import Judgement
    from ensemble_ad.training.loop import Epoch


class _RunWatcher:
    """Shows what a run tells of itself; an `anytime.run.RunWatcher`."""

    def __init__(self, say: Say, steps: Counter, seconds: float | None) -> None:
        self._say, self._steps, self._seconds = say, steps, seconds
        self._family, self._blend, self._trials = "", "-", 0

    def turn(self, family: str, seconds: float, left: float) -> None:
        self._family = family
        if self._seconds is not None:
            self._trials = round(self._seconds - left)
        self._show("begins")

    def study(self, name: str, finished: int, wanted: int) -> None:
        self._say.detail(f"{name}: {finished} of {wanted} trials finished")

    def epoch(self, trial: int, epoch: "Epoch", epochs: int, judgement: "Judgement") -> None:
        self._show(f"#{trial} epoch {epoch.number}/{epochs} value {judgement.value:.3f}")

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        if self._seconds is None:
            self._trials += 1
        shown = "-" if value is None else f"{value:.4f}"
        self._steps.line(f"{self._family} trial {number} {state}: value {shown}" + (f" ({note})" if note else ""))
        self._show("done")

    def blended(self, made: "SavedBlend", done: "Sequence[Done]", used: float) -> None:
        judged = made.info.separation
        self._blend = "-" if judged is None else f"{judged.value:.4f}"
        gain = f" ({done[-1].gain:+.4f} by {done[-1].family})" if done else ""
        self._steps.line(f"{used:.0f} s: blend of {len(made.info.members)} members, separation {self._blend}{gain}")

    def warn(self, text: str) -> None:
        self._say.warn(text)

    def _show(self, text: str) -> None:
        self._steps.done(self._trials, f"blend {self._blend}  {self._family} {text}")


@contextmanager
def watch_run(say: Say, seconds: float | None, trials: int | None) -> Iterator[_RunWatcher]:
    """A watcher for a run; its bar is taken down on leaving, whatever happened."""
    logging.getLogger("optuna").setLevel(logging.INFO if say.level >= 2 else logging.WARNING)
    with counted(say, trials if seconds is None else round(seconds)) as steps:
        yield _RunWatcher(say, steps, seconds)
