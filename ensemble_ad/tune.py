"""One Optuna study a family: resumable, pruned on the objective, every finished trial a cached member at once."""

import math
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import TrialState

from ensemble_ad import cache, statistics, storage
from ensemble_ad.auto_objective import Circumstances, Finished, first_objective, guard
from ensemble_ad.errors import EnsadError, Interrupted, StorageError, UsageError
from ensemble_ad.families import Family, family
from ensemble_ad.fit import AfterEpoch, Help, PseudoImages, check_objective, check_transductive, fit_member
from ensemble_ad.images import Dataset
from ensemble_ad.objective import AUTO, Judgement, objective
from ensemble_ad.preprocess import Preprocess
from ensemble_ad.recipe import Recipe
from ensemble_ad.selection import best_first
from ensemble_ad.split import split_rows
from ensemble_ad.train import DivergedError, Epoch, TrainSettings, choose_device

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_FAILURES_IN_A_ROW = 10
_STARTUP_TRIALS = 5
_MOVED = "moved"
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
    storage: str | None = None
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
        """After each trial; the state is complete, cached, pruned or failed."""

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


def open_storage(studies: Path, url: str | None) -> optuna.storages.BaseStorage:
    """The studies' storage.

    Raises:
        StorageError: if it cannot be opened; the URL, which may hold a password, is not repeated.
    """
    storage.make_folder(studies)
    path = studies / "studies.db"
    if url is None and path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise StorageError(f"cannot write to {path}: permission denied; make it writable or name another folder")
    try:
        if url is None:
            # SQLite waits that many seconds for another process's write to end.
            return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})
        return optuna.storages.RDBStorage(url)
    except Exception as error:
        where = path if url is None else "the storage named by --storage"
        raise StorageError(
            f"cannot open {where}: {type(error).__name__}; it is not an Optuna storage that can be used"
        ) from None


def tune(
    dataset: Dataset,
    settings: TuneSettings,
    *,
    studies: Path,
    watcher: Watcher,
    label: npt.NDArray[np.int8] | None = None,
) -> TuneResult:
    """Run a study until it has `settings.trials` finished trials or its time is up.

    Args:
        dataset: the images.
        settings: what to run.
        studies: where studies and members are kept.
        watcher: told of every epoch and trial.
        label: (k,) of 0 and 1 for the test images, only for an objective that needs them.

    Raises:
        Interrupted: on Ctrl-C; what was finished is kept and the running trial is queued again.
        EnsadError: for settings that do not fit, a storage that fails, or ten trials in a row that fail.
    """
    kind = family(settings.family)
    device = choose_device(settings.device)
    widths = kind.widths_up_to(settings.max_width or (kind.widths[-1] if device.type == "cuda" else kind.cpu_width))
    size = settings.size or dataset.side
    kind.check_shape((dataset.channels, size, size))
    check_transductive(kind, allowed=settings.transductive)
    if settings.objective != AUTO:
        check_objective(settings.objective, kind, len(dataset.test))
    elif kind.transductive:
        check_objective("separation", kind, len(dataset.test))
    split = split_rows(
        len(dataset.train), dataset.fingerprint, settings.subset
    )  # refuses too few images before a study is made
    course = _Course(
        settings=settings,
        dataset=dataset,
        kind=kind,
        widths=widths,
        size=size,
        studies=studies,
        backend=open_storage(studies, settings.storage),
        watcher=watcher,
    )
    course.begin(
        Circumstances(
            reference_rows=len(split.reference), test_rows=len(dataset.test), anomaly_share=settings.anomaly_share
        )
    )
    watcher.study(course.study.study_name, course.count(*_FINISHED), settings.trials)
    deadline = math.inf if settings.timeout is None else time.monotonic() + settings.timeout
    failures: list[str] = []
    pseudo: PseudoImages | None = None

    while course.count(*_FINISHED) < settings.trials and time.monotonic() < deadline:
        trial = course.study.ask()
        note = ""
        try:
            if pseudo is None and not kind.transductive:
                pseudo = PseudoImages.of(dataset)
            recipe = course.recipe(trial)
            was_cached = cache.has_member(studies, recipe.key)
            member = fit_member(
                dataset,
                recipe,
                studies=studies,
                device=device,
                help=Help(pseudo=pseudo, consensus=course.consensus(), label=label),
                after_epoch=course.reporter(trial, recipe),
                notes={"trial": {"study": course.study.study_name, "number": trial.number, "parameters": trial.params}},
            )
        except KeyboardInterrupt:
            course.study.tell(trial, state=TrialState.FAIL)
            course.study.enqueue_trial(trial.params)
            raise Interrupted(
                f"interrupted: {course.count(*_FINISHED)} finished trials of {course.study.study_name} are kept, the "
                "running one is queued again; run the same command to go on"
            ) from None
        except optuna.TrialPruned:
            state = "pruned"
            course.study.tell(trial, state=TrialState.PRUNED)
        except _FAILS_THE_TRIAL as error:
            state, note = "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            trial.set_user_attr("reason", note)
            course.study.tell(trial, state=TrialState.FAIL)
        except EnsadError as error:
            # Not the trial's fault, and the next one would meet it too.
            trial.set_user_attr("reason", str(error))
            course.study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            state = "cached" if was_cached else "complete"
            trial.set_user_attr("member", member.key)
            course.study.tell(trial, course.told(member))
        failures = [*failures, note] if note else []
        watcher.trial(trial.number, state, course.value(trial.number), course.best_value(), note)
        if len(failures) == _FAILURES_IN_A_ROW:
            raise EnsadError(f"stopped: {len(failures)} trials in a row failed, the last with {note}")
        course.reconsider()
    return course.result(len(split.reference))


