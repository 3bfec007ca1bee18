"""Pictures of more than 8 bits a channel: every form arrives with all its bits, is said to be cut, or is refused."""

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.pictures import read_frames, read_header, read_picture
from ensemble_ad.errors import DataError

TOP = 65535


@pytest.fixture(scope="module")
def deep(photos):
    """A photograph of 16 bits whose lower bytes are another's, uint16 (24, 24, 4), its last channel the third's."""
    upper, lower = photos(2, 24, 3).astype(np.uint16)
    both = upper << 8 | lower
    return np.dstack([both, both[..., ::-1][..., 0]])


def png(pixels: np.ndarray, colour: int, extra: bytes = b"", filtered: bool = False) -> bytes:
    """A PNG of uint16 (height, width[, channels]), which Pillow writes of grey alone; `colour` is its colour type."""
    height, width = pixels.shape[:2]
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    if filtered:  # each byte less the one that lies a pixel before it, PNG's filter "Sub"
        size = rows.shape[1] // width
        rows = np.hstack([rows[:, :size], rows[:, size:] - rows[:, :-size]])
    content = b"".join(bytes([filtered]) + row.tobytes() for row in rows)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))]
    parts += [(b"tRNS", extra)] if extra else []
    written = b"\x89PNG\r\n\x1a\n"
    for name, part in (*parts, (b"IDAT", zlib.compress(content)), (b"IEND", b"")):
        written += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    return written


def tiff(pixels: np.ndarray, order: Literal["<", ">"] = "<", deflate: bool = False, **tags: int) -> bytes:
    """A TIFF of one strip of any numbers (height, width[, C]); `tags` are photometric, planes, extra."""
    height, width = pixels.shape[:2]
    count = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = pixels.dtype
    content = pixels.astype(kind.newbyteorder(order)).tobytes()
    content = zlib.compress(content) if deflate else content
    bits, formats = [kind.itemsize * 8] * count, [{"u": 1, "i": 2, "f": 3}[kind.kind]] * count
    wanted = [
        (256, 3, [width]), (257, 3, [height]), (258, 3, bits), (259, 3, [8 if deflate else 1]),
        (262, 3, [tags.get("photometric", 2 if count > 2 else 1)]), (273, 4, [0]), (277, 3, [count]),
        (278, 3, [height]), (279, 4, [len(content)]), (284, 3, [tags.get("planes", 1)]),
        *([(338, 3, [tags["extra"]])] if "extra" in tags else []), (339, 3, formats),
    ]  # fmt: skip
    at = 10 + 12 * len(wanted) + 4
    table, beyond = b"", b""
    for tag, size, values in wanted:
        if tag == 273:
            values = [at + sum(2 * len(each) for _, _, each in wanted if len(each) > 2)]
        packed = struct.pack(f"{order}{len(values)}{'H' if size == 3 else 'I'}", *values)
        field = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}I", at + len(beyond))
        beyond += packed if len(packed) > 4 else b""
        table += struct.pack(f"{order}HHI", tag, size, len(values)) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(wanted)) + table + bytes(4) + beyond + content


