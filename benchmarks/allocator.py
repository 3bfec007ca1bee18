"""What keeping freed memory is worth: processor time of a step of `fcn-boss` with and without it, in turns.

OMP_NUM_THREADS=1 python benchmarks/allocator.py
"""

import time
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

import torch
from _record import parser, shown
from _turns import in_turns, ratios, spread

from ensemble_ad.families import Model, preset
from ensemble_ad.training.device import choose_precision
from ensemble_ad.training.loop import Epoch, train
from ensemble_ad.training.settings import TrainSettings


def kept(n: int, batch_size: int) -> float:
    """Images a second of processor time, over the second of two epochs."""
    images = torch.randint(0, 256, (n, 64, 64, 3), dtype=torch.uint8)
    settings = TrainSettings(epochs=2, batch_size=batch_size, precision=choose_precision("auto", images.device))
    marks = []

    def after_epoch(epoch: Epoch, model: Model) -> bool:
        marks.append(time.process_time())
        return True

    train(
        lambda: preset("fcn-boss")[1].architecture.build((3, 64, 64)),
        images,
        torch.arange(n),
        settings,
        after_epoch=after_epoch,
    )
    return n / (marks[1] - marks[0])


def as_glibc_does(n: int, batch_size: int) -> float:
    """The same where glibc decides which memory it gives back."""
    with patch("ensemble_ad.training.loop.keep_freed_memory", nullcontext):
        return kept(n, batch_size)


def main() -> None:
    """Measure, print."""
    arguments = parser(__doc__, repeats=3)
    arguments.add_argument("--images", type=int, default=1024)
    arguments.add_argument("--batch-size", type=int, default=256)
    given = arguments.parse_args()
    ways = {way.__name__: partial(way, given.images, given.batch_size) for way in (as_glibc_does, kept)}
    rates = in_turns(ways, given.repeats)
    print(
        f"images a second of processor time: {spread(rates['as_glibc_does'])['median']:.0f} as glibc does it, "
        f"{spread(rates['kept'])['median']:.0f} kept, "
        f"{shown(spread(ratios(rates['kept'], rates['as_glibc_does'])), '.2f')} times"
    )


if __name__ == "__main__":
    main()
