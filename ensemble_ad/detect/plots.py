"""A figure of images that a saved blend has scored: how their scores lie, and the most anomalous ones."""

import numpy as np

from ensemble_ad.blend.plots import ShownFigure, histogram
from ensemble_ad.data.images import Images
from ensemble_ad.statistics.arrays import Floats64

_SHOWN = 8


def scored_images(images: Images, scores: Floats64, reference: Floats64, threshold: float) -> ShownFigure:
    """Scores against those of the held-out normal images, above the (at most eight) images that score highest.

    Args:
        images: uint8 (n, side, side) or (n, side, side, 1 or 3), n at least 1.
        scores: float64 (n,), higher = more anomalous.
        reference: float64 (r,) scores of held-out normal images.
        threshold: the score above which an image is an alarm.
    """
    figure = ShownFigure(figsize=(9, 4.6), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=(2, 1.1)))
    histogram(above.subplots(), {"held-out normal images": reference, "images": scores}, threshold)
    highest = np.argsort(-scores, kind="stable")[:_SHOWN]
    axes = below.subplots(1, _SHOWN)
    for place in axes:
        place.set_axis_off()
    for row, place in zip(highest, axes, strict=False):
        shown = images[row]
        place.imshow(shown[..., 0] if shown.shape[-1:] == (1,) else shown, cmap="gray", vmin=0, vmax=255)
        place.set_title(f"{row}: {scores[row]:.3f}", fontsize=8)
    return figure
