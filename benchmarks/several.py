"""Several trials at once on one device: one after the other, as processes, or stacked into one model.

    python benchmarks/several.py                  4 trials of cnn-sample, two processes on two cores
    python benchmarks/several.py --device cuda --trials 8 --processes 4

`sequence` trains them in turn with all threads; `processes` as `ensad tune --workers` does it, each with its share of
the threads; `stacked` as one: the weights of all trials in one tensor a layer (torch.func.stack_module_state), each
trial with batches and gradients of its own (vmap of grad), which only trials of one architecture and batch size can
share. What counts is images/s over all trials. `ensad` does what wins: see train.md.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch
from _record import head, line, parser, record, shown
from _turns import cost, in_turns, ratios, spread
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from ensemble_ad.families import preset
from ensemble_ad.training.device import choose_precision
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SHAPE = (3, 64, 64)


class Work(NamedTuple):
    """What a trial trains: a preset, on that many images."""

    preset: str
    images: int
    batch_size: int
    epochs: int
    device: str

    def drawn(self) -> Tensor:
        """The images, uint8 (n, 64, 64, 3), on the device."""
        numbers = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (self.images, 64, 64, 3), dtype=torch.uint8, generator=numbers).to(self.device)


def train_one(work: Work, seed: int, threads: int) -> float:
    """Seconds of a trial's training by that many threads."""
    torch.set_num_threads(threads)
    images = work.drawn()
    precision = choose_precision("auto", images.device)
    settings = TrainSettings(epochs=work.epochs, batch_size=work.batch_size, seed=seed, precision=precision)
    started = time.perf_counter()
    train(
        lambda: preset(work.preset)[1].architecture.build(SHAPE).to(memory_format=torch.channels_last),
        images,
        torch.arange(work.images, device=work.device),
        settings,
    )
    return time.perf_counter() - started


def stacked(work: Work, trials: int) -> float:
    """Seconds of all trials as one model."""
    images = work.drawn()
    models = []
    for seed in range(trials):
        torch.manual_seed(seed)
        models.append(preset(work.preset)[1].architecture.build(SHAPE).to(work.device))
    base = models[0]
    started = time.perf_counter()
    weights, buffers = stack_module_state(models)
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-3, fused=True)

    def loss(weight: dict[str, Tensor], buffer: dict[str, Tensor], batch: Tensor) -> Tensor:
        with torch.autocast(batch.device.type, torch.bfloat16):
            output = functional_call(base, (weight, buffer), (batch,))
        squares: Tensor = (output.reconstruction.float() - batch).square()
        return squares.mean()

    step = vmap(grad_and_value(loss), randomness="different")
    for _ in range(work.epochs):
        orders = torch.stack([torch.randperm(work.images, device=work.device) for _ in range(trials)])
        for first in range(0, work.images - work.batch_size + 1, work.batch_size):
            rows = orders[:, first : first + work.batch_size]
            batch = to_input(images[rows.flatten()]).unflatten(0, rows.shape)  # type: ignore[no-untyped-call]
            gradients, _ = step({k: v.detach() for k, v in weights.items()}, buffers, batch)
            for key, weight in weights.items():
                weight.grad = gradients[key]
            optimizer.step()
    if work.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Measure, print, write."""
    arguments = parser(__doc__, device=True, repeats=3, out=True)
    arguments.add_argument("--preset", default="cnn-sample")
    arguments.add_argument("--trials", type=int, default=4)
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--images", type=int, default=2048)
    arguments.add_argument("--batch-size", type=int, default=128)
    arguments.add_argument("--epochs", type=int, default=3)
    given = arguments.parse_args()
    work = Work(given.preset, given.images, given.batch_size, given.epochs, given.device)
    seeds, threads = range(given.trials), torch.get_num_threads()
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        one = partial(train_one, threads=max(1, threads // given.processes))
        # Imports are not what is compared.
        list(pool.map(partial(one, work._replace(images=256, batch_size=128, epochs=1)), [0] * given.processes))
        ways = {
            "sequence": lambda: sum(train_one(work, seed, threads) for seed in seeds),
            "processes": lambda: cost(lambda: list(pool.map(partial(one, work), seeds))).wall,
            "stacked": lambda: stacked(work, given.trials),
        }
        seconds = in_turns(ways, given.repeats)
    images = given.trials * given.epochs * (given.images // given.batch_size * given.batch_size)
    rows: list[dict[str, Any]] = []
    print(head("way", "images/s of all trials (least to most)", "ratio to sequence"))
    for way, times in seconds.items():
        rate, ratio = spread([images / each for each in times]), spread(ratios(seconds["sequence"], times))
        rows.append({"way": way, "images_per_second": rate, "ratio_to_sequence": ratio})
        print(line(way, shown(rate, ",.0f"), shown(ratio, ".2f")))
    settings = {key: value for key, value in vars(given).items() if key != "out"}
    record("several", given.out, rows, threads_of_torch=threads, **settings)


if __name__ == "__main__":
    main()
