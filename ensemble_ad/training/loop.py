"""The training loop: all images in memory as uint8, one permutation an epoch, one gather a step, nothing else.

The loop knows nothing of Optuna, of files or of test images: it calls back after each epoch, and stops if told to.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from ensemble_ad.errors import DivergedError
from ensemble_ad.families import Model
from ensemble_ad.families.model import ClosedFormModel, GradientModel
from ensemble_ad.members.info import slowed_by
from ensemble_ad.training.allocator import keep_freed_memory
from ensemble_ad.training.device import float32_products
from ensemble_ad.training.error_vectors import reference_rows
from ensemble_ad.training.graphed import GraphedStep, suited
from ensemble_ad.training.progress import Keeper, Progress
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import Batches, GradientStep, Schedule, Step, make_optimizer, to_input

# A pass holds some copies of a batch as floats: 4 MB each.
_MOST_IMAGES, _MOST_NUMBERS = 1024, 2**20
_SETTLED_BATCH = 256


class Epoch(NamedTuple):
    """What the callback is told of an epoch.

    Attributes:
        number: the epoch's, from 1.
        loss: mean training loss.
        images_per_second: trained images a second; the time of the callback is not counted.
        parts: how many parts each batch was computed in; more than 1 where memory did not suffice for a whole batch.
        refused: why CUDA takes each step kernel by kernel, where it refused a graph of it.
    """

    number: int
    loss: float
    images_per_second: float
    parts: int = 1
    refused: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user: what goes on more slowly than it should."""
        return slowed_by(self.parts, self.refused)


AfterEpoch = Callable[[Epoch, Model], bool]
"""Called with the model in evaluation mode; returning False ends the training."""


def train(
    build: Callable[[], Model],
    images: Tensor,
    rows: Tensor,
    settings: TrainSettings,
    *,
    after_epoch: AfterEpoch | None = None,
    keeper: Keeper | None = None,
) -> Model:
    """Train a model: by steps of an optimizer, or in closed form, which is one epoch.

    Args:
        build: makes the untrained model; called under `settings.seed`.
        images: uint8 (N, H, W, C), on the device to train on.
        rows: int64 (n,), the rows of `images` to train on; the others are held out.
        settings: how to train.
        after_epoch: called with the model in evaluation mode; returning False ends the training.
        keeper: keeps the state of a training by steps after each epoch, and restores it before the first.

    Returns:
        The model as the last epoch left it.

    Raises:
        DivergedError: if the loss stops being finite.
    """
    device = images.device
    with training_on(device, settings):
        model = build().to(device)
        if isinstance(model, ClosedFormModel):
            _solve(model, images, rows, settings, after_epoch)
        elif isinstance(model, GradientModel):
            _descend(model, images, rows, settings, after_epoch, keeper)
        else:
            raise TypeError(f"{type(model).__name__} is trained otherwise")
    return model


@contextmanager
def training_on(device: torch.device, settings: TrainSettings) -> Iterator[None]:
    """While entered: the settings' seed and precision hold, and freed memory is kept for the next step."""
    # CUDA makes streams and graphs on the current device, which need not be the one that trains.
    place = torch.cuda.device(device) if device.type == "cuda" else keep_freed_memory()
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        float32_products(settings.precision, device),
        place,
    ):
        torch.manual_seed(settings.seed)
        yield


def _solve(
    model: ClosedFormModel, images: Tensor, rows: Tensor, settings: TrainSettings, after_epoch: AfterEpoch | None
) -> None:
    started = time.perf_counter()
    loss = model.solve(_Passes(images, rows), settings.noise_scale, settings.latent_noise_scale)
    if not math.isfinite(loss):
        raise DivergedError(f"the training loss became {loss}")
    model.eval()
    if after_epoch is not None:
        after_epoch(Epoch(1, loss, len(rows) / (time.perf_counter() - started)), model)


