"""Members on their way between machines that share no folder, through one of Optuna's artifact stores.

A member travels as `<key>.zip`, uncompressed: its three files and the record of its data set. The trial in the study's
storage says which artifact is its member. What arrives is checked before it appears among the members.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import optuna
from optuna.artifacts import get_all_artifact_meta
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState

from ensemble_ad.errors import StorageError, in_one_line
from ensemble_ad.files.archive import Archive, open_archive, pack
from ensemble_ad.files.whole import clear_errors, hidden_folder
from ensemble_ad.layout import MEMBER_FILES, data_record_file, is_key, member_folder
from ensemble_ad.members.arrived import PACKED_RECORD, Arrival, check_bombs, place_record
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import Member, has_member, load_member
from ensemble_ad.search.artifacts import Artifacts
from ensemble_ad.search.notes import NOT_OURS, StudyNotes, TrialNotes


class Pulled(NamedTuple):
    """What was fetched, and what was not.

    Attributes:
        fetched: the members' keys.
        problems: a line about each artifact that is missing, or is not what it should be.
        unsent: keys of members that other machines have made and not uploaded.
    """

    fetched: list[str]
    problems: list[str]
    unsent: list[str]


def push(artifacts: Artifacts, trial: optuna.Trial, member: Member, studies: Path) -> None:
    """Upload the member of a running trial.

    Raises:
        StorageError: if it cannot be read or uploaded.
    """
    record = data_record_file(studies, member.data)
    with hidden_folder(studies, "member") as folder:
        packed = folder / f"{member.key}.zip"
        with clear_errors(packed, "write"):
            pack(packed, {name: member.folder / name for name in MEMBER_FILES} | {PACKED_RECORD: record})
        artifacts.upload(packed, trial)


def pull(
    artifacts: Artifacts,
    backend: optuna.storages.BaseStorage,
    studies: Path,
    *,
    study_names: Iterable[str] | None = None,
    key: str | None = None,
    tick: Callable[[int, str], None] = lambda done, now: None,
) -> Pulled:
    """Fetch the members that are not in `studies`.

    Args:
        artifacts: the store.
        backend: where the studies are kept.
        studies: the studies' folder.
        study_names: the studies whose members are fetched, as far as they are there; None is all.
        key: the member that is fetched; None is all.
        tick: told how many members were fetched, and which came last.

    Raises:
        StorageError: if the store does not answer, or nothing can be written.
    """
    fetched: list[str] = []
    problems: dict[str, str] = {}
    made: set[str] = set()
    offered: set[str] = set()
    for trial in _complete(backend, study_names):
        try:
            member, sent = _offered(trial, backend)
        except StorageError as error:
            problems[f"trial {trial._trial_id}"] = str(error)
            continue
        made |= member
        offered |= {found for found, _ in sent}
        for found, artifact_id in sent:
            if key not in (None, found) or has_member(studies, found):
                continue
            why = _fetch(artifacts, found, artifact_id, studies)
            if why is not None:
                problems[found] = why
                continue
            problems.pop(found, None)  # of another artifact that was to be the same member
            fetched.append(found)
            tick(len(fetched), found)
    unsent = [each for each in sorted(made - offered) if not has_member(studies, each)]
    return Pulled(fetched, list(problems.values()), unsent)


def _fetch(artifacts: Artifacts, key: str, artifact_id: str, studies: Path) -> str | None:
    """Fetch a member, verify it, and move it to its place; what is wrong with it, if anything is."""
    with hidden_folder(studies, "member") as stage:
        packed = stage / "packed.zip"
        try:
            artifacts.download(artifact_id, packed)
            member = _unpack(packed, key, stage)
        except ArtifactNotFound:
            return f"{key} was to be in the artifact store, and is not"
        except _NotAMember as error:
            return f"{key} in the artifact store is not a member: {error}"
        with Arrival(stage, studies) as arrival:
            arrival.record(member.data)
            arrival.folder(member.folder, member_folder(studies, key))
    return None


def _complete(backend: optuna.storages.BaseStorage, study_names: Iterable[str] | None) -> Iterator[FrozenTrial]:
    there = optuna.get_all_study_names(backend)
    for name in there if study_names is None else [name for name in study_names if name in there]:
        study = optuna.load_study(study_name=name, storage=backend)
        if StudyNotes.of(study).format is None:  # another program's
            continue
        yield from study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _offered(trial: FrozenTrial, backend: optuna.storages.BaseStorage) -> tuple[set[str], list[tuple[str, str]]]:
    """The member that a trial has made, if it says so, and the members that it has uploaded: keys and artifacts' ids.

    Raises:
        StorageError: if its notes, or Optuna's about an artifact, are not what they have to be.
    """
    member = TrialNotes.of(trial).member
    try:
        metas = get_all_artifact_meta(trial, storage=backend)
        named = [(meta.filename.removesuffix(".zip"), str(meta.artifact_id)) for meta in metas]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"trial {trial.number} has a note of an artifact that Optuna has not written: {in_one_line(error, 80)}; "
            f"{NOT_OURS}"
        ) from error
    return set() if member is None else {member}, [pair for pair in named if is_key(pair[0])]


class _NotAMember(Exception):
    """An artifact that is not what it says."""


def _unpack(packed: Path, key: str, stage: Path) -> Member:
    """Unpack into `stage`, as a studies' folder, and verify.

    Raises:
        _NotAMember: if it is none; files of other names than a member's are refused.
    """
    try:
        with open_archive(packed) as archive:
            _extract(archive, member_folder(stage, key), stage)
        check_bombs(stage)
        member = load_member(stage, key)
        place_record(stage, member.data)
        member.verify(load_data_record(stage, member.data))
    except Exception as error:  # whatever numpy meets in a stranger's arrays, too
        raise _NotAMember(in_one_line(error).replace(str(stage), "")) from error
    return member


def _extract(archive: Archive, folder: Path, stage: Path) -> None:
    """A member's files into `folder`, the record of its data set into `stage`."""
    if sorted(archive.sizes) != sorted((*MEMBER_FILES, PACKED_RECORD)):
        raise _NotAMember(f"it holds {', '.join(map(repr, [*archive.sizes][:5]))}")
    for name in archive.sizes:
        archive.unpack(name, (stage if name == PACKED_RECORD else folder) / name)