@dataclass(kw_only=True)
class _Course:
    """A study on its way: which objective it follows, and in which of Optuna's studies that is kept.

    `auto` may begin with `separation` and go on with `both`, which has two directions and so is another study of
    Optuna's; the finished trials are taken along, since every member has both values.
    """

    settings: TuneSettings
    dataset: Dataset
    kind: Family
    widths: Sequence[int]
    size: int
    studies: Path
    backend: optuna.storages.BaseStorage
    watcher: Watcher
    objective: str = ""
    study: optuna.Study = field(init=False)
    known: Circumstances = field(init=False)

    def begin(self, known: Circumstances) -> None:
        """Open the study where it stands."""
        self.known = known
        self.objective, reason = self.settings.objective, ""
        if self.objective == AUTO:
            self.objective, reason = ("separation", "") if self.kind.transductive else first_objective(known)
            if self.objective == "separation":
                self.study = self._open("separation")
                if _MOVED in self.study.user_attrs:
                    self.objective, reason = "both", self.study.user_attrs[_MOVED]
        self.study = self._open(self.objective)
        if reason:
            self.watcher.moved(self.objective, reason)

    def reconsider(self) -> None:
        """Move `auto` from `separation` to `both` where a guard fires."""
        if self.settings.objective != AUTO or self.objective != "separation" or self.kind.transductive:
            return
        reason = guard([Finished.of(member.info["objectives"]) for member in self._members()], self.known)
        if not reason:
            return
        before = self.study
        self.objective, self.study = "both", self._open("both")
        self._take_along(before)
        before.set_user_attr(_MOVED, reason)
        self.watcher.moved(self.objective, reason)

    def _take_along(self, before: optuna.Study) -> None:
        """Copy the finished trials, and queue those that `before` has queued."""
        taken = {trial.user_attrs.get("taken_from") for trial in self.study.get_trials(deepcopy=False)}
        for trial in before.get_trials(deepcopy=False):
            if trial.number in taken:
                continue
            place = {"taken_from": trial.number}
            if trial.state == TrialState.WAITING:
                self.study.enqueue_trial(trial.system_attrs["fixed_params"], user_attrs=place)
            elif trial.state in _FINISHED:
                member = trial.user_attrs.get("member")
                values = self.told(cache.load_member(self.studies, member)) if member else None
                self.study.add_trial(
                    optuna.trial.create_trial(
                        state=trial.state,
                        values=values,
                        params=trial.params,
                        distributions=trial.distributions,
                        user_attrs={**trial.user_attrs, **place},
                    )
                )

    def _open(self, objective_name: str) -> optuna.Study:
        name = study_name(self.settings, self.dataset.fingerprint, self.widths)
        if self.settings.objective == AUTO and objective_name != "separation":
            name += f"-{objective_name}"
        directions = [objective(objective_name).direction] * (2 if objective_name == "both" else 1)
        study = optuna.create_study(
            study_name=name,
            storage=self.backend,
            directions=directions,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=max(1, self.settings.epochs // 5)
            ),
        )
        n_before = len(study.get_trials(deepcopy=False))
        with warnings.catch_warnings():
            # `group` is what multivariate TPE needs for parameters that only some architectures have.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # A resumed study must not draw its first trials again, so the seed moves on with what it has.
            study.sampler = optuna.samplers.TPESampler(
                seed=self.settings.seed + n_before, multivariate=True, group=True, n_startup_trials=_STARTUP_TRIALS
            )
        if n_before == 0 and not (self.settings.objective == AUTO and hasattr(self, "study")):
            for parameters in self.kind.start:
                study.enqueue_trial({**parameters, "width": min(parameters["width"], self.widths[-1])})
        return study

    def recipe(self, trial: optuna.Trial) -> Recipe:
        """What a trial shall train."""
        settings, dataset, kind = self.settings, self.dataset, self.kind
        architecture = kind.suggest(trial, self.widths)
        crop, training = kind.ranges.suggest(trial, settings.epochs)
        return Recipe(
            data=dataset.fingerprint,
            family=kind.name,
            architecture=architecture,
            preprocess=Preprocess(
                crop=(crop, crop),
                size=(self.size, self.size),
                channels=1 if dataset.is_grey else dataset.channels,
            ),
            training=TrainSettings(seed=settings.seed, **training),
            objective=self.objective,
            labels=settings.labels_hash,
            subset=settings.subset,
            patience=max(3, math.ceil(training["epochs"] / 3)),
            flips=settings.flips,
        )

    def reporter(self, trial: optuna.Trial, recipe: Recipe) -> AfterEpoch:
        """Tells the watcher and Optuna of each epoch, and prunes; Optuna prunes no study of two directions."""
        one_direction = len(self.study.directions) == 1

        def after_epoch(epoch: Epoch, judgement: Judgement) -> None:
            self.watcher.epoch(trial.number, epoch, recipe.training.epochs, judgement)
            if one_direction:
                trial.report(judgement.value, epoch.number)
                finished = epoch.number == recipe.training.epochs
                if self.settings.prune and not finished and trial.should_prune():
                    raise optuna.TrialPruned

        return after_epoch

    def consensus(self) -> npt.NDArray[np.float64] | None:
        """Mean rank of the test images over the finished trials, for the objective of that name."""
        if self.objective != "consensus" or not (members := self._members()):
            return None
        columns = [member.vectors()[1][:, member.columns.index(member.main_column)] for member in members]
        ranks: npt.NDArray[np.float64] = statistics.midranks(np.stack(columns).astype(np.float64)).mean(axis=0)
        return ranks

    def told(self, member: cache.Member) -> list[float]:
        """A member's value in each of the study's directions."""
        if self.objective != "both":
            return [member.value]
        return [float(member.info["objectives"][name]["value"]) for name in ("separation", "synthetic")]

    def count(self, *states: TrialState) -> int:
        """Trials in one of these states."""
        return len(self.study.get_trials(deepcopy=False, states=states))

    def value(self, number: int) -> float | None:
        """A trial's value; None where it has none."""
        trial = self.study.get_trials(deepcopy=False)[number]
        if "member" not in trial.user_attrs:
            return trial.value if len(self.study.directions) == 1 else None
        return cache.load_member(self.studies, trial.user_attrs["member"]).value

    def best_value(self) -> float | None:
        """The best trial's value so far."""
        best = self._best()
        return None if best is None else best.value

    def _members(self) -> list[cache.Member]:
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [cache.load_member(self.studies, trial.user_attrs["member"]) for trial in trials]

    def _best(self) -> cache.Member | None:
        members = self._members()
        return best_first(members, self.objective)[0] if members else None

    def result(self, reference_rows: int) -> TuneResult:
        """How the study stands."""
        pruned, complete = self.count(TrialState.PRUNED), self._members()
        return TuneResult(
            study=self.study.study_name,
            finished=pruned + len(complete),
            pruned=pruned,
            failed=self.count(TrialState.FAIL),
            objective=self.objective,
            best=best_first(complete, self.objective)[0] if complete else None,
            values=tuple(member.value for member in complete),
            reference_rows=reference_rows,
        )
