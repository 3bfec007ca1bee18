"""What lies in a folder of pictures: the pictures in the order of their names, and what is passed over.

Links are followed, but no folder is entered twice and no file given twice. Hidden files are passed over: macOS, Jupyter
and others keep copies of pictures in them.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePath

from ensemble_ad.data import dicom
from ensemble_ad.data.remarks import Remarks, ending_of
from ensemble_ad.errors import DataError

FORMATS = (
    "PNG", "JPEG", "MPO", "JPEG2000", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "DIB", "PPM", "TGA", "PCX", "SGI", "QOI",
    "ICO",
)  # fmt: skip
"""Pillow's names of the formats that are taken: those that Pillow decodes itself, and no other program runs for."""
HEIF = (".heic", ".heif", ".hif")
"""Endings of what pillow-heif reads, and is taken for a picture whether it is installed or not."""
# Formats that a file's first bytes tell for sure, where its name has no ending.
_TOLD = ("PNG", "JPEG", "JPEG2000", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "QOI")
_HEAD = 16
# Folders in which macOS, Synology and Windows keep what is not the user's.
_SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")


def pictures_below(folder: Path, remarks: Remarks | None = None) -> Iterator[Path]:
    """The pictures in `folder`, and in folders below it, in the order of their names.

    A picture is a file whose name has the ending of one of `FORMATS`, of HEIC or DICOM, or no ending and the first
    bytes of one. A folder's own pictures come before those of the folders in it.

    Args:
        folder: the folder.
        remarks: gets what is passed over, as the folders are gone through; names are paths inside `folder`.
    """
    return _Walk(folder, Remarks() if remarks is None else remarks).pictures()


def no_pictures(folder: Path, remarks: Remarks) -> DataError:
    """What to raise for a folder without pictures, of which `remarks` say what else is there."""
    found = "".join(f"; {text}" for _, text in remarks.lines())
    return DataError(f"{folder} must hold images (PNG, JPEG, ...), but holds none that Pillow reads{found}")


class _Walk:
    """One way through a folder."""

    def __init__(self, folder: Path, remarks: Remarks) -> None:
        self._folder, self._remarks = folder, remarks
        self._root = os.path.realpath(folder)
        self._entered: set[str] = set()
        self._given: set[str] = set()  # files outside of the folder, to which links lead

    def pictures(self) -> Iterator[Path]:
        waiting = [(self._folder, self._root)]
        while waiting:
            place, real = waiting.pop()
            if real in self._entered:
                self._pass("repeated", place)
                continue
            self._entered.add(real)
            try:
                with os.scandir(place) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError:
                self._pass("closed", place)
                continue
            folders = []
            for entry in entries:
                plain = f"{real.rstrip(os.sep)}{os.sep}{entry.name}"
                target = os.path.realpath(entry.path) if entry.is_symlink() else plain
                kind = self._kind(entry, target)
                if kind == "picture":
                    yield Path(entry.path)
                elif kind == "folder":
                    folders.append((Path(entry.path), target))
                else:
                    self._pass(kind, Path(entry.path))
            waiting += reversed(folders)

    def _pass(self, kind: str, path: Path) -> None:
        self._remarks.add(kind, path.relative_to(self._folder).as_posix())

    def _kind(self, entry: os.DirEntry[str], target: str) -> str:
        """What is to be done with an entry, which `target` is the real path of: "picture", "folder" or why not."""
        if _is_hidden(entry.name):
            return "hidden"
        try:
            if entry.is_symlink():
                entry.stat()  # raises where it leads nowhere, or in a circle
            if entry.is_dir():
                return "repeated" if entry.is_symlink() and self._is_around_or_own(target) else "folder"
            if not entry.is_file():
                return "special"
        except OSError:
            return "dangling"
        if not _is_picture(entry.name, entry.path):
            return "other"
        if not self._is_own(target):
            if target in self._given:
                return "repeated"
            self._given.add(target)
        elif entry.is_symlink() and _is_picture(PurePath(target).name, target):
            return "repeated"
        return "picture"

    def _is_own(self, real: str) -> bool:
        """Whether a real path lies in the folder, and where it is not passed over."""
        inside = self._root.rstrip(os.sep) + os.sep
        return real.startswith(inside) and not any(map(_is_hidden, PurePath(real[len(inside) :]).parts))

    def _is_around_or_own(self, real: str) -> bool:
        return self._is_own(real) or f"{self._root}{os.sep}".startswith(real.rstrip(os.sep) + os.sep)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM


def _is_picture(name: str, path: str) -> bool:
    ending = ending_of(name)
    return ending in _endings() if ending else _begins_like_a_picture(path)


@cache
def _endings() -> frozenset[str]:
    from PIL import Image

    read = [ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS]
    return frozenset([*read, *HEIF, *dicom.ENDINGS])


def _begins_like_a_picture(path: str) -> bool:
    from PIL import Image

    Image.init()
    head = b""
    with suppress(OSError), Path(path).open("rb") as file:
        head = file.read(_HEAD)
    accepts = [accept for kind in _TOLD if kind in Image.OPEN and (accept := Image.OPEN[kind][1]) is not None]
    return (len(head) == _HEAD and any(accept(head) is True for accept in accepts)) or dicom.begins_like_dicom(path)
