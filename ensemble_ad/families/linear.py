"""Stacks of linear layers."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

Activation = Literal["relu", "prelu", "leaky_relu"]
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "prelu": nn.PReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
}


def linear_stack(
    units: Sequence[int], *, activation: Activation = "relu", batch_norm: bool = False, activate_last: bool = False
) -> nn.Sequential:
    """Linear layers from `units[0]` to `units[-1]`, normalisation and activation after each, the last only if asked."""
    layers = nn.Sequential()
    for i, (before, after) in enumerate(pairwise(units)):
        layers.append(nn.Linear(before, after))
        if i < len(units) - 2 or activate_last:
            if batch_norm:
                layers.append(nn.BatchNorm1d(after))
            layers.append(ACTIVATIONS[activation]())
    return layers
