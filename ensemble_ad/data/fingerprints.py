"""Fingerprints of large files, remembered by each file's state, so that none is computed twice."""

import contextlib
import time
from pathlib import Path
from typing import Any

from ensemble_ad.data.images import FileState, ImageSet
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
    before = FileState.of(Path(file))
    known = _read(memory)
    entry = known.get(str(file))
    if entry is not None and before is not None and tuple(entry["identity"]) == before:
        return str(entry["fingerprint"])
    found = images.fingerprint
    if before is not None and FileState.of(Path(file)) == before and _is_settled(before):
        kept = {name: value for name, value in known.items() if name != str(file)}
        kept = dict(list(kept.items())[1 - _MOST_FILES :])
        with contextlib.suppress(StorageError):  # where nothing can be written, it is computed again next time
            write_json(memory, {**kept, str(file): {"identity": before, "fingerprint": found}})
    return found


def _is_settled(state: FileState) -> bool:
    return time.time() - max(state.modified, state.changed) / 1e9 > _SETTLED


def _read(memory: Path) -> dict[str, dict[str, Any]]:
    try:
        value = read_json(memory)
    except StorageError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: entry for name, entry in value.items() if fits(entry, _ENTRY)}
