"""One step of the optimizer: gather a batch, forward and backward, update.

Whatever changes from step to step (the images, the learning rate, the share that is done, the loss's scale) is a tensor
on the device, and the step itself moves it on. So every step is the same sequence of kernels, nothing waits for the
host, and a CUDA graph of the step can be replayed (`graphed`). The CPU runs the same code without a graph.
"""

import gc
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ensemble_ad.families.model import GradientModel
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.reconstruction import LOSSES
from ensemble_ad.training.adamw import AdamW
from ensemble_ad.training.device import computing
from ensemble_ad.training.out_of_memory import is_out_of_memory
from ensemble_ad.training.settings import TrainSettings

# Batch normalisation needs two images.
_SMALLEST_PART = 2
_FALL = 0.2  # the last share of all steps, in which the learning rate falls


def to_input(batch: Tensor) -> Tensor:
    """uint8 (B, H, W, C) as float32 (B, C, H, W) in [-1, 1]; a permuted view, so channels-last in memory."""
    return batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def mirrored(images: Tensor) -> Tensor:
    """Images (B, C, H, W), each mirrored, left to right, by a coin toss."""
    tossed = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(tossed, images.flip(3), images)


def schedule(step: int, total: int, warmup_ratio: float) -> float:
    """The learning rate's factor at a step: a linear warm-up, then 1, then a linear fall towards 0 in the last fifth.

    So most steps are taken at the full rate; half a cosine from the warm-up on gets less far in as many epochs
    (benchmarks/train.md). Hägele et al. 2024, arXiv:2405.18392, "Scaling laws and compute-optimal training beyond fixed
    training durations".
    """
    warmup = int(warmup_ratio * total)
    if step < warmup:
        return (step + 1) / warmup
    fall = max(1, min(round(_FALL * total), total - warmup))
    return min(1.0, (total - step) / fall)


class Schedule:
    """The learning rate and the share of the training that is done, as tensors on the device.

    Attributes:
        rate: float32 (), the learning rate; the optimizer reads it.
        progress: float32 (), the share of all steps that is done, in [0, 1); the families' warm-ups read it.
    """

    def __init__(self, settings: TrainSettings, steps: int, device: torch.device) -> None:
        total = settings.epochs * steps
        factors = [schedule(step, total, settings.warmup_ratio) for step in range(total)]
        self._rates = torch.tensor(factors, dtype=torch.float64).mul_(settings.learning_rate).float().to(device)
        self._total = total
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self.rate = self._rates[0].clone()
        self.progress = torch.zeros((), device=device)

    def go_to(self, step: int) -> None:
        """Make the step of that number, from 0, the next one."""
        self._step.fill_(step)

    def set(self) -> None:
        """Set rate and progress for the next step."""
        self.rate.copy_(self._rates.index_select(0, self._step)[0])
        self.progress.copy_(self._step[0] / self._total)

    def advance(self) -> None:
        """Count a step as done."""
        self._step.add_(1)


def make_optimizer(model: nn.Module, settings: TrainSettings, schedule: Schedule) -> AdamW:
    """AdamW over all parameters at the schedule's learning rate."""
    return AdamW(model.parameters(), rate=schedule.rate, weight_decay=settings.weight_decay)


class Batches:
    """Gathers and normalises training images into buffers that are made once.

    A batch is valid until the next one is taken.
    """

    def __init__(self, images: Tensor, size: int) -> None:
        self._images = images
        self._bytes = torch.empty((size, *images.shape[1:]), dtype=torch.uint8, device=images.device)
        self._floats = torch.empty_like(self._bytes, dtype=torch.float32)

    def take(self, rows: Tensor) -> Tensor:
        """The images of int64 (b,) rows, as `to_input` gives them."""
        gathered, floats = self._bytes[: len(rows)], self._floats[: len(rows)]
        torch.index_select(self._images, 0, rows, out=gathered)
        return floats.copy_(gathered).div_(127.5).sub_(1.0).permute(0, 3, 1, 2)


