"""What a CPU gains from `Doubling`, a transposed convolution computed by blocks, and from noise in the right layout.

    python benchmarks/convolution.py

In bfloat16, with the allocator as training sets it: forward and backward of one layer after which a ReLU stands, the
same layer of torch in turns; a step of `cnn-sample` with either; and standard normal draws for a batch of images.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from _record import head, line, parser, record, shown
from _turns import ratios, spread, timed
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
    """Forward and backward of a layer."""
    with torch.autocast("cpu", torch.bfloat16):
        output = torch.relu(layer(maps))
    output.backward(output.detach())  # type: ignore[no-untyped-call]
    layer.zero_grad()


def step(model: nn.Module, images: Tensor) -> None:
    """Forward and backward of a model, without the optimizer."""
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images).reconstruction
    nn.functional.mse_loss(output.float(), images).backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def compared() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """What is called before, and what is called after, by what it is."""
    images = torch.rand(BATCH, 64, 64, 3).permute(0, 3, 1, 2)
    found: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    for channels_in, channels_out, side in LAYERS:
        maps = torch.rand(BATCH, side, side, channels_in).permute(0, 3, 1, 2).bfloat16().requires_grad_()
        folded = Doubling(channels_in, channels_out)
        before, after = (layer.to(memory_format=torch.channels_last) for layer in (plain(folded), folded))
        what = f"{channels_in} to {channels_out} channels, {side} x {side}"
        found[what] = partial(passes, before, maps), partial(passes, after, maps)
    architecture = preset("cnn-sample")[1].architecture
    models = unfolded(architecture.build((3, 64, 64))), architecture.build((3, 64, 64))
    before, after = (model.to(memory_format=torch.channels_last) for model in models)
    found["step of cnn-sample, without the optimizer"] = partial(step, before, images), partial(step, after, images)
    found["noise for 256 images of 64x64x3"] = partial(torch.randn_like, images), partial(standard_normal, images)
    return found


def main() -> None:
    """Measure, print, write."""
    given = parser(__doc__, repeats=9, out=True).parse_args()
    rows: list[dict[str, Any]] = []
    print(head("what", "before", "after", "times as fast"))
    with keep_freed_memory():
        for what, (before, after) in compared().items():
            costs = timed({"before": before, "after": after}, given.repeats)
            taken = {way: [1000 * each.wall for each in some] for way, some in costs.items()}
            milliseconds = {way: spread(some) for way, some in taken.items()}
            times = spread(ratios(taken["before"], taken["after"]))
            rows.append({"what": what, "milliseconds": milliseconds, "times": times})
            medians = (f"{each['median']:.1f} ms" for each in milliseconds.values())
            print(line(what, *medians, shown(times, ".2f")), flush=True)
    record("convolution", given.out, rows, threads_of_torch=torch.get_num_threads())


if __name__ == "__main__":
    main()
