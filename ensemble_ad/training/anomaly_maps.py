"""Where images are anomalous, by one member: its errors, what is usual at each place, and areas beside like images'.

What is usual is half everywhere alike and half by place: the mean absolute residual of the areas of an 8x8 grid on
training images, which members keep for their residual distances. So nothing more is kept of them, and what is always
hard to reconstruct, as an edge that every image has, stands out less.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ensemble_ad.families import Model
from ensemble_ad.families.reconstruction import GRID, residual_grid
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


@torch.inference_mode()
def area_maps(model: Model, images: Tensor, residual: Reference, *, flips: bool) -> Floats32:
    """How far the residuals of an image's areas are from those of the training images that are most like it.

    This is `residual_knn` told by place, on an 8x8 grid: an area's mean error, by which it is brighter or darker than
    its reconstruction, and its mean absolute error, each as `Reference.apart` has it, the root of their mean square.

    Args:
        model: in evaluation mode, one that reconstructs.
        images: uint8 (n, H, W, C), on the model's device.
        residual: where its training images' residuals lie.
        flips: the mean with the map of the mirror image, mirrored back.

    Returns:
        float32 (n, H, W), bilinear between the areas' middles.
    """
    found = [np.empty((0, *images.shape[1:3]), dtype=np.float32)]
    with float32_products("fp32", images.device):
        for batch in torch.split(images, _BATCH) if len(images) else ():
            seen = to_input(batch)
            made = _areas(model, seen, residual)
            if flips:
                made = (made + _areas(model, seen.flip(3), residual).flip(3)) / 2
            whole = functional.interpolate(made, size=images.shape[1:3], mode="bilinear")
            found.append(whole[:, 0].float().cpu().numpy())
    return np.concatenate(found)


def _areas(model: Model, seen: Tensor, residual: Reference) -> Tensor:
    """float (B, 1, 8, 8)."""
    away = residual.apart(residual_grid(seen, model(seen).reconstruction).float())
    return away.reshape(len(seen), -1, GRID, GRID).square().mean(1, keepdim=True).sqrt()


def usual_place(residual: Reference, size: tuple[int, int]) -> Floats32:
    """How large a member's errors usually are at each place, beside their mean.

    Args:
        residual: where its training images' residuals lie.
        size: height and width of the images that the model sees.

    Returns:
        float32 (height, width), above 0, of mean 1.
    """
    areas = residual.mean[-(GRID**2) :].reshape(1, 1, GRID, GRID)
    place = functional.interpolate(areas, size=size, mode="bilinear")[0, 0].cpu().numpy()
    usual: Floats32 = ((place / max(float(place.mean()), _TINY) + 1) / 2).astype(np.float32)
    return usual
