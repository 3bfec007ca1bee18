"""Folders of pictures: looked through by their headers, then decoded on all cores and kept as one array."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ensemble_ad.data.conversion import Conversion, image_of
from ensemble_ad.data.folders import no_pictures, pictures_below
from ensemble_ad.data.images import Images, ImageSet, Raw, Sizes
from ensemble_ad.data.intake import Progress, check_images, no_progress
from ensemble_ad.data.npy import keep_blocks
from ensemble_ad.data.pictures import Header, names_of, read_frames, read_header
from ensemble_ad.data.pool import in_order
from ensemble_ad.data.remarks import Remarks
from ensemble_ad.errors import DataError, StorageError
from ensemble_ad.files.id_table import check_cells
from ensemble_ad.files.json_file import MOST_IDS, is_count, json_hash, read_json, write_json
from ensemble_ad.files.whole import file_hash

_T = TypeVar("_T")
_DECODED = 256
_MOST_NAMED = 9
_VERSION = 3  # raised when the same files give other pixels


class _Picture(NamedTuple):
    """A decoded picture: its image, its height and width, and what was remarked of it."""

    image: Images
    size: tuple[int, int]
    remarks: list[tuple[str, str]]


class PictureFolder:
    """A folder of pictures; see `conversion.Pictures`.

    An id is a picture's path inside the folder, of a page or frame with its number: `scan.tif#3`. Grey pictures give
    one channel, any colour among them gives three.

    Attributes:
        place: the folder.
        ids: of the pictures, in the order of their paths.
        sizes: int64 (N, 2), as far as headers tell; height and width may be exchanged.
        channels: 1 or 3.
        deep: the first file with other values than 8 bits; None if there is none.
        remarks: what was passed over.
    """

    def __init__(self, folder: Path, image_cache: Path) -> None:
        """Look through a folder; what its headers say is kept in `image_cache`.

        Raises:
            DataError: for no pictures, headers that cannot be read, or names that a spreadsheet runs.
        """
        self.place, self.remarks = folder, Remarks()
        self._paths = sorted(pictures_below(folder, self.remarks))
        if not self._paths:
            raise no_pictures(folder, self.remarks)
        self._content = json_hash([_VERSION, *in_order(file_hash, self._paths)])
        self._headers = self._read_headers(image_cache / f"folder-{self._content}-headers.json")
        self.ids = tuple(
            name
            for path, header in zip(self._paths, self._headers, strict=True)
            for name in names_of(path.relative_to(folder).as_posix(), header.frames)
        )
        check_cells(self.ids, str(folder))
        frames = [header.frames for header in self._headers]
        self.sizes = np.repeat(np.array([header[:2] for header in self._headers], dtype=np.int64), frames, axis=0)
        self.channels = 1 if all(header.grey for header in self._headers) else 3
        self.deep = next((path for path, header in zip(self._paths, self._headers, strict=True) if header.deep), None)

    def some(self, count: int) -> Iterator[Raw]:
        """Up to `count` pictures, the first of their files, evenly spaced."""
        for at in np.unique(np.linspace(0, len(self._paths) - 1, count).astype(int)):
            yield next(read_frames(self._paths[at]))

    def images(self, conversion: Conversion | None, image_cache: Path, progress: Progress = no_progress) -> ImageSet:
        """The images that `conversion` makes of the pictures; None takes those that are images as they are.

        They are decoded once; after that the array is found in `image_cache`, and beside it what was remarked of them.

        Raises:
            DataError: for pictures that cannot be decoded, or of which no image can be made.
        """
        if conversion is None:
            check_images(self)
        how = None if conversion is None else conversion.to_json()
        name = f"folder-{json_hash([self._content, how])}"
        beside, remarks = image_cache / f"{name}.json", Remarks()
        side = int(self.sizes[0, 0]) if conversion is None else conversion.side
        shape = (len(self.ids), side, side, self.channels)
        made = keep_blocks(image_cache / f"{name}.npy", lambda: (shape, self._runs(conversion, beside, progress)))
        kept: Any = {}
        with suppress(StorageError):  # there is none where there was nothing to remark
            kept = read_json(beside, most=MOST_IDS)
        remarks.update(self.remarks)
        remarks.update(Remarks.from_json(kept, len(self.ids)).named(self.ids))
        sizes = None if conversion is None else _sizes(kept, self.sizes)
        return ImageSet(images=made, ids=self.ids, source=self.place, remarks=remarks, sizes=sizes)

    def _read_headers(self, kept: Path) -> list[Header]:
        with suppress(StorageError):
            known = read_json(kept, most=MOST_IDS)
            if isinstance(known, list) and len(known) == len(self._paths) and all(map(_is_header, known)):
                return [Header(*each) for each in known]
        refused = list[_Refused]()
        headers = list(_taken(in_order(partial(_tried, read_header), self._paths), refused))
        self._refuse(refused)
        with suppress(StorageError):  # then they are read again next time
            write_json(kept, headers, most=MOST_IDS)
        return headers

    def _runs(self, conversion: Conversion | None, beside: Path, progress: Progress) -> Iterator[Images]:
        """The array in runs, which are decoded as they are asked for.

        What was remarked is written to `beside` with the last run, so that no array is without it.
        """
        remarks, sizes = Remarks(), list[tuple[int, int]]()
        pictures = self._decoded(conversion)
        while run := list(islice(pictures, _DECODED)):
            for picture in run:
                for kind, more in picture.remarks:
                    remarks.add(kind, str(len(sizes)), more)
                sizes.append(picture.size)
            yield np.stack([picture.image for picture in run])
            progress(len(sizes), len(self.ids))
        if len(sizes) != len(self.ids):
            raise DataError(f"{self.place} has changed while it was read; run the command again")
        if remarks.counts or conversion is not None:
            write_json(beside, remarks.to_json() | ({} if conversion is None else {"sizes": sizes}), most=MOST_IDS)

    def _decoded(self, conversion: Conversion | None) -> Iterator[_Picture]:
        """All pictures in their order; files of few pictures are decoded side by side, others picture by picture.

        Raises:
            DataError: after the last, naming all files that cannot be taken.
        """
        refused = list[_Refused]()
        for files in self._batches():
            if len(files) == 1:
                try:
                    yield from self._of_file(self._paths[files[0]], conversion)
                except DataError as error:
                    refused.append(_Refused(self._paths[files[0]], error))
                continue
            whole = partial(_tried, lambda path: list(self._of_file(path, conversion)))
            for pictures in _taken(in_order(whole, [self._paths[at] for at in files]), refused):
                yield from pictures
        self._refuse(refused)

    def _batches(self) -> Iterator[list[int]]:
        """Runs of files that hold at most `_DECODED` pictures together, or of one file that holds more."""
        files, pictures = list[int](), 0
        for at, header in enumerate(self._headers):
            if files and pictures + header.frames > _DECODED:
                yield files
                files, pictures = [], 0
            files.append(at)
            pictures += header.frames
        yield files

    def _of_file(self, path: Path, conversion: Conversion | None) -> Iterator[_Picture]:
        remarks = list[tuple[str, str]]()
        for raw in read_frames(path, lambda kind, more: remarks.append((kind, more))):
            size = (raw.shape[0], raw.shape[1])
            image = _with_channels(image_of(raw, conversion, str(path)), self.channels)
            yield _Picture(image, size, remarks.copy())
            remarks.clear()

    def _refuse(self, refused: "Sequence[_Refused]") -> None:
        """Raise what is wrong with the first of these files, with the names of the others."""
        if not refused:
            return
        (_, first), *others = refused
        if not others:
            raise first
        names = [path.relative_to(self.place).as_posix() for path, _ in others]
        more = ", ..." if len(names) > _MOST_NAMED else ""
        count = "another file" if len(names) == 1 else f"{len(names)} other files"
        raise DataError(f"{first}; {count} cannot be taken either: {', '.join(names[:_MOST_NAMED])}{more}") from first


class _Refused(NamedTuple):
    """A file that cannot be taken, and why."""

    path: Path
    error: DataError


def _tried(read: Callable[[Path], _T], path: Path) -> _T | _Refused:
    """What `read` gives of a file, or why it cannot be taken."""
    try:
        return read(path)
    except DataError as error:
        return _Refused(path, error)


def _taken(found: Iterable[_T | _Refused], refused: list[_Refused]) -> Iterator[_T]:
    """What could be taken; the rest is added to `refused`."""
    for each in found:
        if isinstance(each, _Refused):
            refused.append(each)
        else:
            yield each


def _with_channels(image: Images, channels: int) -> Images:
    """uint8 (side, side, channels) of a grey or coloured image."""
    if image.ndim == 2:
        image = image[..., None]
    return np.broadcast_to(image, (*image.shape[:2], channels))


def _is_header(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(Header._fields)
        and all(map(is_count, (*value[:2], value[4])))
        and all(isinstance(each, bool) for each in value[2:4])
    )


def _sizes(kept: Any, otherwise: Sizes) -> Sizes:
    """The upright pictures' sizes, int64 (N, 2), as kept beside the array; by the headers where that is damaged."""
    sizes = kept.get("sizes") if isinstance(kept, dict) else None
    with suppress(TypeError, ValueError, OverflowError):
        found = np.array(sizes, dtype=np.int64)
        if found.shape == otherwise.shape and (found > 0).all():
            return found
    return otherwise
