"""The device that a model computes on, and the numbers that it computes with while it is trained.

`bf16`, `fp16`: matrix products and convolutions in bfloat16, or in float16 with the loss scaled up, of float32 weights;
losses, divergences, the statistics of normalisations and the optimizer stay in float32. `fp32`: IEEE's float32
throughout. Scores are always computed in float32.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch

from ensemble_ad.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
AUTO = "auto"
_NAME = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
# The first GPUs with tensor cores are Volta's, of float16; Ampere's are the first with bfloat16.
_FLOAT16_CORES, _BFLOAT16_CORES = (7, 0), (8, 0)


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; `cuda:1` is one of several.

    Raises:
        UsageError: for another name, or if CUDA or that GPU is asked for and missing.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:0, cuda:1, ..., not {name!r}")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {name} needs a CUDA device and torch sees none; use --device cpu")
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise UsageError(f"--device must be one of the {torch.cuda.device_count()} that torch sees, not {name}")
    return device


def one_of_several(name: str, number: int) -> str:
    """The device of the worker of that number, from 0: where the machine has several GPUs and none is named, in turn.

    It is asked on the worker's own machine.
    """
    gpus = torch.cuda.device_count() if name in (AUTO, "cuda") else 0
    return f"cuda:{number % gpus}" if gpus > 1 else name


def choose_precision(name: str, device: torch.device) -> Precision:
    """`auto` is bf16 or fp16 where the device computes with it faster than with float32, bf16 where with both.

    Raises:
        UsageError: for another name.
    """
    if name == AUTO:
        if has_bf16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" and _capability(device) >= _FLOAT16_CORES else "fp32"
    for precision in PRECISIONS:
        if name == precision:
            return precision
    raise UsageError(f"--precision must be one of auto, {', '.join(PRECISIONS)}, not {name!r}")


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; a CPU without them converts back and forth and is slower."""
    if device.type == "cuda":
        return _capability(device) >= _BFLOAT16_CORES
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Autocast to `precision`, for a forward pass."""
    number = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, number, enabled=precision != "fp32")


@contextmanager
def float32_products(precision: Precision, device: torch.device) -> Iterator[None]:
    """While entered, what CUDA still multiplies in float32 is IEEE's float32 with `fp32`, and else TF32."""
    if device.type != "cuda":
        yield
        return
    # By the newer of torch's two sets of switches: to read the older raises where anyone has set the newer.
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee" if precision == "fp32" else "tf32"
        yield
    finally:
        for switch, kept in zip(switches, before, strict=True):
            switch.fp32_precision = kept
