"""What has arrived from elsewhere: unpacked into a studies' folder of its own, verified there, then moved to its place.

Nothing outside of that folder is touched before everything in it is verified.
"""

import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Self

from ensemble_ad.errors import StorageError
from ensemble_ad.files.archive import open_archive
from ensemble_ad.files.whole import whole_folder
from ensemble_ad.layout import data_record_file
from ensemble_ad.members.data_record import DataRecord, load_data_record, save_data_record

PACKED_RECORD = "data.json"
"""The name of a data set's record in an archive; its fingerprint is not known before something else is read."""


def check_bombs(stage: Path) -> None:
    """Refuse an .npz in `stage` that would unpack to much more than it is.

    Raises:
        DataError: naming it, or one that is no zip.
    """
    for path in stage.rglob("*.npz"):
        with open_archive(path):
            pass


def place_record(stage: Path, fingerprint: str) -> None:
    """Verify the record that lies unpacked in `stage`, and put it where a studies' folder has it.

    Raises:
        StorageError: if it is missing or damaged, or not of that data set.
    """
    record = data_record_file(stage, fingerprint)
    record.parent.mkdir()
    (stage / PACKED_RECORD).rename(record)
    load_data_record(stage, fingerprint)


class Arrival:
    """Moves what was verified in `stage` to its place in `studies`; where that fails half way, it takes all of it back.

    Args:
        stage: a studies' folder that what has arrived is unpacked in, on the same file system.
        studies: the studies' folder.
    """

    def __init__(self, stage: Path, studies: Path) -> None:
        self._stage, self._studies = stage, studies
        self._brought: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for path in reversed(self._brought):
                _take_away(path)

    def record(self, fingerprint: str) -> None:
        """Copy the record of a data set, unless there is one, which then has to be of as many images.

        Raises:
            StorageError: if it cannot be read or written, or differs.
        """
        place, arrived = data_record_file(self._studies, fingerprint), load_data_record(self._stage, fingerprint)
        if not place.exists():
            save_data_record(self._studies, arrived)
            self._brought.append(place)
            return
        there = load_data_record(self._studies, fingerprint)
        if _sizes(there) != _sizes(arrived):
            raise StorageError(f"{place} is there already, of other images; import into another folder with --studies")

    def folder(self, staged: Path, place: Path) -> None:
        """Move a folder, unless it is there already.

        Raises:
            StorageError: if it cannot be written.
        """
        if not place.exists():
            with whole_folder(place) as part:
                for file in staged.iterdir():
                    shutil.move(file, part / file.name)
            self._brought.append(place)


def _sizes(record: DataRecord) -> tuple[object, ...]:
    return len(record.ids), record.n_train, record.n_reference, record.shape


def _take_away(path: Path) -> None:
    """Remove a file or folder; a folder is hidden first, so that nobody finds half of it."""
    with suppress(OSError):
        hidden = path.rename(path.with_name(f".{path.name}.{secrets.token_hex(4)}.part"))
        shutil.rmtree(hidden) if hidden.is_dir() else hidden.unlink()
