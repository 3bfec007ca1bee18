"""The standard streams: they take every text, and one that fails gives a line, not a traceback.

A pipe or a file gets UTF-8, whatever the terminal's encoding is: half a table would be worse, or ids that are not the
files' names. A terminal gets what its encoding has, and the rest escaped. A result that cannot be written is an error.
What is said to people is dropped where stderr takes no more: hours of work should not end with it. A pipe that is
closed early, as by `head`, ends a command quietly; click sees to that.
"""

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from ensemble_ad.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Stream(io.RawIOBase):
    """A standard stream, or None for one that was closed before the program began; `lose` says what a failure means."""

    def __init__(self, stream: TextIO | None) -> None:
        buffer = None if stream is None else stream.buffer
        self._raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer between
        self._lost = False

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._raw is not None and bool(self._raw.isatty())

    def fileno(self) -> int:
        if self._raw is None:
            raise io.UnsupportedOperation("fileno")
        return int(self._raw.fileno())

    def write(self, data: "ReadableBuffer", /) -> int | None:
        if not self._lost:
            try:
                if self._raw is None:
                    raise OSError(errno.EBADF, "it is closed")
                return int(self._raw.write(data))
            except OSError as error:
                self._lost = True
                if error.errno == errno.EPIPE:
                    raise
                self.lose(error)
        return memoryview(data).nbytes

    def lose(self, error: OSError) -> None:
        """Called once, when a write fails; what is written later is dropped."""


class _Result(_Stream):
    """Standard output, where a command's result goes."""

    def lose(self, error: OSError) -> None:
        raise StorageError(
            f"cannot write the result to standard output: {error.strerror}; send it elsewhere, as with > FILE"
        ) from error


def prepare() -> None:
    """Put streams in the place of Python's own; those that a test or a notebook has put there are left alone."""
    _occupy()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Result(sys.stdout), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Stream(sys.stderr), sys.stderr)


def finish() -> None:
    """Write what still waits.

    Raises:
        StorageError: if standard output does not take it.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()


def _text(stream: _Stream, before: TextIO | None) -> TextIO:
    encoding = before.encoding if before is not None and stream.isatty() else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(stream), encoding, "backslashreplace", line_buffering=stream.isatty() or before is sys.stderr
    )


def _occupy() -> None:
    """Open nothing in the place of closed streams: else the next file that is opened, the database perhaps, gets the
    number of one, and what a library prints goes there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
