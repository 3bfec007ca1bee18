"""From pictures of any size and depth to images: the side, the levels, pages, transparency, and what is refused."""

import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ensemble_ad.data import intake, picture_folder, pictures
from ensemble_ad.data.complaints import complaints
from ensemble_ad.data.conversion import Conversion
from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.data.fit import FITS, fitted
from ensemble_ad.errors import DataError

SHAPES = [(40, 70), (64, 64), (90, 30), (64, 50), (33, 80), (50, 66)]


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """uint8 (427, 640, 3)."""
    return load_sample_images().images[0]


@pytest.fixture
def load(tmp_path):
    """Loads the data set in `tmp_path`."""
    return lambda **how: load_dataset(tmp_path, image_cache=tmp_path / "cache", **how)


def _parts(photograph, shapes) -> list[np.ndarray]:
    return [photograph[row : row + h, 2 * row : 2 * row + w] for row, (h, w) in enumerate(shapes)]


def _write(folder: Path, parts, ending: str = "png") -> None:
    folder.mkdir(exist_ok=True)
    for row, part in enumerate(parts):
        Image.fromarray(part).save(folder / f"{row}.{ending}")


@pytest.fixture
def mixed(tmp_path, photograph) -> list[np.ndarray]:
    """Six colour pictures of several sizes in `train/`, and the last three in `test/`."""
    parts = _parts(photograph, SHAPES)
    _write(tmp_path / "train", parts)
    _write(tmp_path / "test", parts[3:])
    return parts


# Size


@pytest.mark.parametrize("fit", FITS)
def test_pictures_of_several_sizes_become_images_of_one(load, mixed, fit):
    dataset = load(fit=fit)
    assert dataset.conversion == Conversion(fit=fit, side=64)  # the median longer side is 68
    np.testing.assert_array_equal(dataset.train.images, [fitted(part, fit, 64) for part in mixed])
    np.testing.assert_array_equal(dataset.test.images, dataset.train.images[3:])
    assert dataset.train.shapes.tolist() == [list(shape) for shape in SHAPES]
    done = {"pad": "padded", "squash": "squashed", "crop": "cropped"}[fit]
    assert ("ok", f"train: 6 pictures of 80x33 to 64x64, {done} to 64x64") in list(dataset.remarks())


def test_members_of_different_fits_never_mix(load, mixed):
    assert len({load(fit=fit).fingerprint for fit in FITS}) == len(FITS)


def test_squares_of_one_size_are_the_same_data_set_whatever_the_fit(load, tmp_path, photos):
    np.save(tmp_path / "trainingset.npy", photos(4, 24, 3))
    np.save(tmp_path / "testingset.npy", photos(6, 24, 3)[3:])
    found = [load(fit=fit) for fit in FITS]
    assert {dataset.conversion for dataset in found} == {None}
    assert {dataset.fingerprint for dataset in found} == {Dataset(train=found[0].train, test=found[0].test).fingerprint}
    assert found[0].train.shapes.tolist() == [[24, 24]] * 4


@pytest.mark.parametrize("fit", FITS)
def test_an_array_that_is_not_square_is_taken_as_pictures_are(load, tmp_path, photograph, fit):
    array = np.stack(_parts(photograph, [(60, 96)] * 5))
    np.save(tmp_path / "trainingset.npy", array)
    np.save(tmp_path / "testingset.npy", array[1:3])
    dataset = load(fit=fit)
    np.testing.assert_array_equal(dataset.train.images, [fitted(part, fit, 96) for part in array])
    assert dataset.test.shapes.tolist() == [[60, 96]] * 2


@pytest.mark.parametrize(
    ("shape", "side"), [((8, 8), 16), ((8, 9), 16), ((40, 103), 96), ((104, 30), 112), ((427, 640), 256)]
)
def test_the_side_is_a_multiple_of_16_near_the_longer_one(load, tmp_path, photograph, shape, side):
    _write(tmp_path / "train", _parts(photograph, [shape] * 3))
    assert load(test_optional=True).side == side


def test_very_many_pictures_get_a_smaller_side(load, tmp_path, mixed, monkeypatch):
    monkeypatch.setattr(intake, "_MOST_BYTES", 6 * 3 * 40**2)
    assert load().side == 32


def test_the_side_and_the_levels_never_depend_on_test_pictures(load, mixed, tmp_path, photograph):
    looked = load()
    _write(tmp_path / "test", _parts(photograph, [(200, 180)] * 3))
    assert load().conversion == looked.conversion == load(look=False).conversion


def test_shapes_are_those_of_upright_pictures(load, tmp_path, photograph):
    _write(tmp_path / "train", _parts(photograph, SHAPES))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(photograph[:40, :70]).save(tmp_path / "train" / "0.png", exif=exif)
    for _ in range(2):  # decoded, then from the cache
        assert load(test_optional=True).train.shapes[0].tolist() == [70, 40]


