"""Images to score, one or a million: .npy files, folders and single pictures, read a block at a time."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ensemble_ad.data.conversion import Conversion, image_of
from ensemble_ad.data.fit import Shape
from ensemble_ad.data.folders import no_pictures, pictures_below
from ensemble_ad.data.images import Images, ImageShape, Raw
from ensemble_ad.data.npy import open_array
from ensemble_ad.data.pictures import named_frames
from ensemble_ad.data.pool import in_order
from ensemble_ad.data.remarks import Remarks
from ensemble_ad.errors import DataError

BLOCK = 1024
_FRAMES = 8  # of a file that a thread decodes; what follows of a longer one is decoded once its turn comes
_STEP = 64


class Block(NamedTuple):
    """Some of the images to score.

    Attributes:
        ids: b names, one for each image.
        images: uint8 (b, side, side, C).
        shapes: (height, width) of the picture that each was made of.
    """

    ids: list[str]
    images: Images
    shapes: list[Shape]


class _Made(NamedTuple):
    """An image (1, side, side, C) with its id, its picture's shape, and what was remarked of it."""

    name: str
    image: Images
    shape: Shape
    remarks: list[tuple[str, str]]


Reader = tuple[str, Callable[[], Iterator[_Made]]]
"""A file or an image by its id, and what gives its images."""
Take = Callable[..., Images]
"""Makes an image (1, side, side, C) of a picture, whose `name` it is told for messages."""
Skip = Callable[[str, DataError], None]
"""Told of each source or image that is left out: its name or id, and why."""
Tell = Callable[[int], None]
"""Told how many images of the next block are read."""


def check_sources(sources: Sequence[Path], shape: ImageShape, conversion: Conversion | None = None) -> None:
    """Check what can be checked without reading the images; arguments are as for `stream`.

    Raises:
        DataError: for no source, one that does not exist, or a .npy file that does not hold images of `shape`.
    """
    if not sources:
        raise DataError("at least one .npy file, folder or picture of images to score is needed; name one")
    for source in sources:
        _check(source, shape, conversion)


def _check(source: Path, shape: ImageShape, conversion: Conversion | None) -> None:
    if source.is_dir():
        return
    _check_there(source)
    if source.suffix == ".npy":
        _taken(open_array(source)[0], shape, conversion, str(source))


def _check_there(source: Path) -> None:
    if not source.is_file():
        raise DataError(f"the images {source} do not exist; name a .npy file, a folder or a picture")


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
    conversion: Conversion | None = None,
    block: int = BLOCK,
    skip: Skip | None = None,
    remarks: Remarks | None = None,
    tell: Tell = lambda count: None,
) -> Iterator[Block]:
    """Read images, by all cores, a block at a time.

    The id of an image in a .npy file is its row, that of an image in a folder its path inside the folder, that of a
    single picture its file name; a page or frame of several has its number, `scan.tif#3`. Where there are several
    sources, each id begins with the source as it was named, `a.npy:0` or `folder/x.png`, so that no two are alike.
    Folders are read in the order of their names.

    Args:
        sources: .npy files of (N, height, width[, C]), folders of pictures, pictures in any format that is read.
        shape: the shape of every image; see `conform`.
        conversion: what makes images of the pictures; None takes those that are images of `shape` as they are.
        block: images in a block; the last block of a file, a folder or pictures named in a row may hold fewer.
        skip: told of what cannot be read or has another shape, which is then left out; None raises instead.
        remarks: gets what pictures hold and images do not; see `remarks.TAKEN`.
        tell: is told how far the next block is.

    Raises:
        DataError: without `skip`, for an image that cannot be read or has another shape, once it is reached, and for a
            folder without pictures.
    """
    if skip is None:
        check_sources(sources, shape, conversion)
    alone, remarks = len(sources) == 1, Remarks() if remarks is None else remarks
    take = partial(_taken, shape=shape, conversion=conversion)
    read = partial(_read, block=block, skip=skip, remarks=remarks, tell=tell)
    for are_pictures, some in groupby(sources, _is_picture):
        if are_pictures:
            named = ((source, source.name if alone and source.is_file() else str(source)) for source in some)
            yield from read((name, partial(_of_named, path, name, take)) for path, name in named)
            continue
        for source in some:
            try:
                _check(source, shape, conversion)
                if source.is_dir():
                    yield from read(_of_folder(source, take, "" if alone else f"{source}/"))
                else:
                    for readers in _of_array(source, take, block, "" if alone else f"{source}:"):
                        yield from read(readers, by_threads=conversion is not None)
            except DataError as error:
                if skip is None:
                    raise
                skip(str(source), error)


