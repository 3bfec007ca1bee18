"""Who looks on while other processes train: it tells a watcher of each trial that has ended."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.trial import FrozenTrial, TrialState

from ensemble_ad.errors import EnsadError
from ensemble_ad.search.notes import TrialNotes
from ensemble_ad.search.storage import FAILURES
from ensemble_ad.search.study import SharedStudy
from ensemble_ad.search.watcher import Watcher

_LOOK_SECONDS = 0.5
_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class _Onlooker:
    """Looks at a study now and then, and tells `watcher` what is new."""

    def __init__(self, shared: SharedStudy, watcher: Watcher) -> None:
        self._shared, self._watcher = shared, watcher
        self._known = {trial.number for trial in self._trials() if trial.state.is_finished()}

    def look(self) -> None:
        for trial in self._trials():
            if trial.state.is_finished() and trial.number not in self._known:
                self._known.add(trial.number)
                self._tell(trial)

    def _tell(self, trial: FrozenTrial) -> None:
        notes = TrialNotes.of(trial)
        if trial.state == TrialState.FAIL and notes.reason is None:
            return
        best = self._shared.best()
        self._watcher.trial(
            trial.number, _STATES[trial.state], notes.value, None if best is None else best.value, notes.reason or ""
        )

    def _trials(self) -> list[FrozenTrial]:
        return self._shared.study.get_trials(deepcopy=False)


@contextmanager
def looking_on(shared: SharedStudy, watcher: Watcher) -> Iterator[None]:
    """Tells `watcher` of every trial that ends meanwhile, in whatever process."""
    onlooker, done = _Onlooker(shared, watcher), threading.Event()

    def keep_looking() -> None:
        while not done.wait(_LOOK_SECONDS):
            try:
                onlooker.look()
            except (*FAILURES, EnsadError, KeyError):  # the last look, after all, tells of what lasts
                continue

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    onlooker.look()