class _Passes:
    """The training images batch by batch, as often as someone goes over them.

    All batches lie in the same memory. New ones would leave gaps between what is kept of each, which the next does not
    fit into, so that the heap grew with the number of images.
    """

    def __init__(self, images: Tensor, rows: Tensor) -> None:
        size = min(_MOST_IMAGES, max(1, _MOST_NUMBERS // images[0].numel()))
        self._batches, self._parts = Batches(images, size), torch.split(rows, size)

    def __iter__(self) -> Iterator[Tensor]:
        return map(self._batches.take, self._parts)


def _descend(
    model: GradientModel,
    images: Tensor,
    rows: Tensor,
    settings: TrainSettings,
    after_epoch: AfterEpoch | None,
    keeper: Keeper | None,
) -> None:
    batch_size = min(settings.batch_size, len(rows))
    steps = settings.passes * len(rows) // batch_size
    schedule = Schedule(settings, steps, images.device)
    optimizer = make_optimizer(model, settings, schedule)
    inner = GradientStep(model, optimizer, schedule, images, settings, steps=steps, batch_size=batch_size)
    step = suited(inner, images.device)

    def one_epoch(number: int) -> Steps:
        inner.begin_epoch(number, rows)
        return steps_of(inner, step)

    def settled(epoch: Epoch, of: Model) -> bool:
        _settle(model, images, rows)
        return after_epoch is None or after_epoch(epoch, of)

    progress = Progress(model=model, optimizer=optimizer, device=images.device, scaler=inner.scaler)
    epoch_by_epoch(progress, settings, one_epoch, settled, keeper)
    # A graph's gradients lie in memory that goes with it.
    optimizer.zero_grad()


@torch.no_grad()
def _settle(model: GradientModel, images: Tensor, rows: Tensor) -> None:
    some = reference_rows(rows)
    with float32_products("fp32", images.device):
        model.settle((to_input(images[part]) for part in torch.split(some, _SETTLED_BATCH)), len(some))


class Steps(NamedTuple):
    """The steps of one epoch that are done.

    Attributes:
        total: float32 (), the sum of their losses, on the device.
        steps: how many there were.
        images: how many images a step trained on.
        parts: how many parts each batch was computed in.
        refused: why no graph was replayed where one should have been.
    """

    total: Tensor
    steps: int
    images: int
    parts: int
    refused: str


def steps_of(step: Step, suited: Step | GraphedStep) -> Steps:
    """Do the steps of an epoch that has begun; `suited` is the step as the device suits it."""
    for _ in range(step.steps):
        suited()
    return Steps(step.total, step.steps, step.batch_size, step.parts, suited.refused)


def epoch_by_epoch(
    progress: Progress,
    settings: TrainSettings,
    one_epoch: Callable[[int], Steps],
    after_epoch: AfterEpoch | None,
    keeper: Keeper | None,
) -> None:
    """Train by steps, from the epoch where `progress` stands to the last one.

    Args:
        progress: the model and its optimizer; `keeper` restores what it kept of them before the first epoch.
        settings: how many epochs.
        one_epoch: does the steps of the epoch of that number, from 1.
        after_epoch: as for `train`.
        keeper: as for `train`.

    Raises:
        DivergedError: if the loss stops being finite.
    """
    model = progress.model
    if keeper is not None:
        keeper.begin(progress)
    for number in range(progress.epochs + 1, settings.epochs + 1):
        started = time.perf_counter()
        model.train()
        done = one_epoch(number)
        epoch = _finished(number, done, started)
        model.eval()
        progress.epochs = number
        if after_epoch is not None and not after_epoch(epoch, model):
            break
        if keeper is not None and number < settings.epochs:
            keeper.after_epoch(progress)


def _finished(number: int, done: Steps, started: float) -> Epoch:
    """The epoch that began at `started` (`time.perf_counter`). Nowhere else does a training wait for the device."""
    loss = float(done.total) / done.steps
    seconds = time.perf_counter() - started
    if not math.isfinite(loss):
        raise DivergedError(f"the training loss became {loss} in epoch {number}; lower the learning rate")
    return Epoch(number, loss, done.steps * done.images / seconds, done.parts, done.refused)
