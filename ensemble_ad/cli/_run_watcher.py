"""How a run is shown: in a terminal a live table of its families, elsewhere a line for each trial and blend."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from ensemble_ad.cli._output import Say

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from ensemble_ad.anytime.standing import Standing
    from ensemble_ad.blend.saved import SavedBlend
    from ensemble_ad.members.objectives import Judgement
    from ensemble_ad.training.loop import Epoch

COLUMNS = ("family", "trials", "best", "gain", "seconds")
_POINTS = 6


def row(standing: "Standing") -> tuple[str, ...]:
    """A family's row in a table of `COLUMNS`."""
    best = "-" if standing.best is None else f"{standing.best:.4f}" + " by labels" * standing.by_labels
    return standing.family, str(standing.trials), best, f"{standing.gain:+.4f}", f"{standing.seconds:.0f}"


def in_words(curve: Sequence[tuple[float, float]]) -> str:
    """How the blend's value has grown, at some of its points: `8 s 0.8612, 60 s 0.9051`."""
    last = len(curve) - 1
    places = sorted({round(last * part / (_POINTS - 1)) for part in range(_POINTS)}) if curve else []
    return ", ".join(f"{curve[place][0]:.0f} s {curve[place][1]:.4f}" for place in places)


class _RunWatcher:
    """Shows what a run tells of itself; an `anytime.standing.RunWatcher`."""

    def __init__(self, say: Say, seconds: float | None, trials: int | None) -> None:
        self._say, self._seconds = say, seconds
        self._wanted = f"{trials} trials" if seconds is None else f"{seconds:.0f} s"
        self._began = monotonic()
        self.live: Live | None = None
        self._family, self._now, self._blend = "", "reading the images", "-"
        self._standing: Sequence[Standing] = ()
        self._curve: Sequence[tuple[float, float]] = ()

    def turn(self, family: str, seconds: float, left: float) -> None:
        self._family = family
        if self._seconds is not None:
            self._began = monotonic() - (self._seconds - left)
        self._now = f"{family} begins" + (
            f", which takes some {seconds:.0f} s" if left < float("inf") and seconds >= 1 else ""
        )

    def study(self, name: str, finished: int, wanted: int) -> None:
        self._say.detail(f"{name}: {finished} of {wanted} trials finished")

    def epoch(self, trial: int, epoch: "Epoch", epochs: int, judgement: "Judgement") -> None:
        self._now = f"{self._family} trial {trial} epoch {epoch.number}/{epochs} value {judgement.value:.3f}"

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        shown = "-" if value is None else f"{value:.4f}"
        self._line(f"{self._family} trial {number} {state}: value {shown}" + (f" ({note})" if note else ""))

    def trained(self, standing: "Sequence[Standing]") -> None:
        self._standing = standing
        self._now = ""

    def blended(self, made: "SavedBlend", standing: "Sequence[Standing]", curve: Sequence[tuple[float, float]]) -> None:
        self._standing, self._curve = standing, curve
        judged = made.info.separation
        what = f"value {curve[-1][1]:.4f} on damaged images" if judged is None else f"separation {judged.value:.4f}"
        gain = f" ({curve[-1][1] - curve[-2][1]:+.4f})" if len(curve) > 1 else ""
        count = len(made.info.members)
        self._blend = f"blend of {count} {'member' if count == 1 else 'members'}, {what}"
        self._line(f"{curve[-1][0]:.0f} s: {self._blend}{gain}")

    def passed_over(self, point: tuple[float, float], value: float) -> None:
        self._line(
            f"{point[0]:.0f} s: with what came since, a blend separates less, {point[1]:.4f} "
            f"({point[1] - value:+.4f}); the one before stays"
        )

    def warn(self, text: str) -> None:
        self._say.warn(text)

    def _line(self, text: str) -> None:
        """A line that stays, above the table."""
        if self.live is None:
            self._say(text)
        else:
            self.live.console.print(text, highlight=False, markup=False)

    def table(self) -> "RenderableType":
        """The families, the blend's curve and what is going on."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in COLUMNS:
            table.add_column(name, justify="left" if name == "family" else "right", no_wrap=True)
        for standing in self._standing:
            table.add_row(*row(standing))
        lines = (
            f"{monotonic() - self._began:.0f} s of {self._wanted}: {self._now}",
            self._blend,
            in_words(self._curve),
        )
        return Group(table, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines if line))


@contextmanager
def watch_run(say: Say, seconds: float | None, trials: int | None) -> Iterator[_RunWatcher]:
    """A watcher for a run; its table is taken down on leaving, whatever happened."""
    logging.getLogger("optuna").setLevel(logging.INFO if say.level >= 2 else logging.WARNING)
    watcher = _RunWatcher(say, seconds, trials)
    if not say.live:
        yield watcher
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, get_renderable=watcher.table, refresh_per_second=2) as live:
        watcher.live = live
        yield watcher