def over_mean(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """What becomes of transparent parts, in floats."""
    share = (alpha / TOP)[..., None] if colours.ndim == 3 else alpha / TOP
    mean = np.average(colours, axis=(0, 1), weights=np.broadcast_to(share, colours.shape))
    return colours * share + mean * (1 - share)


def pages(*files: bytes) -> bytes:
    """Little-endian TIFFs as the pages of one."""
    written = files[0][:8]
    for number, file in enumerate(files):
        page, moved, count = bytearray(file[8:]), len(written) - 8, struct.unpack_from("<H", file, 8)[0]
        for entry in range(2, 2 + 12 * count, 12):
            tag, size, values, value = struct.unpack_from("<HHII", page, entry)
            if tag == 273 or values * (2 if size == 3 else 4) > 4:
                struct.pack_into("<I", page, entry + 8, value + moved)
        if number + 1 < len(files):
            struct.pack_into("<I", page, 2 + 12 * count, len(written) + len(page))
        written += page
    return written


WHOLE = {
    "a PNG": ("png", lambda x: png(x[..., :3], 2), lambda x: x[..., :3]),
    "a filtered PNG": ("png", lambda x: png(x[..., :3], 2, filtered=True), lambda x: x[..., :3]),
    "a PNG with opacity": ("png", lambda x: png(x, 6, filtered=True), lambda x: over_mean(x[..., :3], x[..., 3])),
    "a grey PNG": ("png", lambda x: png(x[..., 0], 0), lambda x: x[..., 0]),
    "a grey PNG with opacity": (
        "png", lambda x: png(x[..., 2:], 4, filtered=True), lambda x: over_mean(x[..., 2], x[..., 3]),
    ),
    "a PNG with a transparent colour": (
        "png", lambda x: png(x[..., :3], 2, x[3, 3, :3].astype(">u2").tobytes()),
        lambda x: over_mean(x[..., :3], np.where((x[..., :3] == x[3, 3, :3]).all(axis=2), 0, TOP)),
    ),
    "a grey PNG with a transparent value": (
        "png", lambda x: png(x[..., 0], 0, x[3, 3, :1].astype(">u2").tobytes()),
        lambda x: over_mean(x[..., 0], np.where(x[..., 0] == x[3, 3, 0], 0, TOP)),
    ),
    "a TIFF": ("tif", lambda x: tiff(x[..., :3]), lambda x: x[..., :3]),
    "a big-endian TIFF": ("tif", lambda x: tiff(x[..., :3], ">"), lambda x: x[..., :3]),
    "a deflated TIFF": ("tif", lambda x: tiff(x[..., :3], deflate=True), lambda x: x[..., :3]),
    "a deflated big-endian TIFF": ("tif", lambda x: tiff(x[..., :3], ">", deflate=True), lambda x: x[..., :3]),
    "a TIFF with opacity": ("tif", lambda x: tiff(x, ">", extra=2), lambda x: over_mean(x[..., :3], x[..., 3])),
    "a TIFF with something else": ("tif", lambda x: tiff(x, extra=0), lambda x: x[..., :3]),
    "a grey TIFF": ("tif", lambda x: tiff(x[..., 0]), lambda x: x[..., 0]),
    "a grey big-endian TIFF": ("tif", lambda x: tiff(x[..., 0], ">"), lambda x: x[..., 0]),
    "a TIFF whose white is 0": ("tif", lambda x: tiff(x[..., 0], photometric=0), lambda x: TOP - x[..., 0]),
    "a TIFF of 32 bits": (
        "tif", lambda x: tiff(x[..., 0].astype(np.uint32) << 16), lambda x: x[..., 0].astype(np.uint32) << 16,
    ),
    "a TIFF of signed numbers": (
        "tif", lambda x: tiff((x[..., 0] // 2).astype(np.int16) - 9000), lambda x: x[..., 0] // 2 - 9000.0,
    ),
    "a TIFF of floats": ("tif", lambda x: tiff(x[..., 0] / np.float32(3)), lambda x: x[..., 0] / np.float32(3)),
    "a PPM": (
        "ppm", lambda x: b"P6 24 24 # of 16 bits\n65535\n" + x[..., :3].astype(">u2").tobytes(), lambda x: x[..., :3],
    ),
    "a PPM of 12 bits": (
        "ppm", lambda x: b"P6 24 24 4095\n" + (x[..., :3] >> 4).astype(">u2").tobytes(),
        lambda x: (x[..., :3] >> 4) * (TOP / 4095),
    ),
    "a grey PPM": ("pgm", lambda x: b"P5 24 24 65535\n" + x[..., 0].astype(">u2").tobytes(), lambda x: x[..., 0]),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_every_bit_of_a_deep_picture_arrives(tmp_path, deep, kind):
    ending, written, expected = WHOLE[kind]
    path = tmp_path / f"a.{ending}"
    path.write_bytes(written(deep))
    said: list[str] = []
    found, wanted = read_picture(path, lambda kind, more: said.append(kind)), expected(deep)
    assert found.shape == wanted.shape
    assert found.dtype.isnative
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.51)
    assert said == (["transparent"] if "opacity" in kind or "transparent" in kind else [])
    header = read_header(path)
    assert (header.grey, header.deep) == (wanted.ndim == 2, True)


def test_colours_that_are_multiplied_by_their_opacity_are_divided_again(tmp_path, deep):
    colours, alpha = deep[..., :3], np.maximum(deep[..., 3], 4096)
    stored = np.dstack([colours * (alpha / TOP)[..., None], alpha]).astype(np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff(stored, extra=1))
    found = read_picture(tmp_path / "a.tif")
    assert abs(found - over_mean(colours, alpha)).max() < 20
    assert len(np.unique(found & 255)) > 100, "the lower bytes are lost"


def test_a_deep_picture_is_turned_as_its_camera_says(tmp_path, deep):
    exif = Image.Exif()
    exif[0x0112] = 6
    name = exif.tobytes().removeprefix(b"Exif\0\0")
    content = png(deep[..., :3], 2)
    chunk = struct.pack(">I", len(name)) + b"eXIf" + name + struct.pack(">I", zlib.crc32(b"eXIf" + name))
    (tmp_path / "a.png").write_bytes(content[:33] + chunk + content[33:])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.rot90(deep[..., :3], -1))


def test_each_page_of_a_deep_tiff_has_all_its_bits(tmp_path, deep):
    (tmp_path / "a.tif").write_bytes(pages(tiff(deep[..., :3]), tiff(deep[..., 1:], deflate=True), tiff(deep[..., 0])))
    found = list(read_frames(tmp_path / "a.tif"))
    for page, expected in zip(found, (deep[..., :3], deep[..., 1:], deep[..., 0]), strict=True):
        np.testing.assert_array_equal(page, expected)
    header = read_header(tmp_path / "a.tif")
    assert (header.grey, header.deep, header.frames) == (False, True, 3)


def test_colours_of_16_bits_get_one_range_of_the_training_pictures(tmp_path, photos):
    (tmp_path / "train").mkdir()
    parts = photos(5, 24, 3).astype(np.uint16) * 16 + np.array([0, 300, 900], dtype=np.uint16)  # 12 bits, barely used
    for row, part in enumerate(parts):
        (tmp_path / "train" / f"{row}.png").write_bytes(png(part, 2))
    dataset = load_dataset(tmp_path, image_cache=tmp_path / "cache", test_optional=True)
    low, high = dataset.conversion.levels or (0.0, 0.0)
    np.testing.assert_allclose([low, high], np.quantile(parts, [0.001, 0.999]), atol=20)
    expected = np.clip((parts - low) / (high - low), 0, 1) * 255
    assert dataset.train.images.shape == (5, 32, 32, 3)
    assert dataset.train.remarks.counts == {}
    assert abs(dataset.train.images.mean(axis=(1, 2)) - expected.mean(axis=(1, 2))).max() < 4  # scaled from 24 to 32


def _avif(pixels: np.ndarray) -> bytes:
    """An AVIF whose boxes say 10 bits a channel."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "AVIF")
    content = bytearray(written.getvalue())
    at = content.index(b"pixi") + 9
    content[at : at + 3] = bytes([10] * 3)
    content[content.index(b"av1C") + 6] |= 0x40
    return bytes(content)


def _jpeg_2000(pixels: np.ndarray) -> bytes:
    """A JPEG 2000 whose header says 12 bits a channel."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG2000", no_jp2=True)
    content = bytearray(written.getvalue())
    content[42:51:3] = bytes([11] * 3)
    return bytes(content)


CUT = {
    "JPEG 2000": ("j2k", lambda x: _jpeg_2000((x[..., :3] >> 8).astype(np.uint8))),
    "AVIF": ("avif", lambda x: _avif((x[..., :3] >> 8).astype(np.uint8))),
    "SGI": ("sgi", lambda x: _sgi(x[..., :3])),
    "CMYK": ("tif", lambda x: tiff(x, photometric=5)),
    "PPM in digits": ("ppm", lambda x: b"P3 24 24 65535 " + " ".join(map(str, x[..., :3].ravel())).encode()),
}


def _sgi(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    head = struct.pack(">HBBHHHH", 474, 0, 2, 3, width, height, 3).ljust(512, b"\0")
    return head + pixels[::-1].transpose(2, 0, 1).astype(">u2").tobytes()


@pytest.mark.parametrize("kind", CUT)
def test_what_is_read_with_8_bits_alone_is_said(tmp_path, deep, kind):
    ending, written = CUT[kind]
    path = tmp_path / f"a.{ending}"
    path.write_bytes(written(deep))
    said: list[str] = []
    assert read_picture(path, lambda kind, more: said.append(kind)).dtype == np.uint8
    assert said == ["deep"]
    assert not read_header(path).deep


BEYOND_PILLOW = {
    "colours of floats": (lambda x: tiff(x[..., :3] / np.float32(3)), lambda x: x[..., :3] / np.float32(3)),
    "the same, deflated": (lambda x: tiff(x[..., :3] / np.float32(3), ">", True), lambda x: x[..., :3] / np.float32(3)),
    "half floats": (lambda x: tiff((x[..., 0] / 99).astype(np.float16)), lambda x: (x[..., 0] / 99).astype(np.float16)),
    "colours of 32 bits": (lambda x: tiff(x[..., :3].astype(np.uint32)), lambda x: x[..., :3]),
    "floats of 64 bits": (lambda x: tiff(x[..., 0] / 3.0), lambda x: np.float32(x[..., 0] / 3.0)),
    "lowest is white": (lambda x: tiff(x[..., :1] / 3.0, photometric=0), lambda x: -np.float32(x[..., 0] / 3.0)),
    "planes": (lambda x: tiff(_planes(x), planes=2), lambda x: x[..., :3]),
    "deflated planes": (lambda x: _deflated_planes(x), lambda x: x[..., :3]),
    "signed bytes": (lambda x: tiff((x[..., 0] >> 8).astype(np.int8)), lambda x: (x[..., 0] >> 8).astype(np.int8)),
}  # fmt: skip
REFUSED = {
    "grey with opacity": (lambda x: tiff(x[..., :2], extra=2, photometric=1), "2 channels, and not grey or RGB alone"),
    "numbers of 64 bits": (lambda x: tiff(x[..., 0].astype(np.uint64)), "numbers of 64 bits"),
    "floats of an unknown meaning": (lambda x: tiff(x[..., :3] / 3.0, photometric=77), "neither grey nor RGB"),
    "floats, cut off": (lambda x: tiff(x[..., :3] / 3.0)[:-700], "cannot"),
    "cut off": (lambda x: tiff(x[..., :3])[:-700], "truncated"),
    "deflated floats beyond their strip": (lambda x: _longer(tiff(x[..., :3] / 3.0, deflate=True)), "cannot"),
}


def _planes(pixels: np.ndarray) -> np.ndarray:
    """The first three channels, one after the other."""
    return pixels[..., :3].transpose(2, 0, 1).reshape(24, 24, 3)


def _deflated_planes(pixels: np.ndarray) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, pixels[..., :3].transpose(2, 0, 1), photometric="rgb", compression="zlib")
    return file.getvalue()


def _longer(written: bytes) -> bytes:
    """The same TIFF, half as high by its header."""
    return written.replace(struct.pack("<HHIHH", 257, 3, 1, 24, 0), struct.pack("<HHIHH", 257, 3, 1, 12, 0))


@pytest.mark.parametrize("kind", BEYOND_PILLOW)
def test_what_pillow_does_not_read_of_a_tiff_arrives_whole(tmp_path, deep, kind):
    pytest.importorskip("tifffile")
    written, expected = BEYOND_PILLOW[kind]
    (tmp_path / "a.tif").write_bytes(written(deep))
    found = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, expected(deep))
    assert found.dtype in (np.uint16, np.uint32, np.int32, np.float32)
    assert read_header(tmp_path / "a.tif") == (24, 24, found.ndim == 2, True, 1)