@pytest.mark.parametrize("shape", [(7, 40), (40, 7)])
def test_a_picture_that_is_too_small_is_refused_by_name(load, tmp_path, photograph, shape):
    _write(tmp_path / "train", _parts(photograph, [*SHAPES, shape]))
    with pytest.raises(DataError, match=r"6\.png must have at least 8 pixels a side"):
        load(test_optional=True)


# Depth


def _deep(part: np.ndarray) -> np.ndarray:
    return part[..., 0].astype(np.uint16) * 120 + 3000


@pytest.mark.parametrize(
    ("change", "ending"),
    [(lambda x: x, "png"), (lambda x: x, "tif"), (lambda x: (x / 7e4 - 0.2).astype(np.float32), "tif")],
    ids=["16 bits", "a TIFF of 16 bits", "a TIFF of floats"],
)
def test_deep_pictures_get_the_range_of_the_training_ones(load, tmp_path, photograph, change, ending):
    parts = [change(_deep(part)) for part in _parts(photograph, SHAPES)]
    _write(tmp_path / "train", parts, ending)
    beyond = [np.clip(parts[0], *np.quantile(parts[1], [0.4, 0.6])), change(np.full((40, 40), 60000, np.uint16))]
    _write(tmp_path / "test", [each.astype(parts[0].dtype) for each in beyond], ending)
    dataset = load()
    low, high = dataset.conversion.levels
    every = np.concatenate([part.ravel() for part in parts])
    assert every.min() <= low < np.quantile(every, 0.01)
    assert np.quantile(every, 0.99) < high <= every.max()
    assert dataset.train.images.min() == 0
    assert dataset.train.images.max() == 255
    assert dataset.test.images[0].std() < dataset.train.images[0].std()
    assert (dataset.test.images[1] == 255).all()
    expected = np.clip((parts[1] - low) / (high - low), 0, 1) * 255  # 64x64, so not scaled
    assert abs(dataset.train.images[1, ..., 0] - expected).max() <= 0.51


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32, np.float64])
def test_an_array_of_any_real_numbers_is_taken(load, tmp_path, photograph, kind):
    array = np.stack([_deep(part) for part in _parts(photograph, [(48, 48)] * 5)]).astype(kind)
    np.save(tmp_path / "trainingset.npy", array)
    dataset = load(test_optional=True)
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.images.std() > 20


def test_numbers_that_are_not_finite_are_refused_by_place(load, tmp_path, photograph):
    array = np.stack(_parts(photograph, [(48, 48)] * 5)) / 255
    array[3, 5, 5] = np.nan
    np.save(tmp_path / "trainingset.npy", array)
    with pytest.raises(DataError, match=r"image 3 of .*trainingset.npy must hold finite numbers"):
        load(test_optional=True)


def test_depths_are_not_mixed(load, tmp_path, photograph):
    parts = _parts(photograph, SHAPES)
    _write(tmp_path / "train", [*map(_deep, parts[:5]), parts[5][..., 0]])
    with pytest.raises(DataError, match=r"5\.png has 8 bits a channel, but the training pictures have more"):
        load(test_optional=True)
    _write(tmp_path / "test", [_deep(parts[0])])
    _write(tmp_path / "train", parts)
    with pytest.raises(DataError, match=r"test.0\.png has more than 8 bits a channel, but .*train has 8; convert"):
        load()


# Pages, frames, transparency


@pytest.mark.parametrize("ending", ["tif", "gif", "webp"])
@pytest.mark.parametrize("at_once", [2, 256])
def test_each_page_or_frame_is_a_picture(load, tmp_path, photograph, ending, at_once, monkeypatch):
    monkeypatch.setattr(picture_folder, "_DECODED", at_once)
    parts = _parts(photograph, [(40, 70)] * 5)
    _write(tmp_path / "train", parts[:1])
    pages = [Image.fromarray(part) for part in parts[1:]]
    pages[0].save(tmp_path / "train" / f"s.{ending}", save_all=True, append_images=pages[1:], lossless=True)
    train = load(test_optional=True).train
    assert train.ids == ("0.png", *(f"s.{ending}#{number}" for number in (1, 2, 3, 4)))
    assert train.shapes.tolist() == [[40, 70]] * 5
    far = abs(train.images.astype(int) - [fitted(part, "pad", 64) for part in parts]).mean(axis=(1, 2, 3))
    assert far.max() < (15 if ending == "gif" else 0.1)  # a GIF has 256 colours
    assert train.remarks.counts == {}


