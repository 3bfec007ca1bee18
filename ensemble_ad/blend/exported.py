"""A blend as one folder or zip that another machine loads: what `studies/` holds of it, and a list of checksums.

    ensad-blend.json                      format, version, name, size and checksum of each file, a probe
    blend.json, scores.npz, data.json     the blend, its frozen rule, the record of its data set
    <key>.json, .npz, .safetensors        each member: what it is, its error vectors, its weights

The checksums tell damage, not who made the archive. Nothing in it is a pickle, and other files are refused.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_ad.blend import Blend
from ensemble_ad.blend.saved import SavedBlend, load_blend
from ensemble_ad.errors import DataError, EnsadError, StorageError, UsageError, in_one_line
from ensemble_ad.files.archive import Archive, open_archive
from ensemble_ad.files.json_file import fits, read_json, write_json
from ensemble_ad.files.output import is_stream, resolved
from ensemble_ad.files.whole import clear_errors, file_hash, hidden_folder, whole_file, whole_folder
from ensemble_ad.layout import (
    BLEND_FILES,
    BLEND_INFO,
    KEY,
    MEMBER_FILES,
    blend_folder,
    check_blend_name,
    data_record_file,
    is_key,
    member_folder,
    members_folder,
)
from ensemble_ad.members.arrived import PACKED_RECORD, check_bombs, place_record, publish_folder, publish_record
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import has_member, load_member
from ensemble_ad.version import __version__

FORMAT = 1
MANIFEST = "ensad-blend.json"
# Suffix in the archive -> name in the member's folder.
_OF_MEMBER = {Path(name).suffix: name for name in MEMBER_FILES}
_MEMBER_FILE = re.compile(rf"({KEY})(\.json|\.npz|\.safetensors)")
_KINDS = {"format": int, "version": str, "name": str, "files": dict}
_FILE = {"size": int, "checksum": str}
_MANIFEST_BYTES = 4 << 20

Check = Callable[[Path, str, Mapping[str, Any]], None]
"""Given a studies' folder, the blend's name in it and the probe; raises an `EnsadError` to refuse the archive."""


def export_blend(studies: Path, blend: SavedBlend, target: Path, *, probe: Mapping[str, Any] | None = None) -> Path:
    """Write a blend with its members and the record of its data set: no images, but their ids and scores.

    Args:
        studies: the studies' folder.
        blend: of it.
        target: a name that ends in .zip, or a folder's; nothing may be there yet but a device or a pipe, which gets
            the zip.
        probe: what `import_blend` shall hand to its `check`; JSON values.

    Returns:
        `target`.

    Raises:
        UsageError: if `target` exists.
        StorageError: if a file is missing or damaged, or `target` cannot be written.
    """
    taken = UsageError(f"{target} exists already; name another with -o")
    if target.exists() and not is_stream(target):
        raise taken
    files = _files_of(studies, blend)
    manifest = {
        "format": FORMAT,
        "version": __version__,
        "name": blend.name,
        "files": {name: {"size": path.stat().st_size, "checksum": file_hash(path)} for name, path in files.items()},
        "probe": probe,
    }
    text = json.dumps(manifest, indent=1, allow_nan=False) + "\n"
    if target.suffix != ".zip" and not is_stream(target):
        with clear_errors(target, "write"):
            place = resolved(target)
        with whole_folder(place) as part:
            for name, path in files.items():
                shutil.copyfile(path, part / name)
            (part / MANIFEST).write_text(text, encoding="utf-8")
        return target
    try:
        with whole_file(target, overwrite=False, named_by_user=True) as part, zipfile.ZipFile(part, "w") as opened:
            opened.writestr(MANIFEST, text)
            for name, path in files.items():
                opened.write(path, name)
    except FileExistsError:
        raise taken from None
    return target


def import_blend(studies: Path, source: Path, *, name: str | None = None, check: Check | None = None) -> SavedBlend:
    """Load what `export_blend` wrote into a studies' folder; the same archive again changes nothing.

    Everything is verified before anything appears in `studies`; the blend appears last.

    Args:
        studies: the studies' folder.
        source: the zip or folder.
        name: for the blend, instead of its own.
        check: a last check, of the archive's probe, where it has one.

    Raises:
        DataError: for an archive that is none, damaged, of another format, or holds what it should not.
        UsageError: if the name is taken by another blend.
        StorageError: if a member of the same key but other content is there, or nothing can be written.
    """
    with open_archive(source) as archive, hidden_folder(studies, "import") as stage:
        blend, probe = _unpacked(source, archive, stage, name)
        _refuse_conflicts(studies, stage, blend)
        if check is not None and isinstance(probe, dict):
            _check_probe(check, source, stage, blend.name, probe)
        for key in blend.info.members:
            publish_folder(member_folder(stage, key), member_folder(studies, key))
        publish_record(stage, studies, blend.data)
        publish_folder(blend.folder, blend_folder(studies, blend.name))
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
    return _verified(source, stage, wanted), manifest.get("probe")


def _check_probe(check: Check, source: Path, stage: Path, name: str, probe: Mapping[str, Any]) -> None:
    try:
        check(stage, name, probe)
    except EnsadError:
        raise
    except Exception as error:  # whatever a network meets whose parameters and weights do not fit
        why = in_one_line(error, with_kind=True)
        raise DataError(f"{source} holds a model that cannot score ({why}); export it again") from error


def _files_of(studies: Path, blend: SavedBlend) -> dict[str, Path]:
    """The files of an archive by their name in it, verified."""
    blend.scores()
    load_data_record(studies, blend.data)
    files = {name: blend.folder / name for name in BLEND_FILES} | {PACKED_RECORD: data_record_file(studies, blend.data)}
    for key in blend.info.members:
        member = load_member(studies, key)
        member.verify()
        files |= {f"{key}{suffix}": member.folder / file for suffix, file in _OF_MEMBER.items()}
    return files


def _place(stage: Path, file: str, blend: str) -> Path:
    """Where a file of an archive lies in `stage`; the data record stays outside until its fingerprint is read."""
    if file in BLEND_FILES:
        return blend_folder(stage, blend) / file
    if file == PACKED_RECORD:
        return stage / PACKED_RECORD
    found = _MEMBER_FILE.fullmatch(file)
    assert found is not None
    return member_folder(stage, found[1]) / _OF_MEMBER[found[2]]


def _manifest(source: Path, archive: Archive) -> dict[str, Any]:
    if MANIFEST not in archive.sizes:
        raise DataError(f"{source} has no {MANIFEST}; name a zip or folder that `ensad export` wrote")
    try:
        manifest = json.loads(archive.read(MANIFEST, _MANIFEST_BYTES))
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


def _verified(source: Path, stage: Path, name: str) -> SavedBlend:
    """The unpacked blend, if it and its members are what later commands read."""
    try:
        blend = load_blend(stage, name)
        place_record(stage, blend.data)
        keys = blend.info.members
        found = {folder.name for folder in members_folder(stage).iterdir()}
        if set(keys) != found:
            raise StorageError(f"it must hold the blend's members, but {sorted(found ^ set(keys))[:3]} differ")
        check_bombs(stage)
        columns = set()
        for key in keys:
            member = load_member(stage, key)
            if member.data != blend.data:
                raise StorageError(f"{key} is of another data set")
            member.verify()
            columns |= {f"{key}/{kind}" for kind in member.columns}
        rule = blend.rule()
        if not set(rule.names) <= columns:
            raise StorageError(f"no member has the columns {sorted(set(rule.names) - columns)[:3]}")
        _check_rule(rule)
    except (EnsadError, ValueError, TypeError, KeyError, IndexError, MemoryError, EOFError, OSError, OverflowError,
            zipfile.BadZipFile) as error:  # fmt: skip
        why = in_one_line(error).replace(str(stage), str(source))
        raise DataError(f"{source} is not a blend that this version reads ({why}); export it again") from error
    return blend


def _check_rule(rule: Blend) -> None:
    """Refuse trees that lead out of their table or round in circles, and arrays that do not belong together."""
    members = len(rule.names)
    for part in rule.parts:
        fits = part.weights.shape == (members,) and part.normaliser.base.shape[1:] == (members,)
        if part.forest is not None:
            feature, child = part.forest.feature, part.forest.child
            inner = np.flatnonzero(feature >= 0)
            fits &= feature.shape == child.shape == part.forest.value.shape == part.forest.threshold.shape
            fits &= bool((feature < members).all() and 0 < part.forest.trees <= len(feature))
            fits &= bool((child[inner] > inner).all() and (child[inner] + 1 < len(child)).all())
        if not fits:
            raise StorageError("the rule's arrays do not belong together")


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
