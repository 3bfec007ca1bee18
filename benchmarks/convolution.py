"""What a CPU gains from convolutions that are computed in other ways, and from noise in the right layout.

    python benchmarks/convolution.py

In bfloat16, with the allocator as training sets it: forward and backward of one layer after which a ReLU stands, the
same layer of torch in turns; a step of whole models with either; and standard normal draws for a batch of images.
`Doubling` is a transposed convolution by blocks, `Convolution` one of small maps by a matrix.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from _record import head, line, parser, record, shown
from _turns import ratios, spread, timed
from torch import Tensor, nn

from ensemble_ad.families import preset
from ensemble_ad.families.convolution import Convolution, Doubling
from ensemble_ad.families.noise import standard_normal
from ensemble_ad.training.allocator import keep_freed_memory

BATCH = 256
# Channels in and out, and the side of the map that comes in.
LAYERS = ((48, 24, 8), (24, 12, 16), (12, 3, 32), (96, 48, 8), (96, 48, 16), (128, 64, 16), (64, 3, 32))
# The same of convolutions of 3x3 with a padding of 1, and their stride.
SMALL_MAPS = ((512, 512, 2, 1), (512, 512, 1, 1), (256, 512, 2, 2), (64, 64, 2, 1), (16, 32, 2, 2))
# Presets, the side of the images, and how many.
MODELS = (("cnn-sample", 64, 256), ("resnet-boss", 64, 64), ("resnet-boss", 32, 64))


def plain(layer: Convolution | Doubling) -> nn.Module:
    """Torch's layer of the same shape."""
    if isinstance(layer, Doubling):
        return nn.ConvTranspose2d(layer.in_channels, layer.out_channels, 4, 2, 1)
    sizes = (layer.kernel_size[0], layer.stride[0], layer.padding[0])
    return nn.Conv2d(layer.in_channels, layer.out_channels, *sizes, bias=layer.bias is not None)


def unfolded(model: nn.Module) -> nn.Module:
    """The same model with torch's layers."""
    for name, child in model.named_children():
        if isinstance(child, Convolution | Doubling):
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
    found: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    for channels_in, channels_out, side in LAYERS:
        maps = torch.rand(BATCH, side, side, channels_in).permute(0, 3, 1, 2).bfloat16().requires_grad_()
        folded = Doubling(channels_in, channels_out)
        before, after = (layer.to(memory_format=torch.channels_last) for layer in (plain(folded), folded))
        what = f"{channels_in} to {channels_out} channels, {side} x {side}"
        found[what] = partial(passes, before, maps), partial(passes, after, maps)
    for channels_in, channels_out, side, stride in SMALL_MAPS:
        maps = torch.rand(BATCH, side, side, channels_in).permute(0, 3, 1, 2).bfloat16().requires_grad_()
        laid_out = Convolution(channels_in, channels_out, 3, stride, 1)
        before, after = (layer.to(memory_format=torch.channels_last) for layer in (plain(laid_out), laid_out))
        what = f"{channels_in} to {channels_out} channels, 3x3 by {stride}, {side} x {side}"
        found[what] = partial(passes, before, maps), partial(passes, after, maps)
    for name, side, batch in MODELS:
        images = torch.rand(batch, side, side, 3).permute(0, 3, 1, 2)
        architecture = preset(name)[1].architecture
        models = unfolded(architecture.build((3, side, side))), architecture.build((3, side, side))
        before, after = (model.to(memory_format=torch.channels_last) for model in models)
        what = f"step of {name}, {batch} images of {side} x {side}, without the optimizer"
        found[what] = partial(step, before, images), partial(step, after, images)
    images = torch.rand(BATCH, 64, 64, 3).permute(0, 3, 1, 2)
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
