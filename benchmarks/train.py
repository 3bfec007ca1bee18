r"""The training loop against the notebook that people start from, and against what the hardware allows.

    python benchmarks/train.py                       all models of this device, interleaved repeats
    python benchmarks/train.py --models cnn-sample,fcn-medium --epochs 20 --repeats 1 \
        --methods notebook,ensad,ensad-mean,ensad-longer
    python benchmarks/train.py --device cuda         on a GPU, 100,000 images

The methods train the same model on the same images with the same batch size, epochs and seed:

    notebook    as published: a DataLoader, transforms an image and epoch (with the crop of the published 0.8 solutions:
                resize to 256, centre crop of 196, resize to 64), float32, Adam, a host sync a step
    tuned       the same with worker processes, pinned memory, autocast to bfloat16 and fused Adam
    cached      images cropped once, uint8 behind a DataLoader, normalised a batch at a time, float32
    ensad       `ensemble_ad.training.loop.train` on images cropped once, in the precision that `auto` chooses here
    ensad-fp32  the same in float32
    ensad-mean  `ensad` with a highest learning rate of 2e-3: its warm-up and cosine halve it on the mean, to the
                notebook's constant 1e-3; not run unless named
    ensad-longer  the same with half as many epochs again; not run unless named
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

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch._dynamo.utils
from _record import RESULTS, machine_name, spread, write
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from ensemble_ad.data.digits import write_digits
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.families import preset
from ensemble_ad.families.model import GradientModel, count_parameters
from ensemble_ad.training.device import choose_precision
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SIDE, CROP = 64, 196 / 256
BYTES_A_PARAMETER = 36
_HELD_OUT = 128
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


class Case(NamedTuple):
    """What is trained: uint8 (n, 64, 64, 3) images, held-out ones, and how."""

    name: str
    crop: bool
    batch_size: int
    epochs: int
    images: np.ndarray
    held_out: np.ndarray
    device: torch.device


class Timing(NamedTuple):
    """Seconds of preparation and of each epoch, and the held-out loss after each."""

    prepare: float
    epochs: list[float]
    losses: list[float]


class Published(Dataset):
    """The course's data set: a tensor (N, C, H, W) of uint8, transformed whenever an image is asked for."""

    def __init__(self, images: Tensor, *, crop: bool) -> None:
        from torchvision import transforms

        resize = [transforms.Resize(256), transforms.CenterCrop(196), transforms.Resize(SIDE)] if crop else []
        self.images = images
        self.transform = transforms.Compose(
            [
                transforms.Lambda(lambda x: x.to(torch.float32)),
                *resize,
                transforms.Lambda(lambda x: 2.0 * x / 255.0 - 1.0),
            ]
        )

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.images[index])

    def __len__(self) -> int:
        return len(self.images)


class Cached(Dataset):
    """Images that were cropped once, as they are."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def __len__(self) -> int:
        return len(self.images)


def build(case: Case) -> GradientModel:
    return preset(case.name)[1].architecture.build((3, SIDE, SIDE))


def cropped(images: np.ndarray, crop: bool) -> np.ndarray:
    if not crop:
        return images
    return apply(images, Preprocess(crop=(CROP, CROP), size=(SIDE, SIDE), channels=3, via=256))


def held_out_loss(model: nn.Module, case: Case) -> float:
    images = torch.from_numpy(cropped(case.held_out, case.crop)).to(case.device)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        parts = [to_input(part) for part in torch.split(images, 128)]
        loss = sum(float((model(p).reconstruction - p).square().sum()) for p in parts) / images.numel()
    model.train(was_training)
    return loss


def by_loader(case: Case, *, tuned: bool = False, cached: bool = False) -> Timing:
    """The notebook's loop, in its three forms."""
    started = time.perf_counter()
    torch.manual_seed(0)
    images = torch.from_numpy(cropped(case.images, case.crop) if cached else case.images).permute(0, 3, 1, 2)
    dataset = Cached(images.contiguous()) if cached else Published(images.contiguous(), crop=case.crop)
    on_gpu = case.device.type == "cuda"
    workers = {"num_workers": 8 if on_gpu else 2, "persistent_workers": True} if tuned else {}
    loader = DataLoader(dataset, case.batch_size, shuffle=True, drop_last=True, pin_memory=tuned and on_gpu, **workers)
    model = build(case).to(case.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True if tuned else None)
    autocast = torch.autocast(case.device.type, torch.bfloat16) if tuned else nullcontext()
    prepared = time.perf_counter() - started
    epochs, losses = [], []
    for _ in range(case.epochs):
        started = time.perf_counter()
        total = []
        for batch in loader:
            image = batch.to(case.device, non_blocking=tuned).float()
            if cached:
                image = image / 127.5 - 1
            with autocast:
                reconstruction, extra = model.training_pass(image, 0.0, torch.zeros((), device=case.device))
                loss = nn.functional.mse_loss(reconstruction.float(), image) + extra
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total.append(loss.item())
        epochs.append(time.perf_counter() - started)
        losses.append(held_out_loss(model, case))
    return Timing(prepared, epochs, losses)


