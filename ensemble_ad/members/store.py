"""Members on disk: what one trained model says of every image, ready to be blended without torch or the images.

A member is a folder `studies/members/<key>/` of three files: `member.json` (the recipe, how good it is, times,
environment, checksums), `vectors.npz` (float32 `reference` (n, m) and `test` (k, m), one column an error kind; float32
`pseudo` (K, d, m) of d pseudo-anomalies of K kinds, and int64 `damaged` (d,), the rows of the reference that these were
made of) and `weights.safetensors`. The data set it belongs to has a record, `studies/data/<fingerprint>.json`.
"""

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import read_json
from ensemble_ad.files.whole import clear_errors, file_hash, set_aside
from ensemble_ad.layout import MEMBER_INFO, VECTORS, WEIGHTS, member_folder, members_folder
from ensemble_ad.members.info import FORMAT, MemberInfo
from ensemble_ad.members.measured import UnfitError
from ensemble_ad.members.pseudo_vectors import PseudoVectors

if TYPE_CHECKING:
    from ensemble_ad.members.data_record import DataRecord
    from ensemble_ad.statistics.arrays import Floats32

# A file's times are told in ticks: one that was written just now may be written again within the same one.
_SETTLED_NS = 10**9


@dataclass(frozen=True, kw_only=True)
class Member:
    """A cached member; its error vectors are read when asked for.

    Attributes:
        key: the member's name.
        folder: the folder of its files.
        info: what else is known of it.
    """

    key: str
    folder: Path
    info: MemberInfo

    @property
    def family(self) -> str:
        """The family's name, or the name that the user gave to imported scores."""
        return self.info.recipe.family

    @property
    def data(self) -> str:
        """The fingerprint of its data set."""
        return self.info.recipe.data

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its error kinds, in the vectors' order."""
        return self.info.columns

    @property
    def value(self) -> float:
        """Its objective's value."""
        return float(self.info.objective.value)

    @property
    def sort_value(self) -> float:
        """Larger = better, whatever the objective's direction."""
        return -self.value if self.info.objective.direction == "minimize" else self.value

    @property
    def main_column(self) -> str:
        """The error kind that its objective found best."""
        return self.info.objective.column

    def vectors(self) -> "tuple[Floats32, Floats32]":
        """Its error vectors, verified.

        Returns:
            float32 (n, m) of the reference and (k, m) of the test images.

        Raises:
            StorageError: if the file is missing, damaged or not what the checksum says.
        """
        reference, test, _ = self.all_vectors()
        return reference, test

    def all_vectors(self) -> "tuple[Floats32, Floats32, PseudoVectors | None]":
        """Its error vectors, verified, with those of pseudo-anomalies.

        Returns:
            What `vectors` gives, and those of pseudo-anomalies; None of a member that was made without them.

        Raises:
            StorageError: as for `vectors`.
        """
        # Imported here, since a table of members opens no arrays.
        import numpy as np

        from ensemble_ad.files.arrays import read_arrays

        path = self.folder / VECTORS
        self._check_sum(path)
        kinds = self.info.pseudo_kinds
        try:
            arrays = read_arrays(path)
            reference, test = arrays["reference"], arrays["test"]
            pseudo = PseudoVectors(kinds, arrays["pseudo"], arrays["damaged"]) if kinds else None
        except KeyError as error:
            raise self._damaged(f"{path} is not a member's error vectors: it lacks {error}") from error
        except StorageError as error:
            raise self._damaged(f"{path} is not a member's error vectors: {error}") from error
        if not (reference.ndim == test.ndim == 2 and reference.shape[1] == test.shape[1] == len(self.columns)):
            raise self._damaged(
                f"{path} must have {len(self.columns)} columns, but has {reference.shape} and {test.shape}"
            )
        if pseudo is not None and not pseudo.are_of(reference):
            raise self._damaged(
                f"{path} must hold {len(self.columns)} columns of {len(kinds)} kinds of pseudo-anomaly and the rows "
                "that these were made of, and does not"
            )
        sides = (reference, test) if pseudo is None else (reference, test, pseudo.scores)
        if not all(side.dtype == np.float32 and np.isfinite(side).all() for side in sides):
            raise self._damaged(f"{path} must hold finite numbers of 32 bits, and does not")
        return reference, test, pseudo

    def weights_path(self) -> Path:
        """Its weights, verified.

        Raises:
            StorageError: as for `vectors`.
        """
        path = self.folder / WEIGHTS
        self._check_sum(path)
        return path

    def verify(self, record: "DataRecord | None" = None) -> None:
        """Read all of it.

        Args:
            record: the record of its data set, whose images its error vectors have to be of.

        Raises:
            StorageError: as for `vectors`.
        """
        reference, test = self.vectors()
        if record is not None:
            self.check_rows(len(reference), len(test), (record.n_reference, len(record.ids)))
        self.weights_path()

    def check_rows(self, reference: int, test: int, expected: tuple[int, int]) -> None:
        """Whether it has scores of as many held-out and test images as its data set has.

        Raises:
            DamagedError: if it has not.
        """
        if (reference, test) != expected:
            raise self._damaged(
                f"{self.key} has scores of {reference} and {test} images, and its data set {expected[0]} and "
                f"{expected[1]}; it is of another data set"
            )

    def _check_sum(self, path: Path) -> None:
        if not path.is_file():
            raise self._damaged(f"cannot read {path}: No such file or directory; run the study again")
        if file_hash(path) != self.info.checksums.get(path.name):
            raise self._damaged(
                f"{path} is damaged: its checksum differs; remove {self.folder} and run the study again"
            )

    def _damaged(self, text: str) -> "DamagedError":
        return DamagedError(text, key=self.key, folder=self.folder)


