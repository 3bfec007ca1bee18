"""Training on the unlabelled test images, in folds, so that no image is scored by a network that was trained on it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ensemble_ad.families import Model
from ensemble_ad.families.model import CrossFittedModel
from ensemble_ad.families.noise import add_noise
from ensemble_ad.training.device import computing
from ensemble_ad.training.graphed import suited
from ensemble_ad.training.loop import AfterEpoch, Steps, epoch_by_epoch, steps_of, training_on
from ensemble_ad.training.progress import Keeper, Progress
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import Schedule, Step, make_optimizer, mirrored, to_input

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
        step = CrossFittedStep.of(model, _Side(normal, [rows] * model.folds), _Side(test, seen), settings)
        replayed = suited(step, normal.device)

        def one_epoch(number: int) -> Steps:
            step.begin_epoch(number)
            return steps_of(step, replayed)

        progress = Progress(model=model, optimizer=step.optimizer, device=normal.device, scaler=step.scaler)
        epoch_by_epoch(progress, settings, one_epoch, after_epoch, keeper)
        # A graph's gradients lie in memory that goes with it.
        step.optimizer.zero_grad()
    return model


class _Side(NamedTuple):
    """Normal or test images, and which of them each network is trained on.

    Attributes:
        images: uint8 (N, H, W, C).
        rows: int64 (n,) a network, rows of `images`.
    """

    images: Tensor
    rows: list[Tensor]


class CrossFittedStep(Step):
    """One step of a `CrossFittedModel`: every network sees a batch of its own."""

    def __init__(
        self,
        model: CrossFittedModel,
        normal: _Side,
        test: _Side,
        settings: TrainSettings,
        schedule: Schedule,
        *,
        steps: int,
        half: int,
    ) -> None:
        optimizer = make_optimizer(model, settings, schedule)
        super().__init__(optimizer, schedule, settings, steps=steps, batch_size=2 * half * model.folds)
        self._model, self._sides, self._half = model, (normal, test), half
        self._orders = torch.zeros((model.folds, 2, steps * half), dtype=torch.int64, device=self.device)
        self._first = torch.zeros((), dtype=torch.int64, device=self.device)
        self._offsets = torch.arange(half, device=self.device)

    @classmethod
    def of(cls, model: CrossFittedModel, normal: _Side, test: _Side, settings: TrainSettings) -> "CrossFittedStep":
        """The step of a training: batches of half normal and half test images, as many as the smaller side fills."""
        fewest = min(len(rows) for side in (normal, test) for rows in side.rows)
        half = max(1, min(settings.batch_size // 2, fewest))
        steps = settings.passes * fewest // half
        schedule = Schedule(settings, steps, normal.images.device)
        return cls(model, normal, test, settings, schedule, steps=steps, half=half)

    def begin_epoch(self, number: int) -> None:
        """Shuffle each network's images for the epoch of that number, from 1."""
        for orders, both in zip(self._orders, zip(*(side.rows for side in self._sides), strict=True), strict=True):
            for order, rows in zip(orders, both, strict=True):
                passes = [torch.randperm(len(rows), device=self.device) for _ in range(self._settings.passes)]
                torch.index_select(rows, 0, torch.cat(passes)[: len(order)], out=order)
        self._first.zero_()
        self.total.zero_()
        self._schedule.go_to((number - 1) * self.steps)

    def _add_gradients(self, total: Tensor) -> None:
        rows = self._orders[:, :, self._first + self._offsets]
        for network, both in enumerate(rows):
            for part in both.chunk(self.parts, dim=1):
                loss = self._loss_of(network, part) * (part.shape[1] / self._half)
                self._backward(loss)
                total += loss.detach() / self._model.folds
        self._first.add_(self._half)

    def _shrink(self) -> None:
        """Nothing is kept from batch to batch."""

    def _loss_of(self, network: int, rows: Tensor) -> Tensor:
        """A network's loss on rows, int64 (2, b), of normal and of test images."""
        settings = self._settings
        batch = torch.cat([side.images.index_select(0, these) for side, these in zip(self._sides, rows, strict=True)])
        images = add_noise(_augment(to_input(batch)), settings.noise_scale)
        with computing(settings.precision, self.device):
            normal, test = images.chunk(2)
            return self._model.training_pass(network, normal, test, settings.latent_noise_scale)


def _augment(images: Tensor) -> Tensor:
    """Mirror each image by a coin toss, and shift all alike; the edge is repeated where a shift uncovers something."""
    images = mirrored(images)
    most = max(1, round(_SHIFT * min(images.shape[2:])))
    shift = torch.randint(0, 2 * most + 1, (2,), device=images.device) - most
    last = images.permute(0, 2, 3, 1)  # the channels last, as they lie in memory
    for dim, side in ((1, images.shape[2]), (2, images.shape[3])):
        places = torch.arange(side, device=images.device) + shift[dim - 1]
        last = last.index_select(dim, places.clamp(0, side - 1))
    return last.permute(0, 3, 1, 2)