def test_a_smaller_version_of_a_page_is_no_picture(tmp_path, photograph):
    from PIL import TiffImagePlugin

    reduced = TiffImagePlugin.ImageFileDirectory_v2()
    reduced[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), new=True) as file:
        Image.fromarray(photograph[:64, :64]).save(file, format="TIFF")
        file.newFrame()
        Image.fromarray(photograph[:32, :32]).save(file, format="TIFF", tiffinfo=reduced)
    assert pictures.read_header(tmp_path / "a.tif").frames == 1
    assert len(list(pictures.read_frames(tmp_path / "a.tif"))) == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_get_the_mean_of_the_others(tmp_path, photograph, mode):
    picture = Image.fromarray(photograph[:40, :40]).convert(mode)
    alpha = np.full((40, 40), 255, np.uint8)
    alpha[:10] = 0
    alpha[10] = 51  # a fifth
    picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / "a.png")
    said: list[str] = []
    found = pictures.read_picture(tmp_path / "a.png", lambda kind, more: said.append(kind)).astype(float)
    before = np.asarray(picture.convert("L" if mode == "LA" else "RGB")).astype(float)
    mean = np.average(before, axis=(0, 1), weights=np.broadcast_to(alpha[..., None], before[..., None].shape)[..., 0]
                      if mode == "LA" else np.broadcast_to(alpha[..., None], before.shape))  # fmt: skip
    assert abs(found[:10] - mean).max() <= 0.5
    assert abs(found[10] - (0.2 * before[10] + 0.8 * mean)).max() <= 0.51
    np.testing.assert_array_equal(found[11:], before[11:])
    assert said == ["transparent"]


def test_a_palette_may_be_partly_transparent(tmp_path, photograph):
    indexed = Image.fromarray(photograph[:40, :40]).quantize(8)
    indexed.save(tmp_path / "a.png", transparency=bytes([0, 51, 255, 255, 255, 255, 255, 128]))
    alpha = np.array([0, 51, 255, 255, 255, 255, 255, 128])[np.asarray(indexed)] / 255
    before = np.asarray(indexed.convert("RGB")).astype(float)
    mean = np.average(before, axis=(0, 1), weights=np.broadcast_to(alpha[..., None], before.shape))
    expected = before * alpha[..., None] + mean * (1 - alpha[..., None])
    assert abs(pictures.read_picture(tmp_path / "a.png") - expected).max() <= 0.51


def test_pages_of_any_modes_are_pictures(tmp_path, photograph):
    modes = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")
    pages = [Image.fromarray(photograph[:40, :40]).convert(mode) for mode in modes]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert pictures.read_header(tmp_path / "a.tif") == (40, 40, False, False, len(modes))
    for found, page in zip(pictures.read_frames(tmp_path / "a.tif"), pages, strict=True):
        expected = np.asarray(page.convert("L" if page.mode in ("1", "L", "LA") else "RGB")).astype(int)
        assert found.shape == expected.shape
        assert abs(found - expected).mean() < 2, page.mode
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:3])
    assert pictures.read_header(tmp_path / "b.tif").grey


def test_a_jpeg_of_four_inks_has_its_colours(tmp_path, photograph):
    Image.fromarray(photograph).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    found = pictures.read_picture(tmp_path / "a.jpg")
    assert abs(found.astype(int) - photograph).mean() < 4
    assert pictures.read_header(tmp_path / "a.jpg") == (427, 640, False, False, 1)


# Readers, threads, records


@pytest.mark.parametrize(
    ("name", "extra", "reader"),
    [("a.HEIC", "heic", "pillow-heif"), ("b.heif", "heic", "pillow-heif"), ("c.dcm", "dicom", "pydicom")],
)
def test_a_reader_that_is_not_installed_is_named_with_its_extra(
    load, tmp_path, photos, name, extra, reader, monkeypatch
):
    for module in ("pillow_heif", "pydicom"):
        monkeypatch.setitem(sys.modules, module, None)
    pictures._taken.cache_clear()
    _write(tmp_path / "train", photos(3, 24, 3))
    (tmp_path / "train" / name).write_bytes(b"any")
    with pytest.raises(DataError, match=rf"\(the extra {extra}\): pip install '{reader}>"):
        load(test_optional=True)
    pictures._taken.cache_clear()


def test_what_is_complained_of_in_one_thread_is_not_heard_in_another(recwarn):
    heard: dict[str, list[str]] = {}
    both_listen, both_said = threading.Barrier(2), threading.Barrier(2)

    def listen(name: str) -> None:
        with complaints() as texts:
            both_listen.wait()
            warnings.warn(name, stacklevel=1)
            both_said.wait()
        heard[name] = texts

    threads = [threading.Thread(target=listen, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {"a": ["a"], "b": ["b"]}
    assert not list(recwarn)
    warnings.warn("heard again", stacklevel=1)
    assert len(recwarn) == 1


@pytest.mark.parametrize("levels", [None, (0.0, 1.0), (-3.5, 61000.0)])
def test_a_conversion_is_read_back_as_it_was_written(levels):
    conversion = Conversion(fit="crop", side=96, levels=levels)
    assert Conversion.from_json(conversion.to_json()) == conversion


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, {"fit": "pad", "side": 64}, {"fit": "x", "side": 64, "levels": None},
        {"fit": [], "side": 64, "levels": None}, {"fit": "pad", "side": 1 << 40, "levels": None},
        {"fit": "pad", "side": True, "levels": None}, {"fit": "pad", "side": 64, "levels": [1, 1]},
        {"fit": "pad", "side": 64, "levels": [0, "1"]}, {"fit": "pad", "side": 64, "levels": "01"},
    ],
)  # fmt: skip
def test_a_strangers_conversion_is_checked(value):
    with pytest.raises(TypeError, match=r"conversion|levels"):
        Conversion.from_json(value)
