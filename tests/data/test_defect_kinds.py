"""Kinds of defect: they show, they repeat, and each is as strong as it says."""

import numpy as np
import pytest

from ensemble_ad.data import warps as module
from ensemble_ad.data.defect_kinds import KINDS, OF_PLACE
from ensemble_ad.errors import DataError

LOCAL = ("cut_paste", "patch_swap", "occlusion")


def _change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Root mean square change an image, in the images' standard deviations."""
    squares = np.square(after.astype(np.float64) - before).mean(axis=(1, 2, 3))
    return np.sqrt(squares) / before.std()


def _made(name: str, images: np.ndarray, seed: int = 0) -> np.ndarray:
    return KINDS[name](images, np.random.default_rng(seed))


SHAPES = [
    pytest.param(name, side, channels, id=f"{name}-{side}x{channels}")
    for name in KINDS
    for side, channels in ((8, 1), (16, 3), (16, 1), (33, 3), (64, 3), (256, 3))
    if name != "colour" or channels == 3
]


@pytest.mark.parametrize(("name", "side", "channels"), SHAPES)
def test_a_defect_shows_in_every_image_but_is_no_other_image(photos, name, side, channels):
    # Whole views made small: a crop of a few pixels may hold one tone.
    step = 256 // side
    images = np.ascontiguousarray(photos(8, side * step, channels)[:, ::step, ::step])
    before = images.copy()
    made = _made(name, images)
    assert made.dtype == np.uint8
    assert made.shape == images.shape
    np.testing.assert_array_equal(images, before)
    assert not np.shares_memory(made, images)
    assert (made != images).any(axis=(1, 2, 3)).all()
    change = _change(images, made)
    assert np.median(change) > 0.03
    if name == "halves":  # half of it is another's
        return
    if name in OF_PLACE:  # every pixel may be another then, but the tones are much the same
        assert np.abs(made.mean(axis=(1, 2, 3)) - images.mean(axis=(1, 2, 3))).max() < 0.5 * images.std()
        return
    assert change.max() < 1.5
    # Still the same picture: nearer to its own original than a photograph is to another.
    assert np.median(change) < np.median(_change(images, np.roll(images, 1, axis=0)))


@pytest.mark.parametrize("name", KINDS)
def test_the_generator_alone_decides(photos, name):
    images = photos(5, 32, 3)
    np.testing.assert_array_equal(_made(name, images), _made(name, images))
    assert (_made(name, images) != _made(name, images, seed=1)).any() == (name != "upside_down")


@pytest.mark.parametrize("name", KINDS)
def test_a_read_only_memory_map_will_do(photos, tmp_path, name):
    images = photos(3, 32, 3)
    np.save(tmp_path / "images.npy", images)
    opened = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(_made(name, opened), _made(name, images))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x.astype(np.float32) / 255, "float32"),
        (lambda x: x.astype(np.int64), "int64"),
        (lambda x: x.tolist(), "list"),
        (lambda x: x[..., 0], r"\(4, 16, 16\)"),
        (lambda x: x[:, :, :12], r"\(4, 16, 12, 3\)"),
        (lambda x: x[..., :2], r"\(4, 16, 16, 2\)"),
        (lambda x: x[:, :7, :7], r"\(4, 7, 7, 3\)"),
        (lambda x: x[:0], r"\(0, 16, 16, 3\)"),
    ],
)
def test_what_is_no_image_is_refused(photos, name, spoil, message):
    with pytest.raises(DataError, match=message):
        _made(name, spoil(photos(4, 16, 3)))


