"""A study that several workers share: which trial is the next, and what has become of the others.

A worker starts trials, and takes over those of dead workers, in its turn (`storage`), so that any number of workers see
one order of events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ensemble_ad import statistics
from ensemble_ad.errors import Interrupted, StorageError
from ensemble_ad.members.choose import best_first
from ensemble_ad.members.objectives import objective
from ensemble_ad.members.store import Member, has_member, load_member, sound_members
from ensemble_ad.search.abandoned import take_over
from ensemble_ad.search.draw import STARTUP_TRIALS, start_trial
from ensemble_ad.search.notes import FORMAT, StudyNotes, TrialNotes
from ensemble_ad.search.storage import StudyStorage
from ensemble_ad.version import __version__

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of a trial that counts as done."""


class Count(NamedTuple):
    """How far a study is.

    Attributes:
        finished: complete or pruned trials.
        running: trials that live workers train, as far as is known.
    """

    finished: int
    running: int


@dataclass(kw_only=True)
class SharedStudy:
    """A study that several workers share, as one of them sees it.

    Attributes:
        name: the study's name.
        start: parameters of the first trials.
        objective: the objective that trials are judged by.
        epochs: the most that a trial trains.
        seed: the sampler's seed.
        studies: the studies' folder.
        storage: where the study is kept.
        worker: this worker's name; empty where trials are only looked at.
        study: Optuna's study, once it is open.
    """

    name: str
    start: Sequence[Mapping[str, Any]]
    objective: str
    epochs: int
    seed: int
    studies: Path
    storage: StudyStorage
    worker: str
    study: optuna.Study = field(init=False)
    # The trials that had ended when this worker came.
    _ended: frozenset[int] = field(default=frozenset(), init=False)

    def open(self) -> None:
        """Open the study where it stands, or begin it."""
        with self.storage.turn():
            self.study = self._open()
            self._ended = frozenset(trial.number for trial in self._ended_trials())

    def _open(self) -> optuna.Study:
        directions = [StudyDirection[objective(self.objective).direction.upper()]]
        study = optuna.create_study(
            study_name=self.name,
            storage=self.storage.backend,
            directions=directions,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=STARTUP_TRIALS, n_warmup_steps=max(1, self.epochs // 5)
            ),
        )
        if study.directions != directions:
            raise StorageError(
                f"the study {self.name} in {self.storage.where} must have one direction, {directions[0].name.lower()}, "
                "and has others, so another program has made it; name another --studies or --storage"
            )
        if StudyNotes.of(study).format is None:
            StudyNotes(format=FORMAT, version=__version__).write(study)
        return study

    def next_trial(self, wanted: int) -> optuna.Trial | None:
        """Start a trial, in this worker's turn; None where enough trials are finished or running."""
        # The trials are read as rarely as can be: that takes most of a turn, and the other workers wait for it.
        trials = take_over(self.study, self.storage, self.studies)
        count = self._count(trials)
        if count.finished + count.running >= wanted:
            return None
        return start_trial(self.study, self.storage, trials, first=self.start, seed=self.seed, worker=self.worker)

    def leave(self) -> None:
        """End this worker's trials, be it in the middle of something, so that they are queued again at once."""
        self.storage.backend.remove_session()
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if TrialNotes.of(trial).worker == self.worker:
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def say_stop(self, crew: str) -> None:
        """Tell all workers of a crew, on whatever machine, to stop."""
        StudyNotes(stop=crew).write(self.study)

    def interrupted(self, running: str) -> Interrupted:
        """What to say where a study is interrupted; `running` are the trials under way, in words."""
        return Interrupted(
            f"interrupted: {self.count().finished} finished trials of {self.study.study_name} are kept, and {running} "
            "will be gone on with; run the same command to go on"
        )

    def count(self) -> Count:
        """How far the study is."""
        return self._count(self._trials())

    def _count(self, trials: Sequence[FrozenTrial]) -> Count:
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        return Count(sum(trial.state in FINISHED for trial in trials), running)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def consensus(self) -> npt.NDArray[np.float64] | None:
        """The test images' mean rank over the finished trials, for the objective of that name."""
        if self.objective != "consensus" or not (members := sound_members(self.members())[0]):
            return None
        columns = [member.vectors()[1][:, member.columns.index(member.main_column)] for member in members]
        ranks: npt.NDArray[np.float64] = statistics.midranks(np.stack(columns).astype(np.float64)).mean(axis=0)
        return ranks

    def members(self) -> list[Member]:
        """The completed trials' members that are in this studies' folder."""
        keys = [TrialNotes.of(trial).made_by(trial) for trial in self.complete()]
        return [load_member(self.studies, key) for key in keys if has_member(self.studies, key)]

    def best(self) -> Member | None:
        """The best of `members`."""
        members = self.members()
        return best_first(members)[0] if members else None

    def complete(self) -> list[FrozenTrial]:
        """The completed trials."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def failed(self) -> list[FrozenTrial]:
        """The trials that failed by themselves."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return [trial for trial in trials if TrialNotes.of(trial).reason is not None]

    def failures_in_a_row(self) -> list[str]:
        """Why the latest trials of this run failed, up to one that did not; the last one's reason comes first."""
        reasons: list[str] = []
        for trial in reversed([trial for trial in self._ended_trials() if trial.number not in self._ended]):
            reason = TrialNotes.of(trial).reason
            if reason is None:
                break
            reasons.append(reason)
        return reasons

    def _ended_trials(self) -> list[FrozenTrial]:
        """The finished and the failed trials, without those that were killed or stopped and are done again."""
        return [trial for trial in self._trials() if trial.state in FINISHED or TrialNotes.of(trial).reason is not None]
