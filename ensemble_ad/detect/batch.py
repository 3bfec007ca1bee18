"""Unlabelled images that came after the models: scored once by each member, and taken into account by a blend."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ensemble_ad.blend.columns import Batch
from ensemble_ad.data.conversion import Conversion
from ensemble_ad.data.dataset import TEST, open_images, open_named
from ensemble_ad.data.images import ImageSet, ImageShape
from ensemble_ad.data.stream import BLOCK, conform
from ensemble_ad.detect.networks import error_columns, network_of
from ensemble_ad.errors import DataError, StorageError
from ensemble_ad.files.arrays import read_arrays
from ensemble_ad.files.whole import make_folder, whole_file
from ensemble_ad.layout import WEIGHTS, batch_file
from ensemble_ad.members.column import Column
from ensemble_ad.members.store import Member
from ensemble_ad.statistics.arrays import Floats32
from ensemble_ad.training.device import choose_device


def open_batch(path: Path, image_cache: Path, conversion: Conversion | None) -> ImageSet:
    """Images that a user names: an .npy file, a folder of pictures, or a data folder, of which the test images.

    Raises:
        DataError: if they cannot be used.
    """
    if path.is_dir():
        return open_images(path, TEST, image_cache, conversion) or open_named(path, image_cache, conversion)
    if not path.exists():
        raise DataError(f"--test must name a folder of images or an .npy file, and {path} does not exist")
    return open_named(path, image_cache, conversion)


def score_batch(
    members: Sequence[Member],
    images: ImageSet,
    shape: ImageShape,
    studies: Path,
    *,
    device: str = "auto",
    step: Callable[[str], None] = lambda key: None,
) -> Batch:
    """Score images by members' models; nothing is trained.

    What a member has scored is kept in `studies/batches/`, file by file, so that a kill costs one member's scores. It
    is used again for the same pixels and the same weights.

    Args:
        members: the members.
        images: k images.
        shape: (side, side, channels) of the images that the members were made of.
        studies: the studies' folder.
        device: `auto`, `cpu` or `cuda`.
        step: called with the key of each member that is going to be scored.

    Raises:
        DataError: for images of another size, or that change meanwhile.
        StorageError: if a member is damaged, or its scores cannot be kept.
        UsageError: if a member was imported as scores.
    """
    conform(images.images[:1], shape, str(images.source))
    vectors = {}
    for member in members:
        path = batch_file(studies, images.fingerprint, member.key)
        found = _kept(path, member, len(images))
        if found is None:
            step(member.key)
            found = _scored(member, images, shape, choose_device(device))
            make_folder(path.parent)
            with whole_file(path) as part, part.open("wb") as file:
                np.savez(file, test=found, weights=np.array(member.info.checksums[WEIGHTS]))
        vectors[member.key] = found
    images.check_unchanged()
    return Batch(images.fingerprint, vectors)


def _kept(path: Path, member: Member, count: int) -> Floats32 | None:
    """What was kept of a member's scores; None where there is nothing sound."""
    with suppress(StorageError, LookupError):
        arrays = read_arrays(path)
        test: Floats32 = arrays["test"]
        fits = test.dtype == np.float32 and test.shape == (count, len(member.columns))
        if fits and np.isfinite(test).all() and str(arrays["weights"]) == member.info.checksums[WEIGHTS]:
            return test
    return None


def _scored(member: Member, images: ImageSet, shape: ImageShape, device: torch.device) -> Floats32:
    """float32 (k, m) by the member's m kinds of error."""
    columns = [Column(member.key, kind, False) for kind in member.columns]
    network, names = network_of(member, dict(enumerate(columns)), device), [column.name for column in columns]
    rows = np.empty((len(images), len(columns)), dtype=np.float32)
    for start in range(0, len(images), BLOCK):
        block = conform(images.images[start : start + BLOCK], shape, "an image")
        rows[start : start + BLOCK] = error_columns([network], block, names, device)
    return rows
