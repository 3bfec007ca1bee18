"""Linear autoencoder in closed form, principal component analysis: the baseline that every network has to beat.

Let m be the mean of the images x, C their covariance, v_i and l_i the eigenvectors and eigenvalues of C, largest first.
Without noise the best linear autoencoder of k numbers projects on v_1 ... v_k (Baldi and Hornik 1989, Neural Networks
2(1)). The best one is also known with noise of standard deviation s on each pixel and t on each number of the
bottleneck.

The encoder is z = A (x + s e - m), the decoder m + B (z + t n), with e and n standard normal. Without a rule for the
scale of z, a large A would make t meaningless, so z has to be white: A (C + s^2 I) A' = I. Then z + t n has the
covariance (1 + t^2) I, and least squares of x on it give B = C A' / (1 + t^2), which leaves the squared error

    trace(C) - trace(A C^2 A') / (1 + t^2).

The best A therefore has the k largest solutions of C^2 v = r (C + s^2 I) v: the eigenvectors of C in the same order,
for r = l^2 / (l + s^2) grows with l. So

    z_i = v_i' (x - m) / sqrt(l_i + s^2),   reconstruction = m + sum_i v_i z_i l_i / sqrt(l_i + s^2) / (1 + t^2).

Noise on the input shrinks a component by l / (l + s^2), as ridge regression does (noise is Tikhonov regularisation:
Bishop 1995, Neural Computation 7(1)). Noise on the bottleneck shrinks all components alike.

Up to 2,048 pixels the eigenvectors are exact, from second moments in float64. Beyond, they are those of a randomised
singular value decomposition (Halko, Martinsson and Tropp 2011, SIAM Review 53(2), algorithms 4.4 and 5.1), in passes
over the images, of which a batch is held at a time. It takes all images where they come to 2^28 numbers or fewer, else
every 2nd, 4th, 8th, ... image, whichever fits first. The mean is always that of all.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import Family, Preset
from ensemble_ad.families.model import ClosedFormModel, Output
from ensemble_ad.families.moments import moments
from ensemble_ad.families.ranges import Sampler, SearchRanges

_MOST_EXACT_PIXELS = 2048
_MOST_NUMBERS = 2**28
_OVERSAMPLING = 16
_POWER_ITERATIONS = 4
# Components with less than this share of the first component's variance are rounding errors.
_LEAST_VARIANCE = 1e-8


@dataclass(frozen=True, kw_only=True)
class PcaArchitecture(Architecture):
    """The one hyperparameter.

    Attributes:
        components: how many numbers the bottleneck has. An image of fewer pixels has as many as it has pixels; where
            the training images span fewer dimensions, the other numbers are 0.
    """

    components: int = 64

    def __post_init__(self) -> None:
        if self.components < 1:
            raise UsageError(f"components must be 1 or more, not {self.components}")

    def build(self, shape: ChannelsFirst) -> "LinearAutoencoder":
        return LinearAutoencoder(shape, self)


class LinearAutoencoder(ClosedFormModel):
    """Projection on principal components and back, clamped to [-1, 1]. The latent is white: each number has variance 1.

    Attributes:
        mean: float32 (pixels,).
        components: float32 (k, pixels), orthonormal rows; rows of 0 where the images span fewer dimensions.
        scale: float32 (k,), factors that make a projection white.
        gain: float32 (k,), factors that turn a white number into a step along its component.
    """

    def __init__(self, shape: ChannelsFirst, architecture: PcaArchitecture) -> None:
        super().__init__()
        self.shape = shape
        pixels = math.prod(shape)
        kept = min(architecture.components, pixels)
        self.mean = nn.Parameter(torch.zeros(pixels))
        self.components = nn.Parameter(torch.zeros(kept, pixels))
        self.scale = nn.Parameter(torch.zeros(kept))
        self.gain = nn.Parameter(torch.zeros(kept))

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to white numbers (B, k)."""
        latent: Tensor = (images.flatten(1) - self.mean) @ self.components.T * self.scale
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """White numbers (B, k) to images (B, C, H, W)."""
        images: Tensor = self.mean + (latent * self.gain) @ self.components
        return images.clamp(-1, 1).reshape(len(latent), *self.shape)

    def forward(self, images: Tensor) -> Output:
        latent = self.encode(images)
        return Output(self.decode(latent), latent, {})

    @torch.no_grad()
    def solve(self, batches: Iterable[Tensor], noise_scale: float, latent_noise_scale: float) -> float:
        kept, pixels = self.components.shape
        spectrum = (_exact if pixels <= _MOST_EXACT_PIXELS else _randomised)(batches, kept, pixels)
        real = spectrum.variances > _LEAST_VARIANCE * spectrum.variances[0]
        variances = torch.where(real, spectrum.variances, 0)
        deviation = (variances + noise_scale**2).sqrt()
        scale = torch.where(real, 1 / deviation, 0)
        gain = variances * scale / (1 + latent_noise_scale**2)
        # An eigenvector's sign is arbitrary; here its largest entry is positive.
        largest = spectrum.vectors.gather(1, spectrum.vectors.abs().argmax(1, keepdim=True))
        self.mean.copy_(spectrum.mean)
        self.components.copy_(spectrum.vectors * largest.sign() * real[:, None])
        self.scale.copy_(scale)
        self.gain.copy_(gain)
        kept_share = scale * gain
        explained = (kept_share * (2 - kept_share) * variances).sum()
        return float(spectrum.total - explained) / pixels


