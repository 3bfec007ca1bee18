"""Models that predict hidden blocks of an image from the rest: what they are judged by, they never saw.

An autoencoder sees what it reconstructs, and a good one reconstructs anomalies too. A model that fills in a block from
its surroundings cannot copy it ("no peeking": Bhattad, Rock and Forsyth 2018, arXiv:1808.01406; RIAD: Zavrtanik,
Kristan and Skocaj 2021, Pattern Recognition 112; InTra: Pirnay and Chai 2022, ICIAP). Each block of a grid is hidden in
turn (`hidden_blocks`). An image's kinds of error come from its blocks' errors, each relative to the block's usual error
on training images, and the mean of the predictions is its reconstruction.

Three predictors: `mlp` and `conv` are networks that see the image without the hidden pixels, and the mask. `gauss` is
the best linear prediction, in closed form: with P the inverse of the images' covariance plus s^2 on its diagonal, s the
noise scale, the prediction of hidden pixels h misses them by

    x_h - E[x_h | the rest] = (P_hh)^-1 (P (x - mean))_h,

the conditional mean of a Gaussian (Mardia, Kent and Bibby 1979, "Multivariate Analysis", theorem 3.2.4). It takes up to
2,304 numbers an image; of larger images it takes the means of 2x2, 3x3, ... pixels, whichever first fit.
"""

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import Family, Preset
from ensemble_ad.families.hidden_blocks import MASKS, BlockErrors, HiddenBlocks, Masks, block_errors, columns
from ensemble_ad.families.inpaint_networks import Mlp, UNet
from ensemble_ad.families.model import ClosedFormModel, GradientModel, Model, Output
from ensemble_ad.families.moments import moments
from ensemble_ad.families.ranges import Sampler, SearchRanges

Predictor = Literal["gauss", "conv", "mlp"]
PREDICTORS: tuple[Predictor, ...] = ("gauss", "conv", "mlp")
_MOST_NUMBERS = 2304
_SAMPLE = 4096
_TINY = 1e-6
# Share of the mean variance; below it float32 cannot tell the prediction from rounding errors.
_LEAST_RIDGE = 1e-3
# Share of the blocks' running sums that each step keeps: they forget a training's beginning in some hundred steps.
_KEPT = 0.99
_WIDTH_A_CHANNEL = 32


@dataclass(frozen=True, kw_only=True)
class InpaintArchitecture(Architecture):
    """What is hidden, and what predicts it.

    Attributes:
        predictor: `gauss`, `mlp` or `conv`.
        block: sides of a hidden block as shares of the image's, in (0, 0.5].
        stride: distance of neighbouring blocks as a share of a block's side, in (0, 1].
        masks: what one mask hides: `one` block, `several` that do not touch, or a `checkerboard` of them.
        width: units of the mlp's layers; the conv has a 32nd of it as channels, and twice and four times that deeper.
        layers: hidden layers of the mlp.
        structure: weight of 1 minus the structural correlation in a network's loss, beside the reconstruction loss.
    """

    predictor: Predictor = "mlp"
    block: float = 0.5
    stride: float = 0.5
    masks: Masks = "one"
    width: int = 768
    layers: int = 2
    structure: float = 1.0

    def __post_init__(self) -> None:
        if self.predictor not in PREDICTORS:
            raise UsageError(f"an inpaint's predictor must be one of {', '.join(PREDICTORS)}, not {self.predictor!r}")
        if self.masks not in MASKS:
            raise UsageError(f"an inpaint's masks must be one of {', '.join(MASKS)}, not {self.masks!r}")
        if not 0 < self.block <= 0.5 or not 0 < self.stride <= 1:
            raise UsageError(
                f"an inpaint's block must be above 0 and at most 0.5, and its stride above 0 and at most 1, not "
                f"{self.block} and {self.stride}"
            )
        if self.width < _WIDTH_A_CHANNEL or self.layers < 1 or self.structure < 0:
            raise UsageError(
                f"an inpaint's width must be {_WIDTH_A_CHANNEL} or more, its layers 1 or more and its structure 0 or "
                f"more, not {self.width}, {self.layers} and {self.structure}"
            )

    def build(self, shape: ChannelsFirst) -> Model:
        return GaussInpainter(shape, self) if self.predictor == "gauss" else NetworkInpainter(shape, self)


