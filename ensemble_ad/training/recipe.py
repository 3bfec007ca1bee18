"""Everything that determines a member, and the key that is the hash of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.errors import UsageError
from ensemble_ad.families import Architecture, Family, family
from ensemble_ad.families.architecture import architecture_from_json, architecture_json
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.members.objectives import objective
from ensemble_ad.training.settings import TrainSettings

# Raised when a change of the code changes what a recipe gives, so that older members are never taken for newer ones.
RECIPE_VERSION = 8


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a member is made of.

    Attributes:
        data: fingerprint of the data set.
        family: name of the family.
        architecture: the family's hyperparameters.
        preprocess: crop, size and channels.
        training: the training settings, seed included.
        objective: name of the objective that chooses the epoch.
        labels: hash of the labels that the objective read; None where it read none.
        subset: how many training images are used; None is all.
        flips: whether an image's score is the mean of its own and its mirror image's.
        patience: how many epochs without a better value end the training; None never does.
        share: the share of anomalies that the objective was told of; None where it was told of none.
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
    share: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The recipe as a member's file holds it."""
        return {
            "version": RECIPE_VERSION,
            "data": self.data,
            "family": self.family,
            "architecture": architecture_json(self.architecture),
            "preprocess": self.preprocess.as_json(),
            "training": self.training.as_json(),
            "objective": self.objective,
            "labels": self.labels,
            "subset": self.subset,
            "patience": self.patience,
            "flips": self.flips,
        } | ({} if self.share is None else {"share": self.share})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Recipe":
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
            share=value.get("share"),
        )

    @property
    def key(self) -> str:
        """The member's name: family and 12 hexadecimal digits of the recipe's hash."""
        return f"{self.family}-{json_hash(self.as_json())[:12]}"


def check_objective(name: str, kind: Family, n_test: int) -> None:
    """Refuse an objective that means nothing for a family, or for a data set of that many test images.

    Raises:
        UsageError: for `loss` without a reconstruction, for `auto` or `synthetic` of a transductive family, and for
            what needs test images where there are none.
    """
    needs = objective(name).needs
    if n_test == 0 and kind.transductive:
        raise UsageError(f"{kind.name} is trained on the test images, and there are none")
    if n_test == 0 and "test" in needs:
        raise UsageError(f"the objective {name} needs test images, and there are none; use synthetic")
    if "reconstruction" in needs and not kind.reconstructs:
        raise UsageError(f"the objective {name} needs a reconstruction, and {kind.name} makes none; use separation")
    if "pseudo" in needs and kind.transductive:
        raise UsageError(
            f"the objective {name} says nothing of {kind.name}, which learns the test set's own anomalies; "
            "use separation"
        )


def check_transductive(kind: Family, *, allowed: bool) -> None:
    """Refuse a family that is trained on the test images unless the user allowed it.

    Raises:
        UsageError: if it is and they did not.
    """
    if kind.transductive and not allowed:
        raise UsageError(
            f"{kind.name} is trained on the unlabelled test images; if the rules of your contest or laboratory allow "
            "that, say so with --transductive"
        )
