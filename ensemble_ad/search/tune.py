"""One Optuna study a family: resumable, pruned on the objective, every finished trial a cached member at once.

Any number of workers, processes that run `tune` here or on other machines, may share one study (`study`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.files.whole import make_folder
from ensemble_ad.members.auto_objective import doubts
from ensemble_ad.members.choose import best_first
from ensemble_ad.members.objectives import AUTO
from ensemble_ad.members.store import Member
from ensemble_ad.search.abandoned import living
from ensemble_ad.search.artifacts import Artifacts
from ensemble_ad.search.lease import lease
from ensemble_ad.search.plan import Plan, TuneSettings
from ensemble_ad.search.signals import UntilInterrupted
from ensemble_ad.search.storage import StudyStorage, storage_failures
from ensemble_ad.search.study import FINISHED, Count, SharedStudy
from ensemble_ad.search.watcher import Watcher
from ensemble_ad.search.worker import Worker
from ensemble_ad.statistics.arrays import Labels
from ensemble_ad.training.believed import Yardstick


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """How a study stands.

    Attributes:
        study: the study's name.
        finished: number of complete and pruned trials.
        pruned: number of pruned trials.
        failed: number of trials that failed by themselves.
        saved: share of the finished trials' epochs that pruning has saved.
        objective: what trials were judged by.
        best: the best member; None if no trial is complete.
        values: the completed trials' values.
        reference_rows: number of held-out normal images that trials were judged on.
        doubts: why what `auto` found should be trusted less.
    """

    study: str
    finished: int
    pruned: int
    failed: int
    saved: float
    objective: str
    best: Member | None
    values: tuple[float, ...]
    reference_rows: int
    doubts: tuple[str, ...]

    @property
    def is_noise(self) -> bool:
        """Whether half of the trials lie within one standard error of the best, so that their order says little."""
        if self.best is None or len(self.values) < 2:
            return False
        error = self.best.info.objective.standard_error
        return abs(self.best.value - float(np.median(self.values))) < error


def tune(
    dataset: Dataset,
    settings: TuneSettings,
    *,
    studies: Path,
    watcher: Watcher,
    label: Labels | None = None,
    yardstick: Yardstick | None = None,
    storage: StudyStorage | None = None,
) -> TuneResult:
    """Run a study until it has `settings.trials` finished trials or its time is up.

    Other processes may run the same study meanwhile. Where they train all trials that are left, this one waits, in case
    one of them dies. A trial whose process was killed or interrupted is trained again under its own parameters, from
    its last checkpoint where there is one.

    Args:
        dataset: the images.
        settings: the study's settings.
        studies: where studies and members are kept.
        watcher: told of every epoch and trial of this process.
        label: (k,) of 0 and 1 for the test images, for an objective that needs them.
        yardstick: what trials are measured by, where several studies on the same images have it in common.
        storage: the one that the settings name, if it is open already.

    Raises:
        Interrupted: on Ctrl-C; finished trials are kept, and the next run goes on with the running one.
        EnsadError: for settings that do not fit, a storage that fails, or ten trials in a row that fail.
    """
    plan = Plan(dataset, settings)
    make_folder(studies)
    artifacts = None if settings.artifacts is None else Artifacts(settings.artifacts)
    if artifacts is not None:
        artifacts.check(make=True)
    with storage_failures(studies, settings.storage), lease(studies) as name:
        shared = plan.open_study(studies, name, storage)
        worker = Worker(
            plan=plan, shared=shared, studies=studies, watcher=watcher, label=label, artifacts=artifacts,
            yardstick=yardstick or Yardstick(dataset, studies, settings.anomaly_share),
        )  # fmt: skip
        with UntilInterrupted():
            watcher.study(shared.study.study_name, shared.count().finished, settings.trials)
            worker.run()
            return result(plan, shared)
        shared.leave()
        raise shared.interrupted("the running one")


def count_trials(name: str, storage: StudyStorage, studies: Path) -> Count:
    """How far the study of that name is; 0 trials where there is none yet, and none is made."""
    if name not in optuna.get_all_study_names(storage.backend):
        return Count(finished=0, running=0)
    study = optuna.load_study(study_name=name, storage=storage.backend)
    trials = study.get_trials(deepcopy=False)
    return Count(
        finished=sum(trial.state in FINISHED for trial in trials),
        running=len(living(study, trials, storage, studies)),
    )


def result(plan: Plan, shared: SharedStudy) -> TuneResult:
    """How the study stands."""
    members, finished = shared.members(), shared.count().finished
    return TuneResult(
        study=shared.study.study_name,
        finished=finished,
        pruned=finished - len(shared.complete()),
        failed=len(shared.failed()),
        saved=_saved(plan, shared),
        objective=shared.objective,
        best=best_first(members)[0] if members else None,
        values=tuple(member.value for member in members),
        reference_rows=plan.reference_rows,
        doubts=doubts([member.info.objectives for member in members], plan.settings.anomaly_share)
        if shared.objective == AUTO
        else (),
    )


def _saved(plan: Plan, shared: SharedStudy) -> float:
    """The share of the epochs that pruning has saved."""
    most = min(plan.settings.epochs, plan.kind.ranges.most_epochs or plan.settings.epochs)
    planned, saved = 0, 0
    for trial in shared.study.get_trials(deepcopy=False, states=FINISHED):
        drawn = trial.params.get("epochs", most)
        epochs = drawn if isinstance(drawn, int) else most
        planned += epochs
        if trial.state == TrialState.PRUNED:
            saved += epochs - (trial.last_step or 0)
    return saved / max(1, planned)
