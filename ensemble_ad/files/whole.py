"""Files that are whole or not there: written beside their place, synced, renamed; never a pickle."""

import errno
import glob
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ensemble_ad.errors import StorageError
from ensemble_ad.files.output import STDOUT, is_stream, open_stream, resolved

_HASH_BLOCK = 1 << 24
FORGOTTEN_SECONDS = 86_400
"""Age of what is surely left by a killed process and not in use."""
_LONG_NAME = 200  # bytes; file systems allow 255, and a part's name is longer than the file's


@contextmanager
def clear_errors(path: Path, doing: str, *, but: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn the operating system's errors about `path` into one line that says what to do.

    Raises:
        StorageError: on any OSError (no space, no permission, a file where a folder should be, ...) except `but`.
    """
    try:
        yield
    except but:
        raise
    except OSError as error:
        if error.errno is None:  # numpy's, when the system took only a part of an array
            why, advice = "it could not be written in full", "free some space and run the same command again"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            why, advice = "no space is left", "free some space and run the same command again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why, advice = "permission denied", "make it writable or name another folder"
        else:
            why, advice = error.strerror or str(error), "look at that path"
        raise StorageError(f"cannot {doing} {path}: {why}; {advice}") from error


def make_folder(path: Path) -> Path:
    """Create `path` with its parents and prove that it can be written to.

    Raises:
        StorageError: if it cannot be created or written to.
    """
    with clear_errors(path, "write to"):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "permission denied", str(path))
    return path


@contextmanager
def whole_file(path: Path, *, overwrite: bool = True, named_by_user: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; on leaving without an error that file is synced and becomes `path`.

    Args:
        path: the file.
        overwrite: False leaves an existing `path` alone and raises FileExistsError, also when two processes race.
        named_by_user: follow links, and write into what is no regular file (a device, a pipe, /dev/stdout), which is
            never replaced. What the user did not name is replaced whatever it is, so that no link leads elsewhere.

    Raises:
        StorageError: if it cannot be written.
    """
    if named_by_user and is_stream(path):
        with _poured(path) as part:
            yield part
        return
    with clear_errors(path, "write"):
        place = resolved(path) if named_by_user else path
    make_folder(place.parent)
    part = _part_of(place)
    try:
        with clear_errors(path, "write"):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the umask takes from that
            yield part
            _sync(part)
            if overwrite:
                _keep_mode(place, part)
                part.replace(place)
        if not overwrite:
            with clear_errors(path, "write", but=FileExistsError):
                _name_unless_taken(part, place)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _poured(path: Path) -> Iterator[Path]:
    """Give a temporary file, and write what it holds in the end into `path`."""
    # Who closes the pipe that standard output leads into, as `head` does, has had enough, and that is no error.
    closed = BrokenPipeError if path == STDOUT else ()
    with clear_errors(path, "write", but=closed), tempfile.TemporaryDirectory(prefix="ensad-") as folder:
        part = Path(folder) / "output"
        part.touch()
        yield part
        with part.open("rb") as source, open_stream(path) as stream:
            shutil.copyfileobj(source, stream)


def _part_of(path: Path) -> Path:
    """A name beside `path` that nobody has, for what is not whole yet."""
    name = path.name if len(os.fsencode(path.name)) < _LONG_NAME else path.name[: _LONG_NAME // 4]
    return path.parent / f".{name}.{secrets.token_hex(4)}.part"


def _keep_mode(old: Path, new: Path) -> None:
    """Whoever may read and write the file that is replaced may do so with the new one."""
    with suppress(FileNotFoundError):
        mode = old.stat(follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            new.chmod(mode & 0o777)


def _sync(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _name_unless_taken(part: Path, path: Path) -> None:
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # exFAT and some network drives have no hard links
        path.touch(exist_ok=False)
        part.replace(path)


@contextmanager
def whole_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """As `whole_file`, for a folder: it appears at `path` with everything in it, or not at all.

    If `path` exists by then (another process finished the same work), it stays, and this folder is dropped; with
    `overwrite` it is replaced. A process that is killed between the two renames of that leaves neither.
    """
    make_folder(path.parent)
    part = _part_of(path)
    try:
        with clear_errors(path, "write"):
            part.mkdir()
            yield part
            for item in part.iterdir():
                _sync(item)
            if overwrite:
                _make_way(path)
            _rename_unless_taken(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _make_way(path: Path) -> None:
    old = _part_of(path)
    with suppress(FileNotFoundError):
        path.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def _rename_unless_taken(part: Path, path: Path) -> None:
    try:
        part.rename(path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


@contextmanager
def hidden_folder(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder inside `parent` whose name begins with a dot; it is removed on leaving.

    Args:
        parent: the folder around it; made if it is not there.
        name: what the folder's name begins with, after the dot.

    Raises:
        StorageError: if it cannot be made.
    """
    make_folder(parent)
    with clear_errors(parent, "write to"):
        _remove_forgotten(parent.glob(f".{name}-*.part"))
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", suffix=".part", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_forgotten(folders: Iterable[Path]) -> None:
    """Remove what killed processes left more than a day ago; a younger folder may be in use."""
    for folder in folders:
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > FORGOTTEN_SECONDS:
                shutil.rmtree(folder)


def remove_parts(path: Path) -> None:
    """Remove what killed processes had half written of `path`, and SQLite's journals; no process may be writing it now.

    Raises:
        StorageError: if one cannot be removed.
    """
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part*"):
        with clear_errors(part, "remove"):
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename something damaged to a hidden name beside it that nothing reads, and return that name.

    Raises:
        StorageError: if it cannot be renamed.
    """
    number = 1
    while (aside := path.with_name(f".{path.name}.damaged-{number}")).exists():
        number += 1
    with clear_errors(path, "set aside"):
        return path.rename(aside)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read; a pipe, for one, would be waited for.

    Raises:
        OSError: if it cannot be opened or is something else.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder the system says what it is
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return path.open("rb")


def file_hash(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    with clear_errors(path, "read"), path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
