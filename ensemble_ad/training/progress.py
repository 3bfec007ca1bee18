"""Where a training by steps stands between two epochs, and who keeps that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ensemble_ad.families import Model
from ensemble_ad.training.adamw import AdamW

_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(kw_only=True)
class Progress:
    """Where a training by steps stands.

    Attributes:
        model: the model as the last epoch left it.
        optimizer: the model's optimizer; its learning rate follows from the epochs that are done.
        device: where the training runs.
        scaler: scales the loss, where the precision is float16.
        epochs: how many epochs are done.
    """

    model: Model
    optimizer: AdamW
    device: torch.device
    scaler: torch.amp.GradScaler
    epochs: int = 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next epoch depends on besides images and settings: tensors by name, and JSON values."""
        tensors = {_MODEL + name: value for name, value in self.model.state_dict().items()}
        tensors |= {_OPTIMIZER + name: value for name, value in self.optimizer.state().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        values = {"epochs": self.epochs}
        return tensors, values | ({"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {})

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            RuntimeError, KeyError: if the state is another model's.
        """
        self.model.load_state_dict(_of(_MODEL, tensors))
        self.optimizer.restore(_of(_OPTIMIZER, tensors))
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            # Where the epochs before ran on a CPU, nothing was drawn here yet, and the seed's own numbers are new.
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        if "scaler" in values:
            self.scaler.load_state_dict(values["scaler"])
        self.epochs = values["epochs"]


class Keeper(Protocol):
    """Keeps the state of a training, so that a killed training goes on from its last epoch."""

    def begin(self, progress: Progress) -> None:
        """Before the first epoch: restore the state that was kept, if there is one."""

    def after_epoch(self, progress: Progress) -> None:
        """After each epoch but the last: keep the state."""


def _of(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
