"""One Optuna study a family: resumable, pruned on the objective, every finished trial a cached member at once.

Any number of workers, processes that run `tune` here or on other machines, may be at one study (`course`).
"""

import math
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import TrialState

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.errors import EnsadError, Interrupted, StorageError, in_one_line
from ensemble_ad.files.whole import make_folder
from ensemble_ad.members.choose import best_first
from ensemble_ad.members.info import TrialInfo
from ensemble_ad.members.objectives import Judgement
from ensemble_ad.members.store import Member, discard_damaged, has_member
from ensemble_ad.search.failures import REASON, STOPPED
from ensemble_ad.search.lease import lease
from ensemble_ad.search.plan import Plan, TuneSettings
from ensemble_ad.search.study import FINISHED, Course
from ensemble_ad.search.travel import Artifacts
from ensemble_ad.training.judge import AfterEpoch, JudgedBy, Resumed
from ensemble_ad.training.loop import DivergedError, Epoch
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.prepared import PseudoImages
from ensemble_ad.training.recipe import Recipe

_FAILURES_IN_A_ROW = 10
# Seconds between two looks at what the other workers do, where there is nothing to start.
_LEAST_WAIT, _MOST_WAIT = 0.2, 5.0
_DIGITS = re.compile(r"\d+")


class Watcher(Protocol):
    """Who is told how a study goes on."""

    def study(self, name: str, finished: int, wanted: int) -> None:
        """Before the first trial."""

    def epoch(self, trial: int, epoch: Epoch, epochs: int, judgement: Judgement) -> None:
        """After each epoch."""

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        """After each trial; the state is complete, cached, pruned, failed, or lost to another worker."""

    def moved(self, objective: str, reason: str) -> None:
        """When `auto` judges by that objective, and why."""


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """How a study stands.

    Attributes:
        study: its name.
        finished: trials complete or pruned.
        pruned: of these, the pruned ones.
        failed: trials that failed.
        saved: share of the epochs of the finished trials that pruning saved.
        objective: what the trials were judged by in the end.
        best: the best member; None if no trial is complete.
        values: of the completed trials.
        reference_rows: held-out normal images that they were judged on.
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
    label: npt.NDArray[np.int8] | None = None,
) -> TuneResult:
    """Run a study until it has `settings.trials` finished trials or its time is up.

    Other processes may run the same study meanwhile; where they have all that is left under way, this one waits, lest
    one of them dies. A trial whose process was killed, or was interrupted, is trained again under its own parameters,
    from its last checkpoint where there is one.

    Args:
        dataset: the images.
        settings: what to run.
        studies: where studies and members are kept.
        watcher: told of every epoch and trial of this process.
        label: (k,) of 0 and 1 for the test images, only for an objective that needs them.

    Raises:
        Interrupted: on Ctrl-C; what was finished is kept, and the running trial will be gone on with.
        EnsadError: for settings that do not fit, a storage that fails, or ten trials in a row that fail.
    """
    plan = Plan(dataset, settings)
    make_folder(studies)
    with lease(studies) as worker:
        course = plan.course(studies, worker, watcher)
        store = None if settings.artifacts is None else Artifacts(settings.artifacts)
        work = _Work(plan=plan, course=course, studies=studies, watcher=watcher, label=label, store=store)
        try:
            watcher.study(course.study.study_name, course.trials().finished, settings.trials)
            work.run()
        except KeyboardInterrupt:  # between two trials, or while one was begun
            course.leave()
            raise work._interrupted() from None
        return result(plan, course)


def result(plan: Plan, course: Course) -> TuneResult:
    """How the study stands."""
    complete = course.members()
    finished = course.trials().finished
    return TuneResult(
        study=course.study.study_name,
        finished=finished,
        pruned=finished - len(course.complete()),
        failed=sum("reason" in trial.user_attrs for trial in course.failed()),
        saved=_saved(plan, course),
        objective=course.objective,
        best=best_first(complete, course.objective)[0] if complete else None,
        values=tuple(member.value for member in complete),
        reference_rows=plan.reference_rows,
    )


def _saved(plan: Plan, course: Course) -> float:
    """Share of the epochs that pruning saved."""
    most = min(plan.settings.epochs, plan.kind.ranges.most_epochs or plan.settings.epochs)
    planned, saved = 0, 0
    for trial in course.study.get_trials(deepcopy=False, states=FINISHED):
        epochs = int(trial.params.get("epochs", most))
        planned += epochs
        if trial.state == TrialState.PRUNED:
            saved += epochs - (trial.last_step or 0)
    return saved / max(1, planned)


@dataclass(kw_only=True)
class _Work:
    """What one worker does for a study."""

    plan: Plan
    course: Course
    studies: Path
    watcher: Watcher
    label: npt.NDArray[np.int8] | None
    store: Artifacts | None
    pseudo: PseudoImages | None = None

    def run(self) -> None:
        settings, course = self.plan.settings, self.course
        deadline = math.inf if settings.timeout is None else time.monotonic() + settings.timeout
        wait = _LEAST_WAIT
        while True:
            with course.storage.turn():
                late = time.monotonic() >= deadline
                trial = course.next_trial(0 if late else settings.trials)
            if trial is not None:
                with course.storage.heartbeat(trial):
                    self._work_on(trial)
                wait = _LEAST_WAIT
            elif late or course.trials().finished >= settings.trials:
                return
            else:
                try:
                    time.sleep(min(wait, max(0.0, deadline - time.monotonic())))
                except KeyboardInterrupt:
                    raise self._interrupted() from None
                wait = min(2 * wait, _MOST_WAIT)

    def _work_on(self, trial: optuna.Trial) -> None:
        course, note = self.course, ""
        study = course.study
        try:
            recipe = self.plan.recipe(trial, course.objective)
            trial.set_user_attr("key", recipe.key)
            if self.pseudo is None and not self.plan.kind.transductive:
                self.pseudo = PseudoImages.of(self.plan.dataset)
            self._fetch(recipe)
            damaged = discard_damaged(self.studies, recipe.key)
            was_cached = has_member(self.studies, recipe.key)
            member = fit_member(
                self.plan.dataset,
                recipe,
                studies=self.studies,
                device=self.plan.device,
                judged_by=JudgedBy(pseudo=self.pseudo, consensus=course.consensus(), label=self.label),
                after_epoch=self._reporter(trial, recipe),
                resumed=self._catch_up(trial),
                trial=TrialInfo(study=study.study_name, number=trial.number, parameters=trial.params),
            )
            if was_cached:  # the pruner compares later trials with its epochs too
                self._catch_up(trial)({epoch.number: epoch.value for epoch in member.info.history})
            if self.store is not None:
                self.store.push(trial, member, self.studies)
            trial.set_user_attr("member", member.key)
            trial.set_user_attr("objectives", member.info.objectives.to_json())
            trial.set_user_attr("value", member.value)
            study.tell(trial, course.told(member))
            state, note = "cached" if was_cached else "complete", damaged or ""
        except KeyboardInterrupt:
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise self._interrupted() from None
        except optuna.TrialPruned:
            state = "pruned"
            study.tell(trial, state=TrialState.PRUNED)
        except optuna.exceptions.UpdateFinishedTrialError:
            # This machine was silent for so long, asleep perhaps, that another worker has taken the trial over.
            state = "lost"
        except (StorageError, OSError) as error:
            # Not the trial's fault: it is queued again, once what is wrong is mended.
            self._fail(trial, STOPPED, str(error))
            raise
        except optuna.exceptions.OptunaError:
            raise
        except EnsadError as error:
            diverged = isinstance(error, DivergedError)
            state, note = "failed", in_one_line(error, with_kind=True) if diverged else str(error)
            self._fail(trial, REASON, note)
            if not diverged:  # not the trial's fault, and the next one would meet it too
                raise
        except Exception as error:  # what one draw of parameters can meet without the next one meeting it
            state, note = "failed", in_one_line(error, with_kind=True)
            self._fail(trial, REASON, note)
        best = course.best()
        value = member.value if state in ("complete", "cached") else None
        self.watcher.trial(trial.number, state, value, None if best is None else best.value, note)
        if state == "failed":
            self._stop_where_all_fail()

    def _fail(self, trial: optuna.Trial, name: str, why: str) -> None:
        try:
            trial.set_user_attr(name, why)
            self.course.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        except optuna.exceptions.UpdateFinishedTrialError:
            return  # another worker has taken it over

    def _stop_where_all_fail(self) -> None:
        reasons = self.course.failures_in_a_row()
        if len(reasons) < _FAILURES_IN_A_ROW:
            return
        # Alike but for numbers, such as the epoch in which a loss became NaN.
        alike = [_DIGITS.sub("#", reason) for reason in reasons]
        common, times = Counter(alike).most_common(1)[0]
        raise EnsadError(
            f"stopped: {len(reasons)} trials in a row failed, {times} of them with {reasons[alike.index(common)]}; "
            "mend that and run the same command again; `ensad compare --failed` lists them"
        )

    def _fetch(self, recipe: Recipe) -> None:
        """Fetch what another machine has made already: this member, or all where the objective needs them."""
        if self.store is not None:
            self.store.pull(
                self.course.storage.backend,
                self.studies,
                study_names=self.course.names(),
                key=None if self.course.objective == "consensus" else recipe.key,
            )

    def _reporter(self, trial: optuna.Trial, recipe: Recipe) -> AfterEpoch:
        """Tells the watcher and Optuna of each epoch, and prunes; Optuna prunes no study of two directions."""
        one_direction = self.course.objective != "both"

        def after_epoch(epoch: Epoch, judgement: Judgement) -> None:
            self.watcher.epoch(trial.number, epoch, recipe.training.epochs, judgement)
            if one_direction:
                trial.report(judgement.value, epoch.number)
                finished = epoch.number == recipe.training.epochs
                if self.plan.settings.prune and not finished and trial.should_prune():
                    raise optuna.TrialPruned

        return after_epoch

    def _catch_up(self, trial: optuna.Trial) -> Resumed:
        """Tells Optuna of epochs that it has not seen: before a checkpoint, or of a member that was cached."""
        one_direction = self.course.objective != "both"

        def resumed(values: Mapping[int, float]) -> None:
            for number, value in values.items() if one_direction else ():
                trial.report(value, number)

        return resumed

    def _interrupted(self) -> Interrupted:
        return Interrupted(
            f"interrupted: {self.course.trials().finished} finished trials of {self.course.study.study_name} are kept, "
            "and the running one will be gone on with; run the same command to go on"
        )