class DamagedError(StorageError):
    """A member whose files are not what they should be.

    Attributes:
        key: the member's name.
        folder: the folder of its files.
    """

    def __init__(self, text: str, *, key: str, folder: Path) -> None:
        super().__init__(text)
        self.key, self.folder = key, folder

    def __reduce__(self) -> tuple[Any, ...]:  # a worker's error travels to the process that started it
        return partial(DamagedError, key=self.key, folder=self.folder), (str(self),)

    def set_aside(self) -> str:
        """Move the member to where nothing reads it; a line that says so, or why it could not be moved."""
        try:
            aside = set_aside(self.folder)
        except StorageError as error:
            return f"{self}; left out ({error})"
        return f"{self}; left out and set aside as {aside.name}"


def has_member(studies: Path, key: str) -> bool:
    """Whether the member is cached."""
    return (member_folder(studies, key) / MEMBER_INFO).exists()


def load_member(studies: Path, key: str) -> Member:
    """Read a member's `member.json`; one that is as it was when this process read it is not read again.

    Raises:
        DamagedError: if it is damaged or not a member's.
        StorageError: if there is none, or it is of a format that this version does not know.
    """
    folder = member_folder(studies, key)
    with suppress(OSError):  # said by who reads it
        seen = (folder / MEMBER_INFO).stat()
        if time.time_ns() - max(seen.st_mtime_ns, seen.st_ctime_ns) > _SETTLED_NS:
            return _read_once(folder, key, (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
    return _read(folder, key)


@lru_cache(maxsize=10_000)
def _read_once(folder: Path, key: str, state: tuple[int, ...]) -> Member:
    return _read(folder, key)


def _read(folder: Path, key: str) -> Member:
    path = folder / MEMBER_INFO
    damaged = partial(DamagedError, key=key, folder=folder)
    try:
        value = read_json(path)
    except StorageError as error:
        if path.is_file() and not isinstance(error.__cause__, OSError):
            raise damaged(str(error)) from error
        raise
    if not isinstance(value, dict) or value.get("key") != key:
        raise damaged(f"{path} is not the member {key}; remove {folder}")
    if value.get("format") != FORMAT:
        raise StorageError(
            f"{path} has format {str(value.get('format'))[:20]}, and this version reads {FORMAT}; "
            "use the ensad that wrote it"
        )
    try:
        return Member(key=key, folder=folder, info=MemberInfo.from_json(value))
    except UnfitError as error:
        raise damaged(f"{path} lacks {error}, or has them otherwise than a member; remove {folder}") from error


def discard_damaged(studies: Path, key: str) -> str | None:
    """Set the member aside if it is there and damaged, so that it can be made again.

    Returns:
        What was done; None if there is no such member, or it is sound.

    Raises:
        StorageError: if it is of a format that this version does not know, which is left as it is.
    """
    if not has_member(studies, key):
        return None
    try:
        load_member(studies, key).verify()
    except DamagedError as error:
        return error.set_aside()
    return None


def sound_members(members: Sequence[Member]) -> tuple[list[Member], list[str]]:
    """The members whose error vectors are sound; the others are set aside, with a line about each."""
    sound, problems = [], []
    for member in members:
        try:
            member.vectors()
            sound.append(member)
        except DamagedError as error:
            problems.append(error.set_aside())
    return sound, problems


def list_members(studies: Path) -> tuple[list[Member], list[str]]:
    """All members, oldest first, and a line about each folder that is not one.

    Raises:
        StorageError: if the members' folder cannot be read.
    """
    members, problems = [], []
    folder = members_folder(studies)
    with clear_errors(folder, "read"), os.scandir(folder) if folder.is_dir() else nullcontext(()) as entries:
        names = sorted(e.name for e in entries if "-" in e.name and not e.name.startswith(".") and e.is_dir())
    for name in names:
        try:
            members.append(load_member(studies, name))
        except StorageError as error:
            problems.append(str(error))
    members.sort(key=lambda member: (member.info.created, member.key))
    return members, problems
