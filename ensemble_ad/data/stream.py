"""Images to score, one or a million: .npy files, folders and single pictures, read a block at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ensemble_ad.data.images import Images, ImageShape
from ensemble_ad.data.npy import open_array
from ensemble_ad.data.pictures import no_pictures, pictures_below, read_picture
from ensemble_ad.errors import DataError

BLOCK = 1024


class Block(NamedTuple):
    """Some of the images to score.

    Attributes:
        ids: b names, one for each image.
        images: uint8 (b, side, side, C).
    """

    ids: list[str]
    images: Images


def check_sources(sources: Sequence[Path], shape: ImageShape) -> None:
    """Check what can be checked without reading the images.

    Raises:
        DataError: for no source, one that does not exist, or a .npy file that does not hold images of `shape`.
    """
    if not sources:
        raise DataError("at least one .npy file, folder or picture of images to score is needed; name one")
    for source in sources:
        if source.is_dir():
            continue
        if not source.is_file():
            raise DataError(f"the images {source} do not exist; name a .npy file, a folder or a picture")
        if source.suffix == ".npy":
            conform(open_array(source)[:1], shape, str(source))


def count(sources: Sequence[Path]) -> int:
    """How many images `stream` gives if all can be read."""
    found = 0
    for source in sources:
        if source.is_dir():
            found += sum(1 for _ in pictures_below(source))
        else:
            found += len(open_array(source)) if source.suffix == ".npy" else 1
    return found


def stream(sources: Sequence[Path], shape: ImageShape, *, block: int = BLOCK) -> Iterator[Block]:
    """Read images, never more than `block` of them at a time.

    The id of an image in a .npy file is its row, that of an image in a folder its path inside the folder, that of a
    single picture its file name. Where there are several sources, each id begins with the source as it was named,
    `a.npy:0` or `folder/x.png`, so that no two are alike. Folders are read in the order of their names.

    Args:
        sources: .npy files of uint8 (N, side, side[, C]), folders of pictures, pictures in any of Pillow's formats.
        shape: the shape of every image; see `conform`.
        block: images in a block; the last block of a source may hold fewer.

    Raises:
        DataError: for an image that cannot be read or has another shape, once it is reached, and for a folder without
            pictures.
    """
    check_sources(sources, shape)
    alone = len(sources) == 1
    for source in sources:
        if source.is_file() and source.suffix == ".npy":
            yield from _of_array(source, shape, block, "" if alone else f"{source}:")
        elif source.is_file():
            name = source.name if alone else str(source)
            yield Block([name], conform(read_picture(source)[None], shape, str(source)))
        else:
            yield from _of_folder(source, shape, block, "" if alone else f"{source}/")


def conform(images: Images, shape: ImageShape, name: str) -> Images:
    """Give images the channels of `shape`: grey is repeated three times, three equal channels become one.

    Args:
        images: uint8 (n, H, W) or (n, H, W, C).
        shape: the shape of an image that the blend was trained on.
        name: file or folder that they came from, for messages.

    Returns:
        uint8 (n, *shape).

    Raises:
        DataError: for images of another size, or with colours where `shape` has one channel.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[1:3] != shape[:2]:
        raise DataError(
            f"{name} must be {shape[1]}x{shape[0]} pixels, as what the blend was trained on, but is "
            f"{images.shape[2]}x{images.shape[1]}; resize it"
        )
    if images.shape[3] == shape[2]:
        return images
    if shape[2] == 3:
        return np.repeat(images, 3, axis=3)
    if (images != images[..., :1]).any():
        raise DataError(f"{name} has colours, and the blend was trained on grey images; convert it to grey")
    return images[..., :1]


def _of_array(source: Path, shape: ImageShape, block: int, prefix: str) -> Iterator[Block]:
    total = len(open_array(source))
    for start in range(0, total, block):
        # The file is mapped anew each time: what was read of a map that stays open counts as this process's memory.
        part = np.array(open_array(source)[start : start + block])
        ids = [f"{prefix}{row}" for row in range(start, start + len(part))]
        yield Block(ids, conform(part, shape, str(source)))


def _of_folder(source: Path, shape: ImageShape, block: int, prefix: str) -> Iterator[Block]:
    ids: list[str] = []
    images: list[Images] = []
    found = False
    for path in pictures_below(source):
        found = True
        ids.append(prefix + path.relative_to(source).as_posix())
        images.append(conform(read_picture(path)[None], shape, str(path)))
        if len(ids) == block:
            yield Block(ids, np.concatenate(images))
            ids, images = [], []
    if not found:
        raise no_pictures(source)
    if ids:
        yield Block(ids, np.concatenate(images))
