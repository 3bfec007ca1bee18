"""A trained model's error vectors: every kind of error in one pass over the images, for any family."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ensemble_ad.families import Model, Output
from ensemble_ad.families.reconstruction import ERROR_KINDS
from ensemble_ad.training.device import float32_products
from ensemble_ad.training.step import to_input

# On the CPU a batch and its error maps should stay in the cache.
_CPU_BATCH, _GPU_BATCH = 64, 1024
_NEIGHBOURS = 5
_LATENT_IMAGES = 2000
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

    @classmethod
    def fitted(cls, latent: Tensor) -> "LatentReference":
        """Fit to bottlenecks, float (n, d), of training images.

        Held-out normals are then as new to it as test images are. The covariance is shrunk by Ledoit and Wolf's rule
        (2004, J. Multivariate Analysis 88(2)).
        """
        from sklearn.covariance import ledoit_wolf

        mean = latent.mean(0)
        covariance, _ = ledoit_wolf(latent.double().cpu().numpy())
        values, vectors = np.linalg.eigh(covariance)
        # A bottleneck with dead units has a singular covariance; the floor keeps their distance finite.
        values = np.maximum(values, max(float(values.max()) * 1e-6, 1e-12))
        whitening = torch.tensor(vectors / np.sqrt(values), dtype=torch.float32, device=latent.device)
        return cls(mean=mean, whitening=whitening, bank=(latent - mean) @ whitening)


LatentReferences = Mapping[str, LatentReference]
"""By name of the encoder; the bottleneck of the whole model has the name ""."""


def latent_rows(rows: Tensor) -> Tensor:
    """Of the rows of all training images, int64 (n,), the 2,000 at most that `fit_latents` needs, evenly spread."""
    places = torch.linspace(0, len(rows) - 1, min(len(rows), _LATENT_IMAGES), device=rows.device)
    return rows[places.long()]


@torch.inference_mode()
def fit_latents(model: Model, images: Tensor, *, flips: bool = False) -> dict[str, LatentReference]:
    """Fit a `LatentReference` to each of a model's bottlenecks.

    Args:
        model: in evaluation mode.
        images: uint8 (n, H, W, C), training images.
        flips: take their mirror images too.
    """
    parts: dict[str, list[Tensor]] = {}
    with float32_products("fp32", images.device):
        for batch in torch.split(images, _batch(images)):
            for clean in _views(batch, flips):
                for name, latent in _latents(model(clean)).items():
                    parts.setdefault(name, []).append(latent)
    return {name: LatentReference.fitted(torch.cat(latents)) for name, latents in parts.items()}


@torch.inference_mode()
def error_vectors(
    model: Model,
    images: Tensor,
    latents: LatentReferences = MappingProxyType({}),
    *,
    fold: Tensor | None = None,
    flips: bool = False,
) -> dict[str, Scores]:
    """Score images.

    Args:
        model: in evaluation mode.
        images: uint8 (N, H, W, C), on the model's device.
        latents: adds the distances of these bottlenecks.
        fold: int64 (N,), which network of a `CrossFittedModel` scores each image; None where none has seen them.
        flips: score the mirror image too, and give the mean of both.

    Returns:
        float32 (N,) a kind: those of ERROR_KINDS, the family's own, the latent distances. Higher = more anomalous.
    """
    # Where all scores go is taken at once: small results between the large blocks of each batch would split the heap.
    kinds: list[str] = []
    table = torch.empty(0)
    size = _batch(images)
    with float32_products("fp32", images.device):
        for start in range(0, len(images), size):
            place = slice(start, start + size)
            views = [
                _columns(model, clean, latents, None if fold is None else fold[place])
                for clean in _views(images[place], flips)
            ]
            if start == 0:
                kinds = list(views[0])
                table = torch.empty((len(kinds), len(images)), device=images.device)
            for row, kind in enumerate(kinds):
                table[row, place] = torch.stack([view[kind].float() for view in views]).mean(0)
    return dict(zip(kinds, table.cpu().numpy(), strict=True))


def _columns(model: Model, clean: Tensor, latents: LatentReferences, fold: Tensor | None) -> dict[str, Tensor]:
    output: Output = model(clean) if fold is None else model(clean, fold)
    columns = dict(output.columns)
    if output.reconstruction is not None:
        columns = {kind: error(clean, output.reconstruction) for kind, error in ERROR_KINDS.items()} | columns
    found = _latents(output) if latents else {}
    for name, reference in latents.items():
        end = f"_{name}" if name else ""
        columns |= {kind + end: value for kind, value in reference.distances(found[name]).items()}
    return columns


def _batch(images: Tensor) -> int:
    return _CPU_BATCH if images.device.type == "cpu" else _GPU_BATCH


def _views(batch: Tensor, flips: bool) -> Iterator[Tensor]:
    clean = to_input(batch)
    yield clean
    if flips:
        yield clean.flip(3)


def _latents(output: Output) -> dict[str, Tensor]:
    whole = {} if output.latent is None else {"": output.latent}
    return {name: latent.flatten(1).float() for name, latent in (whole | dict(output.latents)).items()}
