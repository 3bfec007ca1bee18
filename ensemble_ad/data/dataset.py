"""What a study is run on: the user's training and test images, as Kaggle's two .npy files or as folders of pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ensemble_ad.data.conversion import DEFAULT_FIT, Conversion, fingerprint_of
from ensemble_ad.data.fit import Fit
from ensemble_ad.data.groups import Groups, joined, kept_near_duplicates, read_groups
from ensemble_ad.data.images import Images, ImageSet
from ensemble_ad.data.intake import Progress, conversion_of, no_progress
from ensemble_ad.data.npy import ArrayFile
from ensemble_ad.data.picture_folder import PictureFolder
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
        conversion: how the images were made of pictures; None if those were images as they were.
        cache: a folder for what takes long to find in the images; None finds it anew.
    """

    train: ImageSet
    test: ImageSet
    named: Groups | None = None
    conversion: Conversion | None = None
    cache: Path | None = None

    @property
    def side(self) -> int:
        """Height and width of every image, in pixels."""
        return int(self.train.images.shape[1])

    @property
    def channels(self) -> int:
        """Channels of every image, 1 or 3."""
        return int(self.train.images.shape[3])

    @property
    def fit(self) -> Fit:
        """How pictures became square, where they had to."""
        return DEFAULT_FIT if self.conversion is None else self.conversion.fit

    @cached_property
    def fingerprint(self) -> str:
        """Hash of both sets, `groups` and `conversion`; members of different fingerprints never mix."""
        return fingerprint_of(self.train.fingerprint, self.test.fingerprint, self.groups, self.conversion)

    @cached_property
    def together(self) -> Groups | None:
        """The group of each training image: near-duplicates, and what the user says belongs together; None without."""
        return joined(kept_near_duplicates(self.train, self.cache), self.named)

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
        """A line and its level, "ok" or "warning", on what became of pictures, and on each kind of file passed over."""
        for name, images in (("train", self.train), ("test", self.test)):
            if self.conversion is not None and len(images):
                yield "ok", f"{name}: {self.conversion.in_words(images.shapes)}"
            yield from images.remarks.lines(name)

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
    fit: Fit = DEFAULT_FIT,
    progress: Progress = no_progress,
) -> Dataset:
    """Read `data`, either `trainingset.npy` and `testingset.npy` or the folders `train/` and `test/`.

    Args:
        data: the folder.
        image_cache: folder where decoded pictures are kept as uint8 arrays, and near-duplicates of many images.
        test_optional: whether a folder without test images gives a data set with none, instead of an error.
        look: whether test images are looked at; if not, the data set is the one of a folder that has none.
        groups: what names groups of training images; see `read_groups`.
        fit: how pictures become square, where there are some that are no images as they are; see `conversion_of`.
        progress: told how many pictures are decoded.

    Raises:
        DataError: if anything about the images or groups makes them unusable; the message names file, rule and value.
    """
    if not data.is_dir():
        raise DataError(
            f"the data folder {data} does not exist; put trainingset.npy and testingset.npy there, "
            "or name the folder that has them with --data"
        )
    train_pictures, test_pictures = _found(data, TRAIN, image_cache), None
    if look and not (test_optional and not any((data / name).exists() for name in TEST)):
        test_pictures = _found(data, TEST, image_cache)
    conversion = conversion_of(train_pictures, test_pictures, fit)
    train = train_pictures.images(conversion, image_cache, progress)
    named = None if groups is None else read_groups(groups, train.ids)
    if test_pictures is None:
        test = ImageSet(images=train.images[:0], ids=(), source=data / "test")
    else:
        test = test_pictures.images(conversion, image_cache, progress)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"training and test images must have one shape, but {train.source.name} has "
            f"{_shape_text(train.images)} and {test.source.name} {_shape_text(test.images)}"
        )
    return Dataset(train=train, test=test, named=named, conversion=conversion, cache=image_cache)


def open_images(
    data: Path, names: tuple[str, str], image_cache: Path, conversion: Conversion | None = None
) -> ImageSet | None:
    """One of the two sets in `data`, of the first of `names` that is there; None where neither is.

    Args:
        data: the folder.
        names: `TRAIN` or `TEST`.
        image_cache: folder where decoded pictures are kept as uint8 arrays.
        conversion: what makes images of the pictures.

    Raises:
        DataError: if the images cannot be used.
    """
    found = _look_for(data, names, image_cache)
    return None if found is None else found.images(conversion, image_cache)


def open_named(path: Path, image_cache: Path, conversion: Conversion | None) -> ImageSet:
    """The images of an .npy file, whose ids are their rows, or of a folder of pictures.

    Raises:
        DataError: if they cannot be used.
    """
    found = PictureFolder(path, image_cache) if path.is_dir() else ArrayFile(path)
    return found.images(conversion, image_cache)


def _look_for(data: Path, names: tuple[str, str], image_cache: Path) -> ArrayFile | PictureFolder | None:
    array, folder = (data / name for name in names)
    if array.exists():
        return ArrayFile(array, shadowed=folder if folder.is_dir() else None)
    return PictureFolder(folder, image_cache) if folder.is_dir() else None


def _found(data: Path, names: tuple[str, str], image_cache: Path) -> ArrayFile | PictureFolder:
    found = _look_for(data, names, image_cache)
    if found is None:
        raise DataError(
            f"{data} must hold {names[0]} or a folder {names[1]}/ of images, and has neither; "
            "download the data there, or name another folder with --data"
        )
    return found


def _shape_text(images: Images) -> str:
    """Shape of one image as people write it: 64x64x3."""
    return "x".join(str(n) for n in images.shape[1:])
