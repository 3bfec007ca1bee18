"""One Optuna study a family: resumable, pruned on the objective, every finished trial a cached member at once.

Any number of workers, processes that run `tune` here or on other machines, may be at one study (`course`).
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import TrialState

from ensemble_ad import cache, storage
from ensemble_ad.artifacts import Artifacts
from ensemble_ad.auto_objective import Circumstances
from ensemble_ad.course import Course
from ensemble_ad.errors import EnsadError, Interrupted, StorageError, UsageError
from ensemble_ad.families import Family, family
from ensemble_ad.fit import AfterEpoch, Help, PseudoImages, check_objective, check_transductive, fit_member
from ensemble_ad.images import Dataset
from ensemble_ad.judge import Resumed
from ensemble_ad.lease import lease
from ensemble_ad.objective import AUTO, Judgement
from ensemble_ad.preprocess import Preprocess
from ensemble_ad.recipe import Recipe
from ensemble_ad.selection import best_first
from ensemble_ad.split import split_rows
from ensemble_ad.study_storage import open_storage
from ensemble_ad.train import DivergedError, Epoch, TrainSettings, choose_device

_FAILURES_IN_A_ROW = 10
# Seconds between two looks at what the other workers do, where there is nothing to start.
_LEAST_WAIT, _MOST_WAIT = 0.2, 5.0
# What one draw of hyperparameters can do wrong without the next one doing it too.
_FAILS_THE_TRIAL = (DivergedError, RuntimeError, ValueError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """What a study is.

    Attributes:
        family: its name.
        trials: finished trials (pruned ones too) that the study shall have in the end.
        timeout: seconds after which no new trial starts; None for none.
        epochs: the most that a trial trains.
        objective: a name of `objective.OBJECTIVES`, or `auto`.
        device: auto, cpu or cuda.
        seed: of the sampler and of every model.
        subset: training images used; None is all.
        size: side that crops are resized to; None is the images' own.
        max_width: the widest layer tried; None is what suits the device.
        prune: whether trials that fall behind are given up.
        storage: an Optuna storage URL; None is SQLite in the studies' folder.
        artifacts: URL of the store that members travel through between machines; None where they share the folder.
        labels_hash: of the labels that the objective reads; None where it reads none.
        flips: whether a score is the mean of an image's and its mirror image's.
        transductive: whether the user agreed to training on the test images.
        anomaly_share: what the user knows of the share of anomalies in the test set, for the guards of `auto`.
    """

    family: str
    trials: int = 50
    timeout: float | None = None
    epochs: int = 20
    objective: str = AUTO
    device: str = "auto"
    seed: int = 0
    subset: int | None = None
    size: int | None = None
    max_width: int | None = None
    prune: bool = True
    storage: str | None = field(default=None, repr=False)
    artifacts: str | None = field(default=None, repr=False)
    labels_hash: str | None = None
    flips: bool = False
    transductive: bool = False
    anomaly_share: float | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise UsageError(f"--trials must be 1 or more, not {self.trials}")
        if self.epochs < 1:
            raise UsageError(f"--epochs must be 1 or more, not {self.epochs}")
        if self.anomaly_share is not None and not 0 < self.anomaly_share < 1:
            raise UsageError(f"--anomaly-share must lie between 0 and 1, not {self.anomaly_share}")


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
        objective: what the trials were judged by in the end.
        best: the best member; None if no trial is complete.
        values: of the completed trials.
        reference_rows: held-out normal images that they were judged on.
    """

    study: str
    finished: int
    pruned: int
    failed: int
    objective: str
    best: cache.Member | None
    values: tuple[float, ...]
    reference_rows: int

    @property
    def is_noise(self) -> bool:
        """Whether half of the trials lie within one standard error of the best, so that their order says little."""
        if self.best is None or len(self.values) < 2:
            return False
        error = float(self.best.info["objective"]["standard_error"])
        return abs(self.best.value - float(np.median(self.values))) < error


def study_name(settings: TuneSettings, fingerprint: str, widths: Sequence[int]) -> str:
    """Family, objective and a hash of whatever makes two studies' values incomparable."""
    what = [
        fingerprint,
        settings.epochs,
        settings.subset,
        settings.size,
        widths[-1],
        settings.labels_hash,
        settings.seed,
        settings.flips,
    ]
    return f"{settings.family}-{settings.objective}-{storage.json_hash(what)[:8]}"