def by_ensad(
    case: Case, precision: str = "auto", *, compiled: bool = False, rate: float = 1e-3, longer: float = 1.0
) -> Timing:
    """`train.train`, preprocessing included."""
    chosen = choose_precision(precision, case.device)
    settings = TrainSettings(
        epochs=round(case.epochs * longer), batch_size=case.batch_size, precision=chosen, learning_rate=rate
    )
    started = time.perf_counter()
    images = torch.from_numpy(cropped(case.images, case.crop)).to(case.device)
    rows = torch.arange(len(images), device=case.device)
    prepared = time.perf_counter() - started
    epochs, losses = [], []
    begun = time.perf_counter()

    def after_epoch(epoch: Any, model: nn.Module) -> bool:
        nonlocal begun
        epochs.append(time.perf_counter() - begun)
        losses.append(held_out_loss(model, case))
        begun = time.perf_counter()
        return True

    def made() -> GradientModel:
        model = build(case).to(memory_format=torch.channels_last)
        if compiled:
            model.training_pass = torch.compile(model.training_pass, fullgraph=True)
        return model

    train(made, images, rows, settings, after_epoch=after_epoch)
    if compiled and (graphs := torch._dynamo.utils.counters["stats"]["unique_graphs"]) > 1:
        raise SystemExit(f"{case.name} was compiled {graphs} times")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return Timing(prepared, epochs, losses)


METHODS: dict[str, Callable[[Case], Timing]] = {
    "notebook": by_loader,
    "tuned": lambda case: by_loader(case, tuned=True),
    "cached": lambda case: by_loader(case, cached=True),
    "ensad": by_ensad,
    "ensad-fp32": lambda case: by_ensad(case, "fp32"),
    "ensad-mean": lambda case: by_ensad(case, rate=2e-3),
    "ensad-longer": lambda case: by_ensad(case, rate=2e-3, longer=1.5),
    "compiled": lambda case: by_ensad(case, compiled=True),
}


def flops_an_image(case: Case) -> float:
    """Of forward and backward, counted on a small batch on the CPU."""
    model, images = build(case), torch.zeros(4, 3, SIDE, SIDE)
    with FlopCounterMode(display=False) as counter:
        reconstruction, extra = model.training_pass(images, 0.0, torch.zeros(()))
        (reconstruction.sum() + extra).backward()
    return counter.get_total_flops() / len(images)


def fastest(call: Callable[[], Any], device: torch.device, repeats: int = 5) -> float:
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(repeats):
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
        found[name] = 2 * side**3 / fastest(lambda a=a, b=b: a @ b, device)
    source = torch.zeros(64_000_000, device=device)
    target = torch.empty_like(source)
    found["bandwidth"] = 2 * source.nbytes / fastest(lambda: target.copy_(source), device)
    return found


def floor_seconds(case: Case, peak: dict[str, float], precision: str) -> float:
    """Of one step."""
    arithmetic = case.batch_size * flops_an_image(case) / peak[precision]
    traffic = count_parameters(build(case)) * BYTES_A_PARAMETER / peak["bandwidth"]
    return max(arithmetic, traffic)


def time_to(timing: Timing, loss: float) -> float | None:
    """Seconds until the held-out loss is no more than that."""
    seconds = timing.prepare
    for epoch, value in zip(timing.epochs, timing.losses, strict=True):
        seconds += epoch
        if value <= loss:
            return seconds
    return None


