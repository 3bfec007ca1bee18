"""Which training images are held out: the normal "reference" that every member on a data set is measured on."""

from collections.abc import Sequence
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


def split_rows(
    n_images: int, fingerprint: str, subset: int | None = None, groups: Sequence[int] | None = None
) -> Split:
    """Hold out a reference that depends on the images alone, so that all members on a data set share its rows.

    Args:
        n_images: number of training images.
        fingerprint: the data set's, hexadecimal; seeds the draw.
        subset: how many of the other images to train on; None is all.
        groups: (n_images,) the number of each image's group, from 0; none is divided. None is each image alone.

    Raises:
        DataError: for fewer than 2 * TRAIN_LEAST images, or groups so large that too few images can be held out.
        UsageError: for a subset too small to train on.
    """
    if n_images < 2 * TRAIN_LEAST:
        raise DataError(f"at least {2 * TRAIN_LEAST} training images are needed, and there are {n_images}; add more")
    if subset is not None and subset < TRAIN_LEAST:
        raise UsageError(f"--subset must be {TRAIN_LEAST} or more, not {subset}")
    rng = np.random.default_rng(int(fingerprint, 16))
    wanted = min(max(round(REFERENCE_SHARE * n_images), REFERENCE_LEAST), REFERENCE_MOST)
    n_reference = min(wanted, n_images // 2)
    if groups is None:
        order = rng.permutation(n_images)
        reference, rest = order[:n_reference], order[n_reference:]
    else:
        held_out = _whole_groups(np.array(groups), n_reference, rng)
        reference, rest = np.flatnonzero(held_out), rng.permutation(np.flatnonzero(~held_out))
    return Split(train=np.sort(rest[:subset]), reference=np.sort(reference))


def _whole_groups(groups: Rows, wanted: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which images to hold out: those of groups drawn at random, about `wanted` images.

    A group that would make them more than half of all images, or twice as many as are wanted, is passed over.

    Raises:
        DataError: if no more than half as many as are wanted can be held out so.
    """
    sizes = np.bincount(groups)
    chosen, count, most = np.zeros(len(sizes), dtype=bool), 0, min(2 * wanted, len(groups) // 2)
    for group in rng.permutation(len(sizes)):
        if count < wanted and count + sizes[group] <= most:
            chosen[group] = True
            count += int(sizes[group])
    if count <= wanted // 2:
        raise DataError(
            f"some {wanted} of {len(groups)} training images must be held out by whole groups, but the {len(sizes)} "
            f"groups are too large (up to {sizes.max()} images): name smaller ones with --groups, or none"
        )
    found: npt.NDArray[np.bool_] = chosen[groups]
    return found
