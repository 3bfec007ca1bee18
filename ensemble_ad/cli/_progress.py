"""How long work is shown: a bar in a terminal; in a pipe a line a trial or epoch, or nothing."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ensemble_ad.bar import progress_bar
from ensemble_ad.cli._output import Say

if TYPE_CHECKING:
    from rich.progress import Progress

    from ensemble_ad.members.objectives import Judgement
    from ensemble_ad.training.loop import Epoch


class _Watcher:
    """Shows what a study tells of itself; a `search.watcher.Watcher`."""

    def __init__(self, say: Say, bar: "Progress | None") -> None:
        self._say = say
        self._bar = bar
        self._best = "-"
        self._noted: set[str] = set()
        if bar is not None:
            self._task = bar.add_task("", start=False, total=None, now="")

    def study(self, name: str, finished: int, wanted: int) -> None:
        self._wanted = wanted
        self._done = finished
        self._line(f"{name}: {finished} of {wanted} trials finished")
        if self._bar is not None:
            self._bar.start_task(self._task)
            self._bar.update(self._task, total=wanted, completed=min(finished, wanted), now="trials begin")

    def epoch(self, trial: int, epoch: "Epoch", epochs: int, judgement: "Judgement") -> None:
        text = (
            f"trial {trial} epoch {epoch.number}/{epochs} loss {epoch.loss:.4f} "
            f"value {judgement.value:.4f} best {self._best} {epoch.images_per_second:,.0f} images/s"
        )
        for note in epoch.notes:
            if note not in self._noted:
                self._noted.add(note)
                self._line(note)
        if self._bar is not None:
            within = min(self._done + epoch.number / epochs, self._wanted)
            # 80 columns hold the bar, the count, the time left and this.
            now = (
                f"#{trial} epoch {epoch.number}/{epochs} loss {epoch.loss:.3f} value {judgement.value:.3f} "
                f"best {self._best} {epoch.images_per_second:,.0f}/s"
            )
            self._bar.update(self._task, completed=within, now=now)
        else:
            self._say.detail(text)

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        self._best = "-" if best is None else f"{best:.4f}"
        if state not in ("failed", "lost"):
            self._done += 1
        shown = "-" if value is None else f"{value:.4f}"
        text = f"trial {number} {state}: value {shown}, best {self._best}" + (f" ({note})" if note else "")
        if self._bar is not None:
            now = f"#{number} {state}, best {self._best}"
            self._bar.update(self._task, completed=min(self._done, self._wanted), now=now)
        self._line(text)

    def _line(self, text: str) -> None:
        """A line that stays, above the bar."""
        _line(self._say, self._bar, text)


@contextmanager
def watch(say: Say) -> Iterator[_Watcher]:
    """A watcher for a study; its bar is taken down on leaving, whatever happened."""
    logging.getLogger("optuna").setLevel(logging.INFO if say.level >= 2 else logging.WARNING)
    if not say.live:
        yield _Watcher(say, None)
        return
    with progress_bar() as bar:
        yield _Watcher(say, bar)


class Counter:
    """A bar of steps, or none; see `counted`."""

    def __init__(self, say: Say, bar: "Progress | None", total: int | None) -> None:
        self._say = say
        self._bar = bar
        if bar is not None:
            self._task = bar.add_task("", total=total, now="")

    def done(self, count: int, now: str) -> None:
        """How many steps are done, and what to show beside the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=count, now=now)

    def line(self, text: str) -> None:
        """A line that stays, above the bar."""
        _line(self._say, self._bar, text)


@contextmanager
def counted(say: Say, total: int | None) -> Iterator[Counter]:
    """A bar of `total` steps, None where their number is not known; outside a terminal nothing is drawn."""
    if not say.live:
        yield Counter(say, None, total)
        return
    with progress_bar() as bar:
        yield Counter(say, bar, total)


@contextmanager
def decoding(say: Say) -> Iterator[Callable[[int, int], None]]:
    """What is to be told how many pictures are decoded, and of how many: it moves a bar, of each set one."""
    with ExitStack() as stack:
        steps: Counter | None = None

        def progress(done: int, total: int) -> None:
            nonlocal steps
            steps = steps or stack.enter_context(counted(say, total))
            steps.done(done, "pictures decoded")
            if done == total:
                stack.close()
                steps = None

        yield progress


@contextmanager
def training(say: Say, epochs: int, objective: str) -> "Iterator[Callable[[Epoch, Judgement], None]]":
    """What `fit_member` is to tell of each epoch: it moves a bar, or says a line where none can be drawn.

    It raises a KeyboardInterrupt that Python has dropped.
    """
    from ensemble_ad.search.signals import heed

    noted, best = set[str](), 0.0
    with counted(say, epochs) as steps:

        def after_epoch(epoch: "Epoch", judgement: "Judgement") -> None:
            nonlocal best
            for note in epoch.notes:
                if note not in noted:
                    noted.add(note)
                    steps.line(note)
            best = max(best, judgement.value)
            text = (
                f"loss {epoch.loss:.4f} {objective} {judgement.value:.4f} best {best:.4f} "
                f"{epoch.images_per_second:,.0f} images/s"
            )
            steps.done(epoch.number, text)
            if not say.live:
                say(f"epoch {epoch.number}/{epochs} {text}")
            heed()

        yield after_epoch


@contextmanager
def busy(say: Say, text: str) -> Iterator[None]:
    """A turning wheel and the seconds so far beside `text`; outside a terminal nothing is drawn."""
    if not say.live:
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as wheel:
        wheel.add_task(text, total=None)
        yield


def _line(say: Say, bar: "Progress | None", text: str) -> None:
    # click writes past what rich has put in the place of stderr, onto the bar's own line.
    if bar is None:
        say(text)
    else:
        bar.console.print(text, highlight=False, markup=False)
