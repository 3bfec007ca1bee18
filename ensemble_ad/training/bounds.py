"""Bounds on what a stranger's recipe may ask for: its weights' file has to account for the network.

The network is built on torch's device `meta`, which takes no memory for its numbers. A million layers still take some,
and a network of few weights may make enormous activations, so both are bounded too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.errors import StorageError
from ensemble_ad.families import Model

# The largest layers of the published systems make 34 MB of an image.
_MOST_ACTIVATION = 1 << 29
_MOST_LAYERS = 20_000


def check_bounds(build: Callable[[], Model], shape: ChannelsFirst, there: int) -> None:
    """Refuse a network that its weights' file does not account for.

    Args:
        build: makes the untrained network.
        shape: an image as it takes it.
        there: bytes of the weights' file.

    Raises:
        StorageError: if it has more weights than that, too many layers, or too large activations.
    """
    with torch.device("meta"), torch.inference_mode(), _few_layers():
        model = build().eval()
        wanted = sum(value.nbytes for value in model.state_dict().values())
        if wanted > there:
            raise StorageError(f"it asks for a network of {wanted} bytes and has weights of {there}")
        largest = _largest_activation(model, shape)
    if largest > _MOST_ACTIVATION:
        raise StorageError(f"its network makes {largest} bytes of one image, and {_MOST_ACTIVATION} are allowed")


@contextmanager
def _few_layers() -> Iterator[None]:
    """While entered, a network of more layers than any of ours is given up while it is built."""
    count = 0

    def counted(parent: nn.Module, name: str, child: nn.Module) -> None:
        nonlocal count
        count += 1
        if count > _MOST_LAYERS:
            raise StorageError(f"it asks for a network of more than {_MOST_LAYERS} layers")

    handle = register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the largest tensor that is made while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, Tensor):
                self.bytes = max(self.bytes, each.nbytes)
        return made


def _largest_activation(model: Model, shape: ChannelsFirst) -> int:
    """Bytes of the largest tensor that one image becomes; 0 where `meta` cannot tell."""
    largest = _Largest()
    with largest, suppress(NotImplementedError, RuntimeError):  # of kernels that `meta` has not
        model(torch.empty(1, *shape))
    return largest.bytes
