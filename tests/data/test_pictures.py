"""Folders of pictures: every form that is accepted, what is refused, and that they are decoded once."""

import subprocess

import numpy as np
import pytest
from PIL import Image, ImageFile

from ensemble_ad.data import picture_folder as module
from ensemble_ad.data import pictures as reading
from ensemble_ad.data.npy import open_array
from ensemble_ad.data.picture_folder import PictureFolder
from ensemble_ad.data.pictures import read_picture
from ensemble_ad.errors import DataError

_LFS_POINTER = "version https://git-lfs.github.com/spec/v1\n"


def open_folder(folder, cache):
    """The images of a folder of pictures that are images as they are."""
    return PictureFolder(folder, cache).images(None, cache)


@pytest.fixture
def pictures(tmp_path, photos):
    """Six colour photographs as PNG in `train/`."""
    folder = tmp_path / "train"
    folder.mkdir()
    for i, pixels in enumerate(photos(6, 24, 3)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def count_decodes(monkeypatch):
    """The paths that were decoded, in a list that grows."""
    opened, real = [], reading.read_frames
    monkeypatch.setattr(module, "read_frames", lambda path, *more: opened.append(path) or real(path, *more))
    return opened


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".PPM", ".webp"])
def test_a_folder_of_pictures_keeps_pixels_and_file_names(tmp_path, photos, suffix):
    pixels = photos(3, 24, 3)
    folder = tmp_path / "some"
    (folder / "below").mkdir(parents=True)
    names = (f"a{suffix}", f"b c{suffix}", f"below/a{suffix}")
    for name, each in zip(names, pixels, strict=True):
        Image.fromarray(each).save(folder / name, **({"lossless": True} if suffix == ".webp" else {}))  # type: ignore[arg-type]
    (folder / "notes.txt").write_text("not a picture")
    image_set = open_folder(folder, tmp_path / "cache")
    assert image_set.ids == names
    np.testing.assert_array_equal(image_set.images, pixels)


@pytest.mark.parametrize(
    ("modes", "channels"),
    [
        (("L", "L"), 1), (("1", "LA"), 1), (("RGB", "RGB"), 3), (("P", "RGBA"), 3), (("CMYK", "RGB"), 3),
        (("L", "RGB"), 3), (("RGB", "L"), 3),
    ],
)  # fmt: skip
def test_grey_pictures_give_one_channel_and_any_colour_gives_three(tmp_path, photos, modes, channels):
    folder = tmp_path / "some"
    folder.mkdir()
    for i, (mode, pixels) in enumerate(zip(modes, photos(2, 24, 3), strict=True)):
        Image.fromarray(pixels).convert(mode).save(folder / f"{i}.{'tiff' if mode == 'CMYK' else 'png'}")
    opened = open_folder(folder, tmp_path / "cache").images
    assert opened.shape == (2, 24, 24, channels)
    for i, mode in enumerate(modes):
        with Image.open(folder / f"{i}.{'tiff' if mode == 'CMYK' else 'png'}") as picture:
            expected = np.asarray(picture.convert("L" if channels == 1 else "RGB")).reshape(opened[i].shape)
        np.testing.assert_array_equal(opened[i], expected)


def test_pictures_are_decoded_once(pictures, tmp_path, count_decodes):
    first = open_folder(pictures, tmp_path / "cache")
    assert len(count_decodes) == 6
    second = open_folder(pictures, tmp_path / "cache")
    assert len(count_decodes) == 6
    np.testing.assert_array_equal(first.images, second.images)
    assert first.ids == second.ids


@pytest.mark.parametrize("coloured", [0, 5])
def test_a_folder_is_written_in_runs_whichever_picture_has_colour(tmp_path, photos, monkeypatch, coloured):
    monkeypatch.setattr(module, "_DECODED", 2)
    folder, pixels = tmp_path / "mixed", photos(6, 24, 3)
    folder.mkdir()
    for i, each in enumerate(pixels):
        Image.fromarray(each if i == coloured else each[..., 0]).save(folder / f"{i}.png")
    expected = [each if i == coloured else each[..., :1].repeat(3, axis=2) for i, each in enumerate(pixels)]
    np.testing.assert_array_equal(open_folder(folder, tmp_path / "cache").images, np.stack(expected))


def test_the_cache_of_a_folder_goes_by_content_not_by_place_or_time(pictures, tmp_path, count_decodes):
    open_folder(pictures, tmp_path / "cache")
    moved = pictures.rename(tmp_path / "elsewhere")
    (moved / "0.png").touch()
    open_folder(moved, tmp_path / "cache")
    assert len(count_decodes) == 6


