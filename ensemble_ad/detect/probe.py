"""The probe of an exported blend: error vectors by which another machine can tell whether it scores alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_ad.data.images import Images, ImageShape
from ensemble_ad.detect.scorer import BlendScorer, load_blend
from ensemble_ad.errors import DataError

_COUNT = 4
_TOLERANCE = 1e-3


def probe(scorer: BlendScorer) -> dict[str, Any]:
    """Error vectors of a few made-up images, by which another machine can tell whether it scores alike."""
    return {"vectors": scorer.vectors(_made_up_images(scorer.shape)).astype(float).tolist()}


def check_probe(studies: Path, name: str, wanted: Mapping[str, Any]) -> None:
    """Check that the blend `name` gives here the error vectors that `probe` gave elsewhere.

    Raises:
        DataError: if they differ by more than a thousandth.
        UsageError, StorageError: as for `load_blend`.
    """
    scorer = load_blend(name, studies, device="cpu")
    found = scorer.vectors(_made_up_images(scorer.shape))
    try:
        there = np.asarray(wanted.get("vectors"), dtype=np.float64)
    except (TypeError, ValueError):
        there = np.empty(0)
    scale = np.abs(found).max(axis=0)
    if there.shape != found.shape or not (np.abs(there - found) <= _TOLERANCE * scale).all():
        raise DataError(
            f"the blend {name} scores otherwise here than where it was exported; use the same version of ensemble_ad"
        )


def _made_up_images(shape: ImageShape) -> Images:
    """uint8 (4, side, side, C): smooth ramps with more and more noise."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, shape[0])[:, None, None] * np.linspace(0, 1, shape[1])[None, :, None]
    noise = rng.normal(size=(_COUNT, *shape)) * np.linspace(4, 64, _COUNT)[:, None, None, None]
    return np.clip(np.rint(ramp + noise), 0, 255).astype(np.uint8)
