"""Transductive: small networks that tell the normal training images from the unlabelled test images.

Source: learning from positive and unlabelled data (Elkan and Noto 2008, KDD; du Plessis, Niu and Sugiyama 2014, NIPS):
the best classifier of normal against unlabelled images ranks images as the best classifier of normal against anomalous
images does, whatever the share of anomalies. Cross-fitted, as in double machine learning (Chernozhukov et al. 2018,
The Econometrics Journal 21(1)): a test image is scored by the network that was trained without its fold.

It is off unless asked for, and it has conditions:

- The whole test batch has to be there before anything is scored, and a real share of it must be anomalies (say a tenth,
  and a hundred of them): with few, the networks learn noise.
- The test set's normal images must be like the training images. Whatever else tells the two sets apart (another camera,
  another compression, another day) is learnt just as well, and normal test images are taken for anomalies.
- The rules must allow looking at unlabelled test images. Those of many contests do not, nor does most of practice.
- A new image is scored by the mean of all networks, which know anomalies like it only if the test batch had some.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import UsageError
from ensemble_ad.families.architecture import CrossFittedArchitecture
from ensemble_ad.families.base import Family, Preset
from ensemble_ad.families.convolution import pooled
from ensemble_ad.families.model import CrossFittedModel, Output
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.ranges import Sampler, SearchRanges


@dataclass(frozen=True, kw_only=True)
class ContrastArchitecture(CrossFittedArchitecture):
    """Hyperparameters of the networks, which are all alike.

    Attributes:
        width: channels of the first stage, doubled at the second and third.
        stages: number of convolutions of stride 2, each with batch normalisation and ReLU.
    """

    width: int = 16
    stages: int = 3

    def __post_init__(self) -> None:
        if self.width < 1 or not 1 <= self.stages <= 4:
            raise UsageError(f"a contrast network has a width and 1 to 4 stages, not {self.width} and {self.stages}")
        if self.folds < 2:
            raise UsageError(f"contrast needs 2 folds or more, not {self.folds}")

    def build(self, shape: ChannelsFirst) -> "ContrastModel":
        return ContrastModel(shape, self)


class ContrastModel(CrossFittedModel):
    """One network for each fold; its logit says how much an image looks like a test image."""

    map_column = None

    def __init__(self, shape: ChannelsFirst, architecture: ContrastArchitecture) -> None:
        super().__init__()
        self.folds = architecture.folds
        networks = [pooled(shape[0], architecture.width, architecture.stages) for _ in range(self.folds)]
        self.features = nn.ModuleList(layers for layers, _ in networks)
        self.heads = nn.ModuleList(nn.Linear(n, 1) for _, n in networks)

    def forward(self, images: Tensor, fold: int | None = None) -> Output:
        numbers = range(self.folds) if fold is None else (fold,)
        logit = torch.stack([self._logit(number, images) for number in numbers]).mean(0)
        return Output(None, None, {"logit": logit})

    def training_pass(self, number: int, normal: Tensor, test: Tensor, latent_noise_scale: float) -> Tensor:
        logit = self._logit(number, torch.cat([normal, test]), latent_noise_scale)
        target = torch.cat([torch.zeros_like(logit[: len(normal)]), torch.ones_like(logit[len(normal) :])])
        return functional.binary_cross_entropy_with_logits(logit.float(), target.float())

    def _logit(self, number: int, images: Tensor, latent_noise_scale: float = 0.0) -> Tensor:
        features = add_noise(self.features[number](images), latent_noise_scale)
        logit: Tensor = self.heads[number](features)[:, 0]
        return logit


def suggest(trial: Sampler, widths: Sequence[int]) -> ContrastArchitecture:
    """The width and the depth; the folds stay at five."""
    return ContrastArchitecture(
        width=trial.suggest_categorical("width", widths), stages=trial.suggest_int("stages", 2, 4)
    )


FAMILY = Family(
    name="contrast",
    summary="transductive: tells training images from the unlabelled test images, cross-fitted",
    suits="contests that allow training on the test images",
    architecture=ContrastArchitecture,
    suggest=suggest,
    start=(
        {
            "width": 16,
            "stages": 3,
            "crop": 1.0,
            "size": 32,
            "learning_rate": 2e-3,
            "batch_size": 128,
            "noise_scale": 0.0,
        },
    ),
    presets={
        "contrast-small": Preset(
            architecture=ContrastArchitecture(),
            source="ours: three convolutions of 16, 32 and 64 channels, some 23,000 parameters a network",
            training={"epochs": 20, "batch_size": 128, "learning_rate": 2e-3, "weight_decay": 1e-2},
        )
    },
    side_multiple=1,
    widths=(8, 16, 24, 32, 48),
    cpu_width=32,
    # Its images are mirrored at random in any case.
    ranges=SearchRanges(
        mirror=(False,), loss=("mse",), latent_noise_scale=(0.0, 0.5), noise_scale=(0.0, 0.3), epochs=0.5
    ),
    reconstructs=False,
    transductive=True,
)
