"""Where the time of a study goes: the package's functions, timed where they are called, each without what it calls."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

from ensemble_ad.search.notes import TrialNotes
from ensemble_ad.search.plan import Plan
from ensemble_ad.search.study import SharedStudy
from ensemble_ad.training import believed, make_member
from ensemble_ad.training.checkpoint import Checkpoint
from ensemble_ad.training.judge import Judge
from ensemble_ad.training.prepared import Prepared, PseudoImages

WAITING = "waiting"
PARTS = ("before trials", "preparing", "training", "judging", "scoring", "writing", "drawing", WAITING)
"""Judging is what follows an epoch; scoring is that of finished members; waiting is all the rest."""
_TIMED: tuple[tuple[object, str, str], ...] = (
    (believed, "believed", "before trials"),
    (PseudoImages, "of", "before trials"),
    (Prepared, "of", "preparing"),
    (make_member, "train", "training"),
    (make_member, "train_cross_fitted", "training"),
    (Judge, "epoch", "judging"),
    (make_member, "_trained", "scoring"),
    (make_member, "_scored", "scoring"),
    (make_member, "save_member", "writing"),
    (make_member, "save_data_record", "writing"),
    (Checkpoint, "write_if_due", "writing"),
    (Checkpoint, "remove", "writing"),
    (TrialNotes, "write", "writing"),
    (SharedStudy, "next_trial", "drawing"),
    (Plan, "recipe", "drawing"),
)


class Parts:
    """Wall seconds by part, of one thread."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._open, self._since = [WAITING], time.perf_counter()

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """While entered, the time is this part's, or that of one entered meanwhile."""
        self._pass()
        self._open.append(name)
        try:
            yield
        finally:
            self._pass()
            self._open.pop()

    def _pass(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            with self.within(name):
                return function(*given, **named)

        return call


@contextmanager
def parts_of_a_study() -> Iterator[Parts]:
    """While entered, what this process does for studies is timed."""
    parts = Parts()
    with ExitStack() as stack:
        for place, function, name in _TIMED:
            if function not in place.__dict__:
                continue  # an older state of the package
            timed = parts._timed(getattr(place, function), name)
            is_of_class = isinstance(place.__dict__[function], classmethod)
            stack.enter_context(patch.object(place, function, staticmethod(timed) if is_of_class else timed))
        yield parts
        parts._pass()
