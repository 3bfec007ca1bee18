"""A trained model's error vectors: every kind of error in one pass over the images, for any family."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ensemble_ad.families import Model
from ensemble_ad.reconstruction import ERROR_KINDS
from ensemble_ad.train import to_input

_BATCH = 256
_NEIGHBOURS = 5
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LatentReference:
    """Where the bottlenecks of training images lie, to measure how far others are from there.

    Attributes:
        mean: float32 (d,).
        whitening: float32 (d, d), W with W W^T the inverse of the shrunk covariance.
        bank: float32 (n, d), whitened bottlenecks of training images.
    """

    mean: Tensor
    whitening: Tensor
    bank: Tensor

    def distances(self, latent: Tensor) -> dict[str, Tensor]:
        """Mahalanobis distance to the mean, and mean distance to the nearest five of the bank; each (B,)."""
        white = (latent - self.mean) @ self.whitening
        nearest = torch.cdist(white, self.bank).topk(min(_NEIGHBOURS, len(self.bank)), dim=1, largest=False)
        return {"latent_mahalanobis": white.norm(dim=1), "latent_knn": nearest.values.mean(1)}


@torch.inference_mode()
def fit_latent(model: Model, images: Tensor) -> LatentReference:
    """Fit a `LatentReference` on training images, so that held-out normals are as new to it as test images are.

    Args:
        model: in evaluation mode.
        images: uint8 (n, H, W, C).

    The covariance is shrunk by Ledoit and Wolf's rule (2004, J. Multivariate Analysis 88(2)).
    """
    from sklearn.covariance import ledoit_wolf

    latent = torch.cat([model(to_input(batch)).latent.flatten(1).float() for batch in torch.split(images, _BATCH)])
    mean = latent.mean(0)
    covariance, _ = ledoit_wolf(latent.double().cpu().numpy())
    values, vectors = np.linalg.eigh(covariance)
    # A bottleneck with dead units has a singular covariance; the floor keeps their distance finite.
    values = np.maximum(values, max(float(values.max()) * 1e-6, 1e-12))
    whitening = torch.tensor(vectors / np.sqrt(values), dtype=torch.float32, device=latent.device)
    return LatentReference(mean=mean, whitening=whitening, bank=(latent - mean) @ whitening)


@torch.inference_mode()
def error_vectors(model: Model, images: Tensor, latent_reference: LatentReference | None = None) -> dict[str, Scores]:
    """Score images.

    Args:
        model: in evaluation mode.
        images: uint8 (N, H, W, C), on the model's device.
        latent_reference: adds the latent distances.

    Returns:
        float32 (N,) a kind: those of ERROR_KINDS, the family's own, the latent distances. Higher = more anomalous.
    """
    parts: dict[str, list[Tensor]] = {}
    for batch in torch.split(images, _BATCH):
        clean = to_input(batch)
        output = model(clean)
        columns = {name: kind(clean, output.reconstruction) for name, kind in ERROR_KINDS.items()}
        columns |= output.columns
        if latent_reference is not None:
            columns |= latent_reference.distances(output.latent.flatten(1).float())
        for name, values in columns.items():
            parts.setdefault(name, []).append(values.float())
    return {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}
