"""A family's own hyperparameters: a frozen dataclass that builds the model, and its form as JSON."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.families.model import CrossFittedModel, Model


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """A family's own hyperparameters: numbers, strings and tuples of them, so that they fit into JSON."""

    @abstractmethod
    def build(self, shape: ChannelsFirst) -> Model:
        """The untrained model for images of `shape`, its weights drawn from torch's global generator."""


@dataclass(frozen=True, kw_only=True)
class CrossFittedArchitecture(Architecture):
    """Hyperparameters of a `CrossFittedModel`.

    Attributes:
        folds: number of networks, and of parts that the test images are dealt into.
    """

    folds: int = 5

    @abstractmethod
    def build(self, shape: ChannelsFirst) -> CrossFittedModel:
        """The untrained networks; see `Architecture.build`."""


ADDED_LATER: Mapping[str, Any] = {"added_later": True}
"""Metadata of a hyperparameter that a family got later; JSON says it only where it is not the default.

So the members that were made before keep their keys.
"""


def architecture_json(architecture: Architecture) -> dict[str, Any]:
    """An architecture as JSON values (tuples become lists)."""
    unsaid = {each.name for each in fields(architecture) if each.metadata == ADDED_LATER}
    unsaid = {name for name in unsaid if getattr(architecture, name) == getattr(type(architecture), name)}
    values = {key: value for key, value in asdict(architecture).items() if key not in unsaid}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def architecture_from_json(kind: type[Architecture], values: Mapping[str, Any]) -> Architecture:
    """The inverse of `architecture_json`."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
