"""What a CPU gains from `Doubling`, a transposed convolution computed by blocks, and from noise in the right layout.

    python benchmarks/convolution.py

In bfloat16, with the allocator as training sets it: forward and backward of one layer after which a ReLU stands, the
same layer of torch in turns; a step of `cnn-sample` with either; and standard normal draws for a batch of images.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _record import RESULTS, machine_name, spread, write
from torch import Tensor, nn

from ensemble_ad.families import preset
from ensemble_ad.families.convolution import Doubling
from ensemble_ad.families.noise import standard_normal
from ensemble_ad.training.allocator import keep_freed_memory

BATCH = 256
# Channels in and out, and the side of the map that comes in.
LAYERS = ((48, 24, 8), (24, 12, 16), (12, 3, 32), (96, 48, 8), (96, 48, 16), (128, 64, 16), (64, 3, 32))


def plain(layer: Doubling) -> nn.Module:
    """Torch's layer of the same shape."""
    return nn.ConvTranspose2d(layer.in_channels, layer.out_channels, 4, 2, 1)


def unfolded(model: nn.Module) -> nn.Module:
    """The same model with torch's layers."""
    for name, child in model.named_children():
        if isinstance(child, Doubling):
            setattr(model, name, plain(child))
        else:
            unfolded(child)
    return model


def passes(layer: nn.Module, maps: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = torch.relu(layer(maps))
    output.backward(output.detach())
    layer.zero_grad()


def step(model: nn.Module, images: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images).reconstruction
    nn.functional.mse_loss(output.float(), images).backward()
    model.zero_grad()


def in_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each repeat."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            taken[name].append(1000 * (time.perf_counter() - started))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS / f"convolution-{machine_name()}.json")
    given = parser.parse_args()
    images = torch.rand(BATCH, 64, 64, 3).permute(0, 3, 1, 2)
    ways: dict[str, dict[str, Callable[[], object]]] = {}
    for channels_in, channels_out, side in LAYERS:
        maps = torch.rand(BATCH, side, side, channels_in).permute(0, 3, 1, 2).bfloat16().requires_grad_()
        folded = Doubling(channels_in, channels_out)
        before, after = (layer.to(memory_format=torch.channels_last) for layer in (plain(folded), folded))
        ways[f"{channels_in} to {channels_out} channels, {side} x {side}"] = {
            "before": lambda layer=before, maps=maps: passes(layer, maps),
            "after": lambda layer=after, maps=maps: passes(layer, maps),
        }
    architecture = preset("cnn-sample")[1].architecture
    models = unfolded(architecture.build((3, 64, 64))), architecture.build((3, 64, 64))
    before, after = (model.to(memory_format=torch.channels_last) for model in models)
    ways["step of cnn-sample, without the optimizer"] = {
        "before": lambda: step(before, images),
        "after": lambda: step(after, images),
    }
    ways["noise for 256 images of 64x64x3"] = {
        "before": lambda: torch.randn_like(images),
        "after": lambda: standard_normal(images),
    }
    rows = []
    print("| what | before | after | times as fast |\n|---|---|---|---|")
    with keep_freed_memory():
        for name, two in ways.items():
            taken = in_turns(two, given.repeats)
            ratio = [a / b for a, b in zip(taken["before"], taken["after"], strict=True)]
            rows.append(
                {"what": name, "milliseconds": {k: spread(v) for k, v in taken.items()}, "times": spread(ratio)}
            )
            before_ms, after_ms = (statistics.median(taken[k]) for k in ("before", "after"))
            print(
                f"| {name} | {before_ms:.1f} ms | {after_ms:.1f} ms | "
                f"{statistics.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f}) |",
                flush=True,
            )
    write(given.out, rows, command="python benchmarks/convolution.py", threads_of_torch=torch.get_num_threads())
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
