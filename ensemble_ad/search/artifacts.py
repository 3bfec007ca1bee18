"""One of Optuna's artifact stores, a folder or an S3 bucket, as `--artifacts` names it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import optuna
from optuna.artifacts import FileSystemArtifactStore, download_artifact, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

from ensemble_ad.errors import EnsadError, StorageError, UsageError
from ensemble_ad.extras import how_to_install
from ensemble_ad.files.whole import make_folder

if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore

_FILE_URL = re.compile(r"file:(?://(?:localhost)?(?=/)|(?!//))(/.*)", re.IGNORECASE | re.DOTALL)
_ARTIFACT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What S3 answers where it has the bucket, but elsewhere, or not for those who may only read its objects.
_BUCKET_IS_THERE = (301, 403)


class Artifacts:
    """An artifact store.

    Args:
        url: `file:///FOLDER`, percent-encoded or not, or `s3://BUCKET`; S3's credentials come from where boto3 looks
            for them.

    Raises:
        UsageError: for another URL, or where boto3 is missing.
        StorageError: if boto3 cannot be used as this machine has set it up.
    """

    def __init__(self, url: str) -> None:
        self._folder = _folder(url)
        self._store: ArtifactStore
        if self._folder is not None:
            self._store = FileSystemArtifactStore(self._folder)
            return
        self._bucket = _bucket(url)
        try:
            from optuna.artifacts import Boto3ArtifactStore

            with _clear("use"):
                self._store = self._s3 = Boto3ArtifactStore(self._bucket)
        except ImportError:
            raise UsageError(f"--artifacts s3://... needs boto3: {how_to_install('s3')}") from None

    def check(self, *, make: bool = False) -> None:
        """Prove that the store is there.

        Args:
            make: make the folder if it is not there; a bucket is never made.

        Raises:
            StorageError: if it is not there, or cannot be used.
        """
        if self._folder is None:
            with _clear("find"):
                self._ask_for_bucket()
        elif make:
            make_folder(self._folder)
        elif not self._folder.is_dir():
            raise StorageError(
                f"the store named by --artifacts must be a folder, and {self._folder} is none; name the one that "
                "`ensad tune` was given"
            )

    def _ask_for_bucket(self) -> None:
        try:
            self._s3.client.head_bucket(Bucket=self._bucket)
        except Exception as error:
            answer = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
            if answer not in _BUCKET_IS_THERE:
                raise

    def upload(self, file: Path, trial: optuna.Trial) -> None:
        """Send a file of a running trial.

        Raises:
            StorageError: if the store does not take it.
        """
        with _clear("write to"):
            upload_artifact(artifact_store=self._store, file_path=str(file), study_or_trial=trial)

    def download(self, artifact_id: str, target: Path) -> None:
        """Fetch an artifact into a file.

        Raises:
            ArtifactNotFound: if it is not there, or cannot be an artifact.
            StorageError: if the store does not answer.
        """
        if not _ARTIFACT_ID.fullmatch(artifact_id):
            raise ArtifactNotFound
        place = None if self._folder is None else self._folder / artifact_id
        if place is not None and place.exists() and not place.is_file():  # reading a pipe would wait for its writer
            raise ArtifactNotFound
        with _clear("read"):
            download_artifact(artifact_store=self._store, artifact_id=artifact_id, file_path=str(target))


def _folder(url: str) -> Path | None:
    """The folder of a file URL; None of another one."""
    found = _FILE_URL.fullmatch(url)
    if found is None:
        return None
    # Older versions did not decode it.
    literal = Path(found[1])
    return literal if literal.exists() else Path(unquote(found[1]))


def _bucket(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.path not in ("", "/"):
        raise UsageError("--artifacts must be file:///FOLDER or s3://BUCKET, without a user or password in it")
    return parts.netloc


@contextmanager
def _clear(doing: str) -> Iterator[None]:
    """Turn what a store says into one line; its own words may name a user."""
    try:
        yield
    except (EnsadError, ArtifactNotFound, ImportError):
        raise
    except Exception as error:
        raise StorageError(
            f"cannot {doing} the store named by --artifacts: {type(error).__name__}; see that it is there and that "
            "this machine may use it"
        ) from None
