"""From a model to the weights that a member keeps, and from a cached member back to its model."""

from functools import partial
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from ensemble_ad.errors import StorageError, UsageError, in_one_line
from ensemble_ad.families import Model
from ensemble_ad.members.imported import is_imported
from ensemble_ad.members.store import Member
from ensemble_ad.training.bounds import SmallActivations, check_bounds
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.out_of_memory import is_out_of_memory
from ensemble_ad.training.recipe import RECIPE_VERSION, Recipe
from ensemble_ad.training.references import Reference, References

_MODEL, _REFERENCE = "model.", "reference."
# Whatever a stranger's recipe and weights are met with.
_UNFIT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    SafetensorError,
    TypeError,
    UsageError,
    ValueError,
)


class LoadedModel(NamedTuple):
    """A member's trained model.

    Attributes:
        model: the model in evaluation mode, on the device.
        references: where its training images' bottlenecks and residuals lie.
        recipe: what the model was made of.
    """

    model: Model
    references: References
    recipe: Recipe


def untrained(recipe: Recipe) -> Model:
    """The untrained model of a recipe; convolutions get the channels-last layout that the images have."""
    model = recipe.architecture.build(recipe.preprocess.shape)
    return model.to(memory_format=torch.channels_last)


def weights_of(model: Model, references: References) -> dict[str, Tensor]:
    """What a member keeps of a model, by name: its weights and its references."""
    weights = {_MODEL + name: value for name, value in model.state_dict().items()}
    for name, reference in references.items():
        weights |= {f"{_REFERENCE}{name}.{part}": value for part, value in vars(reference).items()}
    return weights


def load_model(member: Member, device: torch.device) -> LoadedModel:
    """A member's model.

    Raises:
        UsageError: if the member was imported as scores and has no model, or was made by another recipe version.
        StorageError: if the weights are missing or damaged, not finite, or not those of the recipe's network.
    """
    if is_imported(member):
        raise UsageError(
            f"{member.key} was imported as scores and has no model to score new images with or to look into; blend "
            "without it, or name another member"
        )
    version = member.info.recipe.version
    if version != RECIPE_VERSION:
        raise UsageError(
            f"{member.key} was made by version {version} of the recipes, and this ensad has {RECIPE_VERSION}, which "
            "may score otherwise; use the ensad that made it, or train and blend again"
        )
    try:
        return _loaded(member, device)
    except _UNFIT as error:
        if is_out_of_memory(error):
            raise
        why = in_one_line(error, 200, with_kind=True)
        raise StorageError(
            f"{member.folder} holds no model that can be loaded ({why}); it is damaged, remove it"
        ) from error


def _loaded(member: Member, device: torch.device) -> LoadedModel:
    from safetensors.torch import load_file

    recipe = Recipe.from_json(member.info.recipe.json)
    weights = member.weights_path()
    try:
        check_bounds(partial(untrained, recipe), weights.stat().st_size)
    except StorageError as error:
        raise _unbounded(member, error) from error
    arrays = load_file(weights, device=str(device))
    model = untrained(recipe)
    model.load_state_dict({k.removeprefix(_MODEL): v for k, v in arrays.items() if k.startswith(_MODEL)})
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in arrays.items():
        if key.startswith(_REFERENCE):
            name, _, part = key.removeprefix(_REFERENCE).rpartition(".")
            parts.setdefault(name, {})[part] = value
    references = {name: Reference(**values) for name, values in parts.items()}
    kept = (
        *model.state_dict().values(),
        *(value for reference in references.values() for value in vars(reference).values()),
    )
    if not all(bool(torch.isfinite(value).all()) for value in kept):
        raise ValueError("its weights are not finite")
    model = model.to(device).eval()
    try:
        with SmallActivations():
            error_vectors(model, _black(recipe, device), references)  # those of another network's numbers do not fit
    except StorageError as error:
        raise _unbounded(member, error) from error
    return LoadedModel(model=model, references=references, recipe=recipe)


def _unbounded(member: Member, error: StorageError) -> StorageError:
    return StorageError(f"{member.folder} cannot be loaded: {error}; it is damaged, remove it")


def _black(recipe: Recipe, device: torch.device) -> Tensor:
    """uint8 (1, H, W, C), one image of the recipe's shape."""
    channels, height, width = recipe.preprocess.shape
    return torch.zeros((1, height, width, channels), dtype=torch.uint8, device=device)