class _Inpainter(Model):
    """Hides the blocks in turn, and scores the predictions."""

    _pixels: Tensor
    _masked: Tensor
    _order: Tensor
    _hidden: Tensor
    square_sum: Tensor
    structure_sum: Tensor
    error_count: Tensor

    def __init__(self, shape: ChannelsFirst, architecture: InpaintArchitecture) -> None:
        super().__init__()
        self.shape = shape
        _, height, width = shape
        blocks = HiddenBlocks.of(height, width, architecture.block, architecture.stride, architecture.masks)
        self._masks = blocks.masks
        masked = np.array([number for mask in blocks.masks for number in mask])
        self.register_buffer("_pixels", torch.tensor(blocks.pixels), persistent=False)
        # The blocks in the masks' order, and where each block is in it: an index that is a list would be copied to the
        # device at each use.
        self.register_buffer("_masked", torch.tensor(blocks.pixels[masked]), persistent=False)
        self.register_buffer("_order", torch.tensor(masked.argsort()), persistent=False)
        self._firsts = [0, *itertools.accumulate(map(len, blocks.masks))]
        self.register_buffer("_hidden", torch.tensor(blocks.hidden(height, width)), persistent=False)
        # Sums of each block's errors, and how many were summed: their quotient is the block's usual error.
        self.register_buffer("square_sum", torch.ones(blocks.count))
        self.register_buffer("structure_sum", torch.ones(blocks.count))
        self.register_buffer("error_count", torch.ones(blocks.count))

    @abstractmethod
    def predict(self, images: Tensor, mask: int) -> Tensor:
        """Images (B, C, H, W) of which only what the mask of that number hides counts, predicted from the rest."""

    def blocks(self, images: Tensor, mask: int) -> Tensor:
        """(B, C, k, p), the blocks that the mask of that number hides."""
        found: Tensor = images.flatten(2)[:, :, self._pixels_of(mask)]
        return found

    def _pixels_of(self, mask: int) -> Tensor:
        """int64 (k, p), the pixels of the blocks that a mask hides."""
        return self._masked[self._firsts[mask] : self._firsts[mask + 1]]

    def judged(self, images: Tensor) -> tuple[BlockErrors, Tensor]:
        """The errors of all blocks, and the mean of the predictions, (B, C, H, W)."""
        total, covered = torch.zeros_like(images), torch.zeros_like(self._hidden[0])
        found: list[BlockErrors] = []
        for mask in range(len(self._masks)):
            predicted = self.predict(images, mask)
            total = total + predicted * self._hidden[mask]
            covered = covered + self._hidden[mask]
            found.append(block_errors(self.blocks(images, mask), self.blocks(predicted, mask)))
        square, structure = (torch.cat([each[part] for each in found], 1)[:, self._order] for part in (0, 1))
        return BlockErrors(square, structure), (total / covered).clamp(-1, 1)

    def forward(self, images: Tensor) -> Output:
        errors, reconstruction = self.judged(images)
        usual = BlockErrors(self.square_sum / self.error_count, self.structure_sum / self.error_count)
        return Output(reconstruction, None, columns(errors, usual))


