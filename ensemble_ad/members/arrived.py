"""What has arrived from elsewhere: unpacked into a studies' folder of its own, verified there, then moved to its place.

Nothing outside of that folder is touched before everything in it is verified.
"""

import shutil
import zipfile
from pathlib import Path

from ensemble_ad.files.archive import check_zip
from ensemble_ad.files.whole import whole_folder
from ensemble_ad.layout import data_record_file
from ensemble_ad.members.data_record import load_data_record, save_data_record

PACKED_RECORD = "data.json"
"""The name of a data set's record in an archive; its fingerprint is not known before something else is read."""


def check_bombs(stage: Path) -> None:
    """Refuse an .npz in `stage` that would unpack to much more than it is.

    Raises:
        DataError: naming it.
        zipfile.BadZipFile: if it is no zip.
    """
    for path in stage.rglob("*.npz"):
        with zipfile.ZipFile(path) as file:
            check_zip(path, file.infolist())


def place_record(stage: Path, fingerprint: str) -> None:
    """Verify the record that lies unpacked in `stage`, and put it where a studies' folder has it.

    Raises:
        StorageError: if it is missing or damaged, or not of that data set.
    """
    record = data_record_file(stage, fingerprint)
    record.parent.mkdir()
    (stage / PACKED_RECORD).rename(record)
    load_data_record(stage, fingerprint)


def publish_record(stage: Path, studies: Path, fingerprint: str) -> None:
    """Copy the record of a data set to its place, unless there is one.

    Raises:
        StorageError: if it cannot be read or written.
    """
    if not data_record_file(studies, fingerprint).exists():
        save_data_record(studies, load_data_record(stage, fingerprint))


def publish_folder(staged: Path, place: Path) -> None:
    """Move a folder that was verified to its place, unless it is there already.

    Raises:
        StorageError: if it cannot be written.
    """
    if not place.exists():
        with whole_folder(place) as part:
            for file in staged.iterdir():
                shutil.move(file, part / file.name)
