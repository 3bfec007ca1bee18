"""Files that one process holds at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ensemble_ad.errors import EnsadError
from ensemble_ad.files.whole import clear_errors, make_folder


@contextmanager
def held(path: Path, taken: EnsadError, *, seconds: float = 0.0) -> Iterator[None]:
    """While entered, no other process holds `path`, which is made where it is missing.

    Args:
        path: the file; it is left when it is let go.
        taken: raised where another process still holds it after so many `seconds`.
        seconds: how long to wait.

    Raises:
        EnsadError: `taken`.
        StorageError: if the file cannot be made or locked.
    """
    make_folder(path.parent)
    lock = FileLock(path)
    try:
        with clear_errors(path, "lock", but=Timeout):
            lock.acquire(timeout=seconds)
    except Timeout:
        raise taken from None
    try:
        yield
    finally:
        lock.release()
