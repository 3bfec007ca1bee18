"""How a model is trained."""

from dataclasses import asdict, dataclass
from typing import Any

from ensemble_ad.errors import UsageError
from ensemble_ad.families.reconstruction import LOSSES
from ensemble_ad.training.device import PRECISIONS, Precision


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained.

    Attributes:
        epochs: how often the model is judged, after one pass over the training images or `passes` of them; the schedule
            spans all epochs.
        passes: passes over the training images in an epoch: several, where they are few.
        batch_size: images a step; a last incomplete batch is left to the next epoch's permutation.
        learning_rate: the highest rate, at the end of the warm-up.
        weight_decay: AdamW's weight decay, decoupled (Loshchilov and Hutter 2019, arXiv:1711.05101).
        warmup_ratio: share of all steps in which the learning rate rises linearly; in the last fifth it falls to 0.
        noise_scale: standard deviation of the Gaussian noise on the input, whose range is [-1, 1].
        latent_noise_scale: standard deviation of the Gaussian noise on the bottleneck.
        mirror: whether each image is mirrored, left to right, by a coin toss whenever it is trained on.
        loss: a name of `reconstruction.LOSSES`.
        precision: a name of `device.PRECISIONS`: the numbers that the model computes with while it is trained.
        seed: the seed of the initial weights, the permutations and the noise.
    """

    epochs: int
    passes: int = 1
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_ratio: float = 0.1
    noise_scale: float = 0.0
    latent_noise_scale: float = 0.0
    mirror: bool = False
    loss: str = "mse"
    precision: Precision = "fp32"
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        """The settings as a member's file and key hold them, `passes` and `mirror` only where they change something."""
        unsaid = {"passes": 1, "mirror": False}
        return {name: value for name, value in asdict(self).items() if name not in unsaid or value != unsaid[name]}

    def __post_init__(self) -> None:
        rules = {
            "epochs must be 1 or more": self.epochs >= 1,
            "passes must be 1 or more": self.passes >= 1,
            "batch_size must be 1 or more": self.batch_size >= 1,
            "learning_rate must be above 0": self.learning_rate > 0,
            "weight_decay must be 0 or more": self.weight_decay >= 0,
            "warmup_ratio must be of 0 to 1": 0 <= self.warmup_ratio <= 1,
            "noise_scale must be 0 or more": self.noise_scale >= 0,
            "latent_noise_scale must be 0 or more": self.latent_noise_scale >= 0,
            "mirror must be true or false": isinstance(self.mirror, bool),
            f"loss must be one of {', '.join(LOSSES)}": self.loss in LOSSES,
            f"precision must be one of {', '.join(PRECISIONS)}": self.precision in PRECISIONS,
        }
        for rule, holds in rules.items():
            if not holds:
                raise UsageError(f"{rule}, not {getattr(self, rule.split()[0])!r}")
