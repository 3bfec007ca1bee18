"""Whether the images in the data folder are still those that a blend or a member was made of.

Scores belong to images by their place in the test set. With labels, ids or pictures of other images, or of the same
ones in another order, they would give wrong numbers without a word.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from ensemble_ad.data.dataset import TEST, TRAIN, open_images
from ensemble_ad.data.fingerprints import remembered_fingerprint
from ensemble_ad.data.images import ImageSet
from ensemble_ad.errors import DataError, StorageError
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.layout import fingerprints_file, preprocessed_folder
from ensemble_ad.members.data_record import DataRecord

_OTHER_PIXELS = "have other pixels, or another order"


def difference(data: Path, studies: Path, record: DataRecord, made: str) -> str | None:
    """How the images in `data` differ from those of a record, in words; None if they do not, or are not there.

    What can be told without reading pixels is told first, and a .npy file that was read before and has not changed
    since is not read again.

    Args:
        data: the data folder, which need not be there, nor hold both sets.
        studies: the studies' folder.
        record: the record of the images that `made` was made of.
        made: a blend or a member, for the words.

    Raises:
        StorageError: if pictures have to be decoded and there is no place that takes them.
    """
    with ExitStack() as stack:
        try:
            train = _open(data, TRAIN, studies, record, stack)
            # What was made without test images is of the training images alone, and those are not looked at now.
            test = _open(data, TEST, studies, record, stack) if record.ids else None
            why = _by_looks(train, test, record) or _by_pixels(train, test, studies, record)
        except DataError as error:
            why = f"they cannot be read ({error})"
    return None if why is None else f"{data} holds other images than {made} was made of: {why}"


def _open(data: Path, names: tuple[str, str], studies: Path, record: DataRecord, stack: ExitStack) -> ImageSet | None:
    try:
        return open_images(data, names, preprocessed_folder(studies), record.conversion)
    except StorageError as error:  # pictures are decoded into the studies' folder, and this one cannot be written to
        try:
            spare = stack.enter_context(tempfile.TemporaryDirectory(prefix="ensad-", ignore_cleanup_errors=True))
        except OSError:
            raise error from None
        return open_images(data, names, Path(spare), record.conversion)


def _by_looks(train: ImageSet | None, test: ImageSet | None, record: DataRecord) -> str | None:
    """A difference in shape, number or names, if there is one."""
    for images, count, what in ((train, record.n_train, "training"), (test, len(record.ids), "test")):
        if images is None:
            continue
        if images.images.shape[1:] != record.shape:
            return f"they are {_text(images.images.shape[1:])}, not {_text(record.shape)}"
        if len(images) != count:
            return f"there are {len(images)} {what} images, not {count}"
    if test is not None and test.ids != record.ids:
        new, old = next(pair for pair in zip(test.ids, record.ids, strict=True) if pair[0] != pair[1])
        return f"test images have other names, as {new!r} where {old!r} was"
    return None


def _by_pixels(train: ImageSet | None, test: ImageSet | None, studies: Path, record: DataRecord) -> str | None:
    """Which of the two sets has other pixels, as far as the record tells them apart; None if neither has."""
    now = [None if each is None else remembered_fingerprint(each, fingerprints_file(studies)) for each in (train, test)]
    if None not in now and json_hash(now) == record.fingerprint:
        return None
    if record.train is None:  # by an earlier version, which noted what both sets have together
        return f"they {_OTHER_PIXELS}" if None not in now else None
    was = [record.train, record.test]
    changed = [name for name, a, b in zip(("training", "test"), now, was, strict=True) if a is not None and a != b]
    return f"the {' and '.join(changed)} images {_OTHER_PIXELS}" if changed else None


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
