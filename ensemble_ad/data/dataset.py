"""What a study is run on: the user's training and test images, as Kaggle's two .npy files or as folders of pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ensemble_ad.data.groups import Groups, joined, near_duplicates, read_groups
from ensemble_ad.data.images import FileState, Images, ImageSet
from ensemble_ad.data.npy import open_array
from ensemble_ad.data.pictures import open_folder
from ensemble_ad.data.split import TRAIN_LEAST, Split, split_rows
from ensemble_ad.errors import DataError
from ensemble_ad.files.json_file import json_hash

TRAIN, TEST = ("trainingset.npy", "train"), ("testingset.npy", "test")
"""Names of the file or else the folder that holds the training images, and the test images."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The images of a study.

    Attributes:
        train: normal images to train on.
        test: unlabelled images of the same shape; there may be none.
        named: groups of training images that a user names; see `groups`.
    """

    train: ImageSet
    test: ImageSet
    named: Groups | None = None

    @property
    def side(self) -> int:
        """Height and width of every image, in pixels."""
        return int(self.train.images.shape[1])

    @property
    def channels(self) -> int:
        """Channels of every image, 1 or 3."""
        return int(self.train.images.shape[3])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of both sets and of `groups`; members of different fingerprints never mix."""
        known = [self.train.fingerprint, self.test.fingerprint]
        return json_hash(known if self.groups is None else [*known, list(self.groups)])

    @cached_property
    def together(self) -> Groups | None:
        """The group of each training image: near-duplicates, and what the user says belongs together; None without."""
        return joined(near_duplicates(self.train.images), self.named)

    @cached_property
    def groups(self) -> Groups | None:
        """As `together`, where the split of single images would divide a group; else None.

        So a data set without such groups has the split and the fingerprint that earlier versions gave it.
        """
        found = self.together
        if found is None or len(self.train) < 2 * TRAIN_LEAST:
            return None
        plain = split_rows(len(self.train), json_hash([self.train.fingerprint, self.test.fingerprint]))
        divided = {found[row] for row in plain.train} & {found[row] for row in plain.reference}
        return found if divided else None

    def split(self, subset: int | None = None) -> Split:
        """Which training images are trained on and which are held out; see `split_rows`."""
        return split_rows(len(self.train), self.fingerprint, subset, self.groups)

    def check_unchanged(self) -> None:
        """Refuse images that have changed since they were opened; see `ImageSet.check_unchanged`.

        Raises:
            DataError: if they have.
        """
        self.train.check_unchanged()
        self.test.check_unchanged()

    def remarks(self) -> Iterator[tuple[str, str]]:
        """A line and its level, "ok" or "warning", of each kind of file that is passed over or not used as it is."""
        yield from self.train.remarks.lines("train")
        yield from self.test.remarks.lines("test")

    @property
    def is_grey(self) -> bool:
        """Whether both sets hold grey images, be they stored as grey or as three equal channels."""
        return self.train.is_grey and self.test.is_grey


def load_dataset(
    data: Path,
    *,
    image_cache: Path,
    test_optional: bool = False,
    look: bool = True,
    groups: Path | str | None = None,
) -> Dataset:
    """Read `data`, either `trainingset.npy` and `testingset.npy` or the folders `train/` and `test/`.

    Args:
        data: the folder.
        image_cache: folder where decoded pictures are kept as uint8 arrays.
        test_optional: whether a folder without test images gives a data set with none, instead of an error.
        look: whether test images are looked at; if not, the data set is the one of a folder that has none.
        groups: what names groups of training images; see `read_groups`.

    Raises:
        DataError: if anything about the images or groups makes them unusable; the message names file, rule and value.
    """
    if not data.is_dir():
        raise DataError(
            f"the data folder {data} does not exist; put trainingset.npy and testingset.npy there, "
            "or name the folder that has them with --data"
        )
    train = _load_one(data, TRAIN, image_cache)
    named = None if groups is None else read_groups(groups, train.ids)
    if not look or (test_optional and not any((data / name).exists() for name in TEST)):
        none = ImageSet(images=train.images[:0], ids=(), source=data / "test")
        return Dataset(train=train, test=none, named=named)
    test = _load_one(data, TEST, image_cache)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"training and test images must have one shape, but {train.source.name} has "
            f"{_shape_text(train.images)} and {test.source.name} {_shape_text(test.images)}"
        )
    return Dataset(train=train, test=test, named=named)


def open_images(data: Path, names: tuple[str, str], image_cache: Path) -> ImageSet | None:
    """One of the two sets in `data`, of the first of `names` that is there; None where neither is.

    Args:
        data: the folder.
        names: `TRAIN` or `TEST`.
        image_cache: folder where decoded pictures are kept as uint8 arrays.

    Raises:
        DataError: if the images cannot be used.
    """
    array, folder = (data / name for name in names)
    if array.exists():
        found = open_array_set(array)
        if folder.is_dir():
            found.remarks.add("shadowed", folder.name)
        return found
    return open_folder(folder, image_cache) if folder.is_dir() else None


def open_array_set(path: Path) -> ImageSet:
    """The images of an .npy file; their ids are their rows.

    Raises:
        DataError: if they cannot be used.
    """
    state = FileState.of(path)
    images = open_array(path)
    return ImageSet(images=images, ids=tuple(map(str, range(len(images)))), source=path, file=state)


def _load_one(data: Path, names: tuple[str, str], image_cache: Path) -> ImageSet:
    found = open_images(data, names, image_cache)
    if found is None:
        raise DataError(
            f"{data} must hold {names[0]} or a folder {names[1]}/ of images, and has neither; "
            "download the data there, or name another folder with --data"
        )
    return found


def _shape_text(images: Images) -> str:
    """Shape of one image as people write it: 64x64x3."""
    return "x".join(str(n) for n in images.shape[1:])
