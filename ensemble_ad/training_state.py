"""The state of a training by steps between two epochs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(kw_only=True)
class Progress:
    """A training by steps on its way.

    Attributes:
        model: as the last epoch left it.
        optimizer: its optimizer; the learning rate follows from the epochs that are done.
        device: where it runs.
        epochs: how many are done.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    epochs: int = 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next epoch depends on besides images and settings: tensors by name, and JSON values."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        inner = self.optimizer.state_dict()
        for index, values in inner["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors, {"epochs": self.epochs}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            RuntimeError, KeyError: if it is another model's.
        """
        prefix = "model."
        self.model.load_state_dict({n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)})
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, part = name.split(".", 2)
                parameter = parameters[int(index)]
                # The fused kernels walk through memory, so a moment has to lie there as its parameter does.
                like = torch.empty_like(parameter, dtype=value.dtype) if value.shape == parameter.shape else value
                moments.setdefault(int(index), {})[part] = like.copy_(value) if like is not value else value.clone()
        # Loading copies the settings too, and the learning rate is a tensor that the schedule writes to.
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.epochs = values["epochs"]


class Keeper(Protocol):
    """Who keeps the state of a training, so that one that was killed goes on from its last epoch."""

    def begin(self, progress: Progress) -> None:
        """Before the first epoch: restore what was kept, if anything was."""

    def after_epoch(self, progress: Progress) -> None:
        """After each epoch that is not the last: keep it."""
