"""Pixels as data URIs small enough to put hundreds into a page."""

import base64
import io
from typing import NamedTuple

from ensemble_ad.data.colours import coloured
from ensemble_ad.results.page.shots import Pixels
from ensemble_ad.statistics.arrays import Floats64

_LOSSLESS_SIDE = 32


class Fineness(NamedTuple):
    """How fine pictures are: the longest side in pixels, WebP's quality, and the longest side of what opens large."""

    side: int
    quality: int
    large: int


FINENESS = (Fineness(96, 80, 256), Fineness(64, 70, 128), Fineness(40, 60, 64))
"""From the finest, for pages that become too large."""


def data_uri(pixels: Pixels, fineness: Fineness = FINENESS[0], *, large: bool = False) -> str:
    """A WebP of uint8 (h, w, 1 or 3), shrunk to one of the fineness's sides; small pictures are kept without loss."""
    from PIL import Image

    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    side = fineness.large if large else fineness.side
    if max(picture.size) > side:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    picture.save(
        packed, format="WEBP", quality=fineness.quality, method=6, lossless=max(picture.size) <= _LOSSLESS_SIDE
    )
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()


def error_pixels(error: Floats64, brightest: float) -> Pixels:
    """An error map (h, w) in colours, uint8 (h, w, 3): black is 0, pale yellow is `brightest` and more."""
    return coloured(error / brightest if brightest > 0 else error * 0)
