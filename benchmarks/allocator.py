"""What keeping freed memory is worth: processor time of a step of `fcn-boss` with and without it, in turns.

OMP_NUM_THREADS=1 python benchmarks/allocator.py
"""

import argparse
import statistics
import time
from contextlib import contextmanager
from unittest.mock import patch

import torch

from ensemble_ad.families import preset
from ensemble_ad.training.device import choose_precision
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings


@contextmanager
def as_glibc_does():
    yield


def images_a_second(n: int, batch_size: int) -> float:
    """Of processor time, over the second of two epochs."""
    images = torch.randint(0, 256, (n, 64, 64, 3), dtype=torch.uint8)
    settings = TrainSettings(epochs=2, batch_size=batch_size, precision=choose_precision("auto", images.device))
    marks = []
    train(
        lambda: preset("fcn-boss")[1].architecture.build((3, 64, 64)),
        images,
        torch.arange(n),
        settings,
        after_epoch=lambda epoch, model: marks.append(time.process_time()) is None,
    )
    return n / (marks[1] - marks[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    usual, kept = [], []
    for _ in range(given.repeats):
        with patch("ensemble_ad.training.loop.keep_freed_memory", as_glibc_does):
            usual.append(images_a_second(given.images, given.batch_size))
        kept.append(images_a_second(given.images, given.batch_size))
    ratios = [a / b for a, b in zip(kept, usual, strict=True)]
    print(
        f"images a second of processor time: {statistics.median(usual):.0f} as glibc does it, "
        f"{statistics.median(kept):.0f} kept, {statistics.median(ratios):.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
