"""Hidden blocks: the grid and its masks, the closed form, and that no prediction sees what it predicts."""

import math

import numpy as np
import pytest
import torch

from ensemble_ad.errors import UsageError
from ensemble_ad.families.hidden_blocks import MASKS, BlockErrors, HiddenBlocks, block_errors, columns
from ensemble_ad.families.inpaint import GaussInpainter, InpaintArchitecture
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

PREDICTORS = ("gauss", "mlp", "conv")


def made(predictor, images, **changes):
    """A model of the images, uint8 (n, h, w, c), after a short training."""
    architecture = InpaintArchitecture(predictor=predictor, **{"width": 256, **changes})
    shape = (images.shape[3], *images.shape[1:3])
    settings = TrainSettings(epochs=3, batch_size=32, noise_scale=0.1)
    return train(lambda: architecture.build(shape), images, torch.arange(len(images)), settings).eval()


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("block", "stride"), [(0.5, 0.5), (0.25, 1.0), (0.25, 0.5), (0.375, 0.5)])
@pytest.mark.parametrize("sides", [(16, 16), (20, 33), (64, 32)], ids=str)
def test_every_block_is_hidden_once_and_every_pixel_is_hidden(kind, block, stride, sides):
    blocks = HiddenBlocks.of(sides[0], sides[1], block, stride, kind)
    assert sorted(number for mask in blocks.masks for number in mask) == list(range(blocks.count))
    assert set(blocks.pixels.flatten().tolist()) == set(range(math.prod(sides)))
    hidden = blocks.hidden(*sides)
    for mask, numbers in zip(hidden, blocks.masks, strict=True):
        places = blocks.pixels[list(numbers)].flatten()
        assert len(np.unique(places)) == len(places)  # blocks of one mask do not overlap
        assert mask.sum() == len(places)
        assert mask.mean() <= 0.57  # enough is left to predict from


def test_blocks_of_a_mask_are_apart_but_a_checkerboards_corners_touch():
    one, board, several = (HiddenBlocks.of(32, 32, 0.25, 1.0, kind) for kind in MASKS)
    assert (len(one.masks), len(board.masks), len(several.masks)) == (16, 2, 4)
    assert several.masks[0] == (0, 2, 8, 10)
    assert board.masks[0] == (0, 2, 5, 7, 8, 10, 13, 15)


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("masks", MASKS)
def test_a_prediction_does_not_see_what_is_hidden(digits, predictor, masks):
    model = made(predictor, digits, block=0.25, masks=masks)
    images = to_input(digits[:8])
    with torch.inference_mode():
        for mask, hidden in enumerate(model._hidden):
            other = torch.where(hidden > 0, torch.rand_like(images) * 2 - 1, images)
            first, second = model.predict(images, mask) * hidden, model.predict(other, mask) * hidden
            torch.testing.assert_close(first, second, rtol=1e-3, atol=2e-3)


@torch.inference_mode()
def test_the_closed_form_is_a_regression_of_the_hidden_pixels(digits):
    small = digits[:, ::2, ::2]
    model = made("gauss", small, block=0.25, stride=1.0)
    flat = to_input(small).flatten(1).double()
    centred = flat - flat.mean(0)
    covariance = centred.T @ centred / len(flat) + 0.1**2 * torch.eye(256, dtype=torch.float64)
    hidden = model._places(5)
    seen = torch.tensor(sorted(set(range(256)) - set(hidden.tolist())))
    slopes = torch.linalg.solve(covariance[seen][:, seen], covariance[seen][:, hidden])
    expected = flat.mean(0)[hidden] + centred[:, seen] @ slopes
    found = model.predict(to_input(small), 5).flatten(1)[:, hidden]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_larger_images_are_averaged_until_the_closed_form_takes_them(photos):
    images = torch.from_numpy(photos(40, 64, 3))
    model = made("gauss", images)
    assert isinstance(model, GaussInpainter)
    assert model.shape == (3, 22, 22)
    output = model(to_input(images[:4]))
    assert output.reconstruction.shape == (4, 3, 64, 64)
    assert all(torch.isfinite(values).all() for values in output.columns.values())


def test_the_structural_error_counts_neither_brightness_nor_contrast():
    seen = torch.rand(3, 2, 4, 25) - 0.5
    same = block_errors(seen, 0.5 * seen + 0.2)
    assert same.structure.abs().max() < 0.01
    assert same.square.min() > 0.01
    assert block_errors(seen, -seen).structure.min() > 1.9
    flat = torch.zeros(3, 2, 4, 25)
    assert block_errors(flat, flat + 0.1).structure.abs().max() < 1e-3


@pytest.mark.parametrize("predictor", ["mlp", "gauss"])
def test_usual_images_have_errors_of_about_one_and_changed_ones_more(digits, predictor):
    model = made(predictor, digits[:128])
    images = to_input(digits[128:])
    usual = model(images).columns
    damaged = images.clone()
    damaged[:, :, 8:20, 8:20] = damaged[:, :, 8:20, 8:20].flip(2)
    assert 0.5 < usual["block_square"].mean() < 3
    assert model(damaged).columns["block_structure"].mean() > usual["block_structure"].mean()


@pytest.mark.parametrize(
    "broken", [{"predictor": "psychic"}, {"masks": "two"}, {"block": 0.6}, {"stride": 0.0}, {"width": 8},
               {"layers": 0}, {"structure": -1.0}], ids=str,
)  # fmt: skip
def test_an_architecture_that_cannot_be_is_refused(broken):
    with pytest.raises(UsageError, match="an inpaint's"):
        InpaintArchitecture(**broken)


def test_a_correlation_above_1_by_rounding_gives_finite_errors():
    errors = BlockErrors(torch.zeros(1, 2), torch.full((1, 2), -1e-6))
    found = columns(errors, BlockErrors(torch.ones(2), torch.full((2,), 1e-3)))
    assert all(torch.isfinite(values).all() for values in found.values())