class Plan:
    """What the settings mean for a data set: family, widths, size and the study's name.

    Raises:
        UsageError: if they do not fit; nothing is written before that is known.
    """

    def __init__(self, dataset: Dataset, settings: TuneSettings) -> None:
        self.dataset, self.settings = dataset, settings
        self.kind: Family = family(settings.family)
        self.device = choose_device(settings.device)
        widest = self.kind.widths[-1] if self.device.type == "cuda" else self.kind.cpu_width
        self.widths = self.kind.widths_up_to(settings.max_width or widest)
        self.size = settings.size or dataset.side
        self.kind.check_shape((dataset.channels, self.size, self.size))
        check_transductive(self.kind, allowed=settings.transductive)
        if settings.objective != AUTO:
            check_objective(settings.objective, self.kind, len(dataset.test))
        elif self.kind.transductive:
            check_objective("separation", self.kind, len(dataset.test))
        split = split_rows(len(dataset.train), dataset.fingerprint, settings.subset)
        self.reference_rows = len(split.reference)

    def course(self, studies: Path, worker: str, watcher: Watcher) -> Course:
        """The study, begun."""
        settings = self.settings
        course = Course(
            name=study_name(settings, self.dataset.fingerprint, self.widths),
            start=[{**each, "width": min(each["width"], self.widths[-1])} for each in self.kind.start],
            objective=settings.objective,
            transductive=self.kind.transductive,
            epochs=settings.epochs,
            seed=settings.seed,
            studies=studies,
            storage=open_storage(studies, settings.storage),
            worker=worker,
            watcher=watcher,
            known=Circumstances(
                reference_rows=self.reference_rows,
                test_rows=len(self.dataset.test),
                anomaly_share=settings.anomaly_share,
            ),
        )
        course.begin()
        return course

    def recipe(self, trial: optuna.Trial, objective: str) -> Recipe:
        """What a trial shall train."""
        settings, dataset = self.settings, self.dataset
        architecture = self.kind.suggest(trial, self.widths)
        crop, training = self.kind.ranges.suggest(trial, settings.epochs)
        return Recipe(
            data=dataset.fingerprint,
            family=self.kind.name,
            architecture=architecture,
            preprocess=Preprocess(
                crop=(crop, crop),
                size=(self.size, self.size),
                channels=1 if dataset.is_grey else dataset.channels,
            ),
            training=TrainSettings(seed=settings.seed, **training),
            objective=objective,
            labels=settings.labels_hash,
            subset=settings.subset,
            patience=max(3, math.ceil(training["epochs"] / 3)),
            flips=settings.flips,
        )


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
    storage.make_folder(studies)
    with lease(studies) as worker:
        course = plan.course(studies, worker, watcher)
        store = None if settings.artifacts is None else Artifacts(settings.artifacts)
        work = _Work(plan=plan, course=course, studies=studies, watcher=watcher, label=label, store=store)
        watcher.study(course.study.study_name, course.trials().finished, settings.trials)
        work.run()
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
        objective=course.objective,
        best=best_first(complete, course.objective)[0] if complete else None,
        values=tuple(member.value for member in complete),
        reference_rows=plan.reference_rows,
    )


@dataclass(kw_only=True)
class _Work:
    """What one worker does for a study."""

    plan: Plan
    course: Course
    studies: Path
    watcher: Watcher
    label: npt.NDArray[np.int8] | None
    store: Artifacts | None
    failures: int = 0
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
            was_cached = cache.has_member(self.studies, recipe.key)
            member = fit_member(
                self.plan.dataset,
                recipe,
                studies=self.studies,
                device=self.plan.device,
                help=Help(pseudo=self.pseudo, consensus=course.consensus(), label=self.label),
                after_epoch=self._reporter(trial, recipe),
                resumed=self._catch_up(trial),
                notes={"trial": {"study": study.study_name, "number": trial.number, "parameters": trial.params}},
            )
            if self.store is not None:
                self.store.push(trial, member, self.studies)
            trial.set_user_attr("member", member.key)
            trial.set_user_attr("objectives", member.info["objectives"])
            trial.set_user_attr("value", member.value)
            study.tell(trial, course.told(member))
            state = "cached" if was_cached else "complete"
        except KeyboardInterrupt:
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise self._interrupted() from None
        except optuna.TrialPruned:
            state = "pruned"
            study.tell(trial, state=TrialState.PRUNED)
        except optuna.exceptions.UpdateFinishedTrialError:
            # This machine was silent for so long, asleep perhaps, that another worker has taken the trial over.
            state = "lost"
        except StorageError as error:
            # Not the trial's fault: it is queued again, once what is wrong is mended.
            trial.set_user_attr("stopped", str(error))
            study.tell(trial, state=TrialState.FAIL)
            raise
        except _FAILS_THE_TRIAL as error:
            state, note = "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            trial.set_user_attr("reason", note)
            study.tell(trial, state=TrialState.FAIL)
        except EnsadError as error:
            # Not the trial's fault, and the next one would meet it too.
            trial.set_user_attr("reason", str(error))
            study.tell(trial, state=TrialState.FAIL)
            raise
        self.failures = self.failures + 1 if note else 0
        best = course.best()
        value = member.value if state in ("complete", "cached") else None
        self.watcher.trial(trial.number, state, value, None if best is None else best.value, note)
        if self.failures == _FAILURES_IN_A_ROW:
            raise EnsadError(f"stopped: {self.failures} trials in a row failed, the last with {note}")

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
        """Tells Optuna of the epochs before a checkpoint, which another trial's number has reported."""
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
