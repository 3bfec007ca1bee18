"""DICOM: the real files that pydicom brings, and files made here, as pictures; what is refused, in one line."""

import struct
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ensemble_ad.data import dicom
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.folders import pictures_below
from ensemble_ad.data.pictures import named_frames, read_frames, read_header, read_picture
from ensemble_ad.errors import DataError

pydicom = pytest.importorskip("pydicom")
REAL = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture(scope="module")
def photo(photos):
    """uint8 (20, 24, 3)."""
    return photos(1, 24, 3)[0][:20]


def write(path: Path, pixels: np.ndarray, kind: str, **fields: object) -> Path:
    """A DICOM file of (height, width), (frames, height, width) or (height, width, 3)."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = SecondaryCaptureImageStorage
    made.set_pixel_data(pixels, kind, pixels.dtype.itemsize * 8)
    for name, value in fields.items():
        setattr(made, name, value)
    made.save_as(path, enforce_file_format=True)
    return path


def _sixteen(photo: np.ndarray) -> np.ndarray:
    return photo[..., 0].astype(np.uint16) * 250 + 7


CASES = {
    "grey": (lambda x: x[..., 0], "MONOCHROME2", {}, lambda x: x[..., 0], False),
    "white is low": (lambda x: x[..., 0], "MONOCHROME1", {}, lambda x: 255 - x[..., 0], False),
    "16 bits": (_sixteen, "MONOCHROME2", {}, _sixteen, True),
    "16 bits, white is low": (_sixteen, "MONOCHROME1", {}, lambda x: -_sixteen(x).astype(float), True),
    "rescaled": (
        _sixteen, "MONOCHROME2", {"RescaleSlope": "0.5", "RescaleIntercept": "-1000"},
        lambda x: _sixteen(x) * 0.5 - 1000, True,
    ),
    "signed": (
        lambda x: x[..., 0].astype(np.int16) - 99, "MONOCHROME2", {}, lambda x: x[..., 0].astype(int) - 99, True,
    ),
    "8 bits, rescaled": (
        lambda x: x[..., 0], "MONOCHROME2", {"RescaleSlope": "2", "RescaleIntercept": "0"},
        lambda x: x[..., 0] * 2.0, True,
    ),
    "colours": (lambda x: x, "RGB", {}, lambda x: x, False),
    "colours of 16 bits": (lambda x: x.astype(np.uint16) * 250, "RGB", {}, lambda x: x.astype(int) * 250, True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_the_modality(tmp_path, photo, case):
    pixels, kind, fields, expected, deep = CASES[case]
    path = write(tmp_path / "a.dcm", pixels(photo), kind, **fields)
    found, wanted = read_picture(path), expected(photo)
    np.testing.assert_array_equal(found, wanted)
    assert (found.dtype != np.uint8) == deep
    assert read_header(path) == (20, 24, wanted.ndim == 2, deep, 1)


def test_each_frame_is_a_picture(tmp_path, photo):
    path = write(tmp_path / "a.dcm", np.stack([photo[..., channel] for channel in range(3)]), "MONOCHROME2")
    assert read_header(path).frames == 3
    found = list(named_frames(path, "a.dcm", lambda kind, more: None))
    assert [name for name, _ in found] == ["a.dcm#1", "a.dcm#2", "a.dcm#3"]
    np.testing.assert_array_equal([frame for _, frame in found], photo.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("CT_small.dcm", (128, 128, True, True, 1)),
        ("MR_small_bigendian.dcm", (64, 64, True, True, 1)),
        ("MR_small_RLE.dcm", (64, 64, True, True, 1)),
        ("MR_small_jp2klossless.dcm", (64, 64, True, True, 1)),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", (100, 100, False, False, 1)),
        ("SC_ybr_full_422_uncompressed.dcm", (100, 100, False, False, 1)),
        ("SC_rgb_rle_16bit_2frame.dcm", (100, 100, False, True, 2)),
        ("SC_rgb_jpeg_dcmtk.dcm", (100, 100, False, False, 1)),
        ("examples_palette.dcm", (350, 800, False, True, 1)),
        ("liver_1frame.dcm", (512, 512, True, False, 1)),
        ("rtdose_expb.dcm", (10, 10, True, True, 15)),
    ],
)
def test_real_files_are_read_as_their_headers_say(name, header):
    assert read_header(REAL / name) == header
    height, width, grey, deep, count = header
    frames = list(read_frames(REAL / name))
    assert len(frames) == count
    for frame in frames:
        assert frame.shape == ((height, width) if grey else (height, width, 3))
        assert (frame.dtype != np.uint8) == deep
        assert frame.dtype.isnative
        assert frame.max() > frame.min()


def test_one_picture_is_the_same_however_it_is_stored():
    plain = read_picture(REAL / "MR_small.dcm")
    for name in ("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm"):
        np.testing.assert_array_equal(read_picture(REAL / name), plain)
    colours = read_picture(REAL / "SC_rgb_dcmtk_+eb+cr.dcm").astype(int)
    for name in ("SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_rle.dcm"):
        assert abs(read_picture(REAL / name) - colours).mean() < 3


def test_a_folder_of_scans_becomes_images_by_the_training_range(tmp_path):
    (tmp_path / "train").mkdir()
    content = (REAL / "MR_small.dcm").read_bytes()
    for name in ("a.dcm", "IM0001", "1.2.840.1"):  # many have no ending
        (tmp_path / "train" / name).write_bytes(content)
    assert {path.name for path in pictures_below(tmp_path / "train")} == {"a.dcm", "IM0001", "1.2.840.1"}
    dataset = load_dataset(tmp_path, image_cache=tmp_path / "cache", test_optional=True)
    assert dataset.train.images.shape == (3, 64, 64, 1)
    assert (dataset.train.images.min(), dataset.train.images.max()) == (0, 255)
    assert (dataset.train.images[0] == dataset.train.images[1]).all()


# What is refused


@pytest.mark.skipif(find_spec("pylibjpeg") is not None, reason="a reader is installed")
@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPGExtended.dcm"])
def test_a_compression_that_needs_another_reader_names_it(name):
    with pytest.raises(DataError, match=r"\.dcm is compressed as JPEG[^\n]* needs another reader: pip install 'pylib"):
        read_picture(REAL / name)


def _huge(path: Path, photo: np.ndarray) -> None:
    write(path, photo[..., 0], "MONOCHROME2", Rows=65535, Columns=65535)


def _many(path: Path, photo: np.ndarray) -> None:
    write(path, photo[..., 0], "MONOCHROME2", NumberOfFrames="2000000000")


def _cut(path: Path, photo: np.ndarray) -> None:
    write(path, photo[..., 0], "MONOCHROME2")
    path.write_bytes(path.read_bytes()[:-100])


def _cut_in_its_header(path: Path, photo: np.ndarray) -> None:
    write(path, photo[..., 0], "MONOCHROME2")
    path.write_bytes(path.read_bytes()[:200])


def _bomb(path: Path, photo: np.ndarray) -> None:
    """What inflates to 10 MB, from 10 kB."""
    content = (REAL / "image_dfl.dcm").read_bytes()
    start = 132 + 12 + struct.unpack_from("<I", content, 140)[0]  # behind the group of meta data
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(content[:start] + packer.compress(bytes(10_000_000)) + packer.flush())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_huge, "65535x65535 pixels, more than 16777216; shrink it"),
        (_many, "2000000000 frames, more than 10000; split it"),
        (_cut, "less than expected"),
        (_cut_in_its_header, ""),
        (_bomb, "deflated as a whole; save it in another transfer syntax"),
        (lambda path, photo: path.write_bytes(b""), "no DICOM file"),
        (lambda path, photo: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500)), "no DICOM file"),
        (lambda path, photo: path.write_bytes(bytes(128) + b"DICM"), ""),
        (lambda path, photo: path.write_bytes((REAL / "rtplan.dcm").read_bytes()), "it holds no picture"),
    ],
)
def test_hostile_files_cost_a_line(tmp_path, photo, spoil, message):
    spoil(tmp_path / "a.dcm", photo)
    with pytest.raises(DataError, match=r"a\.dcm cannot be read as an image \(.+\); mend or remove it") as raised:
        read_picture(tmp_path / "a.dcm")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path, photo, monkeypatch):
    _huge(tmp_path / "a.dcm", photo)
    monkeypatch.setattr(dicom, "_decoded", lambda *_: pytest.fail("it was decoded"))
    for read in (read_header, read_picture):
        with pytest.raises(DataError, match="shrink it"):
            read(tmp_path / "a.dcm")
