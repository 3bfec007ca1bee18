"""Loading what `ensad export` wrote: unpacked into a hidden folder, verified there, then moved to its place.

An archive may be a stranger's. Nothing outside of the hidden folder is touched before everything is verified, and an
import that fails leaves none of its members.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ensemble_ad.blend.exported import FORMAT, MANIFEST, MANIFEST_BYTES, OF_MEMBER
from ensemble_ad.blend.saved import SavedBlend, load_blend
from ensemble_ad.blend.sound import sound_blend
from ensemble_ad.errors import DataError, EnsadError, StorageError, UsageError, in_one_line
from ensemble_ad.files.archive import Archive, open_archive
from ensemble_ad.files.json_file import fits, is_count, parse_json, read_json, write_json
from ensemble_ad.files.whole import hidden_folder
from ensemble_ad.layout import BLEND_FILES, BLEND_INFO, KEY, blend_folder, check_blend_name, is_key, member_folder
from ensemble_ad.members.arrived import PACKED_RECORD, Arrival, place_record
from ensemble_ad.members.store import has_member, load_member
from ensemble_ad.version import __version__

_MEMBER_FILE = re.compile(rf"({KEY})(\.json|\.npz|\.safetensors)")
_KINDS = {"format": int, "version": str, "name": str, "files": dict}
_FILE = {"size": is_count, "checksum": str}

Check = Callable[[Path, str, Mapping[str, Any] | None], None]
"""Given a studies' folder, the blend's name in it and the probe, if the archive has one; raises to refuse it."""


def import_blend(studies: Path, source: Path, *, name: str | None = None, check: Check | None = None) -> SavedBlend:
    """Load what `export_blend` wrote into a studies' folder; the same archive again changes nothing.

    Everything is verified before anything appears in `studies`. The blend appears last; where that fails, the members
    that came with it go again.

    Args:
        studies: the studies' folder.
        source: the zip or folder.
        name: the blend's name here, instead of its own.
        check: a last check, of the models and the archive's probe.

    Raises:
        DataError: for an archive that is none, damaged, of another format, or holds what it should not.
        UsageError: if the name is taken by another blend.
        StorageError: if a member of the same key but other content is there, or nothing can be written.
    """
    with open_archive(source) as archive, hidden_folder(studies, "import") as stage:
        blend, probe = _unpacked(source, archive, stage, name)
        _refuse_conflicts(studies, stage, blend)
        if check is not None:
            _check_models(check, source, stage, blend.name, probe if isinstance(probe, dict) else None)
        with Arrival(stage, studies) as arrival:
            arrival.record(blend.data)
            for key in blend.info.members:
                arrival.folder(member_folder(stage, key), member_folder(studies, key))
            arrival.folder(blend.folder, blend_folder(studies, blend.name))
    return load_blend(studies, blend.name)


def _unpacked(source: Path, archive: Archive, stage: Path, name: str | None) -> tuple[SavedBlend, Any]:
    """The blend of an archive, unpacked into `stage` as a studies' folder and verified, and the archive's probe."""
    manifest = _manifest(source, archive)
    own_name = manifest["name"]
    wanted = name or own_name
    for each in (own_name, wanted):
        check_blend_name(each)
        if is_key(each):
            raise UsageError(f"{each!r} looks like a member's key; choose another with --name")
    for file, told in manifest["files"].items():
        archive.copy(file, _place(stage, file, own_name), size=told["size"], checksum=told["checksum"])
    if wanted != own_name:
        _rename(stage, own_name, wanted)
    try:
        blend = load_blend(stage, wanted)
        place_record(stage, blend.data)
        return sound_blend(stage, blend), manifest.get("probe")
    except EnsadError as error:
        why = in_one_line(error).replace(str(stage), str(source))
        raise DataError(f"{source} is not a blend that this version reads ({why}); export it again") from error


def _check_models(check: Check, source: Path, stage: Path, name: str, probe: Mapping[str, Any] | None) -> None:
    try:
        check(stage, name, probe)
    except EnsadError:
        raise
    except Exception as error:  # whatever a network meets whose parameters and weights do not fit
        why = in_one_line(error, with_kind=True)
        raise DataError(f"{source} holds a model that cannot score ({why}); export it again") from error


def _place(stage: Path, file: str, blend: str) -> Path:
    """Where a file of an archive lies in `stage`; the data record stays outside until its fingerprint is read."""
    if file in BLEND_FILES:
        return blend_folder(stage, blend) / file
    if file == PACKED_RECORD:
        return stage / PACKED_RECORD
    found = _MEMBER_FILE.fullmatch(file)
    assert found is not None
    return member_folder(stage, found[1]) / OF_MEMBER[found[2]]


def _manifest(source: Path, archive: Archive) -> dict[str, Any]:
    if MANIFEST not in archive.sizes:
        raise DataError(f"{source} has no {MANIFEST}; name a zip or folder that `ensad export` wrote")
    try:
        manifest = parse_json(archive.read(MANIFEST, MANIFEST_BYTES))
    except (ValueError, RecursionError):
        manifest = None
    if not fits(manifest, {"format": int}):
        raise DataError(f"{source}: {MANIFEST} is damaged; export the blend again")
    if manifest["format"] != FORMAT:
        raise DataError(
            f"{source} has format {manifest['format']} (ensemble_ad {str(manifest.get('version'))[:20]}), and this "
            f"version, {__version__}, reads {FORMAT}; use the version that wrote it"
        )
    if not fits(manifest, _KINDS) or not all(fits(told, _FILE) for told in manifest["files"].values()):
        raise DataError(f"{source}: {MANIFEST} is damaged; export the blend again")
    files: dict[str, Any] = manifest["files"]
    for name in archive.sizes.keys() | files.keys():
        if name not in (MANIFEST, PACKED_RECORD, *BLEND_FILES) and not _MEMBER_FILE.fullmatch(name):
            raise DataError(f"{source} holds {name[:200]!r}, which no exported blend has; nothing was imported")
    needed = {*BLEND_FILES, PACKED_RECORD}
    lacking = (needed | files.keys()) - archive.sizes.keys() or archive.sizes.keys() - files - {MANIFEST}
    if lacking or needed - files.keys():
        raise DataError(f"{source} and the list in its {MANIFEST} differ ({sorted(lacking)[:3]}); export it again")
    return dict(manifest)


def _rename(stage: Path, old: str, new: str) -> None:
    folder = blend_folder(stage, old)
    value = read_json(folder / BLEND_INFO)
    if isinstance(value, dict):
        write_json(folder / BLEND_INFO, {**value, "name": new})
    folder.rename(blend_folder(stage, new))


def _refuse_conflicts(studies: Path, stage: Path, blend: SavedBlend) -> None:
    for key in blend.info.members:
        if not has_member(studies, key):
            continue
        if load_member(studies, key).info.checksums != load_member(stage, key).info.checksums:
            raise StorageError(
                f"{member_folder(studies, key)} is there already with other weights (trained on another machine?); "
                "import into another folder with --studies"
            )
    if blend_folder(studies, blend.name).exists():
        there = load_blend(studies, blend.name)
        if (there.info.identity, there.info.checksum) != (blend.info.identity, blend.info.checksum):
            raise UsageError(f"the name {blend.name!r} is taken by another blend; choose another with --name")
