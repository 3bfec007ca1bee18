"""Several workers on one study: processes here, or on a Dask cluster, started by joblib; each of them runs `tune`.

They share nothing but the study's storage and the members, so that one may die, and others may join from elsewhere.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
import optuna
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from optuna.trial import TrialState

from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.errors import DataError, EnsadError, Interrupted, UsageError
from ensemble_ad.layout import preprocessed_folder
from ensemble_ad.members.objectives import Judgement
from ensemble_ad.search.plan import Plan, TuneSettings
from ensemble_ad.search.storage import StudyStorage, open_storage
from ensemble_ad.search.study import Course
from ensemble_ad.search.tune import TuneResult, Watcher, result, tune
from ensemble_ad.training.loop import Epoch

_STOP = "stop"
_LOOK_SECONDS, _STOP_SECONDS = 0.5, 3.0
_RESTARTS_WITHOUT_A_TRIAL = 3
# Training draws from torch's global generator: a second worker in a thread of the same process would spoil both.
_ONE_A_PROCESS = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who works.

    Attributes:
        workers: how many; 0 is as many as the cluster has.
        backend: joblib's name of what starts them: loky (processes here), dask, or another that is registered.
        scheduler: address of the Dask scheduler.
    """

    workers: int
    backend: str = "loky"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.workers < (0 if self.backend == "dask" else 1):
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")
        if (self.backend == "dask") != (self.scheduler is not None):
            raise UsageError("--backend dask and --scheduler tcp://HOST:8786 belong together")
        if self.backend in ("threading", "sequential"):
            raise UsageError(f"--backend must start processes, as loky and dask do, and {self.backend} does not")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker is told.

    Attributes:
        data: folder of the images.
        fingerprint: of the images.
        studies: the studies' folder.
        settings: of the study.
        threads: to compute with; 0 leaves that alone.
        stop: what the study says when this worker shall stop.
        label: as for `tune`.
    """

    data: Path
    fingerprint: str
    studies: Path
    settings: TuneSettings
    threads: int = 0
    stop: str = ""
    label: npt.NDArray[np.int8] | None = field(default=None, repr=False)


class _Quiet:
    """Tells nobody, and interrupts a worker whose study says so; see `tune.Watcher`."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._storage: StudyStorage | None = None
        self._next = 0.0

    def study(self, name: str, finished: int, wanted: int) -> None:
        self._name = name

    def epoch(self, trial: int, epoch: Epoch, epochs: int, judgement: Judgement) -> None:
        if not self._task.stop or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _STOP_SECONDS
        if self._storage is None:
            self._storage = open_storage(self._task.studies, self._task.settings.storage)
        study = optuna.load_study(study_name=self._name, storage=self._storage.backend)
        if study.user_attrs.get(_STOP) == self._task.stop:
            raise KeyboardInterrupt

    def trial(self, number: int, state: str, value: float | None, best: float | None, note: str) -> None:
        pass

    def moved(self, objective: str, reason: str) -> None:
        pass


def work(task: Task) -> EnsadError | None:
    """Be a worker until the study is finished.

    Returns:
        What went wrong, if anything did: not raised, since backends log what a task raises, with its arguments.
    """
    logging.getLogger("optuna").setLevel(logging.WARNING)
    if task.threads:
        torch.set_num_threads(task.threads)
    try:
        with _ONE_A_PROCESS:
            dataset = load_dataset(task.data, image_cache=preprocessed_folder(task.studies), test_optional=True)
            if dataset.fingerprint != task.fingerprint:
                raise DataError(f"{task.data} holds other images for this worker; copy the same to every machine")
            tune(dataset, task.settings, studies=task.studies, watcher=_Quiet(task), label=task.label)
    except EnsadError as error:
        return error
    except optuna.exceptions.StorageInternalError as error:
        return EnsadError(f"the studies' storage failed: {type(error.__cause__ or error).__name__}")
    return None


