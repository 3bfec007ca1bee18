"""What later commands need to know of a data set, so that blending and handing in need no images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.seen import Seen
from ensemble_ad.data.split import split_rows
from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import MOST_IDS, fits, json_hash, read_json, write_json
from ensemble_ad.layout import data_record_file

FORMAT = 1
_MOST = 1 << 53
_RECORD = {"ids": list, "n_train": int, "n_reference": int, "shape": list, "source": str}


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """What later commands need to know of a data set.

    Attributes:
        fingerprint: the data set's, a hash of its images.
        ids: the test images' ids, in their order.
        n_train: how many training images there are, held-out ones included.
        n_reference: how many of them are held out.
        shape: an image's shape, (side, side, channels).
        source: the folder that the data set was read from.
        train, test: fingerprints of the training and of the test images; None in a record of an earlier version.
        seen: what the training images look like, None likewise.
    """

    fingerprint: str
    ids: tuple[str, ...]
    n_train: int
    n_reference: int
    shape: tuple[int, ...]
    source: str
    train: str | None = None
    test: str | None = None
    seen: Seen | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> "DataRecord":
        """The record of `dataset`."""
        return cls(
            fingerprint=dataset.fingerprint,
            ids=dataset.test.ids,
            n_train=len(dataset.train),
            n_reference=len(split_rows(len(dataset.train), dataset.fingerprint).reference),
            shape=(dataset.side, dataset.side, dataset.channels),
            source=str(dataset.train.source.parent),
            train=dataset.train.fingerprint,
            test=dataset.test.fingerprint,
            seen=Seen.of(dataset.train.images),
        )


def save_data_record(studies: Path, record: DataRecord) -> None:
    """Write the record of a data set beside its members."""
    path = data_record_file(studies, record.fingerprint)
    value = {"format": FORMAT, **{name: getattr(record, name) for name in DataRecord.__dataclass_fields__}}
    value["seen"] = None if record.seen is None else record.seen.to_json()
    write_json(path, value, most=MOST_IDS)


def rename_images(studies: Path, dataset: Dataset) -> None:
    """Take note of new names of test images whose pixels are those of a record; does nothing without such a record."""
    if not data_record_file(studies, dataset.fingerprint).exists():
        return
    record = load_data_record(studies, dataset.fingerprint)
    if record.ids != dataset.test.ids:
        save_data_record(studies, DataRecord.of(dataset))


def load_data_record(studies: Path, fingerprint: str) -> DataRecord:
    """Read the record of a data set.

    Raises:
        StorageError: if it is missing or damaged.
    """
    path = data_record_file(studies, fingerprint)
    value = read_json(path, most=MOST_IDS)
    try:
        if (value["format"], value["fingerprint"]) != (FORMAT, fingerprint):
            raise KeyError(f"format {str(value['format'])[:20]}, fingerprint {str(value['fingerprint'])[:40]}")
        if not fits(value, _RECORD) or not all(isinstance(n, int) and 0 < n < _MOST for n in value["shape"]):
            raise TypeError("ids, numbers or shape are none")
        if not all(isinstance(name, str) for name in value["ids"]) or len(set(value["ids"])) < len(value["ids"]):
            raise TypeError("its ids are not distinct names")
        if min(value["n_train"], value["n_reference"]) < 0 or len(value["shape"]) != 3:
            raise TypeError("numbers or shape cannot be")
        return DataRecord(
            fingerprint=value["fingerprint"],
            ids=tuple(value["ids"]),
            n_train=value["n_train"],
            n_reference=value["n_reference"],
            shape=tuple(value["shape"]),
            source=value["source"],
            **_later_parts(value),
        )
    except (KeyError, TypeError) as error:
        raise StorageError(f"{path} is not the record of a data set ({error}); run the study again") from error


def _later_parts(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a record of an earlier version lacks: the two sets' fingerprints, and what training images look like."""
    train, test = (value.get(name) for name in ("train", "test"))
    known = isinstance(train, str) and isinstance(test, str) and json_hash([train, test]) == value["fingerprint"]
    if not known and (train, test) != (None, None):
        raise TypeError("its fingerprints do not belong together")
    seen = value.get("seen")
    return {"train": train, "test": test, "seen": None if seen is None else Seen.from_json(seen)}
