r"""The training loop against the notebook that people start from, and against what the hardware allows.

    python benchmarks/train.py                       all models of this device, interleaved repeats
    python benchmarks/train.py --models cnn-sample,fcn-medium --epochs 20 --repeats 1 \
        --methods notebook,ensad,ensad-double,ensad-longer
    python benchmarks/train.py --device cuda         on a GPU, 100,000 images

The methods train the same model on the same images with the same batch size, epochs and seed:

    notebook    as published: a DataLoader, transforms an image and epoch (with the crop of the published 0.8 solutions:
                resize to 256, centre crop of 196, resize to 64), float32, Adam, a host sync a step
    tuned       the same with worker processes, pinned memory, autocast to bfloat16 and fused Adam
    cached      images cropped once, uint8 behind a DataLoader, normalised a batch at a time, float32
    ensad       `ensemble_ad.training.loop.train` on images cropped once, in the precision that `auto` chooses here
    ensad-fp32  the same in float32
    ensad-double  `ensad` with a highest learning rate of 2e-3, twice the notebook's; not run unless named
    ensad-longer  the same with half as many epochs again; not run unless named
    ensad-eager  `ensad` on a GPU without a graph, kernel by kernel; not measured unless named
    compiled    `ensad` with the model's training pass through torch.compile, whose time is in the first epoch; not
                measured unless named, and a failure where more graphs are compiled than one

`images/s` is of whole epochs after the first, evaluation not counted. `time to loss` is the training time, preparation
of the images included, until the held-out mean squared error is no more than the notebook's after its last epoch.

The floor of a step of B images is the larger of two times: B * FLOPs an image / peak, where FLOPs are counted by
torch's FlopCounterMode over forward and backward, and peak is what a square matrix product reaches here in the method's
precision; and P * 36 bytes / bandwidth, where P are the parameters (AdamW reads and writes weight, gradient and two
moments of 4 bytes, and autocast writes and reads a copy of 2), and bandwidth is what copying reaches here. `of the
floor` is floor time over measured time.
"""

import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _floor import floor_seconds, peaks
from _images import drawn
from _loops import METHODS, Case, Timing, build
from _record import head, line, parser, record, shown
from _turns import in_turns, ratios, spread

from ensemble_ad.training.device import choose_precision

# Model, batch size, images and epochs on a CPU; with and without the crop where the published system had none.
CPU_CASES = (
    ("cnn-sample", 256, 2048, 3, (False, True)),
    ("vae-sample", 256, 2048, 3, (False,)),
    ("fcn-medium", 256, 2048, 3, (False,)),
    ("fcn-boss", 256, 1024, 3, (True,)),
    ("resnet-boss", 64, 192, 3, (False,)),
)
GPU_CASES = (
    ("fcn-boss", 1024, 100_000, 3, (True,)),
    ("fcn-boss", 4096, 100_000, 3, (True,)),
    ("cnn-sample", 1024, 100_000, 3, (False, True)),
    ("vae-sample", 1024, 100_000, 3, (False,)),
    ("resnet-boss", 1024, 100_000, 3, (False,)),
)


TABLE = head(
    "model", "crop", "batch", "method", "images/s (least to most)", "ratio to notebook", "end to end images/s",
    "time to loss", "held-out loss", "of the floor",
)  # fmt: skip


def time_to(timing: Timing, loss: float) -> float | None:
    """Seconds until the held-out loss is no more than that."""
    seconds = timing.prepare
    for epoch, value in zip(timing.epochs, timing.losses, strict=True):
        seconds += epoch
        if value <= loss:
            return seconds
    return None


def measure(case: Case, methods: list[str], repeats: int, peak: dict[str, float]) -> list[dict[str, Any]]:
    """A row a method, the methods in turns; print them."""
    timings = in_turns({name: partial(METHODS[name], case) for name in methods}, repeats)
    images = len(case.images) // case.batch_size * case.batch_size
    rates = {n: [images / statistics.mean(t.epochs[1:] or t.epochs) for t in ts] for n, ts in timings.items()}
    target = statistics.median(t.losses[-1] for t in timings[methods[0]])
    rows = []
    print(TABLE)
    for name in methods:
        precision = "fp32" if name in ("notebook", "cached", "ensad-fp32") else choose_precision("auto", case.device)
        floor = floor_seconds(build(case), case.batch_size, peak, precision)
        reached = [seconds for t in timings[name] if (seconds := time_to(t, target)) is not None]
        row = {
            "model": case.name,
            "crop": case.crop,
            "batch_size": case.batch_size,
            "images": images,
            "epochs": case.epochs,
            "method": name,
            "precision": precision,
            "images_per_second": spread(rates[name]),
            "end_to_end_images_per_second": spread(
                [len(t.epochs) * images / (t.prepare + sum(t.epochs)) for t in timings[name]]
            ),
            "ratio_to_first": spread(ratios(rates[name], rates[methods[0]])),
            "seconds_to_loss": statistics.median(reached) if len(reached) == repeats else None,
            "held_out_loss": statistics.median(t.losses[-1] for t in timings[name]),
            "of_floor": floor * statistics.median(rates[name]) / case.batch_size,
        }
        rows.append(row)
        print(printed(row), flush=True)
    return rows


def printed(row: dict[str, Any]) -> str:
    """A row of the table."""
    seconds = row["seconds_to_loss"]
    return line(
        row["model"], "yes" if row["crop"] else "no", row["batch_size"], f"{row['method']} ({row['precision']})",
        shown(row["images_per_second"], ",.0f"), shown(row["ratio_to_first"], ".2f"),
        f"{row['end_to_end_images_per_second']['median']:,.0f}",
        "not reached" if seconds is None else f"{seconds:.1f} s",
        f"{row['held_out_loss']:.4f}", f"{row['of_floor']:.0%}",
    )  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    arguments = parser(__doc__, device=True, repeats=3, out=True)
    arguments.add_argument("--data", type=Path, help="folder with trainingset.npy (n, 64, 64, 3); else bundled digits")
    arguments.add_argument("--models", help="presets, comma-separated; default all of the device's table")
    arguments.add_argument("--methods", default="notebook,tuned,cached,ensad,ensad-fp32")
    arguments.add_argument("--batch-size", type=int)
    arguments.add_argument("--images", type=int, help="train on that many")
    arguments.add_argument(
        "--epochs", type=int, help="20 or so for the time to a loss: `ensad`'s rate ends with the epochs"
    )
    given = arguments.parse_args()
    device, methods = torch.device(given.device), given.methods.split(",")
    peak = peaks(device)
    flops = ", ".join(f"{name} {peak[name] / 1e12:.2f} TFLOP/s" for name in ("fp32", "bf16"))
    print(f"{flops}, copy {peak['bandwidth'] / 1e9:.1f} GB/s")
    rows: list[dict[str, Any]] = []
    for name, batch_size, n, epochs, crops in GPU_CASES if given.device == "cuda" else CPU_CASES:
        if given.models and name not in given.models.split(","):
            continue
        images, held_out = drawn(given.data, given.images or n)
        for crop in crops:
            case = Case(name, crop, given.batch_size or batch_size, given.epochs or epochs, images, held_out, device)
            rows += measure(case, methods, given.repeats, peak)
    record("train", given.out, rows, seed=0, repeats=given.repeats, peaks=peak)


if __name__ == "__main__":
    main()
