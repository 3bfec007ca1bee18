"""Whether a worker is still alive: a file that it keeps locked, which the system unlocks when the process dies.

So the trial of a killed worker is taken over at once on the same machine; elsewhere Optuna's heartbeat tells after some
minutes.
"""

import platform
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ensemble_ad.errors import EnsadError
from ensemble_ad.files.whole import FORGOTTEN_SECONDS, clear_errors, make_folder
from ensemble_ad.layout import is_worker, worker_lock

_UNSAFE = re.compile(r"[^A-Za-z0-9-]")


@contextmanager
def lease(studies: Path) -> Iterator[str]:
    """A worker's name, its own while the context lasts.

    Raises:
        StorageError: if the studies' folder cannot be written to.
    """
    worker = f"{_host()}.{uuid.uuid4().hex[:12]}"
    path = worker_lock(studies, worker)
    make_folder(path.parent)
    with clear_errors(path, "lock"):
        lock = FileLock(path)
        lock.acquire()
    _clear(path.parent)
    try:
        yield worker
    except EnsadError:  # its trial is ended properly by then
        path.unlink(missing_ok=True)
        raise
    else:
        path.unlink(missing_ok=True)
    finally:
        lock.release()


def is_over(studies: Path, worker: str) -> bool:
    """Whether a worker is known to be dead: it ran on this machine, and nothing locks its file any more."""
    return _is_locked(studies, worker) is False


def is_alive(studies: Path, worker: str) -> bool:
    """Whether a worker is known to live: it runs on this machine and keeps its file locked."""
    return _is_locked(studies, worker) is True


def _is_locked(studies: Path, worker: str) -> bool | None:
    """None where that cannot be known from here."""
    path = worker_lock(studies, worker)
    if worker.partition(".")[0] != _host() or not path.exists():
        return None
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def forget(studies: Path, worker: str) -> None:
    """Remove what a dead worker left."""
    worker_lock(studies, worker).unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove what workers left that were killed between two trials, long after their trials are taken over."""
    for path in folder.glob(f"{_host()}.*.lock"):
        with suppress(OSError):  # another worker may remove it meanwhile
            is_old = time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS
            if is_old and is_worker(path.stem) and is_over(folder.parent, path.stem):
                path.unlink(missing_ok=True)


def _host() -> str:
    return _UNSAFE.sub("-", platform.node())[:100] or "here"
