"""Reading images: every form that is accepted, what is refused, and that folders are decoded once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy
from PIL import Image

from ensemble_ad.data import images
from ensemble_ad.data.images import Dataset, ImageSet, load_dataset, open_array, open_folder
from ensemble_ad.errors import DataError

_LFS_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 1228800128\n"
)


def _image_set(pixels: np.ndarray) -> ImageSet:
    return ImageSet(images=pixels, ids=tuple(map(str, range(len(pixels)))), source=Path("memory"))


@pytest.mark.parametrize(("side", "channels"), [(16, 1), (16, 3), (33, 3), (64, 3), (256, 1), (256, 3)])
def test_an_array_of_any_accepted_shape_is_mapped_not_read(tmp_path, photos, side, channels):
    pixels = photos(3, side, channels)
    np.save(tmp_path / "a.npy", pixels)
    opened = open_array(tmp_path / "a.npy")
    assert isinstance(opened, np.memmap)
    assert not opened.flags.writeable
    np.testing.assert_array_equal(opened, pixels)


def test_an_array_without_a_channel_axis_is_one_channel(tmp_path, photos):
    pixels = photos(3, 16, 1)
    np.save(tmp_path / "a.npy", pixels[..., 0])
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy"), pixels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x / 255, r"must be uint8 \(0 to 255\), but is float64"),
        (lambda x: x.astype(np.int64), "must be uint8 .* but is int64"),
        (lambda x: x.transpose(0, 3, 1, 2), r"but has \(3, 3, 64, 64\); .* use x.transpose\(0, 2, 3, 1\)"),
        (lambda x: x.reshape(3, -1), r"axes \(N, side, side, 1 or 3\), but has \(3, 12288\)"),
        (lambda x: x[None], r"but has \(1, 3, 64, 64, 3\)"),
        (lambda x: np.concatenate([x, x[..., :1]], axis=3), r"but has \(3, 64, 64, 4\)"),
        (lambda x: x[..., :2], r"but has \(3, 64, 64, 2\)"),
        (lambda x: x[0, 0, 0, 0], r"but has \(\)"),
        (lambda x: x[:0], r"at least one image, but holds none: \(0, 64, 64, 3\)"),
        (lambda x: x[:, :48], "square images, but they are 48 high and 64 wide"),
        (lambda x: x[:, :15, :15], "16 to 256 pixels a side, but they have 15"),
        (lambda x: x.repeat(5, axis=1)[:, :257].repeat(5, axis=2)[:, :, :257], "but they have 257"),
    ],
    ids=[
        "float", "int64", "channels first", "2-D", "5-D", "4 channels", "2 channels", "a number",
        "no images", "not square", "too small", "too large",
    ],
)  # fmt: skip
def test_unusable_pixels_are_refused_with_the_rule_and_the_value(tmp_path, photos, change, message):
    np.save(tmp_path / "a.npy", change(photos(3, 64, 3)))
    with pytest.raises(DataError, match=f"a.npy .*{message}"):
        open_array(tmp_path / "a.npy")


def _header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_LFS_POINTER.encode(), "is a Git-LFS pointer of 135 bytes, not the images; run `git lfs pull`"),
        (b"", "does not start like one"),
        (b"\x80\x04]\x94.", "does not start like one"),
        (b"\x93NUMPY", "cut off or damaged"),
        (b"\x93NUMPY\x01\x00\xff\x00{'descr'", "cut off or damaged"),
        (b"\x93NUMPY\x09\x00" + _header("(1,16,16,1)")[8:] + bytes(256), "cut off or damaged"),
        (_header("(2, 16, 16, 1)") + bytes(511), "cut off or damaged"),
        (_header("(81380208, 64, 64, 3)") + bytes(100), "cut off or damaged"),
        (_header("(10**30, 64, 64, 3)"), "cut off or damaged"),
        (_header("(9223372036854775807, 64, 64, 3)"), "cut off or damaged"),
        (_header("(-1, 16, 16, 1)") + bytes(256), "cut off or damaged"),
        (_header("(((") + bytes(256), "cut off or damaged"),
        (_header("(" * 3000) + bytes(256), "cut off or damaged"),
    ],
    ids=[
        "LFS pointer", "empty", "a pickle", "magic only", "header cut off", "unknown version", "one byte short",
        "1e12 elements", "not literal", "beyond an index", "negative", "open brackets", "deep brackets",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=f"a.npy .*{message}"):
        open_array(tmp_path / "a.npy")


@given(
    start=st.sampled_from([b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x46\x00{", b"\x93NUMPY\x03\x00"]), rest=st.binary()
)
def test_random_bytes_never_raise_anything_but_a_data_error(tmp_path_factory, start, rest):
    path = tmp_path_factory.getbasetemp() / "random.npy"
    path.write_bytes(start + rest)
    with pytest.raises(DataError):
        open_array(path)


@given(
    text=st.text(st.sampled_from("{}()[],:'\"\\ \n0123456789-.descrfotanshpuTFle_|<>iO#"), max_size=80)
    | st.tuples(
        st.sampled_from(["|u1", "|O", "<f4", "u1,u1", "zz", "", "|S0", "<U"]),
        st.lists(st.integers(-3, 2**65), max_size=5),
    ).map(lambda it: repr({"descr": it[0], "fortran_order": False, "shape": tuple(it[1])}))
)
def test_random_headers_never_raise_anything_but_a_data_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "header.npy"
    content = text.encode("latin-1")
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content)
    with pytest.raises(DataError):
        open_array(path)


def test_a_folder_in_the_place_of_an_array_is_refused(tmp_path):
    (tmp_path / "a.npy").mkdir()
    with pytest.raises(DataError, match=r"a.npy cannot be read: Is a directory"):
        open_array(tmp_path / "a.npy")


def test_fingerprints_depend_on_pixels_and_shape_and_on_nothing_else(tmp_path, photos):
    pixels = photos(5, 32, 3)
    np.save(tmp_path / "c.npy", pixels)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(pixels))
    same = [pixels, open_array(tmp_path / "c.npy"), open_array(tmp_path / "fortran.npy")]
    assert len({_image_set(each).fingerprint for each in same}) == 1
    changed = pixels.copy()
    changed[4, 31, 31, 2] ^= 1
    others = [changed, pixels[::-1], pixels.reshape(20, 16, 16, 3)]
    assert len({_image_set(each).fingerprint for each in [pixels, *others]}) == 4


def test_a_fingerprint_does_not_depend_on_the_size_of_a_block(monkeypatch, photos):
    pixels = photos(7, 16, 3)
    whole = _image_set(pixels).fingerprint
    monkeypatch.setattr(images, "_BLOCK", 3)
    assert _image_set(pixels).fingerprint == whole


def test_a_data_set_changes_with_either_of_its_sets(photos):
    train, test = _image_set(photos(4, 16, 1)), _image_set(photos(6, 16, 1))
    assert len({Dataset(train=a, test=b).fingerprint for a in (train, test) for b in (train, test)}) == 4


@pytest.mark.parametrize("pixel", [None, 0, -1])
def test_grey_is_when_every_pixel_of_every_image_has_equal_channels(photos, pixel):
    pixels = photos(4, 16, 1).repeat(3, axis=3)
    if pixel is not None:
        pixels[pixel, pixel, pixel, 1] ^= 1
    assert _image_set(pixels).is_grey == (pixel is None)


def test_a_data_set_is_grey_only_if_both_sets_are(photos):
    grey, colour = _image_set(photos(4, 16, 1).repeat(3, axis=3)), _image_set(photos(4, 16, 3))
    assert Dataset(train=grey, test=grey).is_grey
    assert not Dataset(train=grey, test=colour).is_grey
    assert not Dataset(train=colour, test=grey).is_grey


def test_kaggles_layout_is_read_with_ids_from_0(data, tmp_path):
    dataset = load_dataset(data, image_cache=tmp_path)
    assert (dataset.side, dataset.channels, len(dataset.train), len(dataset.test)) == (32, 1, 200, 120)
    assert dataset.test.ids == tuple(map(str, range(120)))


def test_training_and_test_images_need_one_shape(data, tmp_path, photos):
    np.save(data / "testingset.npy", photos(5, 64, 1))
    with pytest.raises(DataError, match=r"one shape, but trainingset.npy has 32x32x1 and testingset.npy 64x64x1"):
        load_dataset(data, image_cache=tmp_path)


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
    opened, real = [], images.read_picture
    monkeypatch.setattr(images, "read_picture", lambda path: opened.append(path) or real(path))
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
def test_a_folder_is_written_in_runs_whichever_of_its_pictures_has_colour(tmp_path, photos, monkeypatch, coloured):
    monkeypatch.setattr(images, "_DECODED", 2)
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
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    np.testing.assert_array_equal(open_folder(pictures, tmp_path / "cache").images, expected)


def _cut(folder, pixels):
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:300])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f, x: Image.fromarray(x[:20]).save(f / "3.png"), "one size, but 0.png is 24x24 and 3.png is 24x20"),
        (_cut, r"3.png cannot be read as an image \(.+\); mend or remove it"),
        (lambda f, x: (f / "3.png").write_text("hello"), "3.png cannot be read as an image"),
        (lambda f, x: (f / "3.png").write_text(_LFS_POINTER), "3.png cannot be read as an image"),
        (lambda f, x: Image.fromarray(x[..., 0].astype(np.uint16) * 257).save(f / "3.png"), "3.png .*8 bits a channel"),
        (lambda f, x: Image.fromarray(x[..., 0] / np.float32(255)).save(f / "3.tiff"), "3.tiff .*8 bits a channel"),
        (lambda f, x: [p.unlink() for p in f.iterdir()], "must hold images .* but holds none that Pillow reads"),
    ],
    ids=["mixed sizes", "cut off", "not a picture", "LFS pointer", "16 bits", "float", "empty"],
)
def test_an_unusable_folder_is_refused_and_leaves_no_cache(pictures, tmp_path, photos, spoil, message):
    spoil(pictures, photos(1, 24, 3)[0])
    with pytest.raises(DataError, match=message):
        open_folder(pictures, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize(
    ("size", "message"), [((24, 20), "24 high and 20 wide"), ((15, 15), "16 to 256 pixels a side, but they have 15")]
)
def test_pictures_must_be_square_and_of_an_accepted_side(tmp_path, photos, size, message):
    folder = tmp_path / "some"
    folder.mkdir()
    Image.fromarray(photos(1, 24, 3)[0, : size[0], : size[1]]).save(folder / "a.png")
    with pytest.raises(DataError, match=message):
        open_folder(folder, tmp_path / "cache")


def test_the_same_pixels_as_pictures_and_as_an_array_are_the_same_data(pictures, tmp_path, photos):
    np.save(tmp_path / "a.npy", photos(6, 24, 3))
    assert (
        open_folder(pictures, tmp_path / "cache").fingerprint == _image_set(open_array(tmp_path / "a.npy")).fingerprint
    )


def test_the_header_that_the_damage_tests_forge_is_a_valid_one(tmp_path, photos):
    (tmp_path / "a.npy").write_bytes(_header("(2, 16, 16, 1)") + photos(2, 16, 1).tobytes())
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy"), photos(2, 16, 1))
    assert _header("()").startswith(npy.MAGIC_PREFIX)


def test_a_picture_is_turned_as_its_camera_says(tmp_path, photos):
    picture = Image.fromarray(photos(1, 32, 3)[0])
    exif = picture.getexif()
    exif[0x0112] = 3  # Orientation: upside down
    (tmp_path / "pictures").mkdir()
    picture.save(tmp_path / "pictures" / "a.png", exif=exif)
    read = open_folder(tmp_path / "pictures", tmp_path / "cache").images[0]
    np.testing.assert_array_equal(read, np.asarray(picture)[::-1, ::-1])
