"""The training loops that train.py compares, which says there what each does."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
import torch._dynamo.utils
from _images import SIDE
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.families import Model, preset
from ensemble_ad.families.model import GradientModel
from ensemble_ad.training import loop
from ensemble_ad.training.device import choose_precision
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

CROP = 196 / 256


class Case(NamedTuple):
    """What is trained: uint8 (n, 64, 64, 3) images, held-out ones, and how."""

    name: str
    crop: bool
    batch_size: int
    epochs: int
    images: np.ndarray
    held_out: np.ndarray
    device: torch.device


class Timing(NamedTuple):
    """Seconds of preparation and of each epoch, and the held-out loss after each."""

    prepare: float
    epochs: list[float]
    losses: list[float]


class Published(Dataset[Tensor]):
    """The course's data set: a tensor (N, C, H, W) of uint8, transformed whenever an image is asked for."""

    def __init__(self, images: Tensor, *, crop: bool) -> None:
        from torchvision import transforms

        resize = [transforms.Resize(256), transforms.CenterCrop(196), transforms.Resize(SIDE)] if crop else []
        self.images = images
        self.transform = transforms.Compose(
            [
                transforms.Lambda(lambda x: x.to(torch.float32)),
                *resize,
                transforms.Lambda(lambda x: 2.0 * x / 255.0 - 1.0),
            ]
        )

    def __getitem__(self, index: int) -> Tensor:
        transformed: Tensor = self.transform(self.images[index])
        return transformed

    def __len__(self) -> int:
        return len(self.images)


class Cached(Dataset[Tensor]):
    """Images that were cropped once, as they are."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def __len__(self) -> int:
        return len(self.images)


def build(case: Case) -> GradientModel:
    """The model, whose weights are drawn from torch's global generator."""
    model = preset(case.name)[1].architecture.build((3, SIDE, SIDE))
    assert isinstance(model, GradientModel)
    return model


def cropped(images: np.ndarray, crop: bool) -> np.ndarray:
    """The images, or with `crop` what the published crop leaves of them."""
    if not crop:
        return images
    return apply(images, Preprocess(crop=(CROP, CROP), size=(SIDE, SIDE), channels=3, via=256))


def held_out_loss(model: nn.Module, case: Case) -> float:
    """Mean squared error a pixel of the held-out images."""
    images = torch.from_numpy(cropped(case.held_out, case.crop)).to(case.device)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        parts = [to_input(part) for part in torch.split(images, 128)]
        loss = sum(float((model(p).reconstruction - p).square().sum()) for p in parts) / images.numel()
    model.train(was_training)
    return loss


def by_loader(case: Case, *, tuned: bool = False, cached: bool = False) -> Timing:
    """The notebook's loop, in its three forms."""
    started = time.perf_counter()
    torch.manual_seed(0)
    images = torch.from_numpy(cropped(case.images, case.crop) if cached else case.images).permute(0, 3, 1, 2)
    dataset = Cached(images.contiguous()) if cached else Published(images.contiguous(), crop=case.crop)
    on_gpu = case.device.type == "cuda"
    loader = DataLoader(
        dataset,
        case.batch_size,
        shuffle=True,
        drop_last=True,
        pin_memory=tuned and on_gpu,
        num_workers=(8 if on_gpu else 2) if tuned else 0,
        persistent_workers=tuned,
    )
    model = build(case).to(case.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True if tuned else None)
    autocast = torch.autocast(case.device.type, torch.bfloat16) if tuned else nullcontext()
    prepared = time.perf_counter() - started
    epochs, losses = [], []
    for _ in range(case.epochs):
        started = time.perf_counter()
        total = []
        for batch in loader:
            image = batch.to(case.device, non_blocking=tuned).float()
            if cached:
                image = image / 127.5 - 1
            with autocast:
                reconstruction, extra = model.training_pass(image, 0.0, torch.zeros((), device=case.device))
                assert reconstruction is not None
                loss = nn.functional.mse_loss(reconstruction.float(), image) + extra
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total.append(loss.item())
        epochs.append(time.perf_counter() - started)
        losses.append(held_out_loss(model, case))
    return Timing(prepared, epochs, losses)


def by_ensad(
    case: Case,
    precision: str = "auto",
    *,
    compiled: bool = False,
    eager: bool = False,
    rate: float = 1e-3,
    longer: float = 1.0,
) -> Timing:
    """`loop.train`, preprocessing included."""
    chosen = choose_precision(precision, case.device)
    settings = TrainSettings(
        epochs=round(case.epochs * longer), batch_size=case.batch_size, precision=chosen, learning_rate=rate
    )
    started = time.perf_counter()
    images = torch.from_numpy(cropped(case.images, case.crop)).to(case.device)
    rows = torch.arange(len(images), device=case.device)
    prepared = time.perf_counter() - started
    epochs, losses = [], []
    begun = time.perf_counter()

    def after_epoch(epoch: loop.Epoch, model: Model) -> bool:
        nonlocal begun
        epochs.append(time.perf_counter() - begun)
        losses.append(held_out_loss(model, case))
        begun = time.perf_counter()
        return True

    def made() -> GradientModel:
        model = build(case).to(memory_format=torch.channels_last)
        if compiled:
            model.training_pass = torch.compile(model.training_pass, fullgraph=True)  # type: ignore[method-assign]
        return model

    with patch.object(loop, "suited", lambda step, device: step) if eager else nullcontext():
        loop.train(made, images, rows, settings, after_epoch=after_epoch)
    if compiled and (graphs := torch._dynamo.utils.counters["stats"]["unique_graphs"]) > 1:
        raise SystemExit(f"{case.name} was compiled {graphs} times")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return Timing(prepared, epochs, losses)


METHODS: dict[str, Callable[[Case], Timing]] = {
    "notebook": by_loader,
    "tuned": partial(by_loader, tuned=True),
    "cached": partial(by_loader, cached=True),
    "ensad": by_ensad,
    "ensad-fp32": partial(by_ensad, precision="fp32"),
    "ensad-double": partial(by_ensad, rate=2e-3),
    "ensad-longer": partial(by_ensad, rate=2e-3, longer=1.5),
    "ensad-eager": partial(by_ensad, eager=True),
    "compiled": partial(by_ensad, compiled=True),
}
