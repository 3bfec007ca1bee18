"""Training on the unlabelled test images: against normal images, in folds, so that none is scored by what saw it."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ensemble_ad.families import Model
from ensemble_ad.families.model import CrossFittedModel
from ensemble_ad.families.noise import add_noise
from ensemble_ad.training.device import computing
from ensemble_ad.training.loop import AfterEpoch, Epoch, finish_epoch, training_on
from ensemble_ad.training.progress import Keeper, Progress
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import Schedule, make_optimizer, to_input

_SHIFT = 1 / 16


class Folds(NamedTuple):
    """Which network scores an image.

    Attributes:
        reference: int64 (n,), of the held-out normal images, which no network sees; dealt out like the test images, so
            that both are scored alike.
        test: int64 (k,), of the test images; network f is trained without fold f.
    """

    reference: Tensor
    test: Tensor


def deal(n_reference: int, n_test: int, folds: int, seed: int, device: torch.device) -> Folds:
    """Folds of nearly equal size, drawn from `seed` on the CPU, so that every device deals alike."""
    generator = torch.Generator().manual_seed(seed)
    reference, test = (torch.randperm(n, generator=generator) % folds for n in (n_reference, n_test))
    return Folds(reference.to(device), test.to(device))


def train(
    build: Callable[[], Model],
    normal: Tensor,
    rows: Tensor,
    test: Tensor,
    folds: Folds,
    settings: TrainSettings,
    after_epoch: AfterEpoch | None = None,
    keeper: Keeper | None = None,
) -> Model:
    """Train every network of `model` to tell test images of the other folds from normal images.

    A batch is half normal and half test images. An epoch shows every network as many of each as the smaller side has.
    All images are mirrored at random and shifted by up to a sixteenth of the side.

    Args:
        build: makes the untrained `CrossFittedModel`; called under `settings.seed`.
        normal: uint8 (N, H, W, C).
        rows: int64 (n,), the normal images to train on, held-out ones not among them.
        test: uint8 (k, H, W, C).
        folds: of the test images.
        settings: how; `batch_size` counts both halves.
        after_epoch: as for `train.train`.
        keeper: as for `train.train`.

    Raises:
        DivergedError: if the loss stops being finite.
    """
    device = normal.device
    with training_on(device, settings):
        model = build().to(device)
        if not isinstance(model, CrossFittedModel):
            raise TypeError(f"{type(model).__name__} is trained otherwise")
        seen = [torch.nonzero(folds.test != number)[:, 0] for number in range(model.folds)]
        fewest = min(len(rows), *(len(these) for these in seen))
        half = max(1, min(settings.batch_size // 2, fewest))
        steps = fewest // half
        schedule = Schedule(settings, steps, device)
        optimizer = make_optimizer(model, settings, schedule)
        progress = Progress(model=model, optimizer=optimizer, device=device)
        if keeper is not None:
            keeper.begin(progress)
        for number in range(progress.epochs + 1, settings.epochs + 1):
            started = time.perf_counter()
            model.train()
            schedule.go_to((number - 1) * steps)
            total = torch.zeros((), device=device)
            orders = [
                (rows[torch.randperm(len(rows), device=device)], these[torch.randperm(len(these), device=device)])
                for these in seen
            ]
            for step in range(steps):
                place = slice(step * half, (step + 1) * half)
                schedule.set()
                optimizer.zero_grad()
                for network, (normal_order, test_order) in enumerate(orders):
                    both = torch.cat([normal[normal_order[place]], test[test_order[place]]])
                    images = add_noise(_augment(to_input(both)), settings.noise_scale)
                    with computing(settings.precision, device):
                        loss = model.training_pass(network, images[:half], images[half:], settings.latent_noise_scale)
                    loss.backward()  # type: ignore[no-untyped-call]
                    total += loss.detach() / model.folds
                optimizer.step()
                schedule.advance()
            epoch: Epoch = finish_epoch(number, total, steps, 2 * half * model.folds, started)
            model.eval()
            progress.epochs = number
            if after_epoch is not None and not after_epoch(epoch, model):
                break
            if keeper is not None and number < settings.epochs:
                keeper.after_epoch(progress)
    return model


def _augment(images: Tensor) -> Tensor:
    """Mirror every other image, drawn at random, and shift all alike; what comes in at an edge repeats the edge."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    height, width = images.shape[2:]
    most = max(1, round(_SHIFT * min(height, width)))
    top, left = torch.randint(0, 2 * most + 1, (2,)).tolist()
    padded = torch.nn.functional.pad(images, (most, most, most, most), mode="replicate")
    return padded[:, :, top : top + height, left : left + width]
