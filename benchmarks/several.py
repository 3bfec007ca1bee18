"""Several trials at once on one device: one after the other, as processes, or stacked into one model.

    python benchmarks/several.py                  4 trials of cnn-sample, two processes on two cores
    python benchmarks/several.py --device cuda --trials 8 --processes 4

`sequence` trains them in turn with all threads; `processes` as `ensad tune --workers` does it, each with its share of
the threads; `stacked` as one: the weights of all trials in one tensor a layer (torch.func.stack_module_state), each
trial with batches and gradients of its own (vmap of grad), which only trials of one architecture and batch size can
share. What counts is images/s over all trials. `ensad` does what wins: see train.md.
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from _record import machine_name, spread, write
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from ensemble_ad.families import preset
from ensemble_ad.training.device import choose_precision
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SHAPE = (3, 64, 64)


def images_on(device: str, n: int) -> Tensor:
    return torch.randint(0, 256, (n, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(
        device
    )


def train_one(name: str, seed: int, n: int, batch_size: int, epochs: int, device: str, threads: int) -> float:
    """Seconds of a trial's training."""
    if threads:
        torch.set_num_threads(threads)
    images = images_on(device, n)
    settings = TrainSettings(
        epochs=epochs, batch_size=batch_size, seed=seed, precision=choose_precision("auto", images.device)
    )
    started = time.perf_counter()
    train(
        lambda: preset(name)[1].architecture.build(SHAPE).to(memory_format=torch.channels_last),
        images,
        torch.arange(n, device=device),
        settings,
    )
    return time.perf_counter() - started


def stacked(name: str, trials: int, n: int, batch_size: int, epochs: int, device: str) -> float:
    """Seconds of all trials as one model."""
    images = images_on(device, n)
    models = []
    for seed in range(trials):
        torch.manual_seed(seed)
        models.append(preset(name)[1].architecture.build(SHAPE).to(device))
    base = models[0]
    started = time.perf_counter()
    weights, buffers = stack_module_state(models)
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-3, fused=True)

    def loss(weight: dict[str, Tensor], buffer: dict[str, Tensor], batch: Tensor) -> Tensor:
        with torch.autocast(batch.device.type, torch.bfloat16):
            output = functional_call(base, (weight, buffer), (batch,))
        return (output.reconstruction.float() - batch).square().mean()

    step = vmap(grad_and_value(loss), randomness="different")
    for _ in range(epochs):
        orders = torch.stack([torch.randperm(n, device=device) for _ in range(trials)])
        for first in range(0, n - batch_size + 1, batch_size):
            rows = orders[:, first : first + batch_size]
            batch = to_input(images[rows.flatten()]).unflatten(0, rows.shape)
            gradients, _ = step({k: v.detach() for k, v in weights.items()}, buffers, batch)
            for key, weight in weights.items():
                weight.grad = gradients[key]
            optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--preset", default="cnn-sample")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    name, device = given.preset, given.device
    rest = (given.images, given.batch_size, given.epochs, device)
    threads = torch.get_num_threads()
    seconds: dict[str, list[float]] = {"sequence": [], "processes": [], "stacked": []}
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        share = max(1, threads // given.processes)
        # Imports are not what is compared.
        list(pool.map(train_one, *zip(*[(name, 0, 256, 128, 1, device, share)] * given.processes, strict=True)))
        for _ in range(given.repeats):
            seconds["sequence"].append(sum(train_one(name, seed, *rest, 0) for seed in range(given.trials)))
            started = time.perf_counter()
            jobs = [(name, seed, *rest, share) for seed in range(given.trials)]
            list(pool.map(train_one, *zip(*jobs, strict=True)))
            seconds["processes"].append(time.perf_counter() - started)
            seconds["stacked"].append(stacked(name, given.trials, *rest))
    images = given.trials * given.epochs * (given.images // given.batch_size * given.batch_size)
    rows = []
    print("| way | images/s of all trials (least to most) | ratio to sequence |\n|---|---|---|")
    for way, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds["sequence"], times, strict=True)]
        rate = spread([images / each for each in times])
        rows.append({"way": way, "images_per_second": rate, "ratio_to_sequence": spread(ratios)})
        print(
            f"| {way} | {rate['median']:,.0f} ({rate['least']:,.0f} to {rate['largest']:,.0f}) | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    out = given.out or Path(__file__).with_name("results") / f"several-{machine_name()}.json"
    settings = {key: value for key, value in vars(given).items() if key != "out"}
    write(out, rows, command="python benchmarks/several.py", threads_of_torch=threads, **settings)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
