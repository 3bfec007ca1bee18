"""Crop and resize: Pillow's, done once, found again by content."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from ensemble_ad.data import preprocess as module
from ensemble_ad.data.images import ImageSet
from ensemble_ad.data.npy import open_array
from ensemble_ad.data.preprocess import Preprocess, apply, cached, resize_matrix, undone
from ensemble_ad.errors import StorageError, UsageError


def _pillow(pixels: np.ndarray, crop: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    side = pixels.shape[1]
    top, left = ((side - c * side) / 2 for c in crop)
    box = (left, top, left + crop[1] * side, top + crop[0] * side)
    result = []
    for each in pixels:
        picture = Image.fromarray(each[..., 0] if each.shape[2] == 1 else each)
        result.append(np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR, box=box)))
    return np.stack(result).reshape(len(pixels), *size, pixels.shape[3])


@pytest.mark.parametrize("side", [16, 33, 64, 256])
@pytest.mark.parametrize(
    "crop", [(1.0, 1.0), (0.75, 0.75), (196 / 256, 196 / 256), (0.4375, 0.4375), (0.5, 0.9)], ids=str
)
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (256, 256), (24, 40)], ids=str)
def test_pixels_are_pillows_within_one_grey_level(photos, side, crop, size):
    pixels = photos(3, side, 3)
    result = apply(pixels, Preprocess(crop=crop, size=size, channels=3))
    assert result.dtype == np.uint8
    difference = np.abs(result.astype(int) - _pillow(pixels, crop, size))
    assert difference.max() <= 1
    assert difference.mean() < 0.25


def _pillows_chain(pixels: np.ndarray, via: int, kept: int, size: int) -> np.ndarray:
    """Resize, crop the middle, resize back, as the published notebooks do it on one picture after another."""
    edge = round((via - kept) / 2)
    result = []
    for each in pixels:
        picture = Image.fromarray(each[..., 0] if each.shape[2] == 1 else each)
        larger = picture.resize((via, via), Image.Resampling.BILINEAR)
        cropped = larger.crop((edge, edge, edge + kept, edge + kept))
        result.append(np.asarray(cropped.resize((size, size), Image.Resampling.BILINEAR)))
    return np.stack(result).reshape(len(pixels), size, size, pixels.shape[3])


def _torchvisions_chain(pixels: np.ndarray, via: int, kept: int, size: int) -> np.ndarray:
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    cropped = functional.center_crop(functional.resize(images, [via, via], antialias=True), [kept, kept])
    return functional.resize(cropped, [size, size], antialias=True).permute(0, 2, 3, 1).numpy()


CHAINS = [(64, 256, 196, 64), (64, 256, 128, 64), (33, 128, 101, 48), (96, 64, 48, 32), (28, 256, 256, 32)]


@pytest.mark.parametrize(("side", "via", "kept", "size"), CHAINS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_chain_is_one_matrix_with_the_published_chains_pixels(photos, side, via, kept, size, channels):
    pixels = photos(8, side, channels)
    settings = Preprocess(crop=(kept / via, kept / via), size=(size, size), channels=channels, via=via)
    result = apply(pixels, settings).astype(int)
    chain, on_tensors = (make(pixels, via, kept, size) for make in (_pillows_chain, _torchvisions_chain))
    of_pillow, of_torchvision = np.abs(result - chain), np.abs(result - on_tensors)
    assert (of_pillow.max(), of_torchvision.max()) <= (2, 1)
    assert (of_pillow.mean(), of_torchvision.mean()) <= (0.25, 0.1)
    # The crop alone is another image, so the chain has to be named.
    if kept < via:
        alone = apply(pixels, Preprocess(crop=settings.crop, size=settings.size, channels=channels)).astype(int)
        assert np.abs(alone - chain).max() > 4


def test_one_channel_is_resized_as_pillow_does_it(photos):
    pixels = photos(3, 64, 1)
    result = apply(pixels, Preprocess(crop=(0.6, 0.6), size=(32, 32), channels=1))
    assert np.abs(result.astype(int) - _pillow(pixels, (0.6, 0.6), (32, 32))).max() <= 1


def test_a_crop_of_whole_pixels_at_its_own_size_is_a_slice(photos):
    pixels = photos(2, 64, 3)
    result = apply(pixels, Preprocess(crop=(0.5, 0.75), size=(32, 48), channels=3))
    np.testing.assert_array_equal(result, pixels[:, 16:48, 8:56])


@pytest.mark.parametrize("crop", [1.0, 0.5, 0.31])
@pytest.mark.parametrize("size", [16, 50, 200])
def test_every_row_of_the_matrix_is_a_mean_of_pixels_of_the_crop(crop, size):
    matrix = resize_matrix(64, crop, size)
    assert matrix.shape == (size, 64)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


def test_the_result_does_not_depend_on_the_size_of_a_block(monkeypatch, photos):
    pixels, settings = photos(7, 32, 3), Preprocess(crop=(0.75, 0.75), size=(24, 24), channels=3)
    whole = apply(pixels, settings)
    monkeypatch.setattr("ensemble_ad.data.images._BLOCK", 3)
    np.testing.assert_array_equal(apply(pixels, settings), whole)


def test_of_three_equal_channels_one_is_kept_and_one_becomes_three(photos):
    grey = photos(2, 16, 1)
    three = apply(grey, Preprocess(crop=(1.0, 1.0), size=(16, 16), channels=3))
    np.testing.assert_array_equal(three, grey.repeat(3, axis=3))
    np.testing.assert_array_equal(apply(three, Preprocess(crop=(1.0, 1.0), size=(16, 16), channels=1)), grey)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": (0.0, 1.0)}, r"above 0 and at most 1, not \(0.0, 1.0\)"),
        ({"crop": (1.0, 1.01)}, r"at most 1, not \(1.0, 1.01\)"),
        ({"crop": (float("nan"), 1.0)}, "at most 1, not"),
        ({"size": (15, 64)}, r"16 to 256 pixels a side, not to \(15, 64\)"),
        ({"size": (64, 257)}, r"not to \(64, 257\)"),
        ({"channels": 2}, "1 or 3, not 2"),
        ({"via": 8}, "via 16 to 1024 pixels a side, not via 8"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Preprocess(**{"crop": (1.0, 1.0), "size": (64, 64), "channels": 3, **settings})


def test_settings_survive_json():
    settings = Preprocess(crop=(0.75, 196 / 256), size=(32, 48), channels=3)
    assert Preprocess.from_json(settings.as_json()) == settings
    assert settings.shape == (3, 32, 48)
    assert "via" not in settings.as_json()
    chain = Preprocess(crop=(0.75, 0.75), size=(32, 32), channels=1, via=256)
    assert Preprocess.from_json(chain.as_json()) == chain
    assert chain.as_json()["via"] == 256


HALF = Preprocess(crop=(0.5, 0.5), size=(32, 32), channels=3)


@pytest.fixture
def photo_set(tmp_path, photos):
    """Saves pixels under a name and opens them."""

    def make(name: str, pixels: np.ndarray | None = None) -> ImageSet:
        pixels = photos(4, 64, 3) if pixels is None else pixels
        path = tmp_path / name
        np.save(path, pixels)
        return ImageSet(images=open_array(path), ids=tuple(map(str, range(len(pixels)))), source=path)

    return make


@pytest.fixture
def count_applied(monkeypatch):
    """What `applied` was called with, in a list that grows."""
    calls, real = [], module.applied
    monkeypatch.setattr(module, "applied", lambda *arguments: calls.append(arguments) or real(*arguments))
    return calls


def test_preprocessing_is_done_once_and_mapped_from_disk(tmp_path, photo_set, count_applied):
    results = [cached(photo_set("a.npy"), HALF, tmp_path / "cache") for _ in range(3)]
    assert len(count_applied) == 1
    assert isinstance(results[2], np.memmap)
    np.testing.assert_array_equal(results[2], apply(photo_set("a.npy").images, HALF))


def test_the_same_pixels_at_another_place_are_found_in_the_cache(tmp_path, photo_set, count_applied):
    cached(photo_set("a.npy"), HALF, tmp_path / "cache")
    cached(photo_set("b.npy"), HALF, tmp_path / "cache")
    assert len(count_applied) == 1


def test_one_changed_pixel_is_not_found_in_the_cache(tmp_path, photo_set, photos, count_applied):
    cached(photo_set("a.npy"), HALF, tmp_path / "cache")
    changed = photos(4, 64, 3)
    changed[3, 32, 32, 0] ^= 128
    result = cached(photo_set("a.npy", changed), HALF, tmp_path / "cache")
    assert len(count_applied) == 2
    np.testing.assert_array_equal(result, apply(changed, HALF))


def test_a_time_and_another_way_to_store_the_pixels_change_nothing(tmp_path, photo_set, photos, count_applied):
    first = photo_set("a.npy")
    cached(first, HALF, tmp_path / "cache")
    os.utime(first.source, (1, 1))
    in_memory = ImageSet(images=np.asfortranarray(photos(4, 64, 3)), ids=first.ids, source=Path("elsewhere"))
    for again in (photo_set("a.npy"), in_memory):
        cached(again, HALF, tmp_path / "cache")
    assert len(count_applied) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_no_more_than_a_block_is_held_while_the_cache_is_written(tmp_path, photo_set, photos, monkeypatch):
    monkeypatch.setattr("ensemble_ad.data.images._BLOCK", 64)
    images = photo_set("many.npy", np.tile(photos(64, 64, 3), (40, 1, 1, 1)))
    _ = images.fingerprint
    settings = Preprocess(crop=(0.75, 0.75), size=(64, 64), channels=3)
    tracemalloc.start()
    result = cached(images, settings, tmp_path / "cache")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(result[:64], apply(images.images[:64], settings))
    assert result.shape == (2560, 64, 64, 3)
    # 31 MB of images; a block of 64 is 0.8 MB, and a few of its size are worked on as float32.
    assert peak < result.nbytes / 3


@pytest.mark.parametrize("other", [{"crop": (0.5, 0.75)}, {"size": (32, 16)}, {"channels": 1}, {"via": 128}], ids=str)
def test_other_settings_have_a_place_of_their_own_in_the_cache(tmp_path, photo_set, other):
    images, settings = photo_set("a.npy"), Preprocess(**{**vars(HALF), **other})
    cached(images, HALF, tmp_path / "cache")
    np.testing.assert_array_equal(cached(images, settings, tmp_path / "cache"), apply(images.images, settings))


def test_what_needs_no_preprocessing_is_not_copied(tmp_path, photo_set):
    images = photo_set("a.npy")
    whole = Preprocess(crop=(1.0, 1.0), size=(64, 64), channels=3)
    assert cached(images, whole, tmp_path / "cache") is images.images
    assert apply(images.images, whole) is images.images
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("keep", [0, 60, -1])
def test_a_cache_that_is_cut_off_is_made_again(tmp_path, photo_set, keep):
    images = photo_set("a.npy")
    expected = np.array(cached(images, HALF, tmp_path / "cache"))
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:keep])
    np.testing.assert_array_equal(cached(images, HALF, tmp_path / "cache"), expected)


def test_a_file_in_the_place_of_the_cache_folder_is_one_clear_error(tmp_path, photo_set):
    Path(tmp_path / "cache").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write to .*cache: File exists"):
        cached(photo_set("a.npy"), HALF, tmp_path / "cache")


@pytest.mark.parametrize(("crop", "size"), [(0.75, 24), (0.75, 16), (0.75, 60), (1.0, 16), (1.0, 64)])
def test_a_map_of_a_crop_lies_where_the_crop_was(crop, size):
    images = np.zeros((1, 32, 32, 1), dtype=np.uint8)
    images[0, 10:14, 18:24] = 255
    preprocess = Preprocess(crop=(crop, crop), size=(size, size), channels=1)
    seen = apply(images, preprocess)[..., 0].astype(np.float32)
    found = undone(seen, preprocess, 32, outside=-1.0)
    assert found.shape == (1, 32, 32)
    assert found.dtype == np.float32
    cut = round(32 * (1 - crop) / 2)
    inside = found[0, cut : 32 - cut, cut : 32 - cut]
    assert (found == -1).sum() == 32**2 - inside.size
    rows, columns = np.indices((32, 32))
    weight = np.maximum(found[0], 0)
    assert (rows * weight).sum() / weight.sum() == pytest.approx(11.5, abs=0.1)
    assert (columns * weight).sum() / weight.sum() == pytest.approx(20.5, abs=0.1)
    assert found[0, 11:13, 19:23].min() > 0.7 * 255
    assert found[0, 18:22, 10:14].max() == 0


def test_a_map_of_whole_images_is_left_as_it_is():
    maps = np.random.default_rng(0).random((3, 20, 20), dtype=np.float32)
    unchanged = undone(maps, Preprocess(crop=(1.0, 1.0), size=(20, 20), channels=1), 20, outside=0.0)
    np.testing.assert_allclose(unchanged, maps, rtol=1e-6)
