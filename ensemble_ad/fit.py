"""From a recipe to a cached member: preprocess, train, keep the best epoch, score, save."""

import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ensemble_ad import cache, statistics
from ensemble_ad.families import Model, family
from ensemble_ad.families._base import count_parameters
from ensemble_ad.images import Dataset, Images, ImageSet
from ensemble_ad.objective import Evidence, Judgement, Objective, objective
from ensemble_ad.preprocess import cached
from ensemble_ad.recipe import Recipe
from ensemble_ad.score import error_vectors, fit_latent
from ensemble_ad.split import split_rows
from ensemble_ad.train import Epoch, train
from ensemble_ad.version import __version__

# An evaluation after every epoch looks at this many test images; the finished member is scored on all.
_TEST_IMAGES_AN_EPOCH = 2000
_LATENT_IMAGES = 2000
_PREPROCESSED = "preprocessed"

AfterEpoch = Callable[[Epoch, Judgement], None]


@dataclass
class _BestEpoch:
    """The best epoch so far and its weights."""

    goal: Objective
    number: int = 0
    judgement: Judgement | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, number: int, judgement: Judgement, model: Model) -> None:
        if self.judgement is None or self.goal.better(judgement.value, self.judgement.value):
            self.number, self.judgement = number, judgement
            self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}


def fit_member(
    dataset: Dataset,
    recipe: Recipe,
    *,
    studies: Path,
    device: torch.device,
    label: npt.NDArray[np.int8] | None = None,
    after_epoch: AfterEpoch | None = None,
    notes: dict[str, Any] | None = None,
) -> cache.Member:
    """Train what the recipe says and cache it; a cached member is returned as it is.

    Args:
        dataset: the images of `recipe.data`.
        recipe: what to make.
        studies: the studies' folder.
        device: where to train.
        label: (k,) of 0 and 1 for the test images, only for an objective that needs them.
        after_epoch: told of each epoch; may raise to give the training up.
        notes: further JSON values for `member.json`, such as the trial.

    Raises:
        StorageError: if the member cannot be written.
        DivergedError: if training does.
        UsageError: if the family does not take the images' size.
    """
    if cache.has_member(studies, recipe.key):
        return cache.load_member(studies, recipe.key)
    kind = family(recipe.family)
    kind.check_shape(recipe.preprocess.shape)
    goal = objective(recipe.objective)
    split = split_rows(len(dataset.train), dataset.fingerprint, recipe.subset)
    train_images = _to_device(dataset.train, recipe, studies, device)
    test_images = _to_device(dataset.test, recipe, studies, device)
    reference_images = train_images[torch.from_numpy(split.reference).to(device)]
    glance = _glance(len(test_images), dataset.fingerprint)
    glance_images = test_images[torch.from_numpy(glance).to(device)]
    glance_label = None if label is None else label[glance]
    pixels = int(np.prod(recipe.preprocess.shape))

    best = _BestEpoch(goal)
    history: list[dict[str, float]] = []
    started = time.perf_counter()

    def judge(epoch: Epoch, model: Model) -> bool:
        judgement = goal.judge(
            Evidence(
                reference=error_vectors(model, reference_images),
                test=error_vectors(model, glance_images),
                pixels=pixels,
                label=glance_label,
            )
        )
        history.append(
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "value": judgement.value,
                "rate": epoch.images_per_second,
            }
        )
        best.offer(epoch.number, judgement, model)
        if after_epoch is not None:
            after_epoch(epoch, judgement)
        return recipe.patience is None or epoch.number - best.number < recipe.patience

    rows = torch.from_numpy(split.train).to(device)
    model = train(lambda: kind_model(recipe), train_images, rows, recipe.training, after_epoch=judge)
    trained = time.perf_counter()
    model.load_state_dict(best.weights)
    model.eval()
    latent_rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _LATENT_IMAGES), device=device).long()]
    latent = fit_latent(model, train_images[latent_rows])
    reference = error_vectors(model, reference_images, latent)
    test = error_vectors(model, test_images, latent)
    judged = {name: values for name, values in reference.items() if not name.startswith("latent")}
    judgement = goal.judge(Evidence(reference=judged, test={n: test[n] for n in judged}, pixels=pixels, label=label))
    weights = {
        **model.state_dict(),
        "latent.mean": latent.mean,
        "latent.whitening": latent.whitening,
        "latent.bank": latent.bank,
    }
    separation = statistics.separation(reference[judgement.column], test[judgement.column])
    info = {
        "recipe": recipe.as_json(),
        "objective": {
            "name": recipe.objective,
            "direction": goal.direction,
            "value": judgement.value,
            "standard_error": judgement.standard_error,
            "column": judgement.column,
        },
        "separation": {"value": separation.value, "standard_error": separation.standard_error},
        "best_epoch": best.number,
        "history": history,
        "parameters": count_parameters(model),
        "seconds": {"train": round(trained - started, 3), "score": round(time.perf_counter() - trained, 3)},
        "environment": _environment(device),
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        **(notes or {}),
    }
    cache.save_data_record(studies, data_record(dataset))
    return cache.save_member(
        studies,
        recipe.key,
        info,
        reference=reference,
        test=test,
        weights={name: value.cpu().numpy() for name, value in weights.items()},
    )


def kind_model(recipe: Recipe) -> Model:
    """The untrained model of a recipe; convolutions get the channels-last layout that the images have."""
    model = recipe.architecture.build(recipe.preprocess.shape)
    return model.to(memory_format=torch.channels_last)


def data_record(dataset: Dataset) -> cache.DataRecord:
    """What later commands need to know of `dataset`."""
    return cache.DataRecord(
        fingerprint=dataset.fingerprint,
        ids=dataset.test.ids,
        n_train=len(dataset.train),
        n_reference=len(split_rows(len(dataset.train), dataset.fingerprint).reference),
        shape=(dataset.side, dataset.side, dataset.channels),
        source=str(dataset.train.source.parent),
    )


def _to_device(image_set: ImageSet, recipe: Recipe, studies: Path, device: torch.device) -> Tensor:
    images: Images = cached(image_set, recipe.preprocess, studies / _PREPROCESSED)
    with warnings.catch_warnings():
        # The memory map is read-only, and nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(images)).to(device)


def _glance(n_test: int, fingerprint: str) -> npt.NDArray[np.int64]:
    if n_test <= _TEST_IMAGES_AN_EPOCH:
        return np.arange(n_test)
    drawn = np.random.default_rng(int(fingerprint, 16) + 1).choice(n_test, _TEST_IMAGES_AN_EPOCH, replace=False)
    return np.sort(drawn)


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        "ensemble_ad": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "machine": platform.platform(),
    }
