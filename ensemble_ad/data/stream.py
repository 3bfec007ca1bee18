"""Images to score, one or a million: .npy files, folders and single pictures, read a block at a time."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ensemble_ad.data.folders import no_pictures, pictures_below
from ensemble_ad.data.images import Images, ImageShape
from ensemble_ad.data.npy import open_array
from ensemble_ad.data.pictures import read_picture
from ensemble_ad.data.remarks import Remarks
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


Skip = Callable[[str, DataError], None]
"""Told of each source or image that is left out: its name or id, and why."""


def check_sources(sources: Sequence[Path], shape: ImageShape) -> None:
    """Check what can be checked without reading the images.

    Raises:
        DataError: for no source, one that does not exist, or a .npy file that does not hold images of `shape`.
    """
    if not sources:
        raise DataError("at least one .npy file, folder or picture of images to score is needed; name one")
    for source in sources:
        _check(source, shape)


def _check(source: Path, shape: ImageShape) -> None:
    if source.is_dir():
        return
    if not source.is_file():
        raise DataError(f"the images {source} do not exist; name a .npy file, a folder or a picture")
    if source.suffix == ".npy":
        conform(open_array(source)[:1], shape, str(source))


def count(sources: Sequence[Path], remarks: Remarks) -> int:
    """How many images `stream` gives if all can be read; a file that cannot be read counts none.

    Args:
        sources: as for `stream`.
        remarks: gets what is passed over in folders.
    """
    found = 0
    for source in sources:
        if source.is_dir():
            found += sum(1 for _ in pictures_below(source, remarks))
        elif source.suffix == ".npy":
            with contextlib.suppress(DataError):
                found += len(open_array(source))
        else:
            found += 1
    return found


def stream(
    sources: Sequence[Path],
    shape: ImageShape,
    *,
    block: int = BLOCK,
    skip: Skip | None = None,
    remarks: Remarks | None = None,
) -> Iterator[Block]:
    """Read images, never more than `block` of them at a time.

    The id of an image in a .npy file is its row, that of an image in a folder its path inside the folder, that of a
    single picture its file name. Where there are several sources, each id begins with the source as it was named,
    `a.npy:0` or `folder/x.png`, so that no two are alike. Folders are read in the order of their names.

    Args:
        sources: .npy files of uint8 (N, side, side[, C]), folders of pictures, pictures in any of Pillow's formats.
        shape: the shape of every image; see `conform`.
        block: images in a block; the last block of a source may hold fewer.
        skip: told of what cannot be read or has another shape, which is then left out; None raises instead.
        remarks: gets what pictures hold and images do not; see `remarks.TAKEN`.

    Raises:
        DataError: without `skip`, for an image that cannot be read or has another shape, once it is reached, and for a
            folder without pictures.
    """
    if skip is None:
        check_sources(sources, shape)
    alone, remarks = len(sources) == 1, Remarks() if remarks is None else remarks
    for source in sources:
        try:
            _check(source, shape)
            if source.is_dir():
                yield from _of_folder(source, shape, block, "" if alone else f"{source}/", skip, remarks)
            elif source.suffix == ".npy":
                yield from _of_array(source, shape, block, "" if alone else f"{source}:", skip)
            else:
                name = source.name if alone else str(source)
                picture = read_picture(source, partial(_remark, remarks, name))
                yield Block([name], conform(picture[None], shape, str(source)))
        except DataError as error:
            if skip is None:
                raise
            skip(str(source), error)


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


def _of_array(source: Path, shape: ImageShape, block: int, prefix: str, skip: Skip | None) -> Iterator[Block]:
    total = len(open_array(source))
    for start in range(0, total, block):
        # The file is mapped anew each time: what was read of a map that stays open counts as this process's memory.
        part = np.array(open_array(source)[start : start + block])
        ids = [f"{prefix}{row}" for row in range(start, start + len(part))]
        try:
            conforming = conform(part, shape, str(source))
        except DataError:
            if skip is None:
                raise
            readers = {name: partial(conform, part[i : i + 1], shape, f"image {name}") for i, name in enumerate(ids)}
            yield from _read(readers.items(), block, skip)
        else:
            yield Block(ids, conforming)


def _remark(remarks: Remarks, name: str, kind: str, more: str) -> None:
    remarks.add(kind, name, more)


def _of_folder(
    source: Path, shape: ImageShape, block: int, prefix: str, skip: Skip | None, remarks: Remarks
) -> Iterator[Block]:
    def read(path: Path, name: str) -> Images:
        return conform(read_picture(path, partial(_remark, remarks, name))[None], shape, str(path))

    passed_over = Remarks()
    paths = pictures_below(source, passed_over)
    first = next(paths, None)
    if first is None:
        raise no_pictures(source, passed_over)
    named = ((path, prefix + path.relative_to(source).as_posix()) for path in chain([first], paths))
    yield from _read(((name, partial(read, path, name)) for path, name in named), block, skip)


def _read(readers: Iterable[tuple[str, Callable[[], Images]]], block: int, skip: Skip | None) -> Iterator[Block]:
    """Blocks of what `readers`, each with the id of its image, give; without `skip` the first error ends it."""
    ids: list[str] = []
    images: list[Images] = []
    for name, read in readers:
        try:
            images.append(read())
            ids.append(name)
        except DataError as error:
            if skip is None:
                raise
            skip(name, error)
        if len(ids) == block:
            yield Block(ids, np.concatenate(images))
            ids, images = [], []
    if ids:
        yield Block(ids, np.concatenate(images))
