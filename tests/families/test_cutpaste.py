"""CutPaste: what is pasted, how colours are jittered, and that it learns."""

import math

import pytest
import torch
from torchvision.transforms import functional as published

from ensemble_ad.families.cutpaste import CutpasteArchitecture, jittered, paste_patch, paste_scar
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)


def numbered(n, shape):
    """Images whose every pixel says where it is, so that a pasted one says where it came from."""
    channels, height, width = shape
    place = torch.arange(height * width).view(1, 1, height, width)
    return (place / (height * width) * 2 - 1).expand(n, channels, -1, -1), place


def moved(paste, shape, n=300):
    """For each image the pixels that were pasted, as (row, column) of where to and where from."""
    torch.manual_seed(0)
    images, place = numbered(n, shape)
    found = ((paste(images, 0.0) + 1) / 2 * shape[1] * shape[2]).round().long()
    assert (found == found[:, :1]).all()  # all channels alike
    for each in found[:, 0]:
        to = (each != place[0, 0]).nonzero()
        source = each[to[:, 0], to[:, 1]]
        yield to, torch.stack([source // shape[2], source % shape[2]], 1)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 16, 16), (1, 32, 64)], ids=str)
def test_a_patch_is_an_upright_rectangle_from_elsewhere_in_the_image(shape):
    shares, aspects, seen = [], [], set()
    for to, source in moved(paste_patch, shape):
        if len(to) == 0:  # pasted where it came from
            continue
        assert ((to - source) == (to - source)[0]).all()
        height, width = (to.amax(0) - to.amin(0) + 1).tolist()
        assert len(to) == height * width
        shares.append(height * width / (shape[1] * shape[2]))
        aspects.append(height / width)
        seen.add(tuple(to[0].tolist()))
    assert len(shares) > 290
    assert len(seen) > 50
    step = 1 / min(shape[1:])
    assert 0.02 - step < min(shares) < 0.04
    assert 0.13 < max(shares) < 0.15 + step
    assert 0.15 < min(aspects) < 0.5
    assert 2 < max(aspects) < 4.5


@pytest.mark.parametrize("side", [16, 64, 256])
def test_a_scar_is_a_thin_turned_strip_from_elsewhere_in_the_image(side):
    sizes, turned = [], 0
    for to, source in moved(paste_scar, (1, side, side)):
        sizes.append(len(to))
        if len(to):
            turned += bool(((to - source) != (to - source)[0]).any())
            longest = 1 + math.hypot(max(2, 25 * side / 256 + 0.5), max(1, 16 * side / 256 + 0.5))
            assert ((to.amax(0) - to.amin(0) + 1) <= longest).all()
    assert sum(size > 0 for size in sizes) > 285
    assert max(sizes) <= max(6, 1.2 * 25 * 16 * (side / 256) ** 2)
    if side == 256:
        assert min(sizes) >= 15
        assert turned > 250


def test_jitter_is_torchvisions_and_none_changes_nothing(photos):
    # Photographs in the middle of the range, where torchvision's clamping between the steps changes nothing.
    images = to_input(torch.from_numpy(photos(6, 32, 3))) * 0.4
    assert jittered(images, 0.0) is images
    torch.manual_seed(0)
    ours = jittered(images, 0.3)
    torch.manual_seed(0)
    factors = [0.7 + 0.6 * torch.rand(6) for _ in range(3)]
    for i in range(6):
        expected = (images[i] + 1) / 2
        for step, factor in zip(("brightness", "contrast", "saturation"), factors, strict=True):
            expected = getattr(published, f"adjust_{step}")(expected, float(factor[i]))
        torch.testing.assert_close((ours[i] + 1) / 2, expected, atol=1e-3, rtol=0)


def test_jitter_stays_in_range_and_is_about_the_mean_of_what_is_inside(photos):
    images = to_input(torch.from_numpy(photos(8, 32, 3)))
    assert jittered(images + torch.randn_like(images), 1.0).abs().max() <= 1
    inside = torch.zeros(8, 32, 32, dtype=torch.bool)
    inside[:, 3:9, 4:20] = True
    torch.manual_seed(0)
    part = jittered(images[:, :, 3:9, 4:20], 0.3)
    torch.manual_seed(0)
    torch.testing.assert_close(jittered(images, 0.3, inside)[:, :, 3:9, 4:20], part, atol=1e-4, rtol=0)


def test_the_classifiers_logit_is_the_log_odds_of_not_being_normal(digits):
    model = CutpasteArchitecture(width=8).build(SHAPE).eval()
    images = to_input(digits[:8])
    output = model(images)
    normal = model.head(model.features(images)).softmax(1)[:, 0]
    torch.testing.assert_close(output.columns["logit"], ((1 - normal) / normal).log(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.latent, model.features(images))


@pytest.mark.slow
def test_cutpaste_learns_to_tell_pasted_images(digits):
    architecture = CutpasteArchitecture(width=16, stages=3, jitter=0.1)
    settings = TrainSettings(epochs=60, batch_size=32, learning_rate=3e-3)
    model = train(lambda: architecture.build(SHAPE), digits, torch.arange(128), settings).eval()
    images = to_input(digits[128:])
    torch.manual_seed(0)
    with torch.inference_mode():
        normal, pasted = (model(each).columns["logit"] for each in (images, paste_patch(images, 0.1)))
    assert (pasted[:, None] > normal[None]).float().mean() > 0.8
