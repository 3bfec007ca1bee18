"""Which training images are held out: the normal "reference" that every member of a data set is measured on."""

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
        train: int64 (n,).
        reference: int64 (r,), never trained on.
    """

    train: Rows
    reference: Rows


def split_rows(n_images: int, fingerprint: str, subset: int | None = None) -> Split:
    """Hold out a reference that depends on the images alone, so that all members of a data set share its rows.

    Args:
        n_images: training images in all.
        fingerprint: of the data set, hexadecimal; seeds the draw.
        subset: train on that many of the rest only.

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
