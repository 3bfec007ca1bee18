"""Where images are anomalous, by one member: its map, told in multiples of the member's usual error at that place.

A member's usual error is that on held-out normal images (the mean of the column that `Model.map_column` names), half of
it everywhere alike, half by its place: the mean absolute residual of the areas of an 8x8 grid on training images, which
members keep for their residual distances. So members of any scale can be added up, nothing more is kept of them, and
what is always hard to reconstruct, as an edge that every image has, stands out less.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ensemble_ad.families import Model
from ensemble_ad.families.reconstruction import GRID
from ensemble_ad.members.store import Member
from ensemble_ad.statistics.arrays import Floats32
from ensemble_ad.training.device import float32_products
from ensemble_ad.training.references import Reference
from ensemble_ad.training.step import to_input

_BATCH = 32
_TINY = 1e-12


@torch.inference_mode()
def anomaly_maps(model: Model, images: Tensor, *, flips: bool) -> Floats32:
    """A model's maps of images; see `Model.anomaly_map`.

    Args:
        model: in evaluation mode, of a family that has maps.
        images: uint8 (n, H, W, C), on the model's device.
        flips: the mean with the map of the mirror image, mirrored back.

    Returns:
        float32 (n, H, W).
    """
    found = [np.empty((0, *images.shape[1:3]), dtype=np.float32)]
    with float32_products("fp32", images.device):
        for batch in torch.split(images, _BATCH) if len(images) else ():
            seen = to_input(batch)
            made = model.anomaly_map(seen)
            if flips:
                made = (made + model.anomaly_map(seen.flip(3)).flip(2)) / 2
            found.append(made.float().cpu().numpy())
    return np.concatenate(found)


def usual_error(model: Model, residual: Reference | None, member: Member, size: tuple[int, int]) -> Floats32 | None:
    """A member's usual error by place.

    Args:
        model: the member's model.
        residual: where its training images' residuals lie; without it all places count alike.
        member: the member.
        size: height and width of the images that the model sees.

    Returns:
        float32 (height, width), above 0; None if its family has no maps.

    Raises:
        StorageError: if the member's error vectors are missing or damaged.
    """
    column = model.map_column
    if column is None or column not in member.columns:
        return None
    mean = float(member.vectors()[0][:, member.columns.index(column)].mean())
    place = np.ones(size, dtype=np.float32)
    if residual is not None:
        areas = residual.mean[-(GRID**2) :].reshape(1, 1, GRID, GRID)
        place = functional.interpolate(areas, size=size, mode="bilinear")[0, 0].cpu().numpy()
    usual: Floats32 = (mean / 2 * (place / max(float(place.mean()), _TINY) + 1)).astype(np.float32)
    return np.maximum(usual, _TINY)