class GaussInpainter(_Inpainter, ClosedFormModel):
    """The best linear prediction of the hidden pixels.

    Attributes:
        mean: float32 (d,), of the d numbers that it takes of an image.
        missed: float32 (d, |h|) a mask, what takes an image about the mean to what its hidden numbers miss.
    """

    def __init__(self, shape: ChannelsFirst, architecture: InpaintArchitecture) -> None:
        channels, height, width = shape
        factor = math.ceil(math.sqrt(math.prod(shape) / _MOST_NUMBERS))
        inner = (channels, math.ceil(height / factor), math.ceil(width / factor))
        while math.prod(inner) > _MOST_NUMBERS:
            factor += 1
            inner = (channels, math.ceil(height / factor), math.ceil(width / factor))
        super().__init__(inner, architecture)
        self.outer = shape
        numbers = math.prod(inner)
        self.mean = nn.Parameter(torch.zeros(numbers))
        hidden = [channels * self._pixels_of(mask).numel() for mask in range(len(self._masks))]
        self.missed = nn.ParameterList(nn.Parameter(torch.zeros(numbers, count)) for count in hidden)

    def _places(self, mask: int) -> Tensor:
        """int64 (|h|,), which of an image's numbers a mask hides."""
        channels, height, width = self.shape
        pixels = self._pixels_of(mask).flatten()
        first = torch.arange(channels, device=pixels.device) * height * width
        return (first[:, None] + pixels).flatten()

    def predict(self, images: Tensor, mask: int) -> Tensor:
        flat = images.flatten(1)
        missed = (flat - self.mean) @ self.missed[mask]
        return flat.index_add(1, self._places(mask), -missed).reshape(images.shape)

    def forward(self, images: Tensor) -> Output:
        output = super().forward(self._taken(images))
        assert output.reconstruction is not None
        reconstruction = functional.interpolate(output.reconstruction, size=images.shape[2:])
        return output._replace(reconstruction=reconstruction)

    def _taken(self, images: Tensor) -> Tensor:
        return images if self.shape == self.outer else functional.adaptive_avg_pool2d(images, self.shape[1:])

    @torch.no_grad()
    def solve(self, batches: Iterable[Tensor], noise_scale: float, latent_noise_scale: float) -> float:
        sample: list[Tensor] = []
        mean, covariance = moments(self._sampling(batches, sample))
        ridge = max(noise_scale**2, _LEAST_RIDGE * float(covariance.diagonal().mean()), _TINY)
        covariance.diagonal().add_(ridge)
        precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        self.mean.copy_(mean)
        for mask, missed in enumerate(self.missed):
            places = self._places(mask)
            # Multiplied out in float64: the two factors are large where the ridge is small, their product is not.
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(precision[places][:, places]))
            missed.copy_(precision[:, places] @ inverse)
        errors = [self.judged(part)[0] for part in torch.split(torch.cat(sample), 256)]
        square, structure = (torch.cat([each[part] for each in errors]).mean(0) for part in (0, 1))
        self.square_sum.copy_(square)
        self.structure_sum.copy_(structure)
        return float(square.mean())

    def _sampling(self, batches: Iterable[Tensor], sample: list[Tensor]) -> Iterator[Tensor]:
        """The batches as `predict` takes them; some of them are kept in `sample`."""
        for batch in batches:
            taken = self._taken(batch)
            if sum(map(len, sample)) < _SAMPLE:
                sample.append(taken.clone())
            yield taken


class NetworkInpainter(_Inpainter, GradientModel):
    """A network that sees the image without the hidden pixels, and the mask."""

    _numbers: Tensor
    _counts: Tensor

    def __init__(self, shape: ChannelsFirst, architecture: InpaintArchitecture) -> None:
        super().__init__(shape, architecture)
        self.structure = architecture.structure
        self.wide = architecture.predictor != "mlp"
        most = max(map(len, self._masks))
        numbers = torch.tensor([[*each, *(each[:1] * (most - len(each)))] for each in self._masks])
        counts = torch.tensor([[1.0] * len(each) + [0.0] * (most - len(each)) for each in self._masks])
        self.register_buffer("_numbers", numbers, persistent=False)  # blocks of each mask, filled up with its first
        self.register_buffer("_counts", counts, persistent=False)  # which of them count
        self.network: nn.Module = (
            Mlp(shape, architecture.width, architecture.layers)
            if architecture.predictor == "mlp"
            else UNet(shape, architecture.width // _WIDTH_A_CHANNEL)
        )

    def predict(self, images: Tensor, mask: int) -> Tensor:
        return self._filled_in(images, self._hidden[mask].expand(len(images), -1, -1, -1))

    def _filled_in(self, images: Tensor, hidden: Tensor) -> Tensor:
        found: Tensor = self.network(images * (1 - hidden), hidden)
        return found

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[Tensor, Tensor]:
        drawn = torch.randint(len(self._masks), (len(images),), device=images.device)
        hidden = self._hidden[drawn]
        predicted = self._filled_in(images, hidden).float()
        numbers, counts = self._numbers[drawn], self._counts[drawn]
        errors = block_errors(self._drawn_blocks(images, numbers), self._drawn_blocks(predicted, numbers))
        with torch.no_grad():
            self._note(numbers, counts, errors)
        structure = (errors.structure * counts).sum() / counts.sum()
        # What is not hidden is given, and has no error.
        return torch.where(hidden > 0, predicted, images), self.structure * structure

    def _drawn_blocks(self, images: Tensor, numbers: Tensor) -> Tensor:
        """(B, C, k, p), of each image its own blocks, int64 (B, k)."""
        pixels = self._pixels[numbers]
        places = pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).gather(2, places).reshape(*images.shape[:2], *pixels.shape[1:])

    def _note(self, numbers: Tensor, counts: Tensor, errors: BlockErrors) -> None:
        """Keep the running means of the blocks' errors."""
        places, weights = numbers.flatten(), counts.flatten()
        for total, values in (
            (self.square_sum, errors.square.flatten() * weights),
            (self.structure_sum, errors.structure.flatten() * weights),
            (self.error_count, weights),
        ):
            total.mul_(_KEPT).index_add_(0, places, values.to(total.dtype))


