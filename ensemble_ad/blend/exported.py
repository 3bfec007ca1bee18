"""A blend as one folder or zip that another machine loads: what `studies/` holds of it, and a list of checksums.

    ensad-blend.json                      format, version, name, size and checksum of each file, a probe
    blend.json, scores.npz, data.json     the blend, its frozen rule, the record of its data set
    <key>.json, .npz, .safetensors        each member: what it is, its error vectors, its weights

The checksums tell damage, not who made the archive. Nothing in it is a pickle, and other files are refused.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.files.archive import MOST_FILES, pack
from ensemble_ad.files.output import is_stream, resolved
from ensemble_ad.files.whole import clear_errors, file_hash, whole_file, whole_folder
from ensemble_ad.layout import BLEND_FILES, MEMBER_FILES, data_record_file
from ensemble_ad.members.arrived import PACKED_RECORD
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import load_member
from ensemble_ad.version import __version__

FORMAT = 1
MANIFEST = "ensad-blend.json"
MANIFEST_BYTES = 32 << 20
"""The most that a manifest may have, here and when it is read."""
OF_MEMBER = {Path(name).suffix: name for name in MEMBER_FILES}
"""The name of a member's file in its folder, by the suffix that it has in the archive."""


def export_blend(studies: Path, blend: SavedBlend, target: Path, *, probe: Mapping[str, Any] | None = None) -> Path:
    """Write a blend with its members and the record of its data set: no images, but their ids and scores.

    Args:
        studies: the studies' folder.
        blend: a blend in it.
        target: a name that ends in .zip, or a folder's; nothing may be there yet but a device or a pipe, which gets
            the zip.
        probe: what `import_blend` hands to its `check`; JSON values.

    Returns:
        `target`.

    Raises:
        UsageError: if `target` exists.
        StorageError: if a file is missing or damaged, `target` cannot be written, or the blend has more members than
            `import_blend` reads.
    """
    taken = UsageError(f"{target} exists already; name another with -o")
    if target.exists() and not is_stream(target):
        raise taken
    files = _files_of(studies, blend)
    manifest = _manifest(blend, files, probe)
    if target.suffix.lower() != ".zip" and not is_stream(target):
        with clear_errors(target, "write"):
            place = resolved(target)
        with whole_folder(place) as part:
            for name, path in files.items():
                shutil.copyfile(path, part / name)
            (part / MANIFEST).write_bytes(manifest)
        return target
    try:
        with whole_file(target, overwrite=False, named_by_user=True) as part:
            pack(part, {MANIFEST: manifest, **files})
    except FileExistsError:
        raise taken from None
    return target


def _manifest(blend: SavedBlend, files: Mapping[str, Path], probe: Mapping[str, Any] | None) -> bytes:
    value = {
        "format": FORMAT,
        "version": __version__,
        "name": blend.name,
        "files": {name: {"size": path.stat().st_size, "checksum": file_hash(path)} for name, path in files.items()},
        "probe": probe,
    }
    text = (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
    if len(files) >= MOST_FILES or len(text) > MANIFEST_BYTES:
        raise StorageError(
            f"an archive may hold {MOST_FILES} files, and {blend.name} with its {len(blend.info.members)} members has "
            "more; blend fewer"
        )
    return text


def _files_of(studies: Path, blend: SavedBlend) -> dict[str, Path]:
    """The files of an archive by their name in it, verified."""
    blend.scores()
    record = load_data_record(studies, blend.data)
    files = {name: blend.folder / name for name in BLEND_FILES} | {PACKED_RECORD: data_record_file(studies, blend.data)}
    for key in blend.info.members:
        member = load_member(studies, key)
        member.verify(record)
        files |= {f"{key}{suffix}": member.folder / file for suffix, file in OF_MEMBER.items()}
    return files
