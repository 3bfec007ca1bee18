"""The device that a model computes on, and the numbers that it computes with while it is trained.

`bf16`: matrix products and convolutions in bfloat16, of float32 weights; losses, divergences, the statistics of
normalisations and the optimizer stay in float32. `fp32`: IEEE's float32 throughout. Scores are always computed in
float32.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

from ensemble_ad.errors import UsageError

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
AUTO = "auto"
# Ampere's, the first GPUs with bfloat16 in their tensor cores.
_CAPABILITY = (8, 0)


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; `cuda:1` is one of several.

    Raises:
        UsageError: if CUDA is asked for and missing.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a CUDA device and torch sees none; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> Precision:
    """`auto` is bf16 where the device computes with it faster than with float32.

    Raises:
        UsageError: for another name.
    """
    if name == AUTO:
        return "bf16" if has_bf16(device) else "fp32"
    for precision in PRECISIONS:
        if name == precision:
            return precision
    raise UsageError(f"--precision must be auto, {' or '.join(PRECISIONS)}, not {name!r}")


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; a CPU without them converts back and forth and is slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _CAPABILITY
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Autocast to `precision`, for a forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def float32_products(precision: Precision, device: torch.device) -> Iterator[None]:
    """While entered, what CUDA still multiplies in float32 is TF32 with `bf16`, and IEEE's float32 with `fp32`."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "bf16" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "bf16"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
