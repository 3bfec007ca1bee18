"""How well a blend's maps find where defects are, by masks that lie beside the test images as MVTec AD has them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ensemble_ad.data.fit import unfitted
from ensemble_ad.data.pictures import read_picture
from ensemble_ad.data.stream import stream
from ensemble_ad.detect.explain import AT_ONCE
from ensemble_ad.detect.scorer import BlendScorer
from ensemble_ad.files.ground_truth import GOOD
from ensemble_ad.statistics.arrays import Bools
from ensemble_ad.statistics.pixels import PixelScores


@dataclass(frozen=True, kw_only=True)
class MapJudgement:
    """What masks say of a blend's maps.

    Attributes:
        auroc, aupro: as `PixelScores` has them, the second up to a false positive rate of 0.3.
        masked, good: number of images whose masks mark anomalous pixels, and of those without any.
        left_out: number of images without a mask, or with one of another size.
    """

    auroc: float
    aupro: float
    masked: int
    good: int
    left_out: int


def judge_maps(
    scorer: BlendScorer, folder: Path, masks: Path, step: Callable[[int], None] = lambda count: None
) -> MapJudgement:
    """Compare a blend's maps with masks.

    Args:
        scorer: the blend.
        folder: the test images, by kind; those of `good/` are normal everywhere.
        masks: `<kind>/NAME_mask.png` of each other image, above 0 where the picture is anomalous.
        step: called with how many images were looked at.

    Raises:
        DataError: if an image cannot be read, or no image has a mask.
        UsageError: if no member of the blend has maps.
    """
    pixels, masked, good, left_out = PixelScores(), 0, 0, 0
    conversion = scorer.conversion
    for block in stream((folder,), scorer.shape, conversion=conversion, block=AT_ONCE):
        for name, errors in zip(block.ids, scorer.explain(block.images), strict=True):
            mask = _mask(name, folder, masks)
            scores = errors
            if mask is not None and conversion is not None:
                scores = unfitted(errors, (mask.shape[0], mask.shape[1]), conversion.fit)
            if mask is None or mask.shape != scores.shape:
                left_out += 1
            else:
                pixels.add(scores, mask)
                masked, good = masked + bool(mask.any()), good + (not mask.any())
        step(masked + good + left_out)
    return MapJudgement(auroc=pixels.auroc(), aupro=pixels.aupro(), masked=masked, good=good, left_out=left_out)


def _mask(name: str, folder: Path, masks: Path) -> Bools | None:
    """bool (H, W) of the picture's own pixels, where it is anomalous; None where nothing says so."""
    is_good = name.partition("/")[0] == GOOD
    path = folder / name if is_good else masks / f"{name.rpartition('.')[0]}_mask.png"
    if not path.is_file():  # a page of a file of several has a name of its own
        return None
    picture = read_picture(path)
    if is_good:
        return np.zeros(picture.shape[:2], dtype=bool)
    return np.asarray((picture if picture.ndim == 2 else picture.max(axis=2)) > 0)
