"""What a verbose detector shows while it is fitted: the command line's bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ensemble_ad.bar import progress_bar
from ensemble_ad.families import Model
from ensemble_ad.training.loop import AfterEpoch, Epoch


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
