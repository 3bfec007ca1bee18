"""The least time that the hardware allows a step of training; see train.py for what is counted."""

import time
from collections.abc import Callable
from functools import partial

import torch
from _images import SIDE
from torch.utils.flop_counter import FlopCounterMode

from ensemble_ad.families.model import GradientModel, count_parameters

BYTES_A_PARAMETER = 36


def flops_an_image(model: GradientModel) -> float:
    """FLOPs of forward and backward, counted on a small batch on the CPU."""
    images = torch.zeros(4, 3, SIDE, SIDE)
    with FlopCounterMode(display=False) as counter:
        reconstruction, extra = model.training_pass(images, 0.0, torch.zeros(()))
        assert reconstruction is not None
        (reconstruction.sum() + extra).backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops() / len(images))


def fastest(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of five calls."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def peaks(device: torch.device) -> dict[str, float]:
    """FLOP/s of a matrix product in each precision, and bytes/s of a copy."""
    side = 8192 if device.type == "cuda" else 2048
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        found[name] = 2 * side**3 / fastest(partial(torch.matmul, a, b), device)
    source = torch.zeros(64_000_000, device=device)
    target = torch.empty_like(source)
    found["bandwidth"] = 2 * source.nbytes / fastest(partial(target.copy_, source), device)
    return found


def floor_seconds(model: GradientModel, batch_size: int, peak: dict[str, float], precision: str) -> float:
    """The least seconds of a step, by what `peaks` found."""
    arithmetic = batch_size * flops_an_image(model) / peak[precision]
    traffic = count_parameters(model) * BYTES_A_PARAMETER / peak["bandwidth"]
    return max(arithmetic, traffic)
