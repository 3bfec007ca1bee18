"""Members on their way between machines that share no folder, through one of Optuna's artifact stores.

A member travels as `<key>.zip`, uncompressed: its three files and the record of its data set. The trial in the study's
storage says which artifact is its member. What arrives is checked before it appears among the members.
"""

import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import optuna
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

from ensemble_ad.errors import EnsadError, StorageError, UsageError, in_one_line
from ensemble_ad.files.archive import check_zip
from ensemble_ad.files.whole import clear_errors, hidden_folder, make_folder
from ensemble_ad.layout import MEMBER_FILES, data_record_file, is_key, member_folder
from ensemble_ad.members.arrived import PACKED_RECORD, check_bombs, place_record, publish_folder, publish_record
from ensemble_ad.members.store import Member, has_member, load_member

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore


class Artifacts:
    """A store of members.

    Args:
        url: `file:///FOLDER` or `s3://BUCKET`; S3's credentials come from where boto3 looks for them.

    Raises:
        UsageError: for another URL, or where boto3 is missing.
        StorageError: if the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._store: ArtifactStore
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
            self._store = FileSystemArtifactStore(make_folder(Path(parts.path)))
        elif parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc and parts.path in ("", "/"):
            try:
                from optuna.artifacts import Boto3ArtifactStore

                self._store = Boto3ArtifactStore(parts.netloc)
            except ImportError:
                raise UsageError("--artifacts s3://... needs boto3: pip install 'ensemble-ad[s3]'") from None
        else:
            raise UsageError("--artifacts must be file:///FOLDER or s3://BUCKET, without a user or password in it")

    def push(self, trial: optuna.Trial, member: Member, studies: Path) -> None:
        """Upload the member of a running trial.

        Raises:
            StorageError: if it cannot be read or uploaded.
        """
        record = data_record_file(studies, member.data)
        with hidden_folder(studies, "member") as folder:
            packed = folder / f"{member.key}.zip"
            with clear_errors(packed, "write"), zipfile.ZipFile(packed, "w") as file:
                for name in MEMBER_FILES:
                    file.write(member.folder / name, name)
                file.write(record, PACKED_RECORD)
            with _clear("write to"):
                upload_artifact(artifact_store=self._store, file_path=str(packed), study_or_trial=trial)

    def pull(
        self,
        backend: optuna.storages.BaseStorage,
        studies: Path,
        *,
        study_names: Iterable[str] | None = None,
        key: str | None = None,
        tick: Callable[[int, str], None] = lambda done, now: None,
    ) -> tuple[list[str], list[str]]:
        """Fetch the members that are not in `studies`.

        Args:
            backend: where the studies are kept.
            studies: the studies' folder.
            study_names: the studies whose members are fetched; None is all.
            key: the member that is fetched; None is all.
            tick: told how many members were fetched, and which came last.

        Returns:
            The keys of the fetched members, and a line about each artifact that is not what it should be.

        Raises:
            StorageError: if the store does not answer, or nothing can be written.
        """
        fetched: list[str] = []
        problems: list[str] = []
        for found, artifact_id in _offered(backend, study_names or optuna.get_all_study_names(backend)):
            if key not in (None, found) or has_member(studies, found):
                continue
            try:
                self._fetch(found, artifact_id, studies)
            except ArtifactNotFound:
                problems.append(f"{found} was to be in the artifact store, and is not")
            except _NotAMember as error:
                problems.append(f"{found} in the artifact store is not a member: {error}")
            else:
                fetched.append(found)
                tick(len(fetched), found)
        return fetched, problems

    def _fetch(self, key: str, artifact_id: str, studies: Path) -> None:
        """Fetch a member, verify it, and move it to its place."""
        with hidden_folder(studies, "member") as stage:
            packed = stage / "packed.zip"
            with _clear("read"):
                download_artifact(artifact_store=self._store, artifact_id=artifact_id, file_path=str(packed))
            member = _unpack(packed, key, stage)
            publish_record(stage, studies, member.data)
            publish_folder(member.folder, member_folder(studies, key))


def _offered(backend: optuna.storages.BaseStorage, study_names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The keys of the members that the studies' trials have uploaded, and the ids of their artifacts."""
    for name in study_names:
        study = optuna.load_study(study_name=name, storage=backend)
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
            for meta in get_all_artifact_meta(trial, storage=backend):
                key = meta.filename.removesuffix(".zip")
                if is_key(key):
                    yield key, meta.artifact_id


class _NotAMember(Exception):
    """An artifact that is not what it says."""


def _unpack(packed: Path, key: str, stage: Path) -> Member:
    """Unpack into `stage`, as a studies' folder, and verify.

    Raises:
        _NotAMember: if it is none; files of other names than a member's are refused.
    """
    try:
        with zipfile.ZipFile(packed) as file:
            _extract(packed, file, member_folder(stage, key), stage)
        check_bombs(stage)
        member = load_member(stage, key)
        place_record(stage, member.data)
        member.verify()
    except (EnsadError, zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        raise _NotAMember(in_one_line(error).replace(str(stage), "")) from error
    return member


def _extract(packed: Path, file: zipfile.ZipFile, folder: Path, stage: Path) -> None:
    """A member's files into `folder`, the record of its data set into `stage`."""
    names = [entry.filename for entry in file.infolist()]
    if sorted(names) != sorted((*MEMBER_FILES, PACKED_RECORD)):
        raise _NotAMember(f"it holds {', '.join(map(repr, names[:5]))}")
    check_zip(packed, file.infolist())
    folder.mkdir(parents=True)
    for name in names:
        target = stage if name == PACKED_RECORD else folder
        with file.open(name) as source, (target / name).open("wb") as out:
            shutil.copyfileobj(source, out)


@contextmanager
def _clear(doing: str) -> Iterator[None]:
    """Turn what a store says into one line; its own words may name a user."""
    try:
        yield
    except (EnsadError, ArtifactNotFound):
        raise
    except Exception as error:
        raise StorageError(
            f"cannot {doing} the store named by --artifacts: {type(error).__name__}; see that it is there and that "
            "this machine may use it"
        ) from None
