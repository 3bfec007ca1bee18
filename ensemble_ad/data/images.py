"""Images as the user has them: Kaggle's two .npy files, or folders of pictures; read, checked, fingerprinted."""

import contextlib
import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ensemble_ad.errors import DataError
from ensemble_ad.files.id_table import check_cells
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.files.whole import file_hash, whole_file

SIDES = (16, 256)
CHANNELS = (1, 3)
_LFS_POINTER = b"version https://git-lfs"
_NPY_MAGIC = b"\x93NUMPY"
_BLOCK = 4096
_DECODED = 256
_GREY = ("1", "L", "LA")

Images = npt.NDArray[np.uint8]
ImageShape = tuple[int, int, int]
"""(height, width, channels) of an image as it is stored, the axes of `Images` after the first."""
ChannelsFirst = tuple[int, int, int]
"""(channels, height, width) of an image as a model takes it."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one size.

    Attributes:
        images: uint8 (N, side, side, C) with C of 1 or 3, often a read-only memory map.
        ids: N distinct names, the ones a submission uses.
        source: where they came from, for messages.
    """

    images: Images
    ids: tuple[str, ...]
    source: Path

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """BLAKE2b-128 of shape and pixels: the same images have it wherever they lie and however they were stored."""
        digest = hashlib.blake2b(repr(self.images.shape).encode(), digest_size=16)
        for block in blocks(self.images):
            digest.update(block.data)
        return digest.hexdigest()

    @cached_property
    def is_grey(self) -> bool:
        """Whether every pixel's channels are equal, so that one channel holds everything."""
        return self.images.shape[3] == 1 or all(bool((block == block[..., :1]).all()) for block in blocks(self.images))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a study is run on: normal images to train on and, usually, unlabelled test images."""

    train: ImageSet
    test: ImageSet

    @property
    def side(self) -> int:
        """Height and width of every image, in pixels."""
        return int(self.train.images.shape[1])

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.train.images.shape[3])

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any pixel of either set; members of different fingerprints never mix."""
        return json_hash([self.train.fingerprint, self.test.fingerprint])

    @property
    def is_grey(self) -> bool:
        """Whether both sets hold grey images, be they stored as grey or as three equal channels."""
        return self.train.is_grey and self.test.is_grey


def blocks(images: Images) -> Iterator[Images]:
    """Contiguous runs of images, small enough to hold, whatever the size of the whole; see `give_back`."""
    for start in range(0, len(images), _BLOCK):
        yield np.ascontiguousarray(images[start : start + _BLOCK])
        give_back(images)


def give_back(images: Images) -> None:
    """Let go of what was read of a read-only memory map, which counts as this process's memory for as long as it is
    mapped.

    Nothing is lost: a later look finds it in the system's cache, or on disk. Other arrays are left alone.
    """
    mapped = getattr(images, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and not images.flags.writeable:
        mapped.madvise(mmap.MADV_DONTNEED)


def load_dataset(data: Path, *, image_cache: Path, test_optional: bool = False) -> Dataset:
    """Read `data`, either `trainingset.npy` and `testingset.npy` or the folders `train/` and `test/`.

    Args:
        data: the folder.
        image_cache: where decoded folders of images are kept as uint8.
        test_optional: take a folder without test images for a data set of no test images.

    Raises:
        DataError: if anything about the images makes them unusable; the message names file, rule and value.
    """
    if not data.is_dir():
        raise DataError(
            f"the data folder {data} does not exist; put trainingset.npy and testingset.npy there, "
            "or name the folder that has them with --data"
        )
    train = _load_one(data, "trainingset.npy", "train", image_cache)
    if test_optional and not (data / "testingset.npy").exists() and not (data / "test").exists():
        return Dataset(train=train, test=ImageSet(images=train.images[:0], ids=(), source=data / "test"))
    test = _load_one(data, "testingset.npy", "test", image_cache)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"training and test images must have one shape, but {train.source.name} has "
            f"{shape_text(train.images)} and {test.source.name} {shape_text(test.images)}"
        )
    return Dataset(train=train, test=test)


def shape_text(images: Images) -> str:
    """A shape as people write it: 64x64x3."""
    return "x".join(str(n) for n in images.shape[1:])


def _load_one(data: Path, array_name: str, folder_name: str, image_cache: Path) -> ImageSet:
    array, folder = data / array_name, data / folder_name
    if array.exists():
        images = open_array(array)
        return ImageSet(images=images, ids=tuple(map(str, range(len(images)))), source=array)
    if folder.is_dir():
        return open_folder(folder, image_cache)
    raise DataError(
        f"{data} must hold {array_name} or a folder {folder_name}/ of images, and has neither; "
        "download the data there, or name another folder with --data"
    )


