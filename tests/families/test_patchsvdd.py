"""Patch SVDD: which patches are drawn, and which vectors a patch is compared with."""

import pytest
import torch

from ensemble_ad.families import patch_bank, patchsvdd
from ensemble_ad.families.patch_bank import Bank
from ensemble_ad.families.patchsvdd import PatchSvdd, PatchsvddArchitecture
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)
SMALL = PatchsvddArchitecture(width=16, features=8)
SETTINGS = TrainSettings(epochs=2, batch_size=40)


def numbered(n, height, width):
    """Images whose every pixel says where it is."""
    return torch.arange(float(height * width)).view(1, 1, height, width).expand(n, -1, -1, -1)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (17, 40)])
def test_a_patch_lies_where_its_direction_says_and_in_the_image(height, width):
    model = SMALL.build((1, height, width))
    for side in model.sides:
        direction, pair = model._around(numbered(200, height, width), side)
        corners = [torch.stack([each[:, 0, 0, 0] // width, each[:, 0, 0, 0] % width], 1).long() for each in pair]
        for corner, patches in zip(corners, pair, strict=True):
            assert (corner[:, 0] + side <= height).all()
            assert (corner[:, 1] + side <= width).all()
            assert torch.equal(
                patches[:, 0, -1, -1].long(), (corner[:, 0] + side - 1) * width + corner[:, 1] + side - 1
            )
        moved = corners[1] - corners[0]
        assert torch.equal(moved.sign(), model._directions[direction])
        assert moved.abs().amax() <= side
        assert moved.abs().amax(1).min() >= 3 * side // 4
        assert direction.unique().numel() == 8


def test_patches_that_nearly_coincide_are_a_pixel_apart_never_none():
    model = SMALL.build(SHAPE)
    first, second = model._beside(numbered(100, 32, 32), model.side)
    moved = second[:, 0, 0, 0] - first[:, 0, 0, 0]
    assert set(moved.tolist()) == {-33, -32, -31, -1, 1, 31, 32, 33}


def test_vectors_of_a_map_are_those_of_its_patches_cut_out(digits):
    model, images = SMALL.build(SHAPE).eval(), to_input(digits[:3])
    with torch.inference_mode():
        small = model.small(images, model.stride)
        large = model.large(small, model.stride)
        for vectors, side in ((small, model.side), (large, 2 * model.side)):
            top, left = 2 * model.stride, 5 * model.stride
            cut = model._vectors(images[:, :, top : top + side, left : left + side], side)
            torch.testing.assert_close(vectors[:, :, 2, 5], cut)


@pytest.mark.parametrize("neighbours", ["anywhere", "place"])
@pytest.mark.parametrize("block", [patch_bank._BLOCK, 50])
def test_distances_are_those_to_the_nearest_vector(digits, monkeypatch, neighbours, block):
    monkeypatch.setattr(patch_bank, "_BLOCK", block)
    monkeypatch.setattr(patch_bank, "_MOST_VECTORS", {"anywhere": 30, "place": 16 * 30})
    maps = torch.nn.functional.unfold(to_input(digits), 8, stride=8).reshape(160, 64, 4, 4)
    bank = Bank(16, 64, neighbours)
    flat = maps[:100].permute(0, 2, 3, 1).flatten(0, 2)
    kept = bank.rows(100)
    bank.fill(flat[kept])
    found = bank.distances(maps[100:])
    vectors = maps[100:].permute(0, 2, 3, 1)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        mine = flat[kept] if neighbours == "anywhere" else flat[kept[kept % 16 == 4 * row + column]]
        assert len(mine) == 30
        expected = torch.cdist(vectors[:, row, column], mine, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
        torch.testing.assert_close(found[:, row, column], expected)


@pytest.mark.parametrize("neighbours", ["anywhere", "place"])
@pytest.mark.parametrize("side", [16, 64, 256])
def test_the_bank_stays_bounded_whatever_the_images(neighbours, side):
    with torch.device("meta"):
        model = PatchsvddArchitecture(patch=1 / 16, neighbours=neighbours).build((3, side, side))
    for bank in (model.small_bank, model.large_bank):
        assert bank.vectors.shape[:2].numel() <= patch_bank._MOST_VECTORS[neighbours]
        assert bank.places <= patchsvdd._MOST_PLACES


@pytest.mark.parametrize("neighbours", ["anywhere", "place"])
def test_the_bank_holds_vectors_of_training_images_alone(digits, neighbours):
    architecture = PatchsvddArchitecture(width=16, features=8, neighbours=neighbours)
    model = train(lambda: architecture.build(SHAPE), digits, torch.arange(100), SETTINGS)
    assert isinstance(model, PatchSvdd)
    with torch.inference_mode():
        output = model(to_input(digits))
        vectors = model.small(to_input(digits[:100]), model.stride).permute(0, 2, 3, 1).flatten(0, 2)
    some = model.small_bank.vectors.flatten(0, 1)[::97]
    assert torch.cdist(some, vectors, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max() < 1e-5
    if neighbours == "place":  # every image of so few is in it; of vectors alike in float32, any may be the nearest
        assert output.columns["small_worst"][:100].max() < 5e-3
        assert output.columns["small_worst"][100:].min() > 2e-2


def test_a_few_worst_places_lie_between_the_mean_and_the_largest(digits):
    model = train(lambda: SMALL.build(SHAPE), digits, torch.arange(100), SETTINGS)
    with torch.inference_mode():
        columns = model(to_input(digits[100:])).columns
    for name in ("small", "large", "both"):
        assert (columns[f"{name}_mean"] < columns[f"{name}_worst"]).all()
    assert (columns["both_worst"] < columns["both_max"]).all()


@pytest.mark.slow
def test_places_are_learnt(digits):
    losses = []
    settings = TrainSettings(epochs=40, batch_size=32, learning_rate=3e-3)
    architecture = PatchsvddArchitecture(width=64, svdd_weight=0.01)
    train(
        lambda: architecture.build(SHAPE),
        digits,
        torch.arange(160),
        settings,
        after_epoch=lambda epoch, model: losses.append(epoch.loss) is None,
    )
    assert losses[-1] < 0.85 * losses[0]
