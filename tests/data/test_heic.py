"""HEIC, written and read by pillow-heif: colours, grey, opacity, depth, turning, several images, damage."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.pictures import read_frames, read_header, read_picture
from ensemble_ad.errors import DataError

pillow_heif = pytest.importorskip("pillow_heif")


@pytest.fixture(scope="module")
def photo(photos):
    """uint8 (64, 96, 3)."""
    return photos(1, 96, 3)[0][:64]


def write(path: Path, picture: Image.Image | np.ndarray, **more: object) -> Path:
    """A HEIC file, lossless but for its colour space."""
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    pillow_heif.from_pillow(picture).save(path, quality=-1, chroma=444, **more)
    return path


def test_a_photograph_keeps_its_pixels(tmp_path, photo):
    path = write(tmp_path / "a.heic", photo)
    found = read_picture(path)
    assert abs(found.astype(int) - photo).max() <= 3
    assert read_header(path) == (64, 96, False, False, 1)


def test_a_grey_one_stays_grey(tmp_path, photo):
    path = write(tmp_path / "a.heif", photo[..., 0])
    assert abs(read_picture(path).astype(int) - photo[..., 0]).max() <= 3
    assert read_header(path) == (64, 96, True, False, 1)


def test_transparent_parts_get_the_mean(tmp_path, photo):
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:20] = 0
    said: list[str] = []
    found = read_picture(write(tmp_path / "a.heic", np.dstack([photo, alpha])), lambda kind, more: said.append(kind))
    assert said == ["transparent"]
    assert abs(found[:20] - photo[20:].mean(axis=(0, 1))).max() <= 3


def test_what_a_camera_stores_with_10_bits_is_said_to_be_cut(tmp_path, photo):
    deep = photo.astype(np.uint16) * 257
    pillow_heif.from_bytes("RGB;16", (96, 64), deep.tobytes()).save(tmp_path / "a.heic", quality=-1, chroma=444)
    said: list[str] = []
    found = read_picture(tmp_path / "a.heic", lambda kind, more: said.append(kind))
    assert found.dtype == np.uint8
    assert said == ["deep"]
    assert abs(found.astype(int) - photo).max() <= 3


def test_it_is_turned_as_its_camera_says(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    found = read_picture(write(tmp_path / "a.heic", photo, exif=exif.tobytes()))
    assert abs(found.astype(int) - np.rot90(photo, -1)).max() <= 3


def test_of_several_images_the_main_one_is_taken(tmp_path, photo):
    both = pillow_heif.HeifFile()
    for part in (photo[:32, :32], photo):
        both.add_from_pillow(Image.fromarray(np.ascontiguousarray(part)))
    both.save(tmp_path / "a.heic", quality=-1, chroma=444, primary_index=1)
    said: list[str] = []
    (found,) = read_frames(tmp_path / "a.heic", lambda kind, more: said.append(kind))
    assert said == ["pages"]
    assert abs(found.astype(int) - photo).max() <= 3
    assert read_header(tmp_path / "a.heic") == (64, 96, False, False, 1)


def test_a_folder_of_photographs_becomes_images(tmp_path, photo):
    (tmp_path / "train").mkdir()
    for row in range(3):
        write(tmp_path / "train" / f"{row}.HEIC", np.ascontiguousarray(photo[row:]))
    write(tmp_path / "train" / "z.jpg", photo)  # phones' programs rename them
    dataset = load_dataset(tmp_path, image_cache=tmp_path / "cache", test_optional=True)
    assert dataset.train.images.shape == (4, 96, 96, 3)
    assert dataset.train.remarks.counts == {}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_cut_file_costs_a_line(tmp_path, photo, share):
    path = write(tmp_path / "a.heic", photo)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"a\.heic cannot be read as an image \(.+\); mend or remove it") as raised:
        read_picture(path)
    assert "\n" not in str(raised.value)


def test_a_size_that_its_header_makes_up_is_refused(tmp_path, photo):
    path = write(tmp_path / "a.heic", photo)
    content = path.read_bytes()
    at = content.index(b"ispe") + 8
    path.write_bytes(content[:at] + b"\x00\x00\xff\xff" * 2 + content[at + 8 :])
    with pytest.raises(DataError, match=r"a\.heic cannot be read as an image") as raised:
        read_picture(path)
    assert "\n" not in str(raised.value)
