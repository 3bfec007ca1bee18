"""Several workers on one study: processes here or on a Dask cluster, started by joblib. Each of them runs `tune`.

They share nothing but the study's storage and the members, so that one may die, and others may join from elsewhere.
"""

import logging
import os
import threading
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import joblib
import optuna
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ensemble_ad.data.conversion import DEFAULT_FIT
from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.data.fit import Fit
from ensemble_ad.data.groups import Groups
from ensemble_ad.errors import DataError, EnsadError, Interrupted
from ensemble_ad.layout import preprocessed_folder
from ensemble_ad.members.objectives import Judgement
from ensemble_ad.search.crew import Crew
from ensemble_ad.search.lease import lease
from ensemble_ad.search.notes import StudyNotes
from ensemble_ad.search.onlooker import looking_on
from ensemble_ad.search.orphan import Parent, ended_with
from ensemble_ad.search.plan import Plan, TuneSettings
from ensemble_ad.search.signals import UntilInterrupted
from ensemble_ad.search.storage import StudyStorage, open_storage, storage_failures
from ensemble_ad.search.study import SharedStudy
from ensemble_ad.search.tune import TuneResult, result, tune
from ensemble_ad.search.watcher import Watcher
from ensemble_ad.statistics.arrays import Labels
from ensemble_ad.training.believed import Yardstick
from ensemble_ad.training.device import one_of_several
from ensemble_ad.training.loop import Epoch

_STOP_SECONDS = 3.0
_RESTARTS_WITHOUT_A_TRIAL = 3
# Training draws from torch's global generator: a second worker in a thread of the same process would spoil both.
_ONE_A_PROCESS = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker is told to do.

    Attributes:
        data: the images' folder.
        fingerprint: the images' fingerprint.
        studies: the studies' folder.
        settings: the study's settings.
        threads: number of threads to compute with; 0 leaves that to the worker's machine.
        parent: the process that has started the crew; None for a worker on its own.
        label: as for `tune`.
        named: groups of training images that the user named.
        look: whether the test images may be read.
        number: the worker's, from 0; workers on one machine take its GPUs in turn.
    """

    data: Path
    fingerprint: str
    studies: Path
    settings: TuneSettings
    threads: int = 0
    parent: Parent | None = None
    label: Labels | None = field(default=None, repr=False)
    named: Groups | None = field(default=None, repr=False)
    look: bool = True
    fit: Fit = DEFAULT_FIT
    number: int = 0


class _StopWatcher:
    """The watcher of a worker process: shows nothing, and interrupts the worker when its crew shall stop.

    That is so when the study says it, or the process that has started the crew is gone. See `search.watcher.Watcher`.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._storage: StudyStorage | None = None
        self._next = 0.0

    def study(self, name: str, finished: int, wanted: int) -> None:
        self._name = name

    def epoch(self, trial: int, epoch: Epoch, epochs: int, judgement: Judgement) -> None:
        parent = self._task.parent
        if parent is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _STOP_SECONDS
        if self._storage is None:
            self._storage = open_storage(self._task.studies, self._task.settings.storage)
        study = optuna.load_study(study_name=self._name, storage=self._storage.backend)
        if StudyNotes.of(study).stop == parent.name or parent.is_over():
            raise KeyboardInterrupt

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        pass


class Images(NamedTuple):
    """Which images a worker works on, by fields of its task."""

    data: Path
    fingerprint: str
    studies: Path
    named: Groups | None
    look: bool
    fit: Fit


@lru_cache(maxsize=1)
def _yardstick(images: Images, share: float | None) -> Yardstick:
    """What this process measures trials by; a run gives it many studies on the same images.

    Raises:
        DataError: if the images are others.
    """
    cache = preprocessed_folder(images.studies)
    dataset = load_dataset(images.data, image_cache=cache, test_optional=True, look=images.look, fit=images.fit)
    dataset = replace(dataset, named=images.named)
    if dataset.fingerprint != images.fingerprint:
        raise DataError(f"{images.data} holds other images for this worker; copy the same to every machine")
    return Yardstick(dataset, images.studies, share)


