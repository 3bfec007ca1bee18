"""Fingerprints of large files, remembered by what the system says of a file, so that none is computed twice.

A file is taken for the one that was read before where its device, inode, size, and the times at which its content and
its status changed last are the same. Who replaces a file or writes into it changes one of these.
"""

import contextlib
import time
from pathlib import Path
from typing import Any

from ensemble_ad.data.images import ImageSet
from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import fits, read_json, write_json

_MOST_FILES = 64
# A file may change again within one tick of its times, which are a few milliseconds apart, or two seconds on FAT.
_SETTLED = 3.0
_ENTRY = {"identity": list, "fingerprint": str}


def remembered_fingerprint(images: ImageSet, memory: Path) -> str:
    """The fingerprint of `images`, from `memory` where their file is one that was read before.

    Args:
        images: images, usually in a memory map of a file.
        memory: a JSON file, made where it is missing and can be written.
    """
    file = getattr(images.images, "filename", None)
    if file is None:
        return images.fingerprint
    before = _identity(Path(file))
    known = _read(memory)
    entry = known.get(str(file))
    if entry is not None and entry["identity"] == before:
        return str(entry["fingerprint"])
    found = images.fingerprint
    if before is not None and _identity(Path(file)) == before and _is_settled(before):
        kept = {name: value for name, value in known.items() if name != str(file)}
        kept = dict(list(kept.items())[1 - _MOST_FILES :])
        with contextlib.suppress(StorageError):  # where nothing can be written, it is computed again next time
            write_json(memory, {**kept, str(file): {"identity": before, "fingerprint": found}})
    return found


def _identity(file: Path) -> list[int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _is_settled(identity: list[int]) -> bool:
    return time.time() - max(identity[3:]) / 1e9 > _SETTLED


def _read(memory: Path) -> dict[str, dict[str, Any]]:
    try:
        value = read_json(memory)
    except StorageError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: entry for name, entry in value.items() if fits(entry, _ENTRY)}
