"""What a user says is true of the test images: a CSV file of labels, or MVTec's folders, whose names tell them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ensemble_ad.errors import DataError
from ensemble_ad.files.id_table import read_labels, shown
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.files.whole import file_hash

GOOD = "good"
"""The folder of the normal images, as in MVTec AD."""


class GroundTruth(NamedTuple):
    """Labels of k images.

    Attributes:
        label: int8 (k,) of 0 and 1, 1 = anomaly.
        kinds: (k,) the kind of each image, `GOOD` for normal ones; None where only labels are known.
        digest: a hash by which the same labels are known again.
    """

    label: npt.NDArray[np.int8]
    kinds: tuple[str, ...] | None
    digest: str


def read_ground_truth(path: Path, ids: Sequence[str]) -> GroundTruth:
    """Read labels in the order of `ids`.

    Args:
        path: a CSV file `ID,label`; or the folder of the test images, `good/` of normal ones and a folder for each kind
            of anomaly in it (MVTec AD: Bergmann et al. 2019, CVPR).
        ids: the test images' ids.

    Raises:
        DataError: as `read_labels`; for images that lie in no folder, or in one that `path` does not have.
    """
    if not path.is_dir():
        return GroundTruth(read_labels(path, ids), None, file_hash(path))
    kinds = tuple(name.rpartition("/")[0].partition("/")[0] for name in ids)
    loose = next((name for name, kind in zip(ids, kinds, strict=True) if not kind), None)
    if loose is not None:
        raise DataError(
            f"{path} must name a kind of anomaly by each folder, as in {GOOD}/ and crack/, but the test image "
            f"{shown(loose)} lies in none; name a CSV file ID,label instead"
        )
    lacking = sorted(kind for kind in {*kinds, GOOD} if not (path / kind).is_dir())
    if lacking:
        raise DataError(
            f"{path} must be the folder of the test images, with a folder {GOOD}/ of normal ones, but has no "
            f"{shown(lacking[0])}"
        )
    label = np.array([kind != GOOD for kind in kinds], dtype=np.int8)
    if label.min() == label.max():
        raise DataError(f"{path} must hold both classes, but every label is {label[0]}; an AUC needs both")
    return GroundTruth(label, kinds, json_hash([*map(list, zip(ids, kinds, strict=True))]))
