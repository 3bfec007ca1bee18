"""The demo's data: scikit-learn's handwritten digits, some classes normal and the others anomalous."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.images import Images, ImageSet
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.files.whole import whole_file

_ARRAYS = ("trainingset.npy", "testingset.npy")
_FOLDERS = ("train", "test")
NORMAL_DIGITS = (0, 1, 2, 3, 4)
_TRAIN_SHARE = 0.7
_ENLARGED = 4


def write_digits(folder: Path, seed: int = 0) -> None:
    """Write real images in Kaggle's layout: 32x32x1 uint8, enlarged four times from 8x8.

    The digits 0 to 4 are normal. 70% of them are the training set; the others, and as many of the digits 5 to 9, are
    the test set. The files are `trainingset.npy`, `testingset.npy`, `sample_submission.csv` and `labels.csv`. One that
    is there with the same content stays as it is; where one has another content, nothing is written.

    Source: scikit-learn's `load_digits`, the test set of the UCI "Optical Recognition of Handwritten Digits"
    (Alpaydin and Kaynak 1998), 1,797 images of 16 grey levels.

    Raises:
        UsageError: if the folder holds other data.
        StorageError: if the files cannot be written.
    """
    digits = read_digits(seed)
    contents = {
        _ARRAYS[0]: _npy(digits.train),
        _ARRAYS[1]: _npy(digits.test),
        "sample_submission.csv": _csv("ID,score", np.zeros(len(digits.test), dtype=np.int64)),
        "labels.csv": _csv("ID,label", digits.label),
    }
    missing = [name for name, content in contents.items() if not _holds(folder / name, content)]
    for name in _FOLDERS:  # these would no longer be read
        if (folder / name).exists():
            raise _taken(folder / name)
    for name in missing:
        try:
            with whole_file(folder / name, overwrite=False) as part:
                part.write_bytes(contents[name])
        except FileExistsError:
            raise _taken(folder / name) from None


class Digits(NamedTuple):
    """The images that `write_digits` writes.

    Attributes:
        train: uint8 (n, 32, 32, 1).
        test: uint8 (k, 32, 32, 1).
        label: (k,) of 0 and 1, 1 = anomaly.
    """

    train: Images
    test: Images
    label: npt.NDArray[np.int64]

    @property
    def fingerprint(self) -> str:
        """What their data set's fingerprint is, wherever they lie."""
        train, test = (ImageSet(images=images, ids=(), source=Path()) for images in (self.train, self.test))
        return Dataset(train=train, test=test).fingerprint


def read_digits(seed: int = 0) -> Digits:
    """The images that `write_digits` writes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = images.repeat(_ENLARGED, axis=1).repeat(_ENLARGED, axis=2)[..., None]
    rng = np.random.default_rng(seed)
    is_normal = np.isin(digits.target, NORMAL_DIGITS)
    normal = rng.permutation(np.flatnonzero(is_normal))
    n_train = round(_TRAIN_SHARE * len(normal))
    kept = normal[n_train:]
    anomalous = rng.choice(np.flatnonzero(~is_normal), len(kept), replace=False)
    test = rng.permutation(np.concatenate([kept, anomalous]))
    return Digits(images[normal[:n_train]], images[test], (~is_normal[test]).astype(np.int64))


def _holds(path: Path, content: bytes) -> bool:
    """Whether the file has that content; UsageError if it has another."""
    try:
        found = path.read_bytes() if path.is_file() and path.stat().st_size == len(content) else None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; look at that path") from error
    if found is None and not path.exists() and not path.is_symlink():
        return False
    if found != content:
        raise _taken(path)
    return True


def _taken(path: Path) -> UsageError:
    return UsageError(f"{path} holds other data than the demo's, and is left alone; name another folder with --out")


def _npy(images: Images) -> bytes:
    file = io.BytesIO()
    np.save(file, images)
    return file.getvalue()


def _csv(header: str, values: npt.NDArray[np.int64]) -> bytes:
    return (header + "\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values))).encode()
