"""Which training images are held out: the normal "reference" that every member on a data set is measured on."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ensemble_ad.errors import DataError, UsageError

REFERENCE_SHARE = 0.15
REFERENCE_MOST = 5000
REFERENCE_LEAST = 150
TRAIN_LEAST = 20

Rows = npt.NDArray[np.int64]


class Split(NamedTuple):
    """Rows of the training images, sorted and disjoint.

    Attributes:
        train: int64 (n,), the images to train on.
        reference: int64 (r,), the images that are never trained on.
    """

    train: Rows
    reference: Rows


def split_rows(n_images: int, fingerprint: str, subset: int | None = None) -> Split:
    """Hold out a reference that depends on the images alone, so that all members on a data set share its rows.

    Args:
        n_images: number of training images.
        fingerprint: the data set's, hexadecimal; seeds the draw.
        subset: how many of the other images to train on; None is all.

    Raises:
        DataError: for fewer than 2 * TRAIN_LEAST images.
        UsageError: for a subset too small to train on.
    """
    if n_images < 2 * TRAIN_LEAST:
        raise DataError(f"at least {2 * TRAIN_LEAST} training images are needed, and there are {n_images}; add more")
    if subset is not None and subset < TRAIN_LEAST:
        raise UsageError(f"--subset must be {TRAIN_LEAST} or more, not {subset}")
    order = np.random.default_rng(int(fingerprint, 16)).permutation(n_images)
    wanted = min(max(round(REFERENCE_SHARE * n_images), REFERENCE_LEAST), REFERENCE_MOST)
    n_reference = min(wanted, n_images // 2)
    rest = order[n_reference:]
    return Split(train=np.sort(rest[:subset]), reference=np.sort(order[:n_reference]))
