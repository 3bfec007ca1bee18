"""From a recipe to a cached member: preprocess, train, keep the best epoch, score, save; and back to a model."""

import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.families import Family, Model, family
from ensemble_ad.families.model import count_parameters
from ensemble_ad.members.data_record import DataRecord, save_data_record
from ensemble_ad.members.objectives import objective
from ensemble_ad.members.store import Member, has_member, load_member, remove_half_written, save_member
from ensemble_ad.training import cross_fitted as transductive
from ensemble_ad.training.checkpoint import Checkpoint, State
from ensemble_ad.training.error_vectors import LatentReference
from ensemble_ad.training.judge import AfterEpoch as AfterEpoch
from ensemble_ad.training.judge import Help as Help
from ensemble_ad.training.judge import Judge, Prepared, Resumed
from ensemble_ad.training.judge import PseudoImages as PseudoImages
from ensemble_ad.training.loop import train
from ensemble_ad.training.progress import Progress
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.version import __version__

_MODEL, _LATENT = "model.", "latent."
_NO_HELP = Help()


@dataclass(kw_only=True)
class _Keeper:
    """Keeps training and judge in the member's checkpoint; see `train.Keeper`."""

    checkpoint: Checkpoint
    judge: Judge
    started: float = field(default_factory=time.perf_counter)
    seconds_before: float = 0.0

    def begin(self, progress: Progress) -> None:
        state = self.checkpoint.read()
        if state is not None:
            progress.restore(state.tensors, state.values)
            self.judge.restore(state)
            self.seconds_before = state.values["seconds"]

    def after_epoch(self, progress: Progress) -> None:
        def state() -> State:
            tensors, values = progress.state()
            judged = self.judge.state()
            return State({**tensors, **judged.tensors}, {**values, **judged.values, "seconds": self.seconds()})

        self.checkpoint.write_if_due(state)

    def seconds(self) -> float:
        """Spent on the training so far, by killed processes too."""
        return self.seconds_before + time.perf_counter() - self.started


def fit_member(
    dataset: Dataset,
    recipe: Recipe,
    *,
    studies: Path,
    device: torch.device,
    help: Help = _NO_HELP,
    after_epoch: AfterEpoch | None = None,
    resumed: Resumed | None = None,
    notes: dict[str, Any] | None = None,
) -> Member:
    """Train what the recipe says and cache it; a cached member is returned as it is.

    A training that was killed or interrupted before goes on from its last checkpoint. Its checkpoint stays where this
    one is interrupted or cannot write, and is removed when it ends otherwise.

    Args:
        dataset: the images of `recipe.data`.
        recipe: what to make.
        studies: the studies' folder.
        device: where to train.
        help: what the objective needs besides the model's own scores.
        after_epoch: told of each epoch; may raise to give the training up.
        resumed: told of the epochs before, where the training goes on from a checkpoint.
        notes: further JSON values for `member.json`, such as the trial.

    Raises:
        StorageError: if the member cannot be written.
        DivergedError: if training does.
        UsageError: if the family does not take the images' size, or the objective does not suit it.
    """
    checkpoint = Checkpoint(studies, recipe.key)
    if has_member(studies, recipe.key):
        checkpoint.remove()
        return load_member(studies, recipe.key)
    try:
        member = _make_member(dataset, recipe, studies, device, help, after_epoch, resumed, notes or {}, checkpoint)
    except StorageError:
        raise
    except Exception:
        checkpoint.remove()
        raise
    checkpoint.remove()
    return member


def _make_member(
    dataset: Dataset,
    recipe: Recipe,
    studies: Path,
    device: torch.device,
    help: Help,
    after_epoch: AfterEpoch | None,
    resumed: Resumed | None,
    notes: dict[str, Any],
    checkpoint: Checkpoint,
) -> Member:
    kind, goal = family(recipe.family), objective(recipe.objective)
    kind.check_shape(recipe.preprocess.shape)
    check_objective(recipe.objective, kind, len(dataset.test))
    remove_half_written(studies, recipe.key)
    images = Prepared.of(dataset, recipe, studies, device, help.pseudo)
    judge = Judge(goal, recipe, images, help, after_epoch, resumed)
    keeper = _Keeper(checkpoint=checkpoint, judge=judge)
    model = _train(recipe, images, judge, keeper, device)
    train_seconds, trained = keeper.seconds(), time.perf_counter()
    model.load_state_dict(judge.best_weights)
    model.eval()
    latents = judge.latents(model)
    scored = judge.score(model, latents)
    images.give_back()  # else the next trial begins with this one's
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
        "seconds": {"train": round(train_seconds, 3), "score": round(time.perf_counter() - trained, 3)},
        "environment": _environment(device),
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        **notes,
    }
    weights = {_MODEL + name: value for name, value in model.state_dict().items()}
    for name, latent in latents.items():
        weights |= {f"{_LATENT}{name}.{part}": value for part, value in vars(latent).items()}
    save_data_record(studies, DataRecord.of(dataset))
    return save_member(
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


def _train(recipe: Recipe, images: Prepared, judge: Judge, keeper: _Keeper, device: torch.device) -> Model:
    build = lambda: untrained(recipe)  # noqa: E731
    if images.folds is None:
        return train(build, images.train, images.rows, recipe.training, after_epoch=judge.epoch, keeper=keeper)
    return transductive.train(
        build, images.train, images.rows, images.test, images.folds, recipe.training, judge.epoch, keeper
    )


def load_model(member: Member, device: torch.device) -> tuple[Model, dict[str, LatentReference]]:
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
