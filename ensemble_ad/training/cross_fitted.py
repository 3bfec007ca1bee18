"""Training on the unlabelled test images, in folds, so that no image is scored by a network that was trained on it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ensemble_ad.families import Model
from ensemble_ad.families.model import CrossFittedModel
from ensemble_ad.families.noise import add_noise
from ensemble_ad.training.device import computing
from ensemble_ad.training.loop import AfterEpoch, Steps, epoch_by_epoch, training_on
from ensemble_ad.training.progress import Keeper, Progress
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import Schedule, make_optimizer, mirrored, to_input

_SHIFT = 1 / 16


class Folds(NamedTuple):
    """The fold of each image: network f is trained without fold f of the test images, and scores the images of fold f.

    Attributes:
        reference: int64 (n,), the held-out normal images' folds. No network is trained on these images; they are dealt
            out like the test images so that both are scored alike.
        test: int64 (k,), the test images' folds.
    """

    reference: Tensor
    test: Tensor


def deal(n_reference: int, n_test: int, folds: int, seed: int, device: torch.device) -> Folds:
    """Deal images into folds of nearly equal size, by `seed`, on the CPU, so that every device deals alike."""
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
    """Train every network of a model to tell test images of the other folds from normal images.

    A batch is half normal and half test images. A pass shows every network as many of each as the smaller side has.
    All images are mirrored at random and shifted by up to a sixteenth of the side.

    Args:
        build: makes the untrained `CrossFittedModel`; called under `settings.seed`.
        normal: uint8 (N, H, W, C).
        rows: int64 (n,), the rows of `normal` to train on; the others are held out.
        test: uint8 (k, H, W, C).
        folds: the test images' folds.
        settings: how to train; `batch_size` counts both halves.
        after_epoch: as for `loop.train`.
        keeper: as for `loop.train`.

    Raises:
        DivergedError: if the loss stops being finite.
    """
    with training_on(normal.device, settings):
        model = build().to(normal.device)
        if not isinstance(model, CrossFittedModel):
            raise TypeError(f"{type(model).__name__} is trained otherwise")
        seen = [torch.nonzero(folds.test != number)[:, 0] for number in range(model.folds)]
        epochs = _Epochs(model, _Side(normal, [rows] * model.folds), _Side(test, seen), settings)
        progress = Progress(model=model, optimizer=epochs.optimizer, device=normal.device)
        epoch_by_epoch(progress, settings, epochs.train_one, after_epoch, keeper)
    return model


class _Side(NamedTuple):
    """Normal or test images, and which of them each network is trained on.

    Attributes:
        images: uint8 (N, H, W, C).
        rows: int64 (n,) a network, rows of `images`.
    """

    images: Tensor
    rows: list[Tensor]


class _Epochs:
    """The epochs of a `CrossFittedModel`: in a step every network sees a batch of its own.

    Attributes:
        optimizer: one for all networks.
    """

    def __init__(self, model: CrossFittedModel, normal: _Side, test: _Side, settings: TrainSettings) -> None:
        fewest = min(len(rows) for side in (normal, test) for rows in side.rows)
        self._half = max(1, min(settings.batch_size // 2, fewest))
        self._steps = settings.passes * fewest // self._half
        self._model, self._sides, self._settings = model, (normal, test), settings
        self._device = normal.images.device
        self._schedule = Schedule(settings, self._steps, self._device)
        self.optimizer = make_optimizer(model, settings, self._schedule)

    def train_one(self, number: int) -> Steps:
        """Do the steps of the epoch of that number, from 1."""
        self._schedule.go_to((number - 1) * self._steps)
        total = torch.zeros((), device=self._device)
        orders = [[self._shuffled(rows) for rows in both] for both in zip(*(s.rows for s in self._sides), strict=True)]
        for step in range(self._steps):
            place = slice(step * self._half, (step + 1) * self._half)
            self._schedule.set()
            self.optimizer.zero_grad()
            for network, order in enumerate(orders):
                total += self._backward(network, [rows[place] for rows in order])
            self.optimizer.step()
            self._schedule.advance()
        return Steps(total, self._steps, 2 * self._half * self._model.folds)

    def _shuffled(self, rows: Tensor) -> Tensor:
        passes = [torch.randperm(len(rows), device=self._device) for _ in range(self._settings.passes)]
        return rows[torch.cat(passes)]

    def _backward(self, network: int, rows: list[Tensor]) -> Tensor:
        """Add the gradients of a network's batch; gives its share of the step's loss."""
        settings = self._settings
        batch = torch.cat([side.images[these] for side, these in zip(self._sides, rows, strict=True)])
        images = add_noise(_augment(to_input(batch)), settings.noise_scale)
        with computing(settings.precision, self._device):
            loss = self._model.training_pass(
                network, images[: self._half], images[self._half :], settings.latent_noise_scale
            )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach() / self._model.folds


def _augment(images: Tensor) -> Tensor:
    """Mirror each image by a coin toss, and shift all alike; the edge is repeated where a shift uncovers something."""
    images = mirrored(images)
    height, width = images.shape[2:]
    most = max(1, round(_SHIFT * min(height, width)))
    top, left = torch.randint(0, 2 * most + 1, (2,)).tolist()
    padded = torch.nn.functional.pad(images, (most, most, most, most), mode="replicate")
    return padded[:, :, top : top + height, left : left + width]
