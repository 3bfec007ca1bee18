"""A crew: how many workers, and joblib's backend that starts them, here or on a Dask cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import joblib
import torch

from ensemble_ad.errors import UsageError
from ensemble_ad.extras import how_to_install


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who works on a study.

    Attributes:
        workers: number of workers; 0 is as many as the cluster has.
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

    @property
    def is_here(self) -> bool:
        """Whether the workers run on this machine."""
        return self.backend != "dask"

    def count(self) -> int:
        """The number of workers; the cluster is asked where that is all that it has.

        Raises:
            UsageError: as `started`.
        """
        if self.workers:
            return self.workers
        with self.started() as count:
            return count

    @contextmanager
    def started(self) -> Iterator[int]:
        """joblib's backend in place; gives the number of workers.

        Raises:
            UsageError: if there is no such backend, or the cluster does not answer or has no workers.
        """
        with self._here() if self.is_here else self._on_dask() as count:
            yield count

    @contextmanager
    def _here(self) -> Iterator[int]:
        options = {"inner_max_num_threads": self.threads(self.workers)} if self.backend == "loky" else {}
        try:
            configured = joblib.parallel_config(self.backend, n_jobs=self.workers, **options)
        except (ValueError, ImportError) as error:
            raise UsageError(f"--backend {self.backend} is none that joblib knows here: {error}") from None
        with configured:
            yield self.workers

    @contextmanager
    def _on_dask(self) -> Iterator[int]:
        try:
            from distributed import Client
        except ImportError:
            raise UsageError(f"--backend dask needs Dask: {how_to_install('dask')}") from None
        try:
            client = Client(self.scheduler, timeout=30)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise UsageError(f"--scheduler {self.scheduler} does not answer: {type(error).__name__}") from None
        with client:
            count = self.workers or len(client.scheduler_info(n_workers=-1)["workers"])
            if count == 0:
                raise UsageError(
                    f"no Dask worker is at {self.scheduler}; start some with `dask worker {self.scheduler}`"
                )
            with joblib.parallel_config("dask", n_jobs=count):
                yield count

    def threads(self, count: int) -> int:
        """How many threads each of `count` workers computes with; 0 leaves that to the worker's machine."""
        return max(1, joblib.cpu_count() // count) if self.is_here else 0

    def check(self, device: torch.device) -> None:
        """Refuse a backend whose processes cannot compute on that device.

        Raises:
            UsageError: for processes that are forked where CUDA has begun.
        """
        if self.backend == "multiprocessing" and device.type == "cuda":
            raise UsageError("--backend multiprocessing forks this process, and CUDA does not bear that; use loky")