def open_array(path: Path) -> Images:
    """Open a .npy of images as a read-only memory map.

    Returns:
        uint8 (N, side, side, C); (N, side, side) is taken as one channel.

    Raises:
        DataError: for a Git-LFS pointer, pickled objects, another dtype, wrong axes, no images or a cut-off file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if head.startswith(_LFS_POINTER):
        raise DataError(
            f"{path} is a Git-LFS pointer of {path.stat().st_size} bytes, not the images; "
            "run `git lfs pull` where it was cloned, or download the file itself"
        )
    if not head.startswith(_NPY_MAGIC):
        raise DataError(f"{path} must be a .npy file, but does not start like one; save it with numpy.save")
    try:
        images = _map(path)
    except Exception as error:  # numpy lets the tokenizer's, the parser's and the memory map's errors through
        if "Python objects in dtype" in str(error):
            raise DataError(
                f"{path} holds pickled objects, which could run code and are never opened; "
                "save it again as one uint8 array"
            ) from error
        raise DataError(f"{path} is cut off or damaged ({_one_line(error)}); download it again") from error
    return _check_images(images, path)


def _map(path: Path) -> Images:
    with np.errstate(all="raise"):
        opened: Images = np.load(path, mmap_mode="r", allow_pickle=False)
    return opened


def keep_blocks(path: Path, make: Callable[[], tuple[tuple[int, ...], Iterable[Images]]]) -> Images:
    """Open the array at `path` as a memory map; where there is none, or a damaged one, `make` it and write it first.

    Args:
        path: a .npy file.
        make: gives the array's shape, and its images in runs, which are written as they come: none but one is held.

    Raises:
        StorageError: if it cannot be written.
    """
    if path.exists():
        # A copy that broke off leaves a file that is too short.
        with contextlib.suppress(ValueError, EOFError, OSError):
            return _map(path)
    shape, runs = make()
    with whole_file(path) as part, part.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for run in runs:
            file.write(np.ascontiguousarray(run).data)
    return _map(path)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _check_images(images: npt.NDArray[np.generic], path: Path) -> Images:
    shape = tuple(images.shape)
    if images.dtype != np.uint8:
        raise DataError(
            f"{path} must be uint8 (0 to 255), but is {images.dtype}; convert it, "
            "for instance with (x * 255).round().astype('uint8') if it is 0 to 1"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in CHANNELS:
        hint = (
            "; its channels come second, use x.transpose(0, 2, 3, 1)"
            if images.ndim == 4 and shape[1] in CHANNELS
            else ""
        )
        raise DataError(f"{path} must have the axes (N, side, side, 1 or 3), but has {shape}{hint}")
    if images.shape[0] == 0:
        raise DataError(f"{path} must hold at least one image, but holds none: {shape}")
    if images.shape[1] != images.shape[2]:
        raise DataError(
            f"{path} must hold square images, but they are {shape[1]} high and {shape[2]} wide; crop or pad them"
        )
    if not SIDES[0] <= images.shape[1] <= SIDES[1]:
        raise DataError(
            f"{path} must hold images of {SIDES[0]} to {SIDES[1]} pixels a side, but they have {shape[1]}; resize them"
        )
    return images  # type: ignore[return-value]


def open_folder(folder: Path, image_cache: Path) -> ImageSet:
    """Read a folder of pictures in any of Pillow's formats, once; after that its uint8 cache is opened.

    Grey pictures give one channel, any colour among them gives three. An id is a picture's path inside the folder.

    Raises:
        DataError: for no pictures, an unreadable one, pictures of different sizes, or names that a spreadsheet runs.
    """
    from PIL import Image

    known = Image.registered_extensions()
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in known and p.is_file())
    if not paths:
        raise DataError(f"{folder} must hold images (PNG, JPEG, ...), but holds none that Pillow reads")
    ids = tuple(p.relative_to(folder).as_posix() for p in paths)
    check_cells(ids, str(folder))
    content = json_hash([file_hash(p) for p in paths])
    images = keep_blocks(image_cache / f"folder-{content}.npy", lambda: _decode(paths, ids, folder))
    return ImageSet(images=images, ids=ids, source=folder)


def read_picture(path: Path) -> Images:
    """Decode one picture in any of Pillow's formats, turned upright as its EXIF says.

    Returns:
        uint8 (height, width) of a grey one, (height, width, 3) of another.

    Raises:
        DataError: if it cannot be decoded or has more than 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                raise ValueError("more than 8 bits a channel; convert it to 8 bits")
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright.convert("L" if image.mode in _GREY else "RGB"))
    except Exception as error:  # of a damaged file Pillow lets SyntaxError, struct's and others through
        why = _one_line(error)[:300]
        raise DataError(f"{path} cannot be read as an image ({why}); mend or remove it") from error


def has_colour(path: Path) -> bool:
    """Whether `read_picture` gives three channels; only the picture's header is read, and False if even that fails."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.mode not in _GREY
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return False


def _decode(paths: Sequence[Path], ids: Sequence[str], folder: Path) -> tuple[tuple[int, ...], Iterator[Images]]:
    """The shape of all pictures as one array, and its runs, decoded as they are asked for."""
    first = read_picture(paths[0])
    coloured = any(has_colour(path) for path in paths)
    empty = np.empty((1, *first.shape[:2], 3 if coloured else 1), dtype=np.uint8)
    _check_images(empty, folder)

    def runs() -> Iterator[Images]:
        for start in range(0, len(paths), _DECODED):
            some = [first if path is paths[0] else read_picture(path) for path in paths[start : start + _DECODED]]
            for name, picture in zip(ids[start:], some, strict=False):
                if picture.shape[:2] != first.shape[:2]:
                    raise DataError(
                        f"all images of {folder} must have one size, but {ids[0]} is {_size(first)} "
                        f"and {name} is {_size(picture)}"
                    )
            with_channels = [picture if picture.ndim == 3 else picture[..., None] for picture in some]
            yield np.stack([np.broadcast_to(picture, empty.shape[1:]) for picture in with_channels])

    return (len(paths), *empty.shape[1:]), runs()


def _size(image: Images) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
