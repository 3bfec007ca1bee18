"""Error vectors that do not depend on which other images they are computed with."""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from ensemble_ad.families import Model
from ensemble_ad.statistics.arrays import Floats32
from ensemble_ad.training.error_vectors import batch_size, error_vectors
from ensemble_ad.training.references import References
from ensemble_ad.training.tiles import of_images, of_one_tile

_CPU_BATCH = 32


def steady_error_vectors(
    model: Model, images: Tensor, references: References, kinds: Collection[str], *, flips: bool, tiles: int = 1
) -> dict[str, Floats32]:
    """As `error_vectors`, and on a CPU the same to the last digit for an image alone and in any batch.

    There the last digits depend on how many images a batch has, so each has as many: the last one is filled up with
    copies of its last image. Small batches are the faster ones on a CPU as well.

    Args:
        model: in evaluation mode.
        images: uint8 (n, H, W, C), on the model's device, n at least 1.
        references: what the distances among `kinds` are to.
        kinds: the kinds of error to compute.
        flips: score the mirror image too, and give the mean of both.
        tiles: how many of `images` are the tiles of one image.

    Returns:
        float32 (n / tiles,) a kind of error, higher = more anomalous.
    """
    if images.device.type != "cpu":
        return error_vectors(model, images, references, kinds=kinds, flips=flips, tiles=tiles)
    asked = of_one_tile(kinds) if tiles > 1 else kinds
    parts = []
    size = batch_size(images, _CPU_BATCH)
    for batch in torch.split(images, size):
        copies = batch[-1:].expand(size - len(batch), -1, -1, -1)
        parts.append(error_vectors(model, torch.cat([batch, copies]), references, kinds=asked, flips=flips))
    found = {kind: np.concatenate([part[kind] for part in parts])[: len(images)] for kind in parts[0]}
    return of_images(found, tiles, kinds)
