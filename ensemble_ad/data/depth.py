"""Pictures of more than 8 bits a channel: with all their bits where they can be had, else known as cut.

Pillow has no colours of 16 bits: it keeps the upper byte of each number. Told that the numbers' bytes lie the other way
round, it keeps the lower one, so such a picture is decoded twice.
"""

import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ensemble_ad.data.images import Raw
from ensemble_ad.data.tiff import BeyondPillowError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

TOP = 65535
"""The largest of 16 bits."""
_COLOURS = ("RGB", "RGBX", "RGBA", "RGBa")
_OTHER = {"B": "L", "L": "B"}
_NATIVE = "L" if sys.byteorder == "little" else "B"
_MOST_OF_8 = 255
_HEAD = 1 << 16  # bytes in which the boxes of JPEG 2000 and AVIF that tell the depth lie
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _SAMPLE_FORMAT = 258, 262, 277, 284, 339  # tags of TIFF


def is_deep_mode(mode: str) -> bool:
    """Whether pixels of one of Pillow's modes are grey numbers of more than 8 bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def channels_of(image: "ImageFile") -> str:
    """How the 16-bit numbers of an opened picture lie that is not loaded yet, as "RGBA"; empty of any other.

    A small "a" says that the colours are multiplied by it, "X" a channel without meaning.

    Raises:
        BeyondPillowError: for a TIFF whose numbers Pillow would take for others.
    """
    if image.format == "TIFF":
        _check_tiff(image)
    raw = _raw_mode(image)
    if image.format == "PPM":
        return "RGB" if image.tile[0].codec_name == "ppm" and raw == "RGB" and _ppm_top(image) > _MOST_OF_8 else ""
    channels, _, bits = raw.partition(";")
    return channels if bits in ("16B", "16L", "16N") and channels in (*_COLOURS, "LA") else ""


def whole_colours(image: "ImageFile", again: Callable[[], "ImageFile"], channels: str) -> tuple[Raw, Raw | None]:
    """All bits of a picture that is not loaded yet.

    Args:
        image: the picture.
        again: opens it once more, at the same page.
        channels: as `channels_of` gives them.

    Returns:
        uint16 (height, width, 3), or (height, width) of grey ones, upright; and how opaque each pixel is, uint16
        (height, width), None where there is nothing to see through.
    """
    if image.format == "PPM":
        return _of_ppm(image), None
    if channels == "LA":
        parts = _loaded(image, "RGBA").astype(np.uint16)  # two numbers of two bytes each
        return parts[..., 0] << 8 | parts[..., 1], parts[..., 2] << 8 | parts[..., 3]
    order = _raw_mode(image)[-1].replace("N", _NATIVE)
    kept = channels.upper()
    found: Raw = _loaded(image, f"{kept};16{order}").astype(np.uint16)
    found <<= 8
    found |= _loaded(again(), f"{kept};16{_OTHER[order]}")
    if found.shape[2] == len("RGB"):
        return found, _but_transparent(found, image)
    colours, alpha = found[..., :3], found[..., 3]
    if channels == "RGBa":
        share = np.maximum(alpha, 1)[..., None] / TOP
        colours = np.rint(np.minimum(colours / share, TOP)).astype(np.uint16)
    return colours, alpha


def whole_grey(image: "ImageFile", upright: "Image") -> tuple[Raw, Raw | None]:
    """The numbers of a picture of a deep mode, of the machine's byte order, and how opaque each is, as above."""
    values: Raw = np.asarray(upright)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if values.dtype == np.int32 and max(tags[_BITS]) == 32 and max(tags.get(_SAMPLE_FORMAT, (1,))) == 1:
            values = values.view(np.uint32)
        if values.dtype == np.uint16 and tags.get(_PHOTOMETRIC) == 0:
            values = TOP - values  # white is 0
    return values, _but_transparent(values[..., None], image)


def is_cut(image: "ImageFile") -> bool:
    """Whether an opened picture that is not loaded yet has more than the 8 bits a channel that are taken of it."""
    raw = _raw_mode(image)
    if image.format == "PPM":
        return raw == "RGB" and image.tile[0].codec_name == "ppm_plain" and _ppm_top(image) > _MOST_OF_8
    if image.format == "SGI":
        return image.tile[0].codec_name == "SGI16" or ";16" in raw
    if image.format == "JPEG2000":
        return not is_deep_mode(image.mode) and _jpeg_2000_bits(_head_of(image)) > 8
    if image.format == "AVIF":
        return _is_deep_avif(_head_of(image))
    if image.format == "HEIF":
        return bool(image.info.get("bit_depth", 8) > 8)
    return raw.startswith("CMYK;16")


def _raw_mode(image: "ImageFile") -> str:
    """Pillow's name of how the numbers lie in the file."""
    arguments = image.tile[0].args if image.tile else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def _loaded(image: "ImageFile", raw: str) -> Raw:
    from PIL import ImageOps

    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in image.tile
    ]
    loaded: Raw = np.asarray(ImageOps.exif_transpose(image))
    return loaded


def _but_transparent(found: Raw, image: "Image") -> Raw | None:
    """uint16 (height, width): `TOP`, and 0 where a pixel of (height, width, C) is what a PNG calls transparent."""
    seen_through = image.info.get("transparency") if image.format == "PNG" else None
    if seen_through is None:
        return None
    return np.where((found == np.array(seen_through)).all(axis=2), 0, TOP).astype(np.uint16)


def _ppm_top(image: "ImageFile") -> int:
    arguments = image.tile[0].args
    top = arguments[-1] if isinstance(arguments, tuple) else 0
    return top if isinstance(top, int) else 0


def _of_ppm(image: "ImageFile") -> Raw:
    assert image.fp is not None
    image.fp.seek(image.tile[0].offset)
    shape = (image.height, image.width, 3)
    content = image.fp.read(2 * image.height * image.width * 3)
    values = np.frombuffer(content, dtype=">u2").reshape(shape)  # raises where the file is cut off
    return np.rint(np.minimum(values * (TOP / _ppm_top(image)), TOP)).astype(np.uint16)


def _check_tiff(image: "ImageFile") -> None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = max(tags.get(_BITS, (1,)))
    if bits > 8 and tags.get(_PLANES) == 2 and tags.get(_SAMPLES, 1) > 1:
        raise BeyondPillowError(
            f"planes of {bits} bits, one after the other; save it with a pixel's channels side by side"
        )
    if bits == 8 and max(tags.get(_SAMPLE_FORMAT, (1,))) == 2:
        raise BeyondPillowError("signed numbers of 8 bits; save it with 16 bits")


def _head_of(image: "ImageFile") -> bytes:
    if image.fp is None:
        return b""
    at = image.fp.tell()
    image.fp.seek(0)
    head: bytes = image.fp.read(_HEAD)
    image.fp.seek(at)
    return head


def _jpeg_2000_bits(head: bytes) -> int:
    """The most bits of a component, by the codestream's markers SOC and SIZ."""
    start = head.find(b"\xff\x4f\xff\x51")
    try:
        (count,) = struct.unpack_from(">H", head, start + 40)
        sizes = struct.unpack_from(f">{'Bxx' * count}", head, start + 42)
    except struct.error:
        return 0
    return max(((size & 0x7F) + 1 for size in sizes), default=0) if start >= 0 else 0


def _is_deep_avif(head: bytes) -> bool:
    """By the flag high_bitdepth of the box av1C."""
    start = head.find(b"av1C")
    return start >= 0 and len(head) > start + 6 and bool(head[start + 6] & 0x40)