def test_a_changed_picture_is_decoded_again(pictures, tmp_path, photos):
    before = np.array(open_folder(pictures, tmp_path / "cache").images)
    Image.fromarray(photos(7, 24, 3)[6]).save(pictures / "2.png")
    after = open_folder(pictures, tmp_path / "cache").images
    assert (before != after).any(axis=(1, 2, 3)).tolist() == [False, False, True, False, False, False]


def test_a_damaged_cache_of_a_folder_is_made_again(pictures, tmp_path):
    expected = np.array(open_folder(pictures, tmp_path / "cache").images)
    (cached,) = (tmp_path / "cache").glob("*.npy")
    cached.write_bytes(cached.read_bytes()[:-1])
    np.testing.assert_array_equal(open_folder(pictures, tmp_path / "cache").images, expected)


def _cut_off(path):
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f, x: Image.fromarray(x[:20]).save(f / "3.png"),
            "one size, but one is 24x20; resize it",
        ),
        (lambda f, x: _cut_off(f / "3.png"), r"3.png cannot be read as an image \(.+\); mend or remove it"),
        (lambda f, x: (f / "3.png").write_text("hello"), "3.png cannot be read as an image"),
        (
            lambda f, x: (f / "3.png").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "3.png cannot be read as an image",
        ),
        (
            lambda f, x: Image.fromarray(x[..., 0].astype(np.uint16) * 257).save(f / "3.png"),
            "must have 8 bits",
        ),
        (lambda f, x: Image.fromarray(x[..., 0] / np.float32(255)).save(f / "3.tiff"), "must have 8 bits"),
        (lambda f, x: [p.unlink() for p in f.iterdir()], "must hold images .* but holds none that Pillow reads"),
    ],
    ids=["mixed sizes", "cut off", "not a picture", "LFS pointer", "16 bits", "float", "empty"],
)
def test_an_unusable_folder_is_refused_and_leaves_no_cache(pictures, tmp_path, photos, spoil, message):
    spoil(pictures, photos(1, 24, 3)[0])
    with pytest.raises(DataError, match=message):
        open_folder(pictures, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


@pytest.mark.parametrize("spoil", [_cut_off, lambda path: path.write_text("hello")], ids=["cut off", "not a picture"])
@pytest.mark.parametrize("at_once", [1, 2, 256])
def test_all_files_that_cannot_be_taken_are_named_at_once(pictures, tmp_path, monkeypatch, spoil, at_once):
    monkeypatch.setattr(module, "_DECODED", at_once)
    spoil(pictures / "1.png")
    spoil(pictures / "4.png")
    with pytest.raises(DataError, match=r"1.png cannot .*; another file cannot be taken either: 4.png$"):
        open_folder(pictures, tmp_path / "cache")
    for path in pictures.iterdir():
        spoil(path)
    monkeypatch.setattr(module, "_MOST_NAMED", 3)
    with pytest.raises(DataError, match=r"0.png .*; 5 other files cannot be taken either: 1.+, 2.+, 3.png, \.\.\.$"):
        open_folder(pictures, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_the_same_pixels_as_pictures_and_as_an_array_are_the_same_data(pictures, tmp_path, photos, image_set):
    np.save(tmp_path / "a.npy", photos(6, 24, 3))
    as_array = image_set(open_array(tmp_path / "a.npy"))
    assert open_folder(pictures, tmp_path / "cache").fingerprint == as_array.fingerprint


def test_a_picture_is_turned_as_its_camera_says(tmp_path, photos):
    picture = Image.fromarray(photos(1, 32, 3)[0])
    exif = picture.getexif()
    exif[0x0112] = 3  # Orientation: upside down
    (tmp_path / "pictures").mkdir()
    picture.save(tmp_path / "pictures" / "a.png", exif=exif)
    read = open_folder(tmp_path / "pictures", tmp_path / "cache").images[0]
    np.testing.assert_array_equal(read, np.asarray(picture)[::-1, ::-1])


def test_a_huge_picture_is_refused_by_its_header(tmp_path, monkeypatch):
    Image.new("L", (5_000, 5_000)).save(tmp_path / "huge.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match="5000x5000 pixels, more than 16777216; shrink it"):
        read_picture(tmp_path / "huge.png")


def test_no_other_program_is_started_for_a_picture(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nshowpage\n")
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: pytest.fail(f"{arguments} was started"))
    with pytest.raises(DataError, match=r"x.png cannot be read as an image"):
        read_picture(tmp_path / "x.png")