def measure(case: Case, methods: list[str], repeats: int, peak: dict[str, float]) -> list[dict[str, Any]]:
    """Interleaved repeats; a row a method."""
    timings: dict[str, list[Timing]] = {name: [] for name in methods}
    for repeat in range(repeats):
        for name in methods if repeat % 2 == 0 else reversed(methods):
            timings[name].append(METHODS[name](case))
    images = len(case.images) // case.batch_size * case.batch_size
    rates = {n: [images / statistics.mean(t.epochs[1:] or t.epochs) for t in ts] for n, ts in timings.items()}
    target = statistics.median(t.losses[-1] for t in timings[methods[0]])
    rows = []
    for name in methods:
        precision = "fp32" if name in ("notebook", "cached", "ensad-fp32") else choose_precision("auto", case.device)
        rate, reached = statistics.median(rates[name]), [time_to(t, target) for t in timings[name]]
        ratios = [mine / theirs for mine, theirs in zip(rates[name], rates[methods[0]], strict=True)]
        whole = [len(t.epochs) * images / (t.prepare + sum(t.epochs)) for t in timings[name]]
        rows.append(
            {
                "model": case.name,
                "crop": case.crop,
                "batch_size": case.batch_size,
                "images": images,
                "epochs": case.epochs,
                "method": name,
                "precision": precision,
                "images_per_second": spread(rates[name]),
                "end_to_end_images_per_second": spread(whole),
                "ratio_to_first": spread(ratios),
                "seconds_to_loss": None if None in reached else statistics.median(reached),
                "held_out_loss": statistics.median(t.losses[-1] for t in timings[name]),
                "of_floor": floor_seconds(case, peak, precision) * rate / case.batch_size,
            }
        )
    return rows


def load_images(data: Path | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, 64, 64, 3) images to train on and 128 held-out ones: of a data folder, or the bundled digits."""
    if data is not None:
        images = np.load(data / "trainingset.npy", mmap_mode="r")
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_digits(Path(folder))
            small = np.load(Path(folder) / "trainingset.npy")
        images = small.repeat(SIDE // small.shape[1], 1).repeat(SIDE // small.shape[2], 2).repeat(3, 3)
    rng = np.random.default_rng(0)
    held, rest = images[:_HELD_OUT], images[_HELD_OUT:]
    chosen = rng.integers(0, len(rest), n)
    made = np.array(rest[np.sort(chosen)])
    flip = rng.random(n) < 0.5
    made[flip] = made[flip, :, ::-1]
    return made, np.array(held)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| model | crop | batch | method | images/s (least to most) | ratio to notebook | end to end images/s | "
        "time to loss | held-out loss | of the floor |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate, ratio, whole = row["images_per_second"], row["ratio_to_first"], row["end_to_end_images_per_second"]
        seconds = "not reached" if row["seconds_to_loss"] is None else f"{row['seconds_to_loss']:.1f} s"
        lines.append(
            f"| {row['model']} | {'yes' if row['crop'] else 'no'} | {row['batch_size']} | {row['method']} "
            f"({row['precision']}) | {rate['median']:,.0f} ({rate['least']:,.0f} to {rate['largest']:,.0f}) | "
            f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['largest']:.2f}) | {whole['median']:,.0f} | "
            f"{seconds} | {row['held_out_loss']:.4f} | {row['of_floor']:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with trainingset.npy (n, 64, 64, 3); else the bundled digits")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--models", help="presets, comma-separated; default all of the device's table")
    parser.add_argument("--methods", default="notebook,tuned,cached,ensad,ensad-fp32")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument(
        "--epochs", type=int, help="20 or so for the time to a loss: `ensad`'s rate ends with the epochs"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    device, methods = torch.device(given.device), given.methods.split(",")
    peak = peaks(device)
    flops = ", ".join(f"{name} {peak[name] / 1e12:.2f} TFLOP/s" for name in ("fp32", "bf16"))
    print(f"{flops}, copy {peak['bandwidth'] / 1e9:.1f} GB/s")
    rows = []
    for name, batch_size, n, epochs, crops in GPU_CASES if given.device == "cuda" else CPU_CASES:
        if given.models and name not in given.models.split(","):
            continue
        images, held_out = load_images(given.data, n)
        for crop in crops:
            case = Case(name, crop, given.batch_size or batch_size, given.epochs or epochs, images, held_out, device)
            rows += measure(case, methods, given.repeats, peak)
            print(table(rows[-len(methods) :]), flush=True)
    out = given.out or RESULTS / f"train-{machine_name()}.json"
    write(out, rows, command="python benchmarks/train.py", seed=0, repeats=given.repeats, peaks=peak)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