class _Spectrum(NamedTuple):
    """Principal components of images of P pixels, all in float64.

    Attributes:
        mean: (P,).
        variances: (k,), descending.
        vectors: (k, P).
        total: (), the sum of all P variances.
    """

    mean: Tensor
    variances: Tensor
    vectors: Tensor
    total: Tensor


def _exact(batches: Iterable[Tensor], kept: int, pixels: int) -> _Spectrum:
    mean, covariance = moments(batches)
    values, vectors = torch.linalg.eigh(covariance)
    return _Spectrum(mean, values.flip(0)[:kept].clamp_min(0), vectors.T.flip(0)[:kept], covariance.trace())


def _randomised(batches: Iterable[Tensor], kept: int, pixels: int) -> _Spectrum:
    mean, every, count = _thinned(batches, max(1, _MOST_NUMBERS // pixels))
    about = mean.float()

    def centred() -> Iterator[Tensor]:
        first, work = 0, about.new_empty((0, pixels))  # one for all batches, which leaves no gaps on the heap
        for batch in batches:
            some = batch.flatten(1)[-first % every :: every]
            first += len(batch)
            if len(some) > len(work):
                work = about.new_empty(some.shape)
            if len(some):
                yield torch.sub(some, about, out=work[: len(some)])

    rank = min(kept + _OVERSAMPLING, count, pixels)
    basis = torch.randn(pixels, rank, device=mean.device)
    for _ in range(_POWER_ITERATIONS):
        basis = torch.linalg.qr(basis).Q
        moved = torch.zeros_like(basis)
        for some in centred():
            moved.addmm_(some.T, some @ basis)
        basis = moved
    basis = torch.linalg.qr(basis).Q
    seen, first = about.new_empty((count, rank)), 0
    for some in centred():
        torch.matmul(some, basis, out=seen[first : first + len(some)])
        first += len(some)
    rows = torch.linalg.qr(seen).Q
    small, total, first = torch.zeros_like(basis.T), torch.zeros_like(mean[0]), 0
    for some in centred():
        small.addmm_(rows[first : first + len(some)].T, some)
        total += torch.linalg.vector_norm(some, dtype=torch.float64).square()
        first += len(some)
    deviations, vectors = torch.linalg.svd(small, full_matrices=False)[1:]
    missing = max(0, kept - rank)
    return _Spectrum(
        mean,
        functional.pad(deviations.double().square()[:kept] / count, (0, missing)),
        functional.pad(vectors.double()[:kept], (0, 0, 0, missing)),
        total / count,
    )


def _thinned(batches: Iterable[Tensor], most: int) -> tuple[Tensor, int, int]:
    """The mean of all images, float64 (P,), and m and n: every m-th image is taken, which are n, at most `most`.

    m is the smallest power of two for which they fit.
    """
    seen, total = 0, torch.tensor(0.0)
    for batch in batches:
        summed = batch.flatten(1).sum(0, dtype=torch.float64)
        total = summed if seen == 0 else total.add_(summed)
        seen += len(batch)
    every = 1
    while -(-seen // every) > most:
        every *= 2
    return total / seen, every, -(-seen // every)


def suggest(trial: Sampler, widths: Sequence[int]) -> PcaArchitecture:
    """From 1 component to the largest width: a width, and the share of it, from an eighth to all, on a log scale."""
    width = trial.suggest_categorical("width", widths)
    return PcaArchitecture(components=round(width * trial.suggest_float("share", 1 / 8, 1.0, log=True)))


def _preset(components: int) -> Preset:
    return Preset(
        architecture=PcaArchitecture(components=components),
        source="ours: principal component analysis (Jolliffe 2002), the classical baseline, at a usual number",
        training={"epochs": 1, "noise_scale": 0.0, "latent_noise_scale": 0.0},
    )


FAMILY = Family(
    name="pca",
    summary="linear autoencoder in closed form (PCA), the baseline, in seconds",
    suits="a first bar to clear, in seconds",
    architecture=PcaArchitecture,
    suggest=suggest,
    start=(
        {"width": 64, "share": 10 / 64, "crop": 0.75, "size": 32, "noise_scale": 0.0, "latent_noise_scale": 0.0},
        {"width": 64, "share": 1.0, "crop": 0.75, "size": 32, "noise_scale": 0.0, "latent_noise_scale": 0.0},
    ),
    presets={"pca-10": _preset(10), "pca-64": _preset(64), "pca-256": _preset(256)},
    side_multiple=1,
    widths=(8, 64, 512),
    cpu_width=512,
    ranges=SearchRanges(
        learning_rate=(1e-3, 1e-3),
        weight_decay=(0.0, 0.0),
        batch_size=(256,),
        gpu_batch_size=(256,),
        warmup_ratio=(0.0, 0.0),
        # It shrinks components whose variance is about its square; those worth shrinking have variances of some units.
        noise_scale=(0.0, 2.0),
        mirror=(False,),
        loss=("mse",),
        most_epochs=1,
    ),
)
