"""A trained model's error vectors: every kind of error in one pass over the images, for any family."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ensemble_ad.families import Model, Output
from ensemble_ad.families.reconstruction import ERROR_KINDS
from ensemble_ad.statistics.arrays import Floats32
from ensemble_ad.training.device import float32_products
from ensemble_ad.training.step import to_input

# On the CPU a batch and its error maps should stay in the processor's cache.
_CPU_BATCH, _GPU_BATCH = 64, 1024
_NEIGHBOURS = 5
_LATENT_IMAGES = 2000


@dataclass(frozen=True, kw_only=True)
class LatentReference:
    """The distribution of training images' bottlenecks, to measure how far from it another image's bottleneck lies.

    Attributes:
        mean: float32 (d,), of the bottlenecks.
        whitening: float32 (d, d), W with W W^T the inverse of the shrunk covariance.
        bank: float32 (n, d), whitened bottlenecks of training images.
    """

    mean: Tensor
    whitening: Tensor
    bank: Tensor

    def distances(self, latent: Tensor) -> dict[str, Tensor]:
        """float (B,) each: Mahalanobis distance to the mean, and mean distance to the five nearest of the bank."""
        white = (latent - self.mean) @ self.whitening
        nearest = torch.cdist(white, self.bank).topk(min(_NEIGHBOURS, len(self.bank)), dim=1, largest=False)
        return {"latent_mahalanobis": white.norm(dim=1), "latent_knn": nearest.values.mean(1)}

    @classmethod
    def fitted(cls, latent: Tensor) -> "LatentReference":
        """Fit to float (n, d), the bottlenecks of training images, so that held-out and test images are equally new.

        The covariance is shrunk by Ledoit and Wolf's rule (2004, J. Multivariate Analysis 88(2)).
        """
        from sklearn.covariance import ledoit_wolf

        mean = latent.mean(0)
        covariance, _ = ledoit_wolf(latent.double().cpu().numpy())
        values, vectors = np.linalg.eigh(covariance)
        # A bottleneck with dead units has a singular covariance; the floor keeps all distances finite.
        values = np.maximum(values, max(float(values.max()) * 1e-6, 1e-12))
        whitening = torch.tensor(vectors / np.sqrt(values), dtype=torch.float32, device=latent.device)
        return cls(mean=mean, whitening=whitening, bank=(latent - mean) @ whitening)


LatentReferences = Mapping[str, LatentReference]
"""The latent references of a model by the encoder's name; the whole model's bottleneck has the name ""."""


def latent_rows(rows: Tensor) -> Tensor:
    """Of the rows of all training images, int64 (n,), 2,000 at most, evenly spread: for `fit_latents` and `settle`."""
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
    batches = torch.split(images, _batch_size(images))
    with float32_products("fp32", images.device):
        parts = [_latents(model(view)) for batch in batches for view in _views(batch, flips)]
    names = parts[0] if parts else {}
    return {name: LatentReference.fitted(torch.cat([part[name] for part in parts])) for name in names}


@torch.inference_mode()
def error_vectors(
    model: Model,
    images: Tensor,
    latents: LatentReferences = MappingProxyType({}),
    *,
    fold: Tensor | None = None,
    flips: bool = False,
) -> dict[str, Floats32]:
    """Score images.

    Args:
        model: in evaluation mode.
        images: uint8 (N, H, W, C), on the model's device.
        latents: bottlenecks whose distances are kinds of error as well.
        fold: int64 (N,), which network of a `CrossFittedModel` scores each image; None where no network has seen them.
        flips: score the mirror image too, and give the mean of both.

    Returns:
        float32 (N,) a kind of error: those of ERROR_KINDS, the family's own, and the distances of `latents`; higher =
        more anomalous.
    """
    # All scores get their memory at once: small results between the large blocks of each batch would split the heap.
    kinds: list[str] = []
    table = torch.empty(0)
    size = _batch_size(images)
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


def _batch_size(images: Tensor) -> int:
    return _CPU_BATCH if images.device.type == "cpu" else _GPU_BATCH


def _views(batch: Tensor, flips: bool) -> Iterator[Tensor]:
    """A batch as a model sees it, and mirrored where `flips` says so."""
    clean = to_input(batch)
    yield clean
    if flips:
        yield clean.flip(3)


def _latents(output: Output) -> dict[str, Tensor]:
    """float32 (B, d) each: a model's bottlenecks by the name that `LatentReferences` gives them."""
    whole = {} if output.latent is None else {"": output.latent}
    return {name: latent.flatten(1).float() for name, latent in (whole | dict(output.latents)).items()}