def work(task: Task) -> EnsadError | None:
    """Be a worker until the study is finished.

    Returns:
        What went wrong, if anything did: not raised, since backends log what a task raises, with its arguments.
    """
    try:
        with ended_with(task.parent), _ONE_A_PROCESS:
            logging.getLogger("optuna").setLevel(logging.WARNING)
            if task.threads:
                torch.set_num_threads(task.threads)
            images = Images(task.data, task.fingerprint, task.studies, task.named, task.look, task.fit)
            yardstick = _yardstick(images, task.settings.anomaly_share)
            settings = replace(task.settings, device=one_of_several(task.settings.device, task.number))
            tune(
                yardstick.dataset, settings, studies=task.studies, watcher=_StopWatcher(task), label=task.label,
                yardstick=yardstick,
            )  # fmt: skip
    except EnsadError as error:
        return error
    except KeyboardInterrupt:  # before its study was open
        return Interrupted("interrupted")
    return None


def tune_with(
    crew: Crew,
    dataset: Dataset,
    settings: TuneSettings,
    watcher: Watcher,
    *,
    data: Path,
    studies: Path,
    label: Labels | None = None,
    yardstick: Yardstick | None = None,
    storage: StudyStorage | None = None,
) -> TuneResult:
    """`tune` in this process where the crew is a single worker, else `tune_together`."""
    if crew == Crew(workers=1):
        return tune(
            dataset, settings, studies=studies, watcher=watcher, label=label, yardstick=yardstick, storage=storage
        )
    return tune_together(
        dataset, settings, crew, data=data, studies=studies, watcher=watcher, label=label, storage=storage
    )


def tune_together(
    dataset: Dataset,
    settings: TuneSettings,
    crew: Crew,
    *,
    data: Path,
    studies: Path,
    watcher: Watcher,
    label: Labels | None = None,
    storage: StudyStorage | None = None,
) -> TuneResult:
    """As `tune.tune`, by several workers.

    Args:
        dataset: the images, for this process, which only looks on.
        settings: the study's settings.
        crew: who works.
        data: where each worker finds the images.
        studies: the studies' folder.
        watcher: told of every trial that ends meanwhile, in whatever process.
        label: as for `tune.tune`.
        storage: as for `tune.tune`; the workers open their own.

    Raises:
        Interrupted: on Ctrl-C.
        EnsadError: what a worker met, as `tune.tune` raises it.
    """
    plan = Plan(dataset, settings)
    crew.check(plan.device)
    with storage_failures(studies, settings.storage), lease(studies) as name:
        shared = plan.open_study(studies, "", storage)
        watcher.study(shared.study.study_name, shared.count().finished, settings.trials)
        with crew.started() as count, looking_on(shared, watcher):
            task = Task(
                data=data.absolute(),
                fingerprint=dataset.fingerprint,
                studies=studies.absolute(),
                settings=settings,
                threads=crew.threads(count),
                parent=Parent(name=name, pid=os.getpid(), studies=studies.absolute()),
                label=label,
                named=dataset.named,
                look=len(dataset.test) > 0,
                fit=dataset.fit,
            )
            tasks = [replace(task, number=number) for number in range(count)]
            errors = None
            with UntilInterrupted():
                errors = _run(tasks, shared)
            if errors is None:
                shared.say_stop(name)
                raise shared.interrupted("the running ones")
        for error in errors:
            if error is not None and shared.count().finished < settings.trials:
                raise error
        return result(plan, shared)


def _run(tasks: list[Task], shared: SharedStudy) -> list[EnsadError | None]:
    """Run the tasks; where a worker is killed, loky ends the others too, and all begin again."""
    idle = 0
    while True:
        before = shared.count().finished
        try:
            done: list[EnsadError | None] = joblib.Parallel(n_jobs=len(tasks), batch_size=1, pre_dispatch="all")(
                joblib.delayed(work)(task) for task in tasks
            )
        except TerminatedWorkerError:
            idle = idle + 1 if shared.count().finished == before else 0
            if idle == _RESTARTS_WITHOUT_A_TRIAL:
                raise EnsadError(
                    "stopped: workers are killed before they finish a trial, perhaps for want of memory; try fewer "
                    "--workers or a lower --max-width"
                ) from None
        else:
            return done
