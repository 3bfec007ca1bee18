"""Where training images lie in a small space, a bottleneck or a residual, and how far from them other images lie."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_NEIGHBOURS = 5
_MOST_AXES = 256
# The eigenvectors of so many rows take a third of a second on one core, whatever the number of dimensions.
_SPECTRUM_ROWS = 1000
# Shares of the largest variance and of the mean spacing: dead units and equal images leave all distances finite.
_LEAST_VARIANCE, _LEAST_SPACING = 1e-6, 1e-3
_TINY = 1e-12


class Neighbourhood:
    """Points among those of training images, all in whitened coordinates; the neighbours are looked up once asked for.

    Attributes:
        white: float (B, k), the points.
        reference: where the training images' points lie.
    """

    def __init__(self, white: Tensor, reference: "Reference") -> None:
        self.white = white
        self._reference = reference

    @cached_property
    def nearest(self) -> Tensor:
        """float (B, m), the distances to the nearest training images, ascending."""
        return self._found[0]

    @property
    def indices(self) -> Tensor:
        """int64 (B, m), which images these are."""
        return self._found[1]

    @cached_property
    def spacing(self) -> Tensor:
        """float (B, m), the mean distance of each of these images to its own nearest ones."""
        return self._reference.spacing[self.indices]

    @cached_property
    def _found(self) -> tuple[Tensor, Tensor]:
        bank = self._reference.bank
        found = torch.cdist(self.white, bank).topk(min(_NEIGHBOURS, len(bank)), dim=1, largest=False)
        return found.values, found.indices


def mahalanobis(place: Neighbourhood) -> Tensor:
    """Distance to the mean (Mahalanobis 1936)."""
    distance: Tensor = place.white.norm(dim=1)
    return distance


def knn(place: Neighbourhood) -> Tensor:
    """Mean distance to the five nearest training images (Angiulli and Pizzuti 2002)."""
    return place.nearest.mean(1)


def lof(place: Neighbourhood) -> Tensor:
    """`knn`, by the mean that it has at these training images: how much thinner they lie here than around them.

    It is the ratio of the local outlier factor (Breunig et al. 2000), of plain instead of reachability distances.
    """
    return knn(place) / place.spacing.mean(1)


DISTANCES: dict[str, Callable[[Neighbourhood], Tensor]] = {"mahalanobis": mahalanobis, "knn": knn, "lof": lof}
"""Each function takes B points' neighbourhoods and gives float (B,), higher = farther away."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The distribution of training images' points, to measure how far from it another image's point lies.

    Attributes:
        mean: float32 (d,), of the points.
        axes: float32 (d, k), orthonormal, the principal axes; k at most 256.
        scale: float32 (k + 1,), one over the standard deviation along each axis, and along any of the directions that
            are left.
        bank: float32 (n, k + 1), whitened points of training images; the last number is how far off the axes it lies.
        spacing: float32 (n,), the mean distance of each point of the bank to its five nearest others.
    """

    mean: Tensor
    axes: Tensor
    scale: Tensor
    bank: Tensor
    spacing: Tensor

    def __post_init__(self) -> None:
        (d, k), n = self.axes.shape, len(self.bank)
        wanted = {"mean": (d,), "scale": (k + 1,), "bank": (n, k + 1), "spacing": (n,)}
        fitting = all(getattr(self, name).shape == shape for name, shape in wanted.items())
        if not fitting or not n or any(value.dtype != torch.float32 for value in vars(self).values()):
            raise ValueError("the parts of a reference of training images do not belong together")

    def distances(self, points: Tensor, kinds: Collection[str] = tuple(DISTANCES)) -> dict[str, Tensor]:
        """float (B,) by `kinds`, names of `DISTANCES`, of points (B, d)."""
        place = Neighbourhood(_whitened(points - self.mean, self.axes, self.scale), self)
        return {kind: DISTANCES[kind](place) for kind in kinds}

    def apart(self, points: Tensor) -> Tensor:
        """How far each number of points (B, d) is from those of the nearest training images, float (B, d).

        In standard deviations of the number over training images; the root of the mean square over the five nearest.
        """
        white = _whitened(points - self.mean, self.axes, self.scale)
        nearest = Neighbourhood(white, self).indices
        variances = self.scale[:-1] ** -2
        spread = self.axes.square() @ variances + (1 - self.axes.square().sum(1)).clamp_min(0) * self.scale[-1] ** -2
        others = (self.bank[nearest, :-1] / self.scale[:-1]) @ self.axes.T + self.mean
        away: Tensor = ((points[:, None] - others).square().mean(1) / spread).sqrt()
        return away

    @classmethod
    def fitted(cls, points: Tensor) -> "Reference":
        """Fit to float (n, d), points of training images, so that held-out and test images are equally new.

        The covariance is shrunk by Ledoit and Wolf's rule (2004, J. Multivariate Analysis 88(2)). Of more than 256
        directions those of the largest variances are told apart; the others count as alike, with their mean variance,
        as in probabilistic principal component analysis (Tipping and Bishop 1999). Of points of more than 1,000 numbers
        1,000 make the reference: others would lie farther from the axes than those that these were fitted to.
        """
        if points.shape[1] > _SPECTRUM_ROWS:
            points = points[torch.linspace(0, len(points) - 1, min(len(points), _SPECTRUM_ROWS)).long()]
        mean = points.mean(0)
        centred = points - mean
        variances, axes = _shrunk_spectrum(centred.double())
        least = max(float(variances.max()) * _LEAST_VARIANCE, _TINY)
        scale = variances.clamp_min(least).rsqrt().float()
        axes = axes.float()
        bank = _whitened(centred, axes, scale)
        return cls(mean=mean, axes=axes, scale=scale, bank=bank, spacing=_spacing(bank))


References = Mapping[str, Reference]
"""The references of a model by what the points are: "latent", "latent.NAME" of a single encoder, "residual"."""


def column(name: str, kind: str) -> str:
    """The kind of error that a distance to the reference of that name is."""
    space, dot, encoder = name.partition(".")
    return f"{space}_{kind}" + (f"_{encoder}" if dot else "")


def is_distance(name: str) -> bool:
    """Whether a kind of error is a distance to a reference."""
    return name.startswith(("latent_", "residual_"))


def _whitened(centred: Tensor, axes: Tensor, scale: Tensor) -> Tensor:
    along = centred @ axes
    off = (centred - along @ axes.T).norm(dim=1, keepdim=True)
    return torch.cat([along, off], dim=1) * scale


def _shrunk_spectrum(centred: Tensor) -> tuple[Tensor, Tensor]:
    """The variances (k + 1,) of the shrunk covariance of (n, d), the last of all directions but the axes (d, k).

    All comes from the products of the rows or of the columns, whichever are fewer.
    """
    n, d = centred.shape
    values, vectors = torch.linalg.eigh(centred @ centred.T if n < d else centred.T @ centred)
    values = (values / n).flip(0).clamp_min(0)
    kept = min(_MOST_AXES, int((values > values[0] * _TINY).sum()))
    axes = vectors.flip(1)[:, :kept]
    if n < d:
        axes = centred.T @ axes / (n * values[:kept]).sqrt()
    total, squares = values.sum(), values.square().sum()
    mean = total / d
    spread = squares - d * mean**2
    noise = (centred.square().sum(1).square().mean() - squares) / n
    shrinkage = torch.where(spread > 0, (noise / spread.clamp_min(_TINY)).clamp(0, 1), 1.0)
    rest = (total - values[:kept].sum()).clamp_min(0) / max(1, d - kept)
    return (1 - shrinkage) * torch.cat([values[:kept], rest[None]]) + shrinkage * mean, axes


def _spacing(bank: Tensor) -> Tensor:
    parts = []
    for part in torch.split(torch.arange(len(bank), device=bank.device), 256):
        distances = torch.cdist(bank[part], bank)
        distances[torch.arange(len(part), device=bank.device), part] = torch.inf
        nearest = distances.topk(min(_NEIGHBOURS, max(1, len(bank) - 1)), dim=1, largest=False).values
        parts.append(nearest.mean(1))
    spacing = torch.cat(parts)
    return spacing.clamp_min(max(float(spacing.mean()) * _LEAST_SPACING, _TINY))