def tune_together(
    dataset: Dataset,
    settings: TuneSettings,
    crew: Crew,
    *,
    data: Path,
    studies: Path,
    watcher: Watcher,
    label: npt.NDArray[np.int8] | None = None,
) -> TuneResult:
    """As `tune.tune`, by several workers.

    Args:
        dataset: the images, to look on.
        settings: what to run.
        crew: who works.
        data: where each worker finds the images.
        studies: the studies' folder.
        watcher: told of every trial that finishes meanwhile, wherever it ran.
        label: as for `tune.tune`.

    Raises:
        Interrupted: on Ctrl-C.
        EnsadError: what a worker met, as `tune.tune` raises it.
    """
    plan = Plan(dataset, settings)
    course = plan.course(studies, "", watcher)
    watcher.study(course.study.study_name, course.trials().finished, settings.trials)
    stop = uuid.uuid4().hex
    with _started(crew) as count, _looking_on(course, watcher):
        task = Task(
            data=data.absolute(),
            fingerprint=dataset.fingerprint,
            studies=studies.absolute(),
            settings=settings,
            threads=max(1, joblib.cpu_count() // count) if crew.backend != "dask" else 0,
            stop=stop,
            label=label,
        )
        tasks = [replace(task, settings=replace(settings, device=device)) for device in _devices(plan, crew, count)]
        try:
            errors = _run(tasks, course)
        except KeyboardInterrupt:
            course.say(_STOP, stop)
            raise Interrupted(
                f"interrupted: {course.trials().finished} finished trials of {course.study.study_name} are kept, and "
                "the running ones will be gone on with; run the same command to go on"
            ) from None
    course.follow()
    for error in errors:
        if error is not None and course.trials().finished < settings.trials:
            raise error
    return result(plan, course)


def _run(tasks: list[Task], course: Course) -> list[EnsadError | None]:
    """Run the tasks; where a worker is killed, loky ends the others too, and all begin again."""
    idle = 0
    while True:
        before = course.trials().finished
        try:
            done: list[EnsadError | None] = joblib.Parallel(n_jobs=len(tasks), batch_size=1, pre_dispatch="all")(
                joblib.delayed(work)(task) for task in tasks
            )
        except TerminatedWorkerError:
            course.follow()
            idle = idle + 1 if course.trials().finished == before else 0
            if idle == _RESTARTS_WITHOUT_A_TRIAL:
                raise EnsadError(
                    "stopped: workers are killed before they finish a trial, perhaps for want of memory; try fewer "
                    "--workers or a lower --max-width"
                ) from None
        else:
            return done


def _devices(plan: Plan, crew: Crew, count: int) -> list[str]:
    device, gpus = plan.settings.device, torch.cuda.device_count()
    if crew.backend == "dask" or plan.device.type != "cuda" or gpus < 2:
        return [device] * count
    return [f"cuda:{number % gpus}" for number in range(count)]


@contextmanager
def _started(crew: Crew) -> Iterator[int]:
    """joblib's backend in place; gives the number of workers."""
    if crew.backend != "dask":
        threads = max(1, joblib.cpu_count() // crew.workers)
        options = {"inner_max_num_threads": threads} if crew.backend in ("loky", "multiprocessing") else {}
        try:
            configured = joblib.parallel_config(crew.backend, n_jobs=crew.workers, **options)
        except (ValueError, ImportError) as error:
            raise UsageError(f"--backend {crew.backend} is none that joblib knows here: {error}") from None
        with configured:
            yield crew.workers
        return
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("--backend dask needs Dask: pip install 'ensemble-ad[dask]'") from None
    try:
        client = Client(crew.scheduler, timeout=30)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UsageError(f"--scheduler {crew.scheduler} does not answer: {type(error).__name__}") from None
    with client:
        count = crew.workers or len(client.scheduler_info(n_workers=-1)["workers"])
        if count == 0:
            raise UsageError(f"no Dask worker is at {crew.scheduler}; start some with `dask worker {crew.scheduler}`")
        with joblib.parallel_config("dask", n_jobs=count):
            yield count


@contextmanager
def _looking_on(course: Course, watcher: Watcher) -> Iterator[None]:
    """Tell the watcher of every trial that finishes, by looking at the study now and then."""
    known = {trial.number for trial in course.study.get_trials(deepcopy=False) if trial.state.is_finished()}
    done = threading.Event()

    def look() -> None:
        nonlocal known
        study = course.study
        course.follow()
        if course.study is not study:
            known = {t.number for t in course.study.get_trials(deepcopy=False) if "taken_from" in t.user_attrs}
        best: float | None = None
        for trial in course.study.get_trials(deepcopy=False):
            if not trial.state.is_finished() or trial.number in known:
                continue
            known.add(trial.number)
            if trial.state == TrialState.FAIL and "reason" not in trial.user_attrs:
                continue
            state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
            leader = course.best()
            best = None if leader is None else leader.value
            watcher.trial(trial.number, state, trial.user_attrs.get("value"), best, trial.user_attrs.get("reason", ""))

    def keep_looking() -> None:
        while not done.wait(_LOOK_SECONDS):
            try:
                look()
            except (optuna.exceptions.OptunaError, EnsadError):
                continue

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    look()
