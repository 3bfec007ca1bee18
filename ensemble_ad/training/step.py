"""One step of the optimizer: gather a batch, forward and backward, update; on CUDA replayed as a graph.

Everything that changes from step to step (which images, the learning rate, how much is done) is a tensor on the device
that the step itself moves on. So a step is the same sequence of kernels every time, nothing waits for the host, and a
CUDA graph of it can be replayed. The same code runs, uncaptured, on the CPU.
"""

import gc
import math
from typing import Protocol

import torch
from torch import Tensor, nn

from ensemble_ad.families.model import GradientModel
from ensemble_ad.families.noise import add_noise
from ensemble_ad.families.reconstruction import LOSSES
from ensemble_ad.training.adamw import AdamW
from ensemble_ad.training.device import computing
from ensemble_ad.training.settings import TrainSettings

# Batch normalisation needs two images.
_SMALLEST_PART = 2
_STEPS_BEFORE_CAPTURE = 3


def to_input(batch: Tensor) -> Tensor:
    """uint8 (B, H, W, C) to float32 (B, C, H, W) in [-1, 1]; a permuted view, so channels-last in memory."""
    return batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def schedule(step: int, total: int, warmup_ratio: float) -> float:
    """Factor of the learning rate: a linear warm-up, then half a cosine to 0 (Loshchilov and Hutter 2017)."""
    warmup = int(warmup_ratio * total)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


class Schedule:
    """The learning rate, and the share of the training that is done, as tensors that follow the steps.

    Attributes:
        rate: float32 (), what the optimizer reads.
        progress: float32 (), of [0, 1), what the families' warm-ups read.
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
        """Go to the step of that number, from 0."""
        self._step.fill_(step)

    def set(self) -> None:
        """Set the rate and the progress for the step to come."""
        self.rate.copy_(self._rates.index_select(0, self._step)[0])
        self.progress.copy_(self._step[0] / self._total)

    def advance(self) -> None:
        """A step is done."""
        self._step.add_(1)


def make_optimizer(model: nn.Module, settings: TrainSettings, schedule: Schedule) -> AdamW:
    """AdamW over all parameters, its learning rate the schedule's."""
    return AdamW(model.parameters(), rate=schedule.rate, weight_decay=settings.weight_decay)


class Batches:
    """The training images, gathered and normalised into buffers that are made once.

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


class Step(Protocol):
    """What an epoch calls for every batch."""

    def __call__(self) -> None:
        """Do one step."""


class GradientStep:
    """One step of a model that is trained by gradients.

    Where memory does not suffice for a batch, it is computed in parts of half the size and so on, their gradients added
    up. Then batch normalisation sees the parts, and everything else is as it was.

    Attributes:
        steps: an epoch has; what does not fill a batch is left to the next epoch's permutation.
        batch_size: images a step.
        parts: that a batch is computed in.
        total: float32 (), the sum of the steps' losses since `begin_epoch`.
    """

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
        device = images.device
        self.steps, self.batch_size, self.parts = steps, batch_size, 1
        self.total = torch.zeros((), device=device)
        self._model, self._optimizer, self._schedule, self._settings = model, optimizer, schedule, settings
        self._device, self._loss = device, LOSSES[settings.loss]
        self._images, self._batches = images, Batches(images, batch_size)
        self._order = torch.zeros(steps * batch_size, dtype=torch.int64, device=device)
        self._first = torch.zeros((), dtype=torch.int64, device=device)
        self._offsets = torch.arange(batch_size, device=device)

    def begin_epoch(self, number: int, rows: Tensor) -> None:
        """Deal the images of int64 (n,) `rows` anew, for the epoch of that number, from 1."""
        torch.index_select(rows, 0, torch.randperm(len(rows), device=self._device)[: len(self._order)], out=self._order)
        self._first.zero_()
        self.total.zero_()
        self._schedule.go_to((number - 1) * self.steps)

    def __call__(self) -> None:
        """Do one step, in more parts than before where memory does not suffice."""
        while True:
            try:
                self.run()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self.batch_size < 2 * self.parts * _SMALLEST_PART:
                    raise
            else:
                return
            # Outside of the handler, whose traceback holds the tensors of the pass.
            self.parts *= 2
            self._optimizer.zero_grad()
            self._batches = Batches(self._images, -(-self.batch_size // self.parts))
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def run(self) -> None:
        """The kernels of a step; nothing in it waits for the device."""
        self._schedule.set()
        self._optimizer.zero_grad()
        rows = self._order[self._first + self._offsets]
        total = torch.zeros_like(self.total)
        for part in rows.chunk(self.parts):
            loss = self._loss_of(self._batches.take(part)) * (len(part) / self.batch_size)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self._optimizer.step()
        self._schedule.advance()
        self._first.add_(self.batch_size)
        self.total.add_(total)

    def _loss_of(self, clean: Tensor) -> Tensor:
        settings = self._settings
        with computing(settings.precision, self._device):
            reconstruction, loss = self._model.training_pass(
                add_noise(clean, settings.noise_scale), settings.latent_noise_scale, self._schedule.progress
            )
        return loss.float() if reconstruction is None else loss.float() + self._loss(clean, reconstruction.float())


class GraphedStep:
    """A `GradientStep` on CUDA, captured once and replayed (Ng et al. 2021, "Accelerating PyTorch with CUDA graphs").

    The first steps are done without it, as libraries set themselves up in them, and for good where a batch has to be
    computed in parts or where the capture fails.

    Attributes:
        captured: whether a graph is replayed.
        refused: why not, where the capture failed.
    """

    def __init__(self, step: GradientStep) -> None:
        self._step = step
        self._before = _STEPS_BEFORE_CAPTURE
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.refused = ""

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def __call__(self) -> None:
        """Do one step."""
        if self._graph is None and self._before == 0 and self._step.parts == 1 and not self.refused:
            self._graph = self._capture()
        if self._graph is not None:
            self._graph.replay()
            return
        self._before = max(0, self._before - 1)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._step()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        self._step._optimizer.zero_grad()
        try:
            with torch.cuda.graph(graph):
                self._step.run()
        except RuntimeError as error:
            self.refused = str(error).splitlines()[0]
            torch.cuda.synchronize()
            return None
        return graph


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, of a GPU or of the machine."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "DefaultCPUAllocator" in said and "memory" in said
    )


def suited(step: GradientStep, device: torch.device) -> Step:
    """A graph of the step on CUDA, the step itself elsewhere."""
    return GraphedStep(step) if device.type == "cuda" else step
