"""Bounds on what a stranger's recipe may ask for: its weights' file has to account for the network.

The network is built on torch's device `meta` first, which takes no memory for its numbers. A million layers still take
some, and a network of few weights may make enormous activations, so both are bounded too. Activations are watched in a
real pass over one image: what computes on `meta` imports torch's compiler, which takes as long as torch itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.families import Model

# The largest layers of the published systems make 34 MB of an image.
_MOST_ACTIVATION = 1 << 29
_MOST_LAYERS = 20_000
_FLOAT = 4  # bytes of float32
_DRAWS = (Tensor.normal_, Tensor.uniform_)


def check_bounds(build: Callable[[], Model], there: int) -> None:
    """Refuse a network that its weights' file does not account for.

    Args:
        build: makes the untrained network.
        there: bytes of the weights' file.

    Raises:
        StorageError: if it has more weights than that, too many layers, or too large tables of its own.
    """
    try:
        with torch.device("meta"), _Undrawn(), torch.inference_mode(), _few_layers():
            model = build()
    except UsageError as error:  # what a user would be told of such a recipe
        raise StorageError(str(error)) from error
    wanted = sum(value.nbytes for value in model.state_dict().values())
    if wanted > there:
        raise StorageError(f"it asks for a network of {wanted} bytes and has weights of {there}")
    _check(max((value.nbytes for value in model.buffers()), default=0))


class _Undrawn(TorchFunctionMode):
    """While entered, weights are left as they are made: there are no numbers on `meta` to draw."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in _DRAWS else func(*args, **(kwargs or {}))


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


class SmallActivations(TorchFunctionMode):
    """While entered, whatever one image becomes is bounded: a layer that would make more is refused before it does.

    Only layers and products make far more of an image than there was; what else grows is refused once it is made.

    Raises:
        StorageError: for a larger tensor, whoever makes it.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _SIZES:
            _check(_FLOAT * _SIZES[func](*args, **kwargs))
        made = func(*args, **kwargs)
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, Tensor):
                _check(each.nbytes)
        return made


def _check(size: int) -> None:
    if size > _MOST_ACTIVATION:
        raise StorageError(f"its network makes {size} bytes of one image, and {_MOST_ACTIVATION} are allowed")


def _convolved(maps: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return maps.numel() // maps.shape[1] * weight.shape[0]


def _widened(maps: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return maps.numel() // maps.shape[1] * weight.shape[1]


def _mapped(points: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return points.numel() // points.shape[-1] * weight.shape[0]


def _multiplied(points: Tensor, other: Tensor, *_: Any, **__: Any) -> int:
    return points.numel() // points.shape[-1] * other.shape[-1]


def _compared(points: Tensor, others: Tensor, *_: Any, **__: Any) -> int:
    return points.numel() // points.shape[-1] * others.shape[-2]


# How many numbers a function of images and weights makes; of a convolution, with as many pixels as there were.
_SIZES: dict[Any, Callable[..., int]] = {
    functional.conv2d: _convolved,
    functional.conv_transpose2d: _widened,
    functional.linear: _mapped,
    torch.matmul: _multiplied,
    Tensor.matmul: _multiplied,
    Tensor.__matmul__: _multiplied,
    torch.cdist: _compared,
}