def _is_picture(source: Path) -> bool:
    return not source.is_dir() and source.suffix != ".npy"


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
            f"{name} must be {shape[1]}x{shape[0]} pixels, as those that were trained on, but is "
            f"{images.shape[2]}x{images.shape[1]}; resize it"
        )
    if images.shape[3] == shape[2]:
        return images
    if shape[2] == 3:
        return np.repeat(images, 3, axis=3)
    if (images != images[..., :1]).any():
        raise DataError(f"{name} has colours, and the blend was trained on grey images; convert it to grey")
    return images[..., :1]


def _taken(picture: Raw, shape: ImageShape, conversion: Conversion | None, name: str) -> Images:
    """The image of a picture, uint8 (1, *shape)."""
    return conform(image_of(picture, conversion, name)[None], shape, name)


def _of_array(source: Path, take: Take, block: int, prefix: str) -> Iterator[list[Reader]]:
    """What reads the rows of a file, by blocks."""
    total = len(open_array(source))
    for start in range(0, total, block):
        # The file is mapped anew each time: what was read of a map that stays open counts as this process's memory.
        opened = open_array(source)
        rows = range(start, min(start + block, total))
        yield [(f"{prefix}{row}", partial(_of_row, opened, row, f"{prefix}{row}", take)) for row in rows]


def _of_row(opened: Raw, row: int, name: str, take: Take) -> Iterator[_Made]:
    yield _Made(name, take(opened[row], name=f"image {name}"), _shape(opened[row]), [])


def _of_file(path: Path, name: str, take: Take) -> Iterator[_Made]:
    said = list[tuple[str, str]]()
    for each, picture in named_frames(path, name, lambda kind, more: said.append((kind, more))):
        yield _Made(each, take(picture, name=str(path)), _shape(picture), said.copy())
        said.clear()


def _of_named(path: Path, name: str, take: Take) -> Iterator[_Made]:
    _check_there(path)
    yield from _of_file(path, name, take)


def _shape(picture: Raw) -> Shape:
    height, width = picture.shape[:2]
    return height, width


def _of_folder(source: Path, take: Take, prefix: str) -> Iterator[Reader]:
    passed_over = Remarks()
    paths = pictures_below(source, passed_over)
    first = next(paths, None)
    if first is None:
        raise no_pictures(source, passed_over)
    for path in chain([first], paths):
        name = prefix + path.relative_to(source).as_posix()
        yield name, partial(_of_file, path, name, take)


def _begun(reader: Reader) -> Reader:
    """The same of which the first images are made already, or of which is known what goes wrong."""
    name, read = reader
    images, made, wrong = read(), list[_Made](), list[DataError]()
    try:
        for image in islice(images, _FRAMES):
            made.append(image)
    except DataError as error:
        wrong.append(error)

    def go_on() -> Iterator[_Made]:
        yield from made
        for error in wrong:
            raise error
        yield from images

    return name, go_on


def _read(
    readers: Iterable[Reader], *, block: int, skip: Skip | None, remarks: Remarks, tell: Tell, by_threads: bool = True
) -> Iterator[Block]:
    """Blocks of what `readers`, each with the id of its file or image, give; without `skip` the first error ends it."""
    made: list[_Made] = []
    for name, read in in_order(_begun, readers) if by_threads else readers:
        try:
            for each in read():
                for kind, more in each.remarks:
                    remarks.add(kind, name, more)
                made.append(each)
                if len(made) % _STEP == 0:
                    tell(len(made))
                if len(made) == block:
                    yield _block_of(made)
                    made = []
        except DataError as error:
            if skip is None:
                raise
            skip(name, error)
    if made:
        yield _block_of(made)


def _block_of(made: Sequence[_Made]) -> Block:
    images = np.concatenate([each.image for each in made])
    return Block([each.name for each in made], images, [each.shape for each in made])
