"""Pseudo-anomalies: held-out normal images with a defect each, to judge a model by where there is no test batch.

They are what the objective `synthetic` stands on. A model's value is the AUC between held-out normal images and
pseudo-anomalies made of *other* held-out normal images, pooled over kinds of defect. It assumes that a model which
tells these defects from normal images tells real anomalies too. No label and no test image is read.

Cost: the defects are made once a data set (256 images of 64x64x1: two seconds of one core; at most `MOST_BYTES`, which
56 images of 256x256x3 reach). Every evaluation scores up to twelve kinds of 256 images more.

The objective fails as follows.

- It rewards models that see these kinds of defect, and real anomalies may be of another kind: of another object in the
  same scene, or another person's face, it says little.
- Whatever makes an image easier to reconstruct (blur, lower contrast) ranks below normal images, and whatever is not
  in it (noise) is seen best by models that see nothing else. Such kinds rank models against the truth on most sets,
  and are not among the kinds (benchmarks/pseudo.md).
- Defects lie anywhere in the raw image. A trial that crops more sees fewer of them, and is judged the worse for it even
  if real anomalies lie in the middle.
- It is circular for a model that was trained on such defects (the family `cutpaste`): a good value there says that
  training worked, and is not comparable with that of a model which never saw them.
- Resampling and the edges of patches leave traces that a model may find instead of the defect: small pictures that were
  enlarged by repeating pixels are told from their warps and turns at once.
- It tells models apart no better than its standard error, about 0.02 a kind with 256 defects.
"""

import zlib
from typing import NamedTuple

import numpy as np

from ensemble_ad.data.defect_kinds import KINDS, OF_PLACE
from ensemble_ad.data.images import Images
from ensemble_ad.data.split import Rows
from ensemble_ad.data.square import checked_square
from ensemble_ad.errors import DataError

MOST = 256
MOST_BYTES = 2**27
_ORIENTED_SHARE = 0.5
_ORIENTATION_IMAGES = 512
# Added to the data set's fingerprint to seed the draw. With 0 it seeds the draw of the reference (`split.py`), with 1
# that of the test images which a training looks at after each epoch.
_SEED_OFFSET = 2


class ReferenceSplit(NamedTuple):
    """Rows of the reference (the held-out normal images), sorted and disjoint.

    Attributes:
        normal: int64 (n,), the images that are scored as they are.
        damaged: int64 (k,), the images that are made into pseudo-anomalies and scored as these only.
    """

    normal: Rows
    damaged: Rows


def split_reference(n_reference: int, fingerprint: str, *, image_bytes: int) -> ReferenceSplit:
    """Draw which held-out images become pseudo-anomalies; it depends on the data alone, so that all trials share them.

    Half of the images do, but at most `MOST`, and at most as many as fit into `MOST_BYTES` for all kinds together; the
    others stay normal.

    Args:
        n_reference: number of held-out normal images.
        fingerprint: the data set's, hexadecimal; seeds the draw.
        image_bytes: height * width * channels of a raw image.

    Raises:
        DataError: for fewer than 4 images.
    """
    if n_reference < 4:
        raise DataError(
            f"pseudo-anomalies need at least 4 held-out normal images, and there are {n_reference}; add more"
        )
    n_damaged = min(n_reference // 2, MOST, MOST_BYTES // (image_bytes * len(KINDS)))
    order = np.random.default_rng(int(fingerprint, 16) + _SEED_OFFSET).permutation(n_reference)
    return ReferenceSplit(normal=np.sort(order[n_damaged:]), damaged=np.sort(order[:n_damaged]))


def pseudo_anomalies(images: Images, *, seed: int) -> dict[str, Images]:
    """Give every image a defect of every kind that applies.

    The kinds `OF_PLACE` are left out where the images are not `oriented`, and `colour` where they hold no colours.
    Three equal channels stay equal.

    Args:
        images: uint8 (n, side, side, C), normal; n of 2 or more, C of 1 or 3; not written to.
        seed: 0 or more. Each kind draws from a stream of its own, so that a new kind changes no other.

    Returns:
        uint8 (n, side, side, C) by kind, in the order of `KINDS`.

    Raises:
        DataError: for one image, another dtype or shape.
    """
    images = checked_square(images)
    if len(images) < 2:
        raise DataError(f"pseudo-anomalies need at least 2 images, and there is {len(images)}; add more")
    channels = images.shape[3]
    coloured = channels == 3 and not bool((images == images[..., :1]).all())
    used = images if coloured else images[..., :1]
    left_out = (frozenset() if oriented(used) else OF_PLACE) | ({"colour"} if not coloured else frozenset())
    result = {}
    for name, kind in KINDS.items():
        if name not in left_out:
            made = kind(used, np.random.default_rng([seed, zlib.crc32(name.encode())]))
            result[name] = made if coloured else np.repeat(made, channels, axis=3)
    return result


def oriented(images: Images) -> bool:
    """Whether orientation means something: do most images fit the others better as they are than turned?

    Each image, and its turns by 90, 180 and 270 degrees, is correlated with the mean of the *other* images. Where
    orientation means nothing, each of the four fits best for a quarter of the images; the answer is yes where the image
    as it is fits best for more than half of them. Faces and digits are oriented, textures are not.

    It fails for textures lit from one side, which pass for oriented. Objects in a fixed pose that look alike when
    turned (a cross, a bottle from above) are not oriented, rightly.

    Args:
        images: uint8 (n, side, side, C); 512 of them, evenly spaced, are looked at. One image, or constant ones, are
            not oriented.

    Raises:
        DataError: for another dtype or shape.
    """
    images = checked_square(images)
    rows = np.linspace(0, len(images) - 1, min(len(images), _ORIENTATION_IMAGES)).round().astype(int)
    grey = images[rows].mean(axis=3, dtype=np.float32)
    if len(grey) < 2:
        return False
    others = grey.sum(axis=0) - grey
    others -= others.mean(axis=(1, 2), keepdims=True)
    # A turn changes neither the mean nor the norm of an image, so that products rank as correlations.
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    fit = np.stack([(np.rot90(grey, turn, axes=(1, 2)) * others).sum(axis=(1, 2)) for turn in range(4)])
    return bool(np.mean(fit[0] > fit[1:].max(axis=0)) > _ORIENTED_SHARE)
