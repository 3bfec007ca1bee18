"""Groups of training images that belong together: near-duplicates, and what a user names.

A group is held out as a whole or trained on as a whole, else a model has seen what it is judged by.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.images import Images, ImageSet, blocks
from ensemble_ad.errors import DataError, StorageError
from ensemble_ad.files.arrays import read_arrays
from ensemble_ad.files.id_table import read_id_table, shown
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.files.whole import whole_file

FOLDERS = "folders"
"""What names the folders of the training images as their groups, instead of a file."""
ALIKE = 2.0
"""Grey levels: images whose thumbnails differ by less (root mean square) are near-duplicates."""
Groups = tuple[int, ...]
"""A group's number for each training image, counted from 0 in the order of the groups' first images."""
_SIDE = 16  # of a thumbnail
_NUMBERS = 12  # principal components by which neighbours are looked up
_NEIGHBOURS = 9
_AT_ONCE = 10_000
_WORTH_KEEPING = 1 << 26  # bytes of images; of fewer, near-duplicates are found in less than a second
_KEPT = "groups"
_RULES = 1  # raised when the same images give other groups
Floats32 = npt.NDArray[np.float32]


def near_duplicates(images: Images) -> Groups | None:
    """Groups of images that are, but for noise, compression or a retouched corner, the same picture.

    Two images are near-duplicates where their grey 16 x 16 thumbnails differ by at most `ALIKE`, and so are two that a
    chain of such pairs connects. Only an image's nearest eight are compared with it, found by a k-d tree of 12
    principal components: 100,000 images take 200 MB, those of 32x32x3 2.5 s of a core. Where more than half of the
    images hang together, they are all alike, so that only those whose thumbnails are equal count.

    Args:
        images: uint8 (N, side, side, C).

    Returns:
        None where no two are.
    """
    if len(images) < 2:
        return None
    thumbnails = _thumbnails(images)
    # By their digests, as sorting the thumbnails themselves would copy them.
    digests = np.array([hashlib.blake2b(each.data, digest_size=16).digest() for each in thumbnails], dtype="V16")
    _, first, number = np.unique(digests, return_index=True, return_inverse=True)
    equal = number.reshape(-1)
    alike = _components(len(first), _near_pairs(thumbnails, first))[equal]
    return _numbered(alike if np.bincount(alike).max() <= len(images) / 2 else equal)


def kept_near_duplicates(images: ImageSet, cache: Path | None) -> Groups | None:
    """What `near_duplicates` gives of many images, from `cache` where it was found before.

    It is kept under the images' fingerprint; where nothing can be written, it is found anew each time.

    Args:
        images: the images.
        cache: a folder, made where it is missing; None keeps nothing.
    """
    if cache is None or images.images.nbytes < _WORTH_KEEPING:
        return near_duplicates(images.images)
    path = cache / f"near-duplicates-{json_hash([_RULES, images.fingerprint])}.npz"
    with suppress(StorageError):
        kept = read_arrays(path).get(_KEPT)
        if kept is not None and kept.shape == (len(images),) and kept.dtype == np.int64:
            return _numbered(kept)  # whoever has changed it, groups are numbered as they are
    found = near_duplicates(images.images)
    groups = np.arange(len(images), dtype=np.int64) if found is None else np.array(found, dtype=np.int64)
    with suppress(StorageError), whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **{_KEPT: groups})  # type: ignore[arg-type]
    return found


def _thumbnails(images: Images) -> Floats32:
    """float32 (N, 256) mean grey levels of 16 x 16 fields, or as many as a smaller image has pixels."""
    side = images.shape[1]
    starts = np.linspace(0, side, min(side, _SIDE) + 1)[:-1].round().astype(int)
    sizes = np.diff([*starts, side])
    found = np.empty((len(images), len(starts) ** 2), dtype=np.float32)
    done = 0
    for block in blocks(images):
        channels = block.shape[3]
        grey = sum(block[..., c].astype(np.float32) for c in range(channels))
        sums = np.add.reduceat(np.add.reduceat(grey, starts, axis=1), starts, axis=2)
        means = sums / (channels * np.outer(sizes, sizes)).astype(np.float32)
        found[done : done + len(block)] = means.reshape(len(block), -1)
        done += len(block)
    return found


def _near_pairs(thumbnails: Floats32, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """int (p, 2): pairs of near-duplicates among those rows, each with one of its nearest, as places in `rows`."""
    from scipy.spatial import cKDTree

    if len(rows) < 2:
        return np.empty((0, 2), dtype=np.intp)
    # In parts, here and below: a copy of all thumbnails would take as much as small images do.
    mean = thumbnails.mean(axis=0, dtype=np.float64)
    spread = np.zeros((len(mean), len(mean)))
    for part in _parts(rows):
        centred = thumbnails[part] - mean
        spread += centred.T @ centred
    axes = np.linalg.eigh(spread)[1][:, -_NUMBERS:]
    numbers = np.concatenate([thumbnails[part] @ axes for part in _parts(rows)])
    # No projection makes a distance larger, so that none within reach is lost.
    reach = ALIKE * np.sqrt(thumbnails.shape[1])
    found = cKDTree(numbers).query(numbers, k=min(_NEIGHBOURS, len(numbers)), distance_upper_bound=reach * (1 + 1e-6))
    distance, neighbour = (np.asarray(each) for each in found)
    one, at = np.nonzero(np.isfinite(distance))
    pairs = np.stack([one, neighbour[one, at]], axis=1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    apart = [np.linalg.norm(np.subtract(*thumbnails[rows[part.T]]), axis=1) for part in _parts(pairs)]
    near: npt.NDArray[np.intp] = pairs[np.concatenate([np.empty(0), *apart]) <= reach]
    return near


def _parts(rows: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Some rows at a time."""
    return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]