_CLOSED_FORM = SearchRanges(
    learning_rate=(1e-3, 1e-3),
    weight_decay=(0.0, 0.0),
    batch_size=(256,),
    gpu_batch_size=(256,),
    warmup_ratio=(0.0, 0.0),
    noise_scale=(0.02, 0.5),
    latent_noise_scale=(0.0, 0.0),
    mirror=(False,),
    loss=("mse",),
    most_epochs=1,
)
_NETWORKS = SearchRanges(
    learning_rate=(5e-4, 5e-3), noise_scale=(0.0, 0.3), latent_noise_scale=(0.0, 0.0), loss=("mse", "l1")
)


def ranges(architecture: Architecture) -> SearchRanges:
    """What a study searches besides the architecture: nothing is trained in closed form."""
    return _CLOSED_FORM if getattr(architecture, "predictor", "") == "gauss" else _NETWORKS


def suggest(trial: Sampler, widths: Sequence[int]) -> InpaintArchitecture:
    """The predictor, what is hidden, and of networks their size and loss."""
    predictor: Predictor = trial.suggest_categorical("predictor", PREDICTORS)
    block = trial.suggest_float("block", 1 / 4, 1 / 2, step=1 / 8)
    stride = trial.suggest_categorical("stride", [1.0, 0.5])
    masks: Masks = trial.suggest_categorical("masks", MASKS)
    if predictor == "gauss":
        return InpaintArchitecture(predictor=predictor, block=block, stride=stride, masks=masks)
    return InpaintArchitecture(
        predictor=predictor,
        block=block,
        stride=stride,
        masks=masks,
        width=trial.suggest_categorical("width", widths),
        layers=trial.suggest_int("layers", 1, 3) if predictor == "mlp" else 2,
        structure=trial.suggest_float("structure", 0.0, 1.0),
    )


_GAUSS = {"predictor": "gauss", "block": 0.5, "stride": 0.5, "masks": "one", "crop": 0.8125, "size": 16,
          "noise_scale": 0.16}  # fmt: skip
_NETWORK = {"block": 0.5, "stride": 0.5, "masks": "one", "structure": 1.0, "crop": 0.8125, "size": 24,
            "learning_rate": 3e-3, "noise_scale": 0.0, "loss": "mse"}  # fmt: skip

FAMILY = Family(
    name="inpaint",
    summary="predicts hidden blocks from the rest of the image: in closed form, or by a network",
    suits="a first try: what does not follow from its surroundings",
    architecture=InpaintArchitecture,
    suggest=suggest,
    start=(
        _GAUSS,
        {**_NETWORK, "predictor": "mlp", "width": 768, "layers": 2, "batch_size": 256},
        {
            **_NETWORK,
            "predictor": "conv",
            "block": 0.25,
            "masks": "checkerboard",
            "width": 256,
            "batch_size": 64,
            "learning_rate": 1e-3,
        },
    ),
    presets={
        "inpaint-gauss": Preset(
            architecture=InpaintArchitecture(predictor="gauss"),
            source="ours: the conditional mean of a Gaussian (Mardia, Kent and Bibby 1979) in place of RIAD's network",
            crop=(0.8125, 0.8125),
            size=(16, 16),
            training={"epochs": 1, "noise_scale": 0.16, "latent_noise_scale": 0.0},
        ),
        "inpaint-mlp": Preset(
            architecture=InpaintArchitecture(),
            source="ours: RIAD's task (Zavrtanik et al. 2021) on small images with linear layers, half a side hidden",
            crop=(0.8125, 0.8125),
            size=(24, 24),
            training={"epochs": 30, "learning_rate": 3e-3, "weight_decay": 1e-2, "latent_noise_scale": 0.0},
        ),
        "inpaint-conv": Preset(
            architecture=InpaintArchitecture(predictor="conv", block=0.25, masks="checkerboard"),
            source=(
                "ours, after RIAD (Zavrtanik et al. 2021): a U-Net of three scales instead of five, blocks of a "
                "quarter of the side instead of 2 to 16 pixels, SSIM's third factor instead of SSIM and gradients"
            ),
            training={"epochs": 30, "batch_size": 64, "learning_rate": 1e-3, "latent_noise_scale": 0.0},
        ),
    },
    side_multiple=1,
    widths=(256, 768, 1536),
    cpu_width=768,
    ranges=_NETWORKS,
    own_ranges=ranges,
)
