"""A zip or folder of plain files that may be a stranger's: no file is read beyond the size that is told of it."""

import itertools
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from ensemble_ad.errors import DataError, EnsadError, in_one_line
from ensemble_ad.files.whole import clear_errors, file_hash

MOST_FILES = 100_000
"""The most files that an archive may hold."""
# Exported archives are not compressed; one that grows more than this on unpacking is none.
_MOST_GROWTH = 20
_SLACK = 1 << 20
_BLOCK = 1 << 20


class Archive:
    """An opened zip or folder of plain files.

    Attributes:
        path: the zip or folder.
        sizes: bytes of each file by its name.
    """

    def __init__(self, path: Path, sizes: Mapping[str, int], open_file: Callable[[str], IO[bytes]]) -> None:
        self.path = path
        self.sizes = sizes
        self._open = open_file

    def read(self, name: str, most: int) -> bytes:
        """The content of a file of at most `most` bytes."""
        with _reading(self.path), self._open(name) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise DataError(f"{self.path} holds {name} of more than {most} bytes")
        return content

    def copy(self, name: str, target: Path, *, size: int, checksum: str) -> None:
        """Write a file to `target`, no more than `size` bytes of it, and verify its checksum.

        Raises:
            DataError: if the file has another size or checksum, or cannot be read.
            StorageError: if `target` cannot be written.
        """
        self._unpack(name, target, size + 1)
        if target.stat().st_size != size or file_hash(target) != checksum:
            raise DataError(f"{self.path} is damaged: {name} is not what its checksum says; export it again")

    def unpack(self, name: str, target: Path) -> None:
        """Write a file to `target`, without a checksum to verify it by: the caller looks at what has come.

        Raises:
            DataError: if the file cannot be read.
            StorageError: if `target` cannot be written.
        """
        self._unpack(name, target, self.sizes[name])

    def _unpack(self, name: str, target: Path, most: int) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with clear_errors(target, "write"), target.open("wb") as out:
            for block in self._blocks(name, most):
                out.write(block)

    def _blocks(self, name: str, most: int) -> Iterator[bytes]:
        """The first `most` bytes of a file, block by block."""
        with _reading(self.path), self._open(name) as file:
            while most > 0 and (block := file.read(min(_BLOCK, most))):
                most -= len(block)
                yield block


def pack(target: Path, files: Mapping[str, Path | bytes]) -> None:
    """Write a zip, uncompressed, whose entries all have one date: a zip has none before 1980 nor after 2107.

    Args:
        target: the zip to write.
        files: the content of each entry by its name: bytes, or the file that holds it.
    """
    with zipfile.ZipFile(target, "w") as packed:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            if isinstance(content, bytes):
                packed.writestr(entry, content)
                continue
            entry.file_size = content.stat().st_size  # tells whether it needs the large form
            with content.open("rb") as source, packed.open(entry, "w") as out:
                shutil.copyfileobj(source, out, _BLOCK)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a zip or folder whose entries are all plain files.

    Raises:
        DataError: if there is none, it is damaged, holds links or folders, or would unpack to much more than it is.
    """
    if path.is_dir():
        entries = {entry.name: entry.lstat() for entry in itertools.islice(path.iterdir(), MOST_FILES + 1)}
        if len(entries) > MOST_FILES:
            raise DataError(
                f"{path} holds more than {MOST_FILES} files; name a zip or folder that `ensad export` wrote"
            )
        for name, found in entries.items():
            if not stat.S_ISREG(found.st_mode):
                raise DataError(f"{path} must hold plain files only, but {name!r} is none")
        yield Archive(path, {n: e.st_size for n, e in entries.items()}, lambda name: (path / name).open("rb"))
        return
    if not path.is_file():
        raise DataError(f"the archive {path} does not exist; name a zip or folder that `ensad export` wrote")
    with ExitStack() as stack:
        with _reading(path):
            opened = stack.enter_context(zipfile.ZipFile(path))
        check_zip(path, opened.infolist())
        yield Archive(path, {i.filename: i.file_size for i in opened.infolist()}, lambda name: opened.open(name))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever opening or reading a foreign zip can raise into one line."""
    try:
        yield
    except EnsadError:
        raise
    except Exception as error:  # zlib's, struct's, and the system's where the zip leads before its own beginning
        raise DataError(
            f"{path} must be a zip or folder that `ensad export` wrote: {in_one_line(error, 200)}"
        ) from error


def check_zip(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse a zip of links, encrypted files or a name twice, and one that would unpack to much more than it is.

    Raises:
        DataError: naming what is wrong.
    """
    names = [entry.filename for entry in entries]
    if len(names) > MOST_FILES or len(set(names)) < len(names):
        raise DataError(f"{path} holds too many files, or a name twice")
    for entry in entries:
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG) or entry.flag_bits & 1:
            raise DataError(f"{path} must hold plain files only, but {entry.filename!r} is none")
    total, packed = sum(entry.file_size for entry in entries), path.stat().st_size
    if total > _MOST_GROWTH * packed + _SLACK:
        raise DataError(f"{path} has {packed} bytes and would unpack to {total}")
