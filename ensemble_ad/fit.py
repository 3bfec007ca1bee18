"""From a recipe to a cached member: preprocess, train, keep the best epoch, score, save; and back to a model."""

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
from ensemble_ad.score import LatentReference, Scores, error_vectors, fit_latent
from ensemble_ad.split import split_rows
from ensemble_ad.train import DivergedError, Epoch, train
from ensemble_ad.version import __version__

# An evaluation after every epoch looks at this many test images; the finished member is scored on all.
_TEST_IMAGES_AN_EPOCH = 2000
_LATENT_IMAGES = 2000
_PREPROCESSED = "preprocessed"
_MODEL, _LATENT = "model.", "latent."
_LATENT_KINDS = "latent_"

AfterEpoch = Callable[[Epoch, Judgement], None]


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A data set as one recipe sees it; images are uint8 (N, H, W, C) on the device.

    Attributes:
        train: all training images, of which `rows` are trained on.
        rows: int64 (n,).
        reference: the held-out ones.
        test: all test images.
        glance: int64 (g,), the test images that are looked at after each epoch.
    """

    train: Tensor
    rows: Tensor
    reference: Tensor
    test: Tensor
    glance: npt.NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset, recipe: Recipe, studies: Path, device: torch.device) -> "_Prepared":
        split = split_rows(len(dataset.train), dataset.fingerprint, recipe.subset)
        train_images = _to_device(dataset.train, recipe, studies, device)
        return cls(
            train=train_images,
            rows=torch.from_numpy(split.train).to(device),
            reference=train_images[torch.from_numpy(split.reference).to(device)],
            test=_to_device(dataset.test, recipe, studies, device),
            glance=_glance(len(dataset.test), dataset.fingerprint),
        )


@dataclass
class _Judge:
    """Judges each epoch, and keeps the weights of the best."""

    goal: Objective
    recipe: Recipe
    images: _Prepared
    label: npt.NDArray[np.int8] | None
    after_epoch: AfterEpoch | None
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = float("nan")
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        glance = torch.from_numpy(self.images.glance).to(self.images.test.device)
        self._glance_images = self.images.test[glance]
        self._glance_label = None if self.label is None else self.label[self.images.glance]

    def epoch(self, epoch: Epoch, model: Model) -> bool:
        """Judge one; False when the patience has run out."""
        judgement = self._judge(
            error_vectors(model, self.images.reference), error_vectors(model, self._glance_images), self._glance_label
        )
        self.history.append(
            {"epoch": epoch.number, "loss": epoch.loss, "value": judgement.value, "rate": epoch.images_per_second}
        )
        if self.best_epoch == 0 or self.goal.better(judgement.value, self.best_value):
            self.best_epoch, self.best_value = epoch.number, judgement.value
            self.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if self.after_epoch is not None:
            self.after_epoch(epoch, judgement)
        return self.recipe.patience is None or epoch.number - self.best_epoch < self.recipe.patience

    def finished(self, reference: dict[str, Scores], test: dict[str, Scores]) -> Judgement:
        """Judge all test images, by the same kinds of error as the epochs: without the latent distances."""
        kinds = [name for name in reference if not name.startswith(_LATENT_KINDS)]
        return self._judge({k: reference[k] for k in kinds}, {k: test[k] for k in kinds}, self.label)

    def _judge(
        self, reference: dict[str, Scores], test: dict[str, Scores], label: npt.NDArray[np.int8] | None
    ) -> Judgement:
        for kind, values in (*reference.items(), *test.items()):
            if not np.isfinite(values).all():
                raise DivergedError(f"the error vectors are not finite ({kind}); lower the learning rate")
        pixels = int(np.prod(self.recipe.preprocess.shape))
        return self.goal.judge(Evidence(reference=reference, test=test, pixels=pixels, label=label))


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
    family(recipe.family).check_shape(recipe.preprocess.shape)
    images = _Prepared.of(dataset, recipe, studies, device)
    judge = _Judge(objective(recipe.objective), recipe, images, label, after_epoch)
    started = time.perf_counter()
    model = train(lambda: untrained(recipe), images.train, images.rows, recipe.training, after_epoch=judge.epoch)
    trained = time.perf_counter()
    model.load_state_dict(judge.best_weights)
    model.eval()
    latent_rows = torch.linspace(0, len(images.rows) - 1, min(len(images.rows), _LATENT_IMAGES), device=device).long()
    latent = fit_latent(model, images.train[images.rows[latent_rows]])
    reference = error_vectors(model, images.reference, latent)
    test = error_vectors(model, images.test, latent)
    judgement = judge.finished(reference, test)
    separation = statistics.separation(reference[judgement.column], test[judgement.column])
    info = {
        "recipe": recipe.as_json(),
        "objective": {"name": recipe.objective, "direction": judge.goal.direction, **judgement._asdict()},
        "separation": {"value": separation.value, "standard_error": separation.standard_error},
        "best_epoch": judge.best_epoch,
        "history": judge.history,
        "parameters": count_parameters(model),
        "seconds": {"train": round(trained - started, 3), "score": round(time.perf_counter() - trained, 3)},
        "environment": _environment(device),
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        **(notes or {}),
    }
    weights = {_MODEL + name: value for name, value in model.state_dict().items()}
    weights |= {_LATENT + name: value for name, value in vars(latent).items()}
    cache.save_data_record(studies, data_record(dataset))
    return cache.save_member(
        studies,
        recipe.key,
        info,
        reference=reference,
        test=test,
        weights={name: value.cpu().numpy() for name, value in weights.items()},
    )


def load_model(member: cache.Member, device: torch.device) -> tuple[Model, LatentReference]:
    """A member's trained model, in evaluation mode, and where the bottlenecks of its training images lie.

    Raises:
        StorageError: if the weights are missing or damaged.
    """
    from safetensors.torch import load_file

    arrays = load_file(member.weights_path(), device=str(device))
    model = untrained(Recipe.from_json(member.info["recipe"]))
    model.load_state_dict({k.removeprefix(_MODEL): v for k, v in arrays.items() if k.startswith(_MODEL)})
    latent = {k.removeprefix(_LATENT): v for k, v in arrays.items() if k.startswith(_LATENT)}
    return model.to(device).eval(), LatentReference(**latent)


def untrained(recipe: Recipe) -> Model:
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