def test_pages_of_colours_of_floats_are_pictures_and_become_images_of_8_bits(tmp_path, deep):
    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "data/train").mkdir(parents=True)
    pictures = np.stack([deep[..., :3] * np.float32(scale) for scale in (0.25, 0.5, 1)])
    for number in range(4):
        tifffile.imwrite(tmp_path / f"data/train/{number}.tif", pictures + number, photometric="rgb", compression="lzw")
    np.testing.assert_array_equal(list(read_frames(tmp_path / "data/train/1.tif")), pictures + 1)
    dataset = load_dataset(tmp_path / "data", image_cache=tmp_path / "cache", test_optional=True)
    assert dataset.train.images.shape == (12, 32, 32, 3)
    assert dataset.train.images.dtype == np.uint8
    assert "values" in dataset.conversion.in_words(np.full((12, 2), 24))


def test_what_tifffile_complains_of_is_a_remark(tmp_path, deep, capfd):
    pytest.importorskip("tifffile")
    (tmp_path / "a.tif").write_bytes(tiff(_planes(deep), planes=2))  # in one strip instead of three
    said = list[tuple[str, str]]()
    read_picture(tmp_path / "a.tif", lambda kind, more: said.append((kind, more)))
    assert [kind for kind, _ in said] == ["damaged"]
    assert "incorrect StripByteCounts" in said[0][1]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["colours of floats", "planes", "signed bytes"])
def test_without_tifffile_an_error_says_what_to_install(tmp_path, deep, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    (tmp_path / "a.tif").write_bytes(BEYOND_PILLOW[kind][0](deep))
    for read in (read_header, read_picture):
        with pytest.raises(DataError, match=r"a\.tif cannot be read as an image .*pip install 'tifffile\[codecs\]>="):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", REFUSED)
def test_a_deep_picture_that_cannot_be_read_whole_is_refused(tmp_path, deep, kind):
    pytest.importorskip("tifffile")
    written, message = REFUSED[kind]
    (tmp_path / "a.tif").write_bytes(written(deep))
    with pytest.raises(DataError, match=r"a\.tif cannot be read as an image") as raised:
        read_picture(tmp_path / "a.tif")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("written", [lambda x: png(x[..., :3], 2)[:-900], lambda x: b"P6 24 24 65535\n" + bytes(50)])
def test_a_deep_picture_that_is_cut_off_is_refused(tmp_path, deep, written):
    path = Path(tmp_path / "a.png")
    path.write_bytes(written(deep))
    with pytest.raises(DataError, match="cannot be read as an image"):
        read_picture(path)
