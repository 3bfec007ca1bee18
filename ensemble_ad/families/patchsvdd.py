"""Patch SVDD (Yi and Yoon 2020, ACCV, arXiv:2006.16067): patches whose like no training image has.

An encoder learns to tell at which of eight places around a patch another one lies, and to map patches that nearly
coincide to nearly one vector. An image is scored by how far its patches' vectors lie from the nearest vectors of
training patches, for small patches and for large ones, whose encoder sees the vectors of their four quarters. Both maps
are multiplied for `both`, whose largest number is the paper's score; here are each map's mean and the mean of its worst
few too.

What is ours:

- patches are a share of the image, a fourth to a sixteenth, instead of 32 and 64 of 256 pixels; the encoder of small
  ones has linear layers instead of eight convolutions;
- the vectors that are compared with are 2,048 at most, drawn from all places of 2,000 training images at most; where
  images are aligned, a patch may be compared with those of its own place alone (32,768 at most for all places);
- each step draws eight patches an image for each loss; the second patch of a pair lies wholly in the image, where the
  authors' code moves it in;
- the classifier's last layer is a plain one, the weights start by He et al. 2015 (arXiv:1502.01852), and the images'
  noise is the training's `noise_scale`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import Family, Preset
from ensemble_ad.families.convolution import fast_on_small_maps
from ensemble_ad.families.latent import flat_latent
from ensemble_ad.families.linear import linear_stack
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.patch_bank import NEIGHBOURS, Bank, Neighbours
from ensemble_ad.families.ranges import Sampler, SearchRanges

_MOST_PLACES = 256
_DIRECTIONS = [pair for pair in product((-1, 0, 1), repeat=2) if pair != (0, 0)]
_DRAWS = 8
_CLASSIFIER = (128, 128)
_SLOPE = 0.1
_WORST_SHARE, _WORST_LEAST = 0.05, 3


@dataclass(frozen=True, kw_only=True)
class PatchsvddArchitecture(Architecture):
    """Hyperparameters of the encoder, of its two tasks, and of the search for neighbours.

    Attributes:
        patch: side of a small patch as a share of the image's shorter side, above 0 and at most 0.25; large ones are
            twice as high and wide.
        width: units of the encoders' hidden layers.
        features: numbers of a patch's vector.
        svdd_weight: weight of the distance between patches that nearly coincide; the paper has 0.001 to 1.
        shift: standard deviation of a random shift of each channel of a patch whose place is to be told.
        neighbours: where a patch's nearest is sought in training images: `anywhere`, as in the paper, or at its
            `place`.
    """

    patch: float = 0.125
    width: int = 128
    features: int = 32
    svdd_weight: float = 0.1
    shift: float = 0.04
    neighbours: Neighbours = "anywhere"

    def __post_init__(self) -> None:
        if self.neighbours not in NEIGHBOURS:
            raise UsageError(
                f"a patchsvdd's neighbours must be one of {', '.join(NEIGHBOURS)}, not {self.neighbours!r}"
            )
        if not 0 < self.patch <= 0.25:
            raise UsageError(f"a patchsvdd's patch must be above 0 and at most 0.25, not {self.patch}")
        if min(self.width, self.features) < 1 or min(self.svdd_weight, self.shift) < 0:
            raise UsageError(
                "a patchsvdd's width and features must be 1 or more, its svdd_weight and shift 0 or more, not "
                f"{self.width}, {self.features}, {self.svdd_weight} and {self.shift}"
            )

    def build(self, shape: ChannelsFirst) -> "PatchSvdd":
        return PatchSvdd(shape, self)


class PatchSvdd(GradientModel):
    """The encoders of small and large patches, a classifier for each, and vectors of training patches.

    Attributes:
        side: of a small patch in pixels, an even number.
        stride: distance of neighbouring patches that are scored.
    """

    map_column = "both_mean"
    _directions: Tensor

    def __init__(self, shape: ChannelsFirst, architecture: PatchsvddArchitecture) -> None:
        super().__init__()
        channels, height, width = shape
        units, features = architecture.width, architecture.features
        self.svdd_weight, self.shift = architecture.svdd_weight, architecture.shift
        self.side = 2 * max(1, int(architecture.patch * min(height, width) / 2))
        self.stride = self.side // 2
        if _places(height, self.side, self.stride) * _places(width, self.side, self.stride) > _MOST_PLACES:
            self.stride = self.side
        self.first = nn.Conv2d(channels, units, self.side)
        self.rest = nn.Sequential(
            nn.LeakyReLU(_SLOPE), nn.Conv2d(units, units, 1), nn.LeakyReLU(_SLOPE), nn.Conv2d(units, features, 1)
        )
        self.joined = nn.Conv2d(features, units, 2)
        self.last = nn.Sequential(nn.LeakyReLU(_SLOPE), nn.Conv2d(units, features, 1))
        fast_on_small_maps(self)  # in training the maps are of single patches
        stack = (features, *_CLASSIFIER, len(_DIRECTIONS))
        self.classifiers = nn.ModuleList(linear_stack(stack, activation="leaky_relu") for _ in range(2))
        places = [_places(height, side, self.stride) * _places(width, side, self.stride) for side in self.sides]
        self.small_bank, self.large_bank = (Bank(n, features, architecture.neighbours) for n in places)
        self.register_buffer("_directions", torch.tensor(_DIRECTIONS), persistent=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # By torch's own start, vectors differ so little that all become one before any place is told.
                nn.init.kaiming_normal_(layer.weight, _SLOPE, nonlinearity="leaky_relu")

    @property
    def sides(self) -> tuple[int, int]:
        """The sides of a small and of a large patch."""
        return self.side, 2 * self.side

    @property
    def _banks(self) -> tuple[Bank, Bank]:
        return self.small_bank, self.large_bank

    def small(self, images: Tensor, stride: int) -> Tensor:
        """Vectors (B, d, h, w) of the small patches of images (B, C, H, W), `stride` pixels apart."""
        return torch.tanh(self.rest(functional.conv2d(images, self.first.weight, self.first.bias, stride=stride)))

    def large(self, small: Tensor, stride: int) -> Tensor:
        """Vectors of the large patches, of those of small ones that are `stride` pixels apart."""
        seen = functional.conv2d(small, self.joined.weight, self.joined.bias, dilation=self.side // stride)
        return torch.tanh(self.last(seen))

    def forward(self, images: Tensor) -> Output:
        small = self.small(images, self.stride)
        large = self.large(small, self.stride)
        apart_small, apart_large = self.small_bank.distances(small), self.large_bank.distances(large)
        # The small patches that lie in a large one.
        inside = functional.avg_pool2d(apart_small[:, None], self.side // self.stride + 1, 1)[:, 0]
        columns = {}
        for name, each in (("small", apart_small), ("large", apart_large), ("both", inside * apart_large)):
            flat = each.flatten(1)
            few = min(flat.shape[1], max(_WORST_LEAST, int(flat.shape[1] * _WORST_SHARE)))
            columns[f"{name}_mean"] = flat.mean(1)
            columns[f"{name}_worst"] = flat.topk(few, dim=1, sorted=False).values.mean(1)
        columns["both_max"] = (inside * apart_large).flatten(1).amax(1)
        return Output(None, flat_latent(large), columns)

    def anomaly_map(self, images: Tensor) -> Tensor:
        """A pixel's mean distance over the small patches that hold it, times that over the large ones, (B, H, W)."""
        small = self.small(images, self.stride)
        apart = self.small_bank.distances(small), self.large_bank.distances(self.large(small, self.stride))
        one, other = (
            _spread(each, side, self.stride, images.shape[2:]) for each, side in zip(apart, self.sides, strict=True)
        )
        return one * other

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[None, Tensor]:
        loss = torch.zeros((), device=images.device)
        for side, classifier in zip(self.sides, self.classifiers, strict=True):
            direction, around = self._around(images, side)
            first, second = (self._vectors(self._shifted(patches), side) for patches in around)
            logits = classifier(add_noise(first - second, latent_noise_scale))
            near, by = (self._vectors(patches, side) for patches in self._beside(images, side))
            apart = (near - by).float().square().sum(1).clamp_min(1e-12).sqrt().mean()
            loss = loss + functional.cross_entropy(logits.float(), direction) + self.svdd_weight * apart
        return None, loss

    def settle(self, batches: Iterable[Tensor], count: int) -> None:
        rows = [bank.rows(count) for bank in self._banks]
        found: list[list[Tensor]] = [[] for _ in self._banks]
        start = 0
        for images in batches:
            small = self.small(images, self.stride)
            for vectors, wanted, kept in zip((small, self.large(small, self.stride)), rows, found, strict=True):
                flat = _flat(vectors)
                number = wanted - start * (len(flat) // len(images))
                kept.append(flat[number[(number >= 0) & (number < len(flat))].to(flat.device)])
            start += len(images)
        for bank, kept in zip(self._banks, found, strict=True):
            bank.fill(torch.cat(kept))

    def _vectors(self, patches: Tensor, side: int) -> Tensor:
        """Vectors (n, d) of patches (n, C, side, side)."""
        small = self.small(patches, self.side)
        return (small if side == self.side else self.large(small, self.side)).flatten(1)

    def _shifted(self, patches: Tensor) -> Tensor:
        return patches + self.shift * torch.randn((*patches.shape[:2], 1, 1), device=patches.device)

    def _around(self, images: Tensor, side: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Pairs of patches, one beside the other, and at which of the eight places the second lies, (n,)."""
        drawn = (len(images), _DRAWS)
        direction = torch.randint(len(_DIRECTIONS), drawn, device=images.device)
        least = 3 * side // 4
        far = torch.randint(least, least + max(1, side // 4), (*drawn, 2), device=images.device)
        return direction.flatten(), _pairs(images, side, self._directions[direction] * far)

    def _beside(self, images: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Pairs of patches that nearly coincide."""
        most = max(1, side // 32)
        across = 2 * most + 1
        # Of the offsets in a square, all but its centre.
        number = torch.randint(across**2 - 1, (len(images), _DRAWS), device=images.device)
        number = number + (number >= across**2 // 2)
        return _pairs(images, side, torch.stack([number // across, number % across], -1) - most)


def _places(length: int, side: int, stride: int) -> int:
    return (length - side) // stride + 1


def _spread(values: Tensor, side: int, stride: int, shape: Sequence[int]) -> Tensor:
    """Each pixel's mean of the patches that hold it, (B, *shape), of a number a patch (B, h, w).

    Pixels at the end of a side that no patch holds get the number of their neighbours.
    """
    square = torch.ones((1, 1, side, side), device=values.device)
    sums, counts = (
        functional.conv_transpose2d(each, square, stride=stride)
        for each in (values[:, None], torch.ones_like(values[:1, None]))
    )
    beside = (0, shape[1] - sums.shape[3], 0, shape[0] - sums.shape[2])
    return functional.pad(sums / counts, beside, mode="replicate")[:, 0]


def _flat(maps: Tensor) -> Tensor:
    """Maps (B, d, h, w) as (B h w, d)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _pairs(images: Tensor, side: int, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Patches at random places, and those that lie `offset` pixels from them, (n, C, side, side) each.

    Args:
        images: float (B, C, H, W).
        side: of a patch.
        offset: int64 (B, r, 2), rows and columns, of r pairs for each image; both patches lie in the image.
    """
    # Each axis by itself: a tensor of both lengths would be copied from the host, which no graph can hold.
    free = torch.stack([n - side - offset[..., axis].abs() for axis, n in enumerate(images.shape[2:])], -1)
    # A product in float32 may be rounded up to the whole length.
    first = torch.minimum((torch.rand(offset.shape, device=images.device) * (free + 1)).long(), free.clamp_min(0))
    first = first + (-offset).clamp_min(0)
    return _cut(images, first, side), _cut(images, first + offset, side)


def _cut(images: Tensor, corner: Tensor, side: int) -> Tensor:
    """Patches (B r, C, side, side) whose upper left corners are int64 (B, r, 2)."""
    channels, width = images.shape[1], images.shape[3]
    steps = torch.arange(side, device=images.device)
    inside = (steps[:, None] * width + steps).flatten()
    index = (corner[..., :1] * width + corner[..., 1:] + inside).flatten(1)[:, None].expand(-1, channels, -1)
    patches = images.flatten(2).gather(2, index).reshape(len(images), channels, -1, side, side)
    return patches.transpose(1, 2).flatten(0, 1)


def suggest(trial: Sampler, widths: Sequence[int]) -> PatchsvddArchitecture:
    """The patches' size, the encoder's, how the two tasks are weighed, and where neighbours are sought."""
    return PatchsvddArchitecture(
        patch=trial.suggest_categorical("patch", [1 / 16, 1 / 8, 1 / 4]),
        width=trial.suggest_categorical("width", widths),
        features=trial.suggest_int("features", 8, 64, log=True),
        svdd_weight=trial.suggest_float("svdd_weight", 1e-3, 1.0, log=True),
        shift=trial.suggest_float("shift", 0.0, 0.3),
        neighbours=trial.suggest_categorical("neighbours", NEIGHBOURS),
    )


_START = {
    "patch": 1 / 8,
    "width": 128,
    "features": 32,
    "svdd_weight": 0.1,
    "shift": 0.04,
    "crop": 0.8125,
    "learning_rate": 3e-3,
    "batch_size": 64,
    "noise_scale": 0.04,
}
_TRAINING = {"batch_size": 64, "noise_scale": 0.04, "latent_noise_scale": 0.0}

FAMILY = Family(
    name="patchsvdd",
    summary="distances of patches to their nearest in training images, told apart by where they lie; no reconstruction",
    suits="small defects of parts that lie alike",
    architecture=PatchsvddArchitecture,
    suggest=suggest,
    start=({**_START, "neighbours": "place"}, {**_START, "neighbours": "anywhere"}),
    presets={
        "patchsvdd": Preset(
            architecture=PatchsvddArchitecture(features=64, svdd_weight=1.0),
            source=(
                "Yi and Yoon 2020 (ACCV, arXiv:2006.16067): its tasks, classifier and vectors of 64 numbers, its "
                "patches as shares of the image; the encoder and the number of vectors are ours"
            ),
            training={**_TRAINING, "epochs": 20, "learning_rate": 1e-3},
        ),
        "patchsvdd-small": Preset(
            architecture=PatchsvddArchitecture(neighbours="place"),
            source="ours: half the size and vectors of 32 numbers, compared with those of their own place alone",
            crop=(0.8125, 0.8125),
            size=(32, 32),
            training={**_TRAINING, "epochs": 2, "learning_rate": 3e-3},
        ),
    },
    side_multiple=1,
    widths=(64, 128, 256),
    cpu_width=128,
    ranges=SearchRanges(
        batch_size=(32, 64, 128, 256), noise_scale=(0.0, 0.2), latent_noise_scale=(0.0, 0.0), loss=("mse",)
    ),
    reconstructs=False,
)
