"""A classifier of normal images against the same images with a part of themselves cut out and pasted elsewhere.

Source: CutPaste (Li et al. 2021, CVPR, arXiv:2104.04015), its 3-way variant: normal, a pasted patch (2 to 15% of the
image, aspect 0.3 to 3.3), a pasted scar (2 to 16 by 10 to 25 pixels of a side of 256, turned by up to 45 degrees).
Every image is jittered in colour first, and what is pasted is jittered again. The paper scores by a Gaussian density of
the features below the head; its negative logarithm is half the square of `latent_mahalanobis`, plus a constant. The
classifier's own log-odds are the column `logit`.

What is ours:

- AdamW with this project's schedule, instead of SGD of learning rate 0.03, momentum 0.9 and a cosine;
- no random translation, and no jitter of the hue;
- a patch's aspect is drawn on a log scale;
- scars are scaled to the image's shorter side, to 1 by 2 pixels at least.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import Family, Preset
from ensemble_ad.families.convolution import fast_on_small_maps, pooled
from ensemble_ad.families.linear import linear_stack
from ensemble_ad.families.model import GradientModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler, SearchRanges

_BACKBONES = ("cnn", "resnet18")
_HEAD_UNITS = 128
_KINDS = 3
_PATCH_AREA, _PATCH_ASPECT = (0.02, 0.15), (0.3, 3.3)
_SCAR_WIDTH, _SCAR_LENGTH, _SCAR_SIDE = (2.0, 16.0), (10.0, 25.0), 256
_SCAR_ANGLE = math.pi / 4
# The weights of red, green and blue in grey: ITU-R BT.601, as in torchvision's ColorJitter.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class CutpasteArchitecture(Architecture):
    """Hyperparameters of the classifier, and of the images that it learns from.

    Attributes:
        backbone: "cnn", convolutions of stride 2, or "resnet18", torchvision's, untrained; both end in a mean over all
            places.
        width: channels of the cnn's first convolution, doubled at the second and third; resnet18 has its own.
        stages: number of the cnn's convolutions.
        head: units of the hidden layers between the features and the three classes.
        jitter: largest relative change of brightness, contrast and saturation.
    """

    backbone: Literal["cnn", "resnet18"] = "cnn"
    width: int = 16
    stages: int = 3
    head: tuple[int, ...] = (_HEAD_UNITS,)
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.backbone not in _BACKBONES:
            raise UsageError(f"a cutpaste's backbone must be one of {', '.join(_BACKBONES)}, not {self.backbone!r}")
        if self.width < 1 or not 1 <= self.stages <= 5:
            raise UsageError(f"a cutpaste's cnn has a width and 1 to 5 stages, not {self.width} and {self.stages}")
        if any(units < 1 for units in self.head):
            raise UsageError(f"the units of a cutpaste's head must be 1 or more, not {self.head}")
        if not 0 <= self.jitter <= 1:
            raise UsageError(f"a cutpaste's jitter must be of 0 to 1, not {self.jitter}")

    def build(self, shape: ChannelsFirst) -> "CutpasteClassifier":
        return CutpasteClassifier(shape, self)


def _resnet18(channels_in: int) -> tuple[nn.Module, int]:
    from torchvision.models import resnet18  # here, since importing it takes 160 MB and a second

    network: nn.Module = resnet18(weights=None)
    if channels_in != 3:
        network.conv1 = nn.Conv2d(channels_in, 64, 7, 2, 3, bias=False)
    network.fc = nn.Identity()
    return fast_on_small_maps(network), 512


class CutpasteClassifier(GradientModel):
    """A backbone and a head of three classes: normal, patch, scar."""

    map_column = None

    def __init__(self, shape: ChannelsFirst, architecture: CutpasteArchitecture) -> None:
        super().__init__()
        self.jitter = architecture.jitter
        if architecture.backbone == "resnet18":
            self.features, n = _resnet18(shape[0])
        else:
            self.features, n = pooled(shape[0], architecture.width, architecture.stages)
        self.head = linear_stack((n, *architecture.head, _KINDS), batch_norm=True)

    def forward(self, images: Tensor) -> Output:
        features = self.features(images)
        logits = self.head(features)
        return Output(None, features, {"logit": logits[:, 1:].logsumexp(1) - logits[:, 0]})

    def training_pass(self, images: Tensor, latent_noise_scale: float, progress: Tensor) -> tuple[None, Tensor]:
        images = jittered(images, self.jitter)
        views = torch.cat([images, paste_patch(images, self.jitter), paste_scar(images, self.jitter)])
        logits = self.head(add_noise(self.features(views), latent_noise_scale))
        kinds = torch.arange(_KINDS, device=images.device).repeat_interleave(len(images))
        return None, functional.cross_entropy(logits.float(), kinds)


def paste_patch(images: Tensor, jitter: float) -> Tensor:
    """Images, float (B, C, H, W), each with an upright patch of itself pasted elsewhere."""
    sides = images.shape[2:]
    area = _uniform(images, *_PATCH_AREA) * sides[0] * sides[1]
    aspect = _uniform(images, *map(math.log, _PATCH_ASPECT)).exp()
    height = (area * aspect).sqrt().round().clamp(1, sides[0])
    width = (area / aspect).sqrt().round().clamp(1, sides[1])
    return _paste(images, height, width, torch.zeros_like(height), jitter)


def paste_scar(images: Tensor, jitter: float) -> Tensor:
    """Images, float (B, C, H, W), each with a thin turned strip of itself pasted elsewhere."""
    scale = min(images.shape[2:]) / _SCAR_SIDE
    width = (scale * _uniform(images, *_SCAR_WIDTH)).round().clamp_min(1)
    length = (scale * _uniform(images, *_SCAR_LENGTH)).round().clamp_min(2)
    return _paste(images, length, width, _uniform(images, -_SCAR_ANGLE, _SCAR_ANGLE), jitter)


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """A number for each image, (B,), on the images' device."""
    return low + (high - low) * torch.rand(len(images), device=images.device)