class Step(ABC):
    """One step of the training, which moves on by itself from call to call.

    Where memory does not suffice for a batch, the batch is computed in halves, quarters and so on, and the gradients
    are added up. Batch normalisation then sees the parts; nothing else changes.

    In float16 the loss is scaled up before the backward pass, so that small gradients are not rounded to 0, and a step
    whose gradients overflow is left out (Micikevicius et al. 2018, ICLR, "Mixed precision training").

    Attributes:
        steps: how many steps an epoch has; images that do not fill a batch are left to the next epoch's permutation.
        batch_size: how many images a step trains on.
        parts: how many parts a batch is computed in.
        total: float32 (), the sum of the steps' losses since the epoch began.
        device: where it trains.
        optimizer: moves the weights.
        scaler: scales the loss, where the precision is float16.
        refused: why no graph is replayed where one should be; see `graphed.GraphedStep`.
    """

    refused = ""

    def __init__(
        self, optimizer: AdamW, schedule: Schedule, settings: TrainSettings, *, steps: int, batch_size: int
    ) -> None:
        self.device = schedule.rate.device
        self.steps, self.batch_size, self.parts = steps, batch_size, 1
        self.total = torch.zeros((), device=self.device)
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self._schedule, self._settings = schedule, settings

    def __call__(self) -> None:
        """Do one step; where memory does not suffice, in more parts than before."""
        while True:
            try:
                self.run()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.batch_size < 2 * self.parts * _SMALLEST_PART:
                    raise
            else:
                return
            # Outside of the handler: while it runs, the traceback holds the tensors of the pass.
            self.parts *= 2
            self.optimizer.zero_grad()
            self._shrink()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def run(self) -> None:
        """Run the kernels of a step; nothing here waits for the device."""
        self._schedule.set()
        self.optimizer.zero_grad()
        total = torch.zeros_like(self.total)
        self._add_gradients(total)
        self.scaler.step(self.optimizer)  # type: ignore[arg-type]
        self.scaler.update()
        self._schedule.advance()
        self.total.add_(total)

    @abstractmethod
    def _add_gradients(self, total: Tensor) -> None:
        """Add up the gradients of the next batch, and its loss in float32 `total`, a scalar."""

    @abstractmethod
    def _shrink(self) -> None:
        """Free what a batch of fewer parts took."""

    def _backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]


class GradientStep(Step):
    """One step of a model that is trained by gradients."""

    def __init__(
        self,
        model: GradientModel,
        optimizer: AdamW,
        schedule: Schedule,
        images: Tensor,
        settings: TrainSettings,
        *,
        steps: int,
        batch_size: int,
    ) -> None:
        super().__init__(optimizer, schedule, settings, steps=steps, batch_size=batch_size)
        self._model, self._loss = model, LOSSES[settings.loss]
        self._images, self._batches = images, Batches(images, batch_size)
        self._order = torch.zeros(steps * batch_size, dtype=torch.int64, device=self.device)
        self._first = torch.zeros((), dtype=torch.int64, device=self.device)
        self._offsets = torch.arange(batch_size, device=self.device)

    def begin_epoch(self, number: int, rows: Tensor) -> None:
        """Shuffle int64 (n,) `rows` for the epoch of that number, from 1."""
        passes = [torch.randperm(len(rows), device=self.device) for _ in range(self._settings.passes)]
        torch.index_select(rows, 0, torch.cat(passes)[: len(self._order)], out=self._order)
        self._first.zero_()
        self.total.zero_()
        self._schedule.go_to((number - 1) * self.steps)

    def _add_gradients(self, total: Tensor) -> None:
        rows = self._order[self._first + self._offsets]
        for part in rows.chunk(self.parts):
            loss = self._loss_of(self._batches.take(part)) * (len(part) / self.batch_size)
            self._backward(loss)
            total += loss.detach()
        self._first.add_(self.batch_size)

    def _shrink(self) -> None:
        self._batches = Batches(self._images, -(-self.batch_size // self.parts))

    def _loss_of(self, clean: Tensor) -> Tensor:
        settings = self._settings
        if settings.mirror:
            clean = mirrored(clean)
        with computing(settings.precision, self.device):
            reconstruction, loss = self._model.training_pass(
                add_noise(clean, settings.noise_scale), settings.latent_noise_scale, self._schedule.progress
            )
        return loss.float() if reconstruction is None else loss.float() + self._loss(clean, reconstruction.float())
