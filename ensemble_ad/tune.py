"""One Optuna study a family: resumable, pruned on the objective, every finished trial a cached member at once."""

import math
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import TrialState

from ensemble_ad import cache, storage
from ensemble_ad.errors import EnsadError, Interrupted, StorageError, UsageError
from ensemble_ad.families import Family, family
from ensemble_ad.fit import AfterEpoch, fit_member
from ensemble_ad.images import Dataset
from ensemble_ad.objective import Judgement, objective
from ensemble_ad.preprocess import Preprocess
from ensemble_ad.recipe import Recipe
from ensemble_ad.split import split_rows
from ensemble_ad.train import DivergedError, Epoch, TrainSettings, choose_device

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_FAILURES_IN_A_ROW = 10
_STARTUP_TRIALS = 5
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
        objective: a name of `objective.OBJECTIVES`.
        device: auto, cpu or cuda.
        seed: of the sampler and of every model.
        subset: training images used; None is all.
        size: side that crops are resized to; None is the images' own.
        max_width: the widest layer tried; None is what suits the device.
        prune: whether trials that fall behind are given up.
        storage: an Optuna storage URL; None is SQLite in the studies' folder.
        labels_hash: of the labels that the objective reads; None where it reads none.
    """

    family: str
    trials: int = 50
    timeout: float | None = None
    epochs: int = 20
    objective: str
    device: str = "auto"
    seed: int = 0
    subset: int | None = None
    size: int | None = None
    max_width: int | None = None
    prune: bool = True
    storage: str | None = None
    labels_hash: str | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise UsageError(f"--trials must be 1 or more, not {self.trials}")
        if self.epochs < 1:
            raise UsageError(f"--epochs must be 1 or more, not {self.epochs}")


class Watcher(Protocol):
    """Who is told how a study goes on."""

    def study(self, name: str, finished: int, wanted: int) -> None:
        """Before the first trial."""

    def epoch(self, trial: int, epoch: Epoch, epochs: int, judgement: Judgement) -> None:
        """After each epoch."""

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        """After each trial; the state is complete, cached, pruned or failed."""


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """How a study stands.

    Attributes:
        study: its name.
        finished: trials complete or pruned.
        pruned: of these, the pruned ones.
        failed: trials that failed.
        best: the best member; None if no trial is complete.
        values: of the completed trials.
        reference_rows: held-out normal images that they were judged on.
    """

    study: str
    finished: int
    pruned: int
    failed: int
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
    split = split_rows(
        len(dataset.train), dataset.fingerprint, settings.subset
    )  # refuses too few images before a study is made
    name = study_name(settings, dataset.fingerprint, widths)
    study = _open_study(name, open_storage(studies, settings.storage), settings, kind, widths)
    watcher.study(name, _count(study, *_FINISHED), settings.trials)
    deadline = math.inf if settings.timeout is None else time.monotonic() + settings.timeout
    failures: list[str] = []

    while _count(study, *_FINISHED) < settings.trials and time.monotonic() < deadline:
        trial = study.ask()
        note = ""
        try:
            recipe = _recipe(trial, kind, settings, dataset, size=size, widths=widths)
            was_cached = cache.has_member(studies, recipe.key)
            member = fit_member(
                dataset,
                recipe,
                studies=studies,
                device=device,
                label=label,
                after_epoch=_reporter(trial, recipe, settings, watcher),
                notes={"trial": {"study": name, "number": trial.number, "parameters": trial.params}},
            )
        except KeyboardInterrupt:
            study.tell(trial, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
            raise Interrupted(
                f"interrupted: {_count(study, *_FINISHED)} finished trials of {name} are kept, the running one is "
                "queued again; run the same command to go on"
            ) from None
        except optuna.TrialPruned:
            state = "pruned"
            study.tell(trial, state=TrialState.PRUNED)
        except _FAILS_THE_TRIAL as error:
            state, note = "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            trial.set_user_attr("reason", note)
            study.tell(trial, state=TrialState.FAIL)
        except EnsadError as error:
            # Not the trial's fault, and the next one would meet it too.
            trial.set_user_attr("reason", str(error))
            study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            state = "cached" if was_cached else "complete"
            trial.set_user_attr("member", member.key)
            study.tell(trial, member.value)
        failures = [*failures, note] if note else []
        watcher.trial(trial.number, state, _value(study, trial.number), _best_value(study), note)
        if len(failures) == _FAILURES_IN_A_ROW:
            raise EnsadError(f"stopped: {len(failures)} trials in a row failed, the last with {note}")
    return _result(study, studies, len(split.reference))


def _open_study(
    name: str, backend: optuna.storages.BaseStorage, settings: TuneSettings, kind: Family, widths: Sequence[int]
) -> optuna.Study:
    study = optuna.create_study(
        study_name=name,
        storage=backend,
        direction=objective(settings.objective).direction,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=max(1, settings.epochs // 5)
        ),
    )
    n_before = len(study.get_trials(deepcopy=False))
    with warnings.catch_warnings():
        # `group` is what multivariate TPE needs for parameters that only some architectures have.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # A resumed study must not draw its first trials again, so the seed moves on with what it has.
        study.sampler = optuna.samplers.TPESampler(
            seed=settings.seed + n_before, multivariate=True, group=True, n_startup_trials=_STARTUP_TRIALS
        )
    if n_before == 0:
        for parameters in kind.start:
            study.enqueue_trial({**parameters, "width": min(parameters["width"], widths[-1])})
    return study


def _recipe(
    trial: optuna.Trial, kind: Family, settings: TuneSettings, dataset: Dataset, *, size: int, widths: Sequence[int]
) -> Recipe:
    architecture = kind.suggest(trial, widths)
    crop, training = kind.ranges.suggest(trial, settings.epochs)
    return Recipe(
        data=dataset.fingerprint,
        family=kind.name,
        architecture=architecture,
        preprocess=Preprocess(
            crop=(crop, crop), size=(size, size), channels=1 if dataset.is_grey else dataset.channels
        ),
        training=TrainSettings(seed=settings.seed, **training),
        objective=settings.objective,
        labels=settings.labels_hash,
        subset=settings.subset,
        patience=max(3, math.ceil(training["epochs"] / 3)),
    )


def _reporter(trial: optuna.Trial, recipe: Recipe, settings: TuneSettings, watcher: Watcher) -> AfterEpoch:
    def after_epoch(epoch: Epoch, judgement: Judgement) -> None:
        watcher.epoch(trial.number, epoch, recipe.training.epochs, judgement)
        trial.report(judgement.value, epoch.number)
        if settings.prune and trial.should_prune():
            raise optuna.TrialPruned

    return after_epoch


def _count(study: optuna.Study, *states: TrialState) -> int:
    return len(study.get_trials(deepcopy=False, states=states))


def _value(study: optuna.Study, number: int) -> float | None:
    return study.get_trials(deepcopy=False)[number].value


def _best_value(study: optuna.Study) -> float | None:
    return study.best_value if _count(study, TrialState.COMPLETE) else None


def _result(study: optuna.Study, studies: Path, reference_rows: int) -> TuneResult:
    pruned, complete = _count(study, TrialState.PRUNED), _count(study, TrialState.COMPLETE)
    key = study.best_trial.user_attrs["member"] if complete else None
    return TuneResult(
        study=study.study_name,
        finished=pruned + complete,
        pruned=pruned,
        failed=_count(study, TrialState.FAIL),
        best=None if key is None else cache.load_member(studies, key),
        values=tuple(
            float(t.value)
            for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if t.value is not None
        ),
        reference_rows=reference_rows,
    )