@pytest.mark.parametrize("name", LOCAL)
def test_a_patch_changes_a_rectangle_of_the_size_that_is_promised(photos, name):
    images = photos(40, 64, 3)
    changed = (_made(name, images) != images).any(axis=3)
    for each in changed:
        rows, columns = (np.flatnonzero(each.any(axis=axis)) for axis in (1, 0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        # Equal pixels at the rim make the rectangle look smaller, never larger; rounding is half a pixel a side.
        assert height * width <= 0.15 * 64**2 * 1.1
    assert 0.01 < changed.mean() < 0.15


def test_cut_paste_takes_pixels_of_the_image_itself(photos):
    images = photos(20, 64, 3)
    for before, after in zip(images, _made("cut_paste", images), strict=True):
        assert {*map(tuple, after.reshape(-1, 3))} <= {*map(tuple, before.reshape(-1, 3))}


def test_patch_swap_takes_pixels_of_other_images_at_the_same_place(digits):
    # Large, so that every fade is wider than a pixel; complements, so that no pixel is equal in both.
    digit = digits[0].repeat(8, axis=0).repeat(8, axis=1)
    pair = np.stack([digit, 255 - digit])
    made = _made("patch_swap", pair)
    low, high = pair.min(axis=0), pair.max(axis=0)
    assert ((made >= low) & (made <= high)).all()
    hard = [_made("patch_swap", pair, seed) for seed in range(12)]
    assert any(((each == pair) | (each == pair[::-1])).all() for each in hard), "never a hard edge"
    assert not all(((each == pair) | (each == pair[::-1])).all() for each in hard), "never a soft edge"


@pytest.mark.parametrize("name", ["patch_swap", "halves"])
def test_what_takes_from_other_images_needs_another(photos, name):
    with pytest.raises(DataError, match="at least 2 images"):
        _made(name, photos(1, 32, 3))


def test_halves_are_of_two_images_with_a_straight_cut(photos):
    images = photos(2, 64, 3)
    cuts = set()
    for seed in range(20):
        for own, other, made in zip(images, images[::-1], _made("halves", images, seed), strict=True):
            foreign = (made != own).any(axis=2)
            for axis in (0, 1):
                across = np.flatnonzero(foreign.any(axis=1 - axis))
                if across[-1] - across[0] < 50:
                    cuts.add(axis)
                    assert 0.3 * 64 < across[0] < 0.7 * 64
            np.testing.assert_array_equal(made[foreign], other[foreign])
    assert cuts == {0, 1}


def test_a_patch_is_not_blank_on_blank(digits):
    # Two thirds of a digit's pixels are black.
    for name in LOCAL:
        shown = _change(digits[:100], _made(name, digits[:100])) > 0
        assert shown.mean() > 0.98, name


def test_occlusion_is_of_one_tone(photos):
    images = photos(10, 64, 3)
    made = _made("occlusion", images)
    for before, after in zip(images, made, strict=True):
        pixels = after[(after != before).any(axis=2)]
        assert len(np.unique(pixels, axis=0)) == 1


def test_smoothing_is_scipys_gaussian(photos):
    from scipy import ndimage

    images = photos(3, 64, 3).astype(np.float32)
    sigma = np.array([1.5, 2.5, 5.0])
    for image, width, smooth in zip(images, sigma, module.smoothed(images, sigma), strict=True):
        expected = ndimage.gaussian_filter(image, width, axes=(0, 1), mode="reflect", truncate=6)
        np.testing.assert_allclose(smooth, expected, atol=0.5)


def test_colour_leaves_greys_and_turns_the_rest(photos):
    images = photos(8, 32, 3)
    grey = np.repeat(images[..., :1], 3, axis=3)
    np.testing.assert_array_equal(_made("colour", grey), grey)
    turned = _made("colour", images).astype(float)
    inside = ((turned > 0) & (turned < 255)).all(axis=3)
    np.testing.assert_allclose(turned.mean(axis=3)[inside], images.mean(axis=3)[inside], atol=1)
    with pytest.raises(DataError, match="3 channels"):
        _made("colour", images[..., :1])


def test_elastic_moves_pixels_as_far_as_it_says():
    # Where each pixel came from can be read off a picture of its row number, and one of its column number.
    rows = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 4, (40, 64, 64, 1))
    moved = []
    for ramp in (rows, rows.transpose(0, 2, 1, 3)):
        shift = (_made("elastic", ramp).astype(float) - ramp) / 4
        moved.append(shift[:, 8:-8, 8:-8])
    distance = np.sqrt(np.square(moved).mean(axis=(0, 2, 3, 4))) / 64
    assert 0.025 < distance.min() < 0.05
    assert 0.065 < distance.max() < 0.1


def _places(name: str, side: int = 64, n: int = 40) -> np.ndarray:
    """Where each pixel came from, (n, side, side, 2): off a picture of its row number, and one of its column number."""
    rows = np.broadcast_to(np.arange(side, dtype=np.uint8)[:, None, None] * 4, (n, side, side, 1))
    came = [_made(name, ramp)[..., 0] / 4 for ramp in (rows, rows.transpose(0, 2, 1, 3))]
    return np.stack(came, axis=3)


def test_shift_moves_as_far_as_it_says():
    middle = _places("shift")[:, 32, 32]
    far = np.hypot(*(middle - 32).T) / 64
    assert 0.025 < far.min() < 0.05
    assert 0.12 < far.max() < 0.155


def test_roll_loses_no_pixel(photos):
    images = photos(20, 64, 3)
    for image, made in zip(images, _made("roll", images), strict=True):
        found = [
            (axis, by) for axis in (0, 1) for by in range(-32, 32) if np.array_equal(np.roll(image, by, axis), made)
        ]
        assert len(found) == 1
        assert 5 <= abs(found[0][1]) <= 13


def test_affine_is_out_of_place_a_little():
    came = _places("affine")
    off = np.hypot(*(came[:, 32, 32] - 32).T) / 64
    assert off.min() > 0.01
    assert off.max() < 0.075
    scale = np.hypot(*(came[:, 40, 32] - came[:, 24, 32]).T) / 16
    assert 0.84 < scale.min() < 0.97
    assert 1.03 < scale.max() < 1.19


def test_stretch_keeps_the_edges_and_moves_the_middle_along_one_axis():
    came = _places("stretch")
    moved = np.abs(came[:, 32, 32] - 32) > 1
    assert (moved.sum(axis=1) == 1).all()
    assert moved.any(axis=0).all()
    np.testing.assert_allclose(came[:, 0, 0], 0, atol=0.5)
    np.testing.assert_allclose(came[:, -1, -1], 63, atol=0.5)


def test_rotate_turns_about_the_centre():
    wedge = np.zeros((1, 65, 65, 1), dtype=np.uint8)
    wedge[:, 31:34, 32:] = 255
    for seed in range(10):
        made = _made("rotate", wedge, seed)[0, ..., 0]
        assert made[32, 32] > 200
        rows, columns = np.nonzero(made > 128)
        near = np.hypot(rows - 32, columns - 32) < 20
        angle = abs(np.rad2deg(np.arctan2(np.mean(rows[near] - 32), np.mean(columns[near] - 32))))
        assert 8 < angle < 42
