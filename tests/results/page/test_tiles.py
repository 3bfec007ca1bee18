"""Pictures as data URIs."""

import numpy as np
import pytest

from ensemble_ad.results.page.tiles import FINENESS, data_uri, error_pixels


def test_an_error_map_grows_brighter_with_the_error():
    colours = error_pixels(np.linspace(0, 120, 50)[None], 100.0)[0].astype(float)
    luma = colours @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luma)[:40] > 0).all()
    assert luma[0] < 3
    assert (colours[-1] == colours[-5]).all()
    assert (error_pixels(np.zeros((2, 2)), 0.0) == error_pixels(np.zeros((2, 2)), 1.0)).all()


def test_a_coarser_picture_takes_less(photos):
    picture = photos(1, 128, 3)[0]
    sizes = [len(data_uri(picture, fineness)) for fineness in FINENESS]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]
    # 24 pictures in each of five groups, of all nine families that reconstruct, and their latents.
    tiles = 24 * 5 * 2 * 9 + 9 * 2 * (2 + 3 + 9)
    large = 24 * 5 * 2 * len(data_uri(picture, FINENESS[2], large=True))  # and each with the blend's map
    assert tiles * sizes[2] + large < 4_000_000
    assert len(data_uri(picture, large=True)) > sizes[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_keep_every_pixel_and_large_ones_are_shrunk(photos, channels):
    import base64
    import io

    from PIL import Image

    for side, shown in ((32, 32), (128, 96)):
        pixels = photos(1, side, 3)[0][..., :channels]
        uri = data_uri(pixels)
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as opened:
            assert opened.size == (shown, shown)
            if side == 32:
                expected = pixels if channels == 3 else np.repeat(pixels, 3, axis=2)
                np.testing.assert_array_equal(np.asarray(opened.convert("RGB")), expected)
