"""What can be read of a member's recipe without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class RecipeInfo:
    """What can be read of a member's recipe without torch.

    Attributes:
        family: the family's name.
        data: the data set's fingerprint.
        version: the recipe version; None of imported scores.
        labels: hash of the labels that the objective read; None where it read none.
        crop: the first of the crop's two fractions; None of imported scores.
        size: height in pixels that the crop is resized to; None of imported scores.
        epochs: the most epochs that the training may take.
        seed: the training's seed.
        subset: how many training images are used; None is all.
        flips: whether an image's score is the mean of its own and its mirror image's.
        inverted: whether imported scores were negated.
        rescaled: what was done to imported scores besides rounding them to 32 bits; empty for nothing.
        json: the whole recipe, for `training.recipe.Recipe.from_json`.
    """

    family: str
    data: str
    version: int | None
    labels: str | None
    crop: float | None
    size: int | None
    epochs: int
    seed: int | None
    subset: int | None
    flips: bool
    inverted: bool
    rescaled: str
    json: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What can be read of a whole recipe, which must have been checked."""
        return cls(
            family=value["family"],
            data=value["data"],
            version=value.get("version"),
            labels=value["labels"],
            crop=value["preprocess"]["crop"][0],
            size=value["preprocess"]["size"][0],
            epochs=value["training"]["epochs"],
            seed=value["training"].get("seed"),
            subset=value.get("subset"),
            flips=bool(value.get("flips", False)),
            inverted=bool(value.get("inverted", False)),
            rescaled=str(value.get("rescaled", "")),
            json=value,
        )
