"""Files that are whole or not there: written beside their place, synced, renamed; never a pickle."""

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ensemble_ad.errors import StorageError

MOST_JSON = 16 << 20
"""Bytes of a JSON file of ours, at most; what ids of images go into may be `MOST_IDS`."""
MOST_IDS = 64 << 20
_HASH_BLOCK = 1 << 24
_BEYOND = 1 << 64


@contextmanager
def clear_errors(path: Path, doing: str, *, but: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn what the operating system says about `path` into one line that says what to do.

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
def whole_file(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to; on leaving without an error it becomes `path`, synced.

    With `overwrite=False` an existing `path` is left alone and FileExistsError raised, also when two processes race.
    """
    make_folder(path.parent)
    with clear_errors(path, "write"):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    part = Path(name)
    try:
        with clear_errors(path, "write"):
            yield part
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.chmod(0o644)
            if overwrite:
                part.replace(path)
        if not overwrite:
            with clear_errors(path, "write", but=FileExistsError):
                _name_unless_taken(part, path)
    finally:
        part.unlink(missing_ok=True)


def _name_unless_taken(part: Path, path: Path) -> None:
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # exFAT and some network drives have no hard links
        path.touch(exist_ok=False)
        part.replace(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """As `whole_file`, for a folder: it appears at `path` with everything in it, or not at all.

    If `path` exists by then (another process finished the same work), the newer copy is dropped.
    """
    make_folder(path.parent)
    with clear_errors(path, "write"):
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        with clear_errors(path, "write"):
            yield part
            for item in part.iterdir():
                with item.open("rb") as written:
                    os.fsync(written.fileno())
            part.chmod(0o755)
            try:
                part.rename(path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_parts(path: Path) -> None:
    """Remove what processes that were killed had half written of `path`; none may be writing it now.

    Raises:
        StorageError: if one cannot be removed.
    """
    for part in path.parent.glob(f".{path.name}.*.part"):
        with clear_errors(part, "remove"):
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename what is damaged to a hidden name beside it that nothing reads, and return that name.

    Raises:
        StorageError: if it cannot be renamed.
    """
    number = 1
    while (aside := path.with_name(f".{path.name}.damaged-{number}")).exists():
        number += 1
    with clear_errors(path, "set aside"):
        return path.rename(aside)


def write_json(path: Path, value: Any, *, most: int = MOST_JSON) -> None:
    """Write `value` as indented JSON; numbers must be finite (JSON has no NaN).

    Raises:
        StorageError: if it cannot be written, or has more than `most` bytes, so that `read_json` would refuse it.
    """
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if len(text) > most:
        raise StorageError(f"{path} must have {most} bytes at most, and would have {len(text)}; shorten what is in it")
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path, *, most: int = MOST_JSON) -> Any:
    """Read JSON that may come from a stranger: of bounded size, its numbers finite and below 2^64, its text Unicode.

    Raises:
        StorageError: if the file is missing, unreadable, larger than `most` bytes or not such JSON.
    """
    with clear_errors(path, "read"), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        text = file.read(min(size, most) + 1)  # a read allocates what it asks for
    if len(text) > most:
        raise StorageError(f"{path} must have {most} bytes at most; it is damaged or not ours, remove it")
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} must be JSON: {error}; it is damaged, remove it or copy it again") from error


def parse_json(text: bytes) -> Any:
    """As `read_json`, of text.

    Raises:
        ValueError: if it is not such JSON.
        RecursionError: if it is nested too deeply.
    """
    value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)
    # Half a surrogate pair is text that no file and no terminal takes.
    if b"\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _bounded(text: str) -> int:
    number = int(text[:40])
    if len(text) > 40 or not -_BEYOND < number < _BEYOND:
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a kind: a type, several, or a dict of the kinds of what it has to hold."""
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(name in value and fits(value[name], kind[name]) for name in kind)
    return isinstance(value, kind)


def file_hash(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    with clear_errors(path, "read"), path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def json_hash(value: Any) -> str:
    """BLAKE2b-128 of a JSON value in canonical form (sorted keys, no spaces), hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
