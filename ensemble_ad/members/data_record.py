"""What later commands need to know of a data set, so that blending and handing in need no images."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ensemble_ad.data.conversion import DEFAULT_FIT, Conversion, fingerprint_of
from ensemble_ad.data.fit import Fit
from ensemble_ad.data.seen import Seen
from ensemble_ad.data.sizes import CHANNELS, SIDES
from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import MOST_IDS, fits, is_count, read_json, write_json
from ensemble_ad.files.text import is_text
from ensemble_ad.layout import data_record_file, is_fingerprint
from ensemble_ad.members.measured import UnfitError

if TYPE_CHECKING:
    from ensemble_ad.data.dataset import Dataset

FORMAT = 1
_LONGEST = 4096  # the longest path that Linux takes


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
        groups: as `Dataset.groups`.
        conversion: how images are made of pictures, likewise of new ones; None if pictures are images as they are.
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
    groups: tuple[int, ...] | None = None
    conversion: Conversion | None = None

    @classmethod
    def of(cls, dataset: "Dataset") -> "DataRecord":
        """The record of `dataset`."""
        return cls(
            fingerprint=dataset.fingerprint,
            ids=dataset.test.ids,
            n_train=len(dataset.train),
            n_reference=len(dataset.split().reference),
            shape=(dataset.side, dataset.side, dataset.channels),
            source=str(dataset.train.source.parent).encode("utf-8", "backslashreplace").decode(),
            train=dataset.train.fingerprint,
            test=dataset.test.fingerprint,
            seen=Seen.of(dataset.train.images),
            groups=dataset.groups,
            conversion=dataset.conversion,
        )

    @property
    def fit(self) -> Fit:
        """How pictures become square, where they have to."""
        return DEFAULT_FIT if self.conversion is None else self.conversion.fit

    @property
    def folder(self) -> Path | None:
        """The folder that it was read from, if it is there and may be looked into; it may be on another machine."""
        try:
            return Path(self.source) if Path(self.source).is_dir() else None
        except OSError:
            return None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        seen = None if self.seen is None else self.seen.to_json()
        value = {"format": FORMAT, **asdict(self), "ids": list(self.ids), "shape": list(self.shape), "seen": seen}
        later = {
            "groups": None if self.groups is None else list(self.groups),
            "conversion": None if self.conversion is None else self.conversion.to_json(),
        }
        return {name: part for name, part in value.items() if name not in later} | {
            name: part for name, part in later.items() if part is not None
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The inverse of `to_json`, of a record that may be a stranger's.

        Raises:
            UnfitError: if something is missing or cannot be; its text says what.
        """
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise UnfitError("its format is another")
        lacking = [name for name, kind in _KINDS.items() if not fits(value, {name: kind})]
        if lacking:
            raise UnfitError(f"{', '.join(lacking)} cannot be")
        if len(set(value["ids"])) < len(value["ids"]):
            raise UnfitError("its ids are not distinct names")
        if value["n_reference"] > value["n_train"]:
            raise UnfitError("it holds out more images than it has")
        known = {name: value[name] for name in _KINDS}
        return cls(**known | {"ids": tuple(value["ids"]), "shape": tuple(value["shape"])} | _later_parts(value))


def _later_parts(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a record may lack: groups, a conversion; of an earlier version the sets' fingerprints, and their looks."""
    train, test, seen, groups = (value.get(name) for name in ("train", "test", "seen", "groups"))
    if groups is not None and not _are_groups(groups, value["n_train"]):
        raise UnfitError("its groups cannot be")
    try:
        conversion = None if value.get("conversion") is None else Conversion.from_json(value["conversion"])
    except TypeError as error:
        raise UnfitError(str(error)) from error
    are_known = isinstance(train, str) and isinstance(test, str)
    fits_together = are_known and fingerprint_of(str(train), str(test), groups, conversion) == value["fingerprint"]
    if not fits_together and (train, test, groups, conversion) != (None, None, None, None):
        raise UnfitError("its fingerprints do not belong together")
    try:
        return {
            "conversion": conversion,
            "train": train,
            "test": test,
            "seen": None if seen is None else Seen.from_json(seen),
            "groups": None if groups is None else tuple(groups),
        }
    except TypeError as error:
        raise UnfitError(str(error)) from error


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(name, str) and len(name) <= _LONGEST and is_text(name) for name in value
    )


def _are_groups(value: Any, n_train: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == n_train
        and all(type(number) is int and 0 <= number < n_train for number in value)
    )


def _is_shape(value: Any) -> bool:
    """Whether images of that shape could have been read, which is what memory is taken by."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(map(is_count, value))
        and value[0] == value[1]
        and SIDES[0] <= value[0] <= SIDES[1]
        and value[2] in CHANNELS
    )


_KINDS: dict[str, Any] = {
    "fingerprint": lambda value: isinstance(value, str) and is_fingerprint(value),
    "ids": _are_ids,
    "n_train": is_count,
    "n_reference": is_count,
    "shape": _is_shape,
    "source": lambda value: isinstance(value, str) and len(value) <= _LONGEST,
}


def save_data_record(studies: Path, record: DataRecord) -> None:
    """Write the record of a data set beside its members.

    Raises:
        StorageError: if it cannot be written, or its ids take more bytes than `load_data_record` reads.
    """
    write_json(data_record_file(studies, record.fingerprint), record.to_json(), most=MOST_IDS)


def rename_images(studies: Path, dataset: "Dataset") -> None:
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
        record = DataRecord.from_json(value)
        if record.fingerprint != fingerprint:
            raise UnfitError(f"its fingerprint is {record.fingerprint}")
    except UnfitError as error:
        raise StorageError(f"{path} is not the record of a data set ({error}); run the study again") from error
    return record