def _paste(images: Tensor, height: Tensor, width: Tensor, angle: Tensor, jitter: float) -> Tensor:
    """Cut an upright rectangle out of each image, turn and jitter it, and paste it wherever it fits.

    Args:
        images: float (B, C, H, W) in [-1, 1].
        height, width: the rectangles' sides, whole numbers of pixels, float (B,).
        angle: how far each rectangle is turned, in radians, float (B,).
        jitter: largest relative change of the colours; see `jittered`.
    """
    rows, columns = images.shape[2:]
    cos, sin = angle.cos(), angle.sin()
    to_y = _centre(images, rows, height * cos + width * sin.abs(), height)
    to_x = _centre(images, columns, height * sin.abs() + width * cos, width)
    y = torch.arange(rows, device=images.device)[None, :, None] - to_y
    x = torch.arange(columns, device=images.device)[None, None, :] - to_x
    cos, sin = cos[:, None, None], sin[:, None, None]
    # Where each pixel lies in the rectangle, measured from the rectangle's centre before it was turned.
    down, across = y * cos + x * sin, x * cos - y * sin
    inside = (down.abs() < height[:, None, None] / 2) & (across.abs() < width[:, None, None] / 2)
    from_y = (_centre(images, rows, height, height) + down).round().clamp(0, rows - 1)
    from_x = (_centre(images, columns, width, width) + across).round().clamp(0, columns - 1)
    index = (from_y * columns + from_x).long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
    cut = images.flatten(2).gather(2, index).view(images.shape)
    return torch.where(inside[:, None], jittered(cut, jitter, inside), images)


def _centre(images: Tensor, side: int, extent: Tensor, size: Tensor) -> Tensor:
    """Random centres, (B, 1, 1), for rectangles that take up `extent` of `side`.

    A centre lies on a pixel where the rectangle's `size` is odd, and between two pixels where it is even. So upright
    rectangles are moved by whole pixels, and the thinnest turned one covers a pixel.
    """
    centre = (extent - 1) / 2 + _uniform(images, 0.0, 1.0) * (side - extent).clamp_min(0)
    offset = (size - 1) / 2 % 1
    return ((centre - offset).round() + offset)[:, None, None]


