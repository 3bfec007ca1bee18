"""Training beside another process that keeps all cores busy: by one thread, and by as many as there are cores.

    python benchmarks/crowded.py

Each way is a process of its own. The other process multiplies matrices, by a thread a core, and is another session's,
as what runs in another terminal is.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from _images import crops
from _record import head, line, parser, record, shown
from _turns import in_turns, spread

from ensemble_ad.families import preset
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings

MODELS = ("fcn-sample", "cnn-sample")
SIDE, IMAGES, BATCH = 32, 1024, 64
_BUSY = "import torch; a = torch.rand(256, 256)\nwhile True: a @ a"


def seconds(name: str) -> float:
    """Wall seconds of two epochs of a preset on small grey images."""
    images = torch.from_numpy(crops(IMAGES)[:, :SIDE, :SIDE, :1].copy())
    architecture, rows = preset(name)[1].architecture, torch.arange(IMAGES)
    started = time.perf_counter()
    train(lambda: architecture.build((1, SIDE, SIDE)), images, rows, TrainSettings(epochs=2, batch_size=BATCH))
    return time.perf_counter() - started


@contextmanager
def busy(really: bool) -> Iterator[None]:
    """While entered, another process keeps all cores busy."""
    if not really:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", _BUSY], start_new_session=True) as other:
        time.sleep(3)  # until it has imported torch
        try:
            yield
        finally:
            other.kill()


def way(name: str, threads: int, crowded: bool) -> float:
    """The seconds that a new process takes with so many threads."""
    with busy(crowded):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, __file__, "--model", name]
        return float(subprocess.check_output(command, env=environment, text=True))


def main() -> None:
    """Measure, print, write."""
    made: argparse.ArgumentParser = parser(__doc__, repeats=3, out=True)
    made.add_argument("--model", help=argparse.SUPPRESS)
    given = made.parse_args()
    if given.model:
        print(seconds(given.model))
        return
    cores = len(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []
    print(head("model", "threads", "beside a busy process", "seconds (least to most)"))
    cases = [(name, threads, crowded) for name in MODELS for threads in (1, cores) for crowded in (False, True)]
    found = in_turns({str(case): partial(way, *case) for case in cases}, given.repeats)
    for name, threads, crowded in cases:
        took = spread(found[str((name, threads, crowded))])
        rows.append({"model": name, "threads": threads, "crowded": crowded, "seconds": took})
        print(line(name, threads, "yes" if crowded else "no", shown(took, ".2f")), flush=True)
    record("crowded", given.out, rows, repeats=given.repeats)


if __name__ == "__main__":
    main()
