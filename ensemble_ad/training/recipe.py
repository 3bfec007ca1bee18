"""Everything that determines a member, and the key that is the hash of it."""

from dataclasses import asdict, dataclass
from typing import Any

from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families import Architecture, family
from ensemble_ad.families.architecture import architecture_from_json, architecture_json
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.training.settings import TrainSettings

# Raised when a change of the code changes what a recipe gives, so that older members are never taken for newer ones.
RECIPE_VERSION = 4


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a member is made of.

    Attributes:
        data: fingerprint of the data set.
        family: name of the family.
        architecture: its hyperparameters.
        preprocess: crop, size and channels.
        training: the training settings, seed included.
        objective: the name of what chose the epoch.
        labels: hash of the labels that the objective read; None where it read none.
        subset: training images used; None is all.
        flips: whether the mean of the scores of an image and its mirror image is the score.
        patience: epochs without a better objective after which training stops; None never.
    """

    data: str
    family: str
    architecture: Architecture
    preprocess: Preprocess
    training: TrainSettings
    objective: str
    labels: str | None
    subset: int | None
    patience: int | None
    flips: bool = False

    def as_json(self) -> dict[str, Any]:
        """The recipe as a member's file holds it."""
        return {
            "version": RECIPE_VERSION,
            "data": self.data,
            "family": self.family,
            "architecture": architecture_json(self.architecture),
            "preprocess": self.preprocess.as_json(),
            "training": asdict(self.training),
            "objective": self.objective,
            "labels": self.labels,
            "subset": self.subset,
            "patience": self.patience,
            "flips": self.flips,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Recipe":
        """The inverse of `as_json`."""
        return cls(
            data=value["data"],
            family=value["family"],
            architecture=architecture_from_json(family(value["family"]).architecture, value["architecture"]),
            preprocess=Preprocess.from_json(value["preprocess"]),
            training=TrainSettings(**value["training"]),
            objective=value["objective"],
            labels=value["labels"],
            subset=value["subset"],
            patience=value["patience"],
            flips=value.get("flips", False),
        )

    @property
    def key(self) -> str:
        """The member's name: family and 12 hexadecimal digits of the recipe's hash."""
        return f"{self.family}-{json_hash(self.as_json())[:12]}"
