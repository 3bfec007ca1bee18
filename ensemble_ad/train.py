"""The training loop: the whole set in memory as uint8, a permutation and a gather an epoch, nothing else.

Knows nothing of Optuna, of files or of test images: after each epoch it calls back, and stops if told to.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ensemble_ad.errors import EnsadError, UsageError
from ensemble_ad.families import Model
from ensemble_ad.families._base import ClosedFormModel, GradientModel, add_noise
from ensemble_ad.reconstruction import LOSSES

_CLOSED_FORM_BATCH = 1024


class DivergedError(EnsadError):
    """The training loss is not finite."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained.

    Attributes:
        epochs: passes over the training images; the schedule spans them.
        batch_size: images a step; a last incomplete batch is left to the next epoch's permutation.
        learning_rate: the highest, at the end of the warm-up.
        weight_decay: AdamW's, decoupled (Loshchilov and Hutter 2019, arXiv:1711.05101).
        warmup_ratio: share of all steps over which the learning rate rises linearly; after it, a cosine to 0.
        noise_scale: standard deviation of the Gaussian noise on the input, whose range is [-1, 1].
        latent_noise_scale: the same on the bottleneck.
        loss: a name of `reconstruction.LOSSES`.
        seed: of the initial weights, the permutations and the noise.
    """

    epochs: int
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_ratio: float = 0.1
    noise_scale: float = 0.0
    latent_noise_scale: float = 0.0
    loss: str = "mse"
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "epochs must be 1 or more": self.epochs >= 1,
            "batch_size must be 1 or more": self.batch_size >= 1,
            "learning_rate must be above 0": self.learning_rate > 0,
            "weight_decay must be 0 or more": self.weight_decay >= 0,
            "warmup_ratio must be of 0 to 1": 0 <= self.warmup_ratio <= 1,
            "noise_scale must be 0 or more": self.noise_scale >= 0,
            "latent_noise_scale must be 0 or more": self.latent_noise_scale >= 0,
            f"loss must be one of {', '.join(LOSSES)}": self.loss in LOSSES,
        }
        for rule, holds in rules.items():
            if not holds:
                raise UsageError(f"{rule}, not {getattr(self, rule.split()[0])!r}")


class Epoch(NamedTuple):
    """What the callback is told.

    Attributes:
        number: from 1.
        loss: mean training loss of the epoch.
        images_per_second: trained images, evaluation not counted.
    """

    number: int
    loss: float
    images_per_second: float


AfterEpoch = Callable[[Epoch, Model], bool]
"""Called with the model in evaluation mode; returning False ends the training."""


@dataclass(kw_only=True)
class Progress:
    """A training by steps on its way.

    Attributes:
        model: as the last epoch left it.
        optimizer: its optimizer.
        scheduler: of the learning rate.
        device: where it runs.
        epochs: how many are done.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    device: torch.device
    epochs: int = 0

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next epoch depends on besides images and settings: tensors by name, and JSON values."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        inner = self.optimizer.state_dict()
        for index, values in inner["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        rates = [group["lr"] for group in inner["param_groups"]]
        return tensors, {"epochs": self.epochs, "steps": self.scheduler.last_epoch, "rates": rates}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            RuntimeError, KeyError: if it is another model's.
        """
        prefix = "model."
        self.model.load_state_dict({n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)})
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, part = name.split(".", 2)
                parameter = parameters[int(index)]
                # The fused kernels walk through memory, so a moment has to lie there as its parameter does.
                like = torch.empty_like(parameter, dtype=value.dtype) if value.shape == parameter.shape else value
                moments.setdefault(int(index), {})[part] = like.copy_(value) if like is not value else value.clone()
        inner = self.optimizer.state_dict()
        for group, rate in zip(inner["param_groups"], values["rates"], strict=True):
            group["lr"] = rate
        self.optimizer.load_state_dict({**inner, "state": moments})
        self.scheduler.load_state_dict(
            {
                **self.scheduler.state_dict(),
                "last_epoch": values["steps"],
                "_step_count": values["steps"] + 1,
                "_last_lr": list(values["rates"]),
            }
        )
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.epochs = values["epochs"]


class Keeper(Protocol):
    """Who keeps the state of a training, so that one that was killed goes on from its last epoch."""

    def begin(self, progress: Progress) -> None:
        """Before the first epoch: restore what was kept, if anything was."""

    def after_epoch(self, progress: Progress) -> None:
        """After each epoch that is not the last: keep it."""


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; `cuda:1` is one of several.

    Raises:
        UsageError: if CUDA is asked for and missing.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda needs a CUDA device and torch sees none; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def to_input(batch: Tensor) -> Tensor:
    """uint8 (B, H, W, C) to float32 (B, C, H, W) in [-1, 1]; a permuted view, so channels-last in memory."""
    return batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def schedule(step: int, total: int, warmup_ratio: float) -> float:
    """Factor of the learning rate: a linear warm-up, then half a cosine to 0 (Loshchilov and Hutter 2017)."""
    warmup = int(warmup_ratio * total)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


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
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        model = build().to(device)
        if isinstance(model, ClosedFormModel):
            _solve(model, images, rows, settings, after_epoch)
        elif isinstance(model, GradientModel):
            _descend(model, images, rows, settings, after_epoch, keeper)
        else:
            raise TypeError(f"{type(model).__name__} is trained otherwise")
    return model


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
    optimizer, scheduler = make_optimizer(model, settings, steps)
    loss_function = LOSSES[settings.loss]
    progress = Progress(model=model, optimizer=optimizer, scheduler=scheduler, device=device)
    if keeper is not None:
        keeper.begin(progress)
    for number in range(progress.epochs + 1, settings.epochs + 1):
        started = time.perf_counter()
        model.train()
        order = rows[torch.randperm(len(rows), device=device)]
        total = torch.zeros((), device=device)
        for step in range(steps):
            clean = to_input(images[order[step * batch_size : (step + 1) * batch_size]])
            reconstruction, loss = model.training_pass(
                add_noise(clean, settings.noise_scale),
                settings.latent_noise_scale,
                ((number - 1) * steps + step) / (settings.epochs * steps),
            )
            if reconstruction is not None:
                loss = loss + loss_function(clean, reconstruction)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
            total += loss.detach()
        epoch = finish_epoch(number, total, steps, batch_size, started)
        model.eval()
        progress.epochs = number
        if after_epoch is not None and not after_epoch(epoch, model):
            break
        if keeper is not None and number < settings.epochs:
            keeper.after_epoch(progress)


def make_optimizer(
    model: nn.Module, settings: TrainSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW over all parameters, and the schedule over `settings.epochs` epochs of `steps` steps."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: schedule(step, settings.epochs * steps, settings.warmup_ratio)
    )
    return optimizer, scheduler


def finish_epoch(number: int, total: Tensor, steps: int, batch_size: int, started: float) -> Epoch:
    """The epoch that began at `started` (`time.perf_counter`), where `total` is the sum of its steps' losses.

    Raises:
        DivergedError: if the loss is not finite.
    """
    mean_loss = float(total) / steps
    seconds = time.perf_counter() - started
    if not math.isfinite(mean_loss):
        raise DivergedError(f"the training loss became {mean_loss} in epoch {number}; lower the learning rate")
    return Epoch(number, mean_loss, steps * batch_size / seconds)
