"""From a recipe to a cached member: preprocess, train, keep the best epoch, score, save; and back to a model."""

import platform
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ensemble_ad import cache, transductive
from ensemble_ad.errors import UsageError
from ensemble_ad.families import Family, Model, family
from ensemble_ad.families._base import CrossFittedArchitecture, count_parameters
from ensemble_ad.images import Dataset, Images, ImageSet
from ensemble_ad.objective import (
    SHARE_LEVEL,
    Evidence,
    Judgement,
    Objective,
    implausible_kinds,
    loss,
    objective,
    separation,
    synthetic,
    synthetic_kinds,
)
from ensemble_ad.preprocess import apply, cached
from ensemble_ad.pseudo_anomalies import pseudo_anomalies, split_reference
from ensemble_ad.recipe import Recipe
from ensemble_ad.score import LatentReference, LatentReferences, Scores, error_vectors, fit_latents
from ensemble_ad.split import split_rows
from ensemble_ad.statistics import estimate_share
from ensemble_ad.train import DivergedError, Epoch, train
from ensemble_ad.transductive import Folds, deal
from ensemble_ad.version import __version__

# An evaluation after every epoch looks at this many test images; the finished member is scored on all.
_TEST_IMAGES_AN_EPOCH = 2000
_LATENT_IMAGES = 2000
_PREPROCESSED = "preprocessed"
_MODEL, _LATENT = "model.", "latent."
_LATENT_KINDS = "latent_"

AfterEpoch = Callable[[Epoch, Judgement], None]


@dataclass(frozen=True, kw_only=True)
class PseudoImages:
    """Held-out normal images made into pseudo-anomalies, once for all trials.

    Attributes:
        images: uint8 (j, side, side, C) a kind, as the data set has them: each recipe crops and resizes them.
        normal_rows: int64 (r,), the rows of the reference that none was made of.
    """

    images: Mapping[str, Images]
    normal_rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset) -> "PseudoImages":
        """Those of a data set; they depend on its images alone."""
        images, rows = dataset.train.images, split_rows(len(dataset.train), dataset.fingerprint).reference
        split = split_reference(len(rows), dataset.fingerprint, image_bytes=images[0].nbytes)
        made = pseudo_anomalies(images[rows[split.turned]], seed=int(dataset.fingerprint, 16))
        return cls(images=made, normal_rows=split.normal)


