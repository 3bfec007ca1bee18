"""What a verbose detector, or run, shows while it is fitted: the command line's bar."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from ensemble_ad.bar import progress_bar
from ensemble_ad.families import Model
from ensemble_ad.training.loop import AfterEpoch, Epoch

if TYPE_CHECKING:
    from rich.progress import Progress

    from ensemble_ad.anytime.standing import Standing
    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.members.objectives import Judgement


@contextmanager
def epochs_bar(name: str, epochs: int, *, shown: bool) -> Iterator[AfterEpoch | None]:
    """What `train` is to call after each epoch, which moves a bar; None where none is shown."""
    if not shown:
        yield None
        return
    with counted(epochs, shown=True) as done:

        def after_epoch(epoch: Epoch, model: Model) -> bool:
            done(epoch.number, f"{name} loss {epoch.loss:.4f} {epoch.images_per_second:,.0f} images/s")
            return True

        yield after_epoch


@contextmanager
def counted(total: int, *, shown: bool) -> Iterator[Callable[[int, str], None]]:
    """Moves a bar of `total` steps: how many are done, and what to show beside it; or does nothing."""
    if not shown:
        yield lambda count, now: None
        return
    with progress_bar() as bar:
        task = bar.add_task("", total=total, now="")
        yield lambda count, now: bar.update(task, completed=count, now=now, refresh=True)


class _RunBar:
    """Shows what a run tells of itself; an `anytime.standing.RunWatcher`."""

    def __init__(self, bar: "Progress", seconds: float | None, trials: int | None) -> None:
        self._bar, self._seconds = bar, seconds
        self._task = bar.add_task("", total=trials if seconds is None else seconds, now="the run begins")
        self._began, self._trials = monotonic(), 0
        self._family = self._blend = ""

    def turn(self, family: str, seconds: float, left: float) -> None:
        self._family = family
        if self._seconds is not None:
            self._began = monotonic() - (self._seconds - left)
        self._show(f"{family} begins")

    def study(self, name: str, finished: int, wanted: int) -> None:
        """The line of `turn` says as much."""

    def epoch(self, trial: int, epoch: Epoch, epochs: int, judgement: "Judgement") -> None:
        self._show(f"{self._family} #{trial} epoch {epoch.number}/{epochs} value {judgement.value:.3f}")

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        self._show(f"{self._family} #{number} {state}")

    def trained(self, standing: "Sequence[Standing]") -> None:
        self._trials = sum(each.trials for each in standing)
        self._show("blending")

    def blended(self, made: "SavedBlend", standing: "Sequence[Standing]", curve: Sequence[tuple[float, float]]) -> None:
        self._blend = f", blend of {len(made.info.members)} {curve[-1][1]:.4f}"
        self._show("blended")

    def passed_over(self, point: tuple[float, float], value: float) -> None:
        self._show("the blend before stays")

    def warn(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def _show(self, now: str) -> None:
        done = self._trials if self._seconds is None else monotonic() - self._began
        self._bar.update(self._task, completed=done, now=now + self._blend, refresh=True)


@contextmanager
def run_bar(seconds: float | None, trials: int | None) -> Iterator[_RunBar]:
    """A run's watcher with a bar of its seconds, or of its trials, and beside it what goes on and the blend's value."""
    with progress_bar() as bar:
        yield _RunBar(bar, seconds, trials)