def jittered(images: Tensor, jitter: float, inside: Tensor | None = None) -> Tensor:
    """Multiply brightness, contrast and, of three channels, saturation by a random number each.

    Args:
        images: float (B, C, H, W) in [-1, 1]; numbers outside of it, where there is noise, are clamped.
        jitter: the random numbers are drawn from [1 - jitter, 1 + jitter]; 0 changes nothing.
        inside: bool (B, H, W), the pixels about whose mean the contrast is changed; None is all.

    Returns:
        float (B, C, H, W) in [-1, 1].
    """
    if jitter == 0:
        return images
    brightness, contrast, saturation = (_uniform(images, 1 - jitter, 1 + jitter)[:, None, None, None] for _ in range(3))
    grey = _grey(images)
    if inside is None:
        mean = grey.mean((2, 3), keepdim=True)
    else:
        mean = (grey * inside[:, None]).sum((2, 3), keepdim=True) / inside.sum((1, 2))[:, None, None, None].clamp_min(1)
    # The three changes one after the other, which are defined for values in [0, 1], multiplied out for [-1, 1].
    both = brightness * contrast
    constant = both + (1 - contrast) * brightness * (mean + 1) - 1
    return (saturation * both * images + ((1 - saturation) * both * grey + constant)).clamp_(-1, 1)


def _grey(values: Tensor) -> Tensor:
    """Images (B, C, H, W) to grey ones (B, 1, H, W)."""
    if values.shape[1] != len(_LUMA):
        return values.mean(1, keepdim=True)
    red, green, blue = _LUMA
    return red * values[:, 0:1] + green * values[:, 1:2] + blue * values[:, 2:3]


def suggest(trial: Sampler, widths: Sequence[int]) -> CutpasteArchitecture:
    """The small network's width and depth, its head's depth, and how far colours are jittered."""
    return CutpasteArchitecture(
        width=trial.suggest_categorical("width", widths),
        stages=trial.suggest_int("stages", 2, 5),
        head=(_HEAD_UNITS,) * trial.suggest_int("head_layers", 0, 2),
        jitter=trial.suggest_float("jitter", 0.0, 0.4),
    )


FAMILY = Family(
    name="cutpaste",
    summary="classifier of normal images against cut-and-pasted ones (CutPaste); no reconstruction",
    suits="parts that are missing, doubled or misplaced",
    architecture=CutpasteArchitecture,
    suggest=suggest,
    start=(
        {
            "width": 16,
            "stages": 3,
            "head_layers": 1,
            "jitter": 0.1,
            "crop": 1.0,
            "size": 32,
            "learning_rate": 1e-3,
            "batch_size": 64,
            "noise_scale": 0.0,
            "latent_noise_scale": 0.0,
        },
    ),
    presets={
        "cutpaste-3way": Preset(
            architecture=CutpasteArchitecture(backbone="resnet18", head=(512, 128)),
            source=(
                "Li et al. 2021 (CVPR, arXiv:2104.04015); AdamW and its learning rate are ours, and so is a head of "
                "two hidden layers (the paper has 512, ..., 128) and the size, which was 256x256; batches of 32 images "
                "three times each and the weight decay are the paper's, and 24 passes over the contest's images are "
                "its 65,536 steps"
            ),
            training={
                "epochs": 24,
                "batch_size": 32,
                "learning_rate": 1e-3,
                "weight_decay": 3e-5,
                "noise_scale": 0.0,
                "latent_noise_scale": 0.0,
            },
        ),
        "cutpaste-small": Preset(
            architecture=CutpasteArchitecture(),
            source="ours: three convolutions of 16, 32 and 64 channels instead of ResNet-18, for a CPU",
            training={
                "epochs": 20,
                "batch_size": 64,
                "learning_rate": 1e-3,
                "noise_scale": 0.0,
                "latent_noise_scale": 0.0,
            },
        ),
    },
    side_multiple=1,
    widths=(8, 16, 32, 64),
    cpu_width=32,
    ranges=SearchRanges(batch_size=(32, 64, 128, 256), noise_scale=(0.0, 0.3), loss=("mse",)),
    reconstructs=False,
)
