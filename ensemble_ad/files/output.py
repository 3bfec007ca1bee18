"""Where a file that the user named is written: links are followed, devices and pipes are written into."""

import errno
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ensemble_ad.errors import UsageError

STDOUT = Path("/dev/stdout")
"""Standard output as a file; on a command's line it is `-` too."""
# Files of these kinds may lie among the pictures of a folder, and none is read as one.
_NO_PICTURES = (".csv", ".html", ".json", ".md", ".parquet", ".txt", ".zip")
_DESCRIPTORS = re.compile(r"/dev/fd|/proc/(\d+)(?:/task/\d+)?/fd")
_MOST_LINKS = 40


def resolved(path: Path) -> Path:
    """The file that `path` leads to: its links are followed, also to where nothing is yet.

    Raises:
        OSError: if the links lead round in circles.
    """
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return found


def is_stream(path: Path) -> bool:
    """Whether bytes go into what is at `path`: a device, a pipe, or an open file such as /dev/stdout.

    A regular file is replaced as a whole, and a folder is neither.
    """
    if path == STDOUT:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISDIR(mode) and (not stat.S_ISREG(mode) or _descriptor(path) is not None)


@contextmanager
def open_stream(path: Path) -> Iterator[BinaryIO]:
    """Open what `is_stream` found, to write into it; a file that this process has open goes on where it stands."""
    sys.stdout.flush()
    if path == STDOUT:
        yield sys.stdout.buffer  # also what a test, a notebook or the command line has put in its place
        sys.stdout.buffer.flush()
        return
    with _opened(path) as stream:
        yield stream


def _opened(path: Path) -> BinaryIO:
    process, number = _descriptor(path) or ("", "")
    if process in ("", str(os.getpid())) and number.isdecimal():
        return os.fdopen(os.dup(int(number)), "wb")
    return path.open("ab" if number else "wb")


def _descriptor(path: Path) -> tuple[str, str] | None:
    """The process ("" for this one) and the number of an open file, if `path` is another name of one."""
    for _ in range(_MOST_LINKS):
        parent = Path(os.path.realpath(path.parent))
        found = _DESCRIPTORS.fullmatch(str(parent))
        if found is not None:
            return found[1] or "", path.name
        if not (parent / path.name).is_symlink():
            return None
        path = parent / (parent / path.name).readlink()
    return None


def check_output(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that the command reads, before anything is computed.

    Args:
        output: what the user named.
        inputs: the files that the command reads, and folders whose pictures it reads; some may not exist.

    Raises:
        UsageError: if `output` is one of them, also through a link or by another spelling.
    """
    if not _exists(output) or is_stream(output):
        return
    for source in inputs:
        if source.is_dir():
            inside = Path(os.path.realpath(source)) in resolved(output).parents
            is_read = inside and output.suffix.lower() not in _NO_PICTURES
        else:
            is_read = _exists(source) and output.samefile(source)
        if is_read:
            raise UsageError(f"{output} is read by this command, and would be written over; name another file")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that may not be looked into
        return False
