"""Images in .npy files: every form that is accepted, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy

from ensemble_ad.data.npy import open_array
from ensemble_ad.errors import DataError

_LFS_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 1228800128\n"
)


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
        (lambda x: x > 99, r"must be uint8 \(0 to 255\) or other real numbers, but is bool"),
        (lambda x: x.astype(complex), "must be uint8 .* but is complex128"),
        (lambda x: x.transpose(0, 3, 1, 2), r"but has \(3, 3, 64, 64\); .* use x.transpose\(0, 2, 3, 1\)"),
        (lambda x: x.reshape(3, -1), r"axes \(N, height, width, 1 or 3\), but has \(3, 12288\)"),
        (lambda x: x[None], r"but has \(1, 3, 64, 64, 3\)"),
        (lambda x: np.concatenate([x, x[..., :1]], axis=3), r"but has \(3, 64, 64, 4\)"),
        (lambda x: x[..., :2], r"but has \(3, 64, 64, 2\)"),
        (lambda x: x[0, 0, 0, 0], r"but has \(\)"),
        (lambda x: x[:0], r"at least one image, but holds none: \(0, 64, 64, 3\)"),
    ],
    ids=[
        "bool", "complex", "channels first", "2-D", "5-D", "4 channels", "2 channels", "a number", "no images",
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


def test_the_header_that_the_damage_tests_forge_is_a_valid_one(tmp_path, photos):
    (tmp_path / "a.npy").write_bytes(_header("(2, 16, 16, 1)") + photos(2, 16, 1).tobytes())
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy"), photos(2, 16, 1))
    assert _header("()").startswith(npy.MAGIC_PREFIX)
