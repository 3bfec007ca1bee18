"""What glibc does with freed memory. Every training step frees hundreds of megabytes and takes them again.

By default glibc gives every freed block above 32 MB back to the system, which later maps it anew and zeroes it page by
page. For fully connected models of 100 million parameters that is a third of a step and more (`benchmarks/train.md`).
"""

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# From glibc's malloc.h, and its defaults.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEEP = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}
_DEFAULTS = {_M_MMAP_MAX: 65536, _M_TRIM_THRESHOLD: 128 * 2**10, _M_TOP_PAD: 0}

_lock = threading.Lock()
_inside = 0


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """While entered, freed memory stays with the process; on leaving, the process gives it back.

    Where the C library is not glibc, nothing happens.
    """
    global _inside
    libc = _glibc()
    if libc is None:
        yield
        return
    with _lock:
        _inside += 1
        _set(libc, _KEEP)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _set(libc, _DEFAULTS)
                libc.malloc_trim(0)


def give_back_freed_memory() -> None:
    """Hand freed memory back to the system.

    glibc keeps freed blocks below its threshold, which grows to 32 MB, on its heap. Each phase of a trial, and making
    the pseudo-anomalies, leaves hundreds of MB there that the next phase does not use.
    """
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)
