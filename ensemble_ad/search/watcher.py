"""Who is told how a study goes on: the command line draws a bar of it, a worker process keeps quiet."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ensemble_ad.members.objectives import Judgement
    from ensemble_ad.training.loop import Epoch


class Watcher(Protocol):
    """Is told by `tune` and `tune_together` how their study goes on."""

    def study(self, name: str, finished: int, wanted: int) -> None:
        """The study is open, and no trial was started yet."""

    def epoch(self, trial: int, epoch: "Epoch", epochs: int, judgement: "Judgement") -> None:
        """A trial of this process has finished an epoch of at most so many; the watcher may raise KeyboardInterrupt."""

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        """A trial has ended: complete, cached, pruned, failed, or lost to another worker."""