@dataclass(frozen=True, kw_only=True)
class Help:
    """What a trial is judged by besides its own scores; each only where the objective needs it.

    Attributes:
        pseudo: the pseudo-anomalies; where they are given, `synthetic` is recorded of every member.
        consensus: float64 (k,), mean rank of the test images over the trials before.
        label: (k,) of 0 and 1 for the test images.
    """

    pseudo: PseudoImages | None = None
    consensus: npt.NDArray[np.float64] | None = None
    label: npt.NDArray[np.int8] | None = None


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A data set as one recipe sees it; images are uint8 (N, H, W, C) on the device.

    Attributes:
        train: all training images, of which `rows` are trained on.
        rows: int64 (n,).
        reference: the held-out ones.
        test: all test images.
        glance: int64 (g,), the test images that are looked at after each epoch.
        pseudo: the pseudo-anomalies, a kind.
        folds: where the family is transductive.
    """

    train: Tensor
    rows: Tensor
    reference: Tensor
    test: Tensor
    glance: Tensor
    pseudo: Mapping[str, Tensor]
    folds: Folds | None

    @classmethod
    def of(
        cls, dataset: Dataset, recipe: Recipe, studies: Path, device: torch.device, pseudo: PseudoImages | None
    ) -> "_Prepared":
        split = split_rows(len(dataset.train), dataset.fingerprint, recipe.subset)
        train_images = _to_device(dataset.train, recipe, studies, device)
        architecture = recipe.architecture
        damaged = {} if pseudo is None else pseudo.images
        return cls(
            train=train_images,
            rows=torch.from_numpy(split.train).to(device),
            reference=train_images[torch.from_numpy(split.reference).to(device)],
            test=_to_device(dataset.test, recipe, studies, device),
            glance=torch.from_numpy(_glance(len(dataset.test), dataset.fingerprint)).to(device),
            pseudo={kind: torch.from_numpy(apply(x, recipe.preprocess)).to(device) for kind, x in damaged.items()},
            folds=deal(len(split.reference), len(dataset.test), architecture.folds, recipe.training.seed, device)
            if isinstance(architecture, CrossFittedArchitecture)
            else None,
        )


class _Scored(NamedTuple):
    """A model's error vectors: float32 by kind of error, the pseudo-anomalies' by kind of pseudo-anomaly too."""

    reference: dict[str, Scores]
    test: dict[str, Scores]
    pseudo: dict[str, dict[str, Scores]]


@dataclass
class _Judge:
    """Judges each epoch, and keeps the weights of the best."""

    goal: Objective
    recipe: Recipe
    images: _Prepared
    help: Help
    after_epoch: AfterEpoch | None
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = float("nan")
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = family(self.recipe.family)
        # A classifier's features are what it is for; a bottleneck's distances are left to the blend.
        self._judges_latents = not kind.reconstructs and not kind.transductive

    def epoch(self, epoch: Epoch, model: Model) -> bool:
        """Judge one; False when the patience has run out."""
        latents = self.latents(model) if self._judges_latents else {}
        glance = self.images.glance if "test" in self.goal.needs else self.images.glance[:0]
        scored = self.score(model, latents, test_rows=glance, pseudo="pseudo" in self.goal.needs)
        judgement = self.goal.judge(self._evidence(scored, glance.cpu().numpy()))
        self.history.append(
            {"epoch": epoch.number, "loss": epoch.loss, "value": judgement.value, "rate": epoch.images_per_second}
        )
        if self.best_epoch == 0 or self.goal.better(judgement.value, self.best_value):
            self.best_epoch, self.best_value = epoch.number, judgement.value
            self.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if self.after_epoch is not None:
            self.after_epoch(epoch, judgement)
        return self.recipe.patience is None or epoch.number - self.best_epoch < self.recipe.patience

    def latents(self, model: Model) -> dict[str, LatentReference]:
        """Where the bottlenecks of some training images lie."""
        rows = self.images.rows
        some = torch.linspace(0, len(rows) - 1, min(len(rows), _LATENT_IMAGES), device=rows.device).long()
        return fit_latents(model, self.images.train[rows[some]], flips=self.recipe.flips)

    def score(
        self, model: Model, latents: LatentReferences, *, test_rows: Tensor | None = None, pseudo: bool = True
    ) -> _Scored:
        """Score the reference, the test images (of `test_rows` only, where given) and the pseudo-anomalies."""
        folds, flips, test = self.images.folds, self.recipe.flips, self.images.test
        test_fold = None if folds is None else folds.test
        if test_rows is not None:
            test, test_fold = test[test_rows], None if test_fold is None else test_fold[test_rows]
        return _Scored(
            error_vectors(
                model, self.images.reference, latents, fold=None if folds is None else folds.reference, flips=flips
            ),
            error_vectors(model, test, latents, fold=test_fold, flips=flips) if len(test) else {},
            {
                kind: error_vectors(model, images, latents, flips=flips)
                for kind, images in (self.images.pseudo if pseudo else {}).items()
            },
        )

    def finished(self, scored: _Scored) -> tuple[Judgement, dict[str, Any]]:
        """Judge all test images, by the same kinds of error as the epochs.

        Returns:
            The judgement, and what the other objectives say of the kind of error that it chose.
        """
        rows = np.arange(len(self.images.test)) if "test" in self.goal.needs else np.arange(0)
        judgement = self.goal.judge(self._evidence(scored, rows))
        chosen = self._evidence(_only(scored, judgement.column), np.arange(len(self.images.test)))
        values: dict[str, Any] = {}
        if chosen.test:
            values["separation"] = _values(separation(chosen))
            values["implausible"] = implausible_kinds(self._evidence(scored, np.arange(len(self.images.test))))
            column = judgement.column
            share = estimate_share(chosen.reference[column], chosen.test[column], level=SHARE_LEVEL)
            values["share"] = {"value": share.value, "low": share.low}
        if chosen.pseudo and not family(self.recipe.family).transductive:
            values["synthetic"] = {**_values(synthetic(chosen)), "kinds": synthetic_kinds(chosen, judgement.column)}
        if "rss" in scored.reference:
            values["loss"] = _values(loss(self._evidence(scored, rows)))
        return judgement, values

    def _evidence(self, scored: _Scored, test_rows: npt.NDArray[np.int64]) -> Evidence:
        for columns in (scored.reference, scored.test, *scored.pseudo.values()):
            for kind, values in columns.items():
                if not np.isfinite(values).all():
                    raise DivergedError(f"the error vectors are not finite ({kind}); lower the learning rate")

        def judged(columns: Mapping[str, Scores]) -> dict[str, Scores]:
            return {
                kind: values
                for kind, values in columns.items()
                if self._judges_latents or not kind.startswith(_LATENT_KINDS)
            }

        label, crowd, pseudo = self.help.label, self.help.consensus, self.help.pseudo
        return Evidence(
            reference=judged(scored.reference),
            test=judged(scored.test) if len(test_rows) else {},
            pixels=int(np.prod(self.recipe.preprocess.shape)),
            pseudo={kind: judged(columns) for kind, columns in scored.pseudo.items()},
            normal_rows=None if pseudo is None else pseudo.normal_rows,
            consensus=None if crowd is None else crowd[test_rows],
            label=None if label is None else label[test_rows],
        )


def _only(scored: _Scored, column: str) -> _Scored:
    return _Scored(
        {column: scored.reference[column]},
        {column: scored.test[column]} if scored.test else {},
        {kind: {column: columns[column]} for kind, columns in scored.pseudo.items()},
    )


def _values(judgement: Judgement) -> dict[str, float]:
    return {"value": judgement.value, "standard_error": judgement.standard_error}


def fit_member(
    dataset: Dataset,
    recipe: Recipe,
    *,
    studies: Path,
    device: torch.device,
    help: Help = Help(),
    after_epoch: AfterEpoch | None = None,
    notes: dict[str, Any] | None = None,
) -> cache.Member:
    """Train what the recipe says and cache it; a cached member is returned as it is.

    Args:
        dataset: the images of `recipe.data`.
        recipe: what to make.
        studies: the studies' folder.
        device: where to train.
        help: what the objective needs besides the model's own scores.
        after_epoch: told of each epoch; may raise to give the training up.
        notes: further JSON values for `member.json`, such as the trial.

    Raises:
        StorageError: if the member cannot be written.
        DivergedError: if training does.
        UsageError: if the family does not take the images' size, or the objective does not suit it.
    """
    if cache.has_member(studies, recipe.key):
        return cache.load_member(studies, recipe.key)
    kind, goal = family(recipe.family), objective(recipe.objective)
    kind.check_shape(recipe.preprocess.shape)
    check_objective(recipe.objective, kind, len(dataset.test))
    images = _Prepared.of(dataset, recipe, studies, device, help.pseudo)
    judge = _Judge(goal, recipe, images, help, after_epoch)
    started = time.perf_counter()
    model = _train(recipe, images, judge, device)
    trained = time.perf_counter()
    model.load_state_dict(judge.best_weights)
    model.eval()
    latents = judge.latents(model)
    scored = judge.score(model, latents)
    judgement, objectives = judge.finished(scored)
    info = {
        "recipe": recipe.as_json(),
        "transductive": kind.transductive,
        "objective": {"name": recipe.objective, "direction": goal.direction, **judgement._asdict()},
        "objectives": objectives,
        "separation": objectives.get("separation"),
        "best_epoch": judge.best_epoch,
        "history": judge.history,
        "parameters": count_parameters(model),
        "seconds": {"train": round(trained - started, 3), "score": round(time.perf_counter() - trained, 3)},
        "environment": _environment(device),
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        **(notes or {}),
    }
    weights = {_MODEL + name: value for name, value in model.state_dict().items()}
    for name, latent in latents.items():
        weights |= {f"{_LATENT}{name}.{part}": value for part, value in vars(latent).items()}
    cache.save_data_record(studies, data_record(dataset))
    return cache.save_member(
        studies,
        recipe.key,
        info,
        reference=scored.reference,
        test=scored.test or {column: np.empty(0, np.float32) for column in scored.reference},
        weights={name: value.cpu().numpy() for name, value in weights.items()},
    )


def check_objective(name: str, kind: Family, n_test: int) -> None:
    """Refuse an objective that means nothing for a family, or for a data set of that many test images.

    Raises:
        UsageError: for `loss` without a reconstruction, for `synthetic` or `both` of a transductive family, and for
            what needs test images where there are none.
    """
    needs = objective(name).needs
    if n_test == 0 and kind.transductive:
        raise UsageError(f"{kind.name} is trained on the test images, and there are none")
    if n_test == 0 and "test" in needs:
        raise UsageError(f"the objective {name} needs test images, and there are none; use synthetic")
    if "reconstruction" in needs and not kind.reconstructs:
        raise UsageError(f"the objective {name} needs a reconstruction, and {kind.name} makes none; use separation")
    if "pseudo" in needs and kind.transductive:
        raise UsageError(
            f"the objective {name} says nothing of {kind.name}, which learns the test set's own anomalies; "
            "use separation"
        )


def check_transductive(kind: Family, *, allowed: bool) -> None:
    """Refuse a family that is trained on the test images unless the user allowed it.

    Raises:
        UsageError: if it is and they did not.
    """
    if kind.transductive and not allowed:
        raise UsageError(
            f"{kind.name} is trained on the unlabelled test images; if the rules of your contest or laboratory allow "
            "that, say so with --transductive"
        )


def _train(recipe: Recipe, images: _Prepared, judge: _Judge, device: torch.device) -> Model:
    if images.folds is None:
        return train(lambda: untrained(recipe), images.train, images.rows, recipe.training, after_epoch=judge.epoch)
    return transductive.train(
        lambda: untrained(recipe), images.train, images.rows, images.test, images.folds, recipe.training, judge.epoch
    )


def load_model(member: cache.Member, device: torch.device) -> tuple[Model, dict[str, LatentReference]]:
    """A member's trained model, in evaluation mode, and where the bottlenecks of its training images lie.

    Raises:
        StorageError: if the weights are missing or damaged.
    """
    from safetensors.torch import load_file

    arrays = load_file(member.weights_path(), device=str(device))
    model = untrained(Recipe.from_json(member.info["recipe"]))
    model.load_state_dict({k.removeprefix(_MODEL): v for k, v in arrays.items() if k.startswith(_MODEL)})
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in arrays.items():
        if key.startswith(_LATENT):
            name, _, part = key.removeprefix(_LATENT).rpartition(".")
            parts.setdefault(name, {})[part] = value
    return model.to(device).eval(), {name: LatentReference(**values) for name, values in parts.items()}


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
    if not len(image_set):
        return torch.empty((0, *recipe.preprocess.size, recipe.preprocess.channels), dtype=torch.uint8, device=device)
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