def _components(count: int, pairs: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """int64 (count,): the connected component of each, by number."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, found = connected_components(graph, directed=False)
    return np.asarray(found, dtype=np.int64)


def joined(one: Groups | None, other: Groups | None) -> Groups | None:
    """The groups of images that either puts together, or a chain of both; None where each image stands alone."""
    known = [np.array(groups) for groups in (one, other) if groups is not None]
    if not known:
        return None
    count = len(known[0])
    rows = np.arange(count)
    # Every image is tied to its group, a place behind the images.
    pairs = [np.stack([rows, groups + count * (1 + i)], axis=1) for i, groups in enumerate(known)]
    return _numbered(_components(count * (1 + len(known)), np.concatenate(pairs))[:count])


def _numbered(groups: npt.NDArray[np.int64]) -> Groups | None:
    """Groups numbered in the order of their first images; None where each is of one image."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) == len(groups):
        return None
    return tuple(np.argsort(np.argsort(first))[number.reshape(-1)].tolist())


def read_groups(groups: Path | str, ids: Sequence[str]) -> Groups | None:
    """The groups that a user names.

    Args:
        groups: a CSV file with the columns ID,group, a row a training image; images that it leaves out, or whose group
            is empty, stand alone. Or `folders`: the images of `train/<group>/` are a group.
        ids: the training images' ids: their rows in trainingset.npy, from 0, or their paths inside train/.

    Raises:
        DataError: if the file cannot be read or names an unknown image, or the images lie in no folders.
    """
    if str(groups) == FOLDERS:
        named = {name: name.rpartition("/")[0] for name in ids}
        if not any(named.values()):
            raise DataError(f"--groups {FOLDERS} needs images in train/<group>/, but none lies in a folder there")
    else:
        path = Path(groups)
        table = read_id_table(path, "group")
        named = dict(zip(table.ids, table.values, strict=True))
        unknown = sorted(set(named) - set(ids))
        if unknown:
            raise DataError(
                f"{path} must name training images (their rows, or paths in train/), but {shown(unknown[0])} is none"
            )
    # A name that no group can have keeps images without one apart.
    return _numbered(np.unique([named.get(name) or f"\0{name}" for name in ids], return_inverse=True)[1])
