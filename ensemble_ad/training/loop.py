"""The training loop: the whole set in memory as uint8, a permutation and a gather an epoch, nothing else.

Knows nothing of Optuna, of files or of test images: after each epoch it calls back, and stops if told to.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from ensemble_ad.errors import EnsadError
from ensemble_ad.families import Model
from ensemble_ad.families.model import ClosedFormModel, GradientModel
from ensemble_ad.training.allocator import keep_freed_memory
from ensemble_ad.training.device import float32_products
from ensemble_ad.training.progress import Keeper, Progress
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import GradientStep, Schedule, make_optimizer, suited, to_input

_CLOSED_FORM_BATCH = 1024


class DivergedError(EnsadError):
    """The training loss is not finite."""


class Epoch(NamedTuple):
    """What the callback is told.

    Attributes:
        number: from 1.
        loss: mean training loss of the epoch.
        images_per_second: trained images, evaluation not counted.
        parts: that each batch was computed in; more than 1 where memory did not suffice for a whole one.
    """

    number: int
    loss: float
    images_per_second: float
    parts: int = 1

    @property
    def memory_note(self) -> str:
        """What to tell people where memory did not suffice."""
        return f"out of memory: every batch is computed in {self.parts} parts, whose gradients are added up"


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
        rows: int64 (n,), the images to train on, so that held-out ones need no copy of the rest.
        settings: how.
        after_epoch: called with the model in evaluation mode; returning False ends the training.
        keeper: keeps the state of a training by steps after each epoch.

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
    """What holds while a model is built and trained: the seed, the precision, and memory that is kept for reuse."""
    # Streams and graphs are made on the current device, which need not be the one of several that trains.
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
    batches = (to_input(images[part]) for part in torch.split(rows, _CLOSED_FORM_BATCH))
    loss = model.solve(batches, settings.noise_scale, settings.latent_noise_scale)
    if not math.isfinite(loss):
        raise DivergedError(f"the training loss became {loss}")
    model.eval()
    if after_epoch is not None:
        after_epoch(Epoch(1, loss, len(rows) / (time.perf_counter() - started)), model)


def _descend(
    model: GradientModel,
    images: Tensor,
    rows: Tensor,
    settings: TrainSettings,
    after_epoch: AfterEpoch | None,
    keeper: Keeper | None,
) -> None:
    device = images.device
    batch_size = min(settings.batch_size, len(rows))
    steps = len(rows) // batch_size
    schedule = Schedule(settings, steps, device)
    optimizer = make_optimizer(model, settings, schedule)
    progress = Progress(model=model, optimizer=optimizer, device=device)
    if keeper is not None:
        keeper.begin(progress)
    inner = GradientStep(model, optimizer, schedule, images, settings, steps=steps, batch_size=batch_size)
    step = suited(inner, device)
    for number in range(progress.epochs + 1, settings.epochs + 1):
        started = time.perf_counter()
        model.train()
        inner.begin_epoch(number, rows)
        for _ in range(steps):
            step()
        epoch = finish_epoch(number, inner.total, steps, batch_size, started, inner.parts)
        model.eval()
        progress.epochs = number
        if after_epoch is not None and not after_epoch(epoch, model):
            break
        if keeper is not None and number < settings.epochs:
            keeper.after_epoch(progress)
    # A graph's gradients lie in memory that goes with it.
    optimizer.zero_grad()


def finish_epoch(number: int, total: Tensor, steps: int, batch_size: int, started: float, parts: int = 1) -> Epoch:
    """The epoch that began at `started` (`time.perf_counter`), where `total` is the sum of its steps' losses.

    Here alone an epoch waits for the device.

    Raises:
        DivergedError: if the loss is not finite.
    """
    mean_loss = float(total) / steps
    seconds = time.perf_counter() - started
    if not math.isfinite(mean_loss):
        raise DivergedError(f"the training loss became {mean_loss} in epoch {number}; lower the learning rate")
    return Epoch(number, mean_loss, steps * batch_size / seconds, parts)
