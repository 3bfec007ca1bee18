"""From a recipe to a cached member: preprocess, train, keep the best epoch, score, save."""

import platform
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.errors import StorageError
from ensemble_ad.families import Model, family
from ensemble_ad.families.model import count_parameters
from ensemble_ad.members.data_record import DataRecord, save_data_record
from ensemble_ad.members.info import ChosenBy, MemberInfo, Seconds, TrialInfo
from ensemble_ad.members.objectives import objective
from ensemble_ad.members.recipe_info import RecipeInfo
from ensemble_ad.members.save import remove_half_written, save_member, weights_beside
from ensemble_ad.members.store import Member, has_member, load_member
from ensemble_ad.training.checkpoint import Checkpoint, State
from ensemble_ad.training.cross_fitted import train as train_cross_fitted
from ensemble_ad.training.judge import Judge, JudgedBy, OnJudged, Resumed, Scored
from ensemble_ad.training.load import untrained, weights_of
from ensemble_ad.training.loop import train
from ensemble_ad.training.prepared import KeptPrepared
from ensemble_ad.training.progress import Progress
from ensemble_ad.training.recipe import Recipe, check_objective
from ensemble_ad.training.references import References
from ensemble_ad.version import __version__

_OWN_SCORES_ALONE = JudgedBy()


@dataclass(kw_only=True)
class _Keeper:
    """Keeps the state of the training and of its judge in the member's checkpoint; a `progress.Keeper`."""

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
        """Seconds that the training has taken so far; killed processes count too."""
        return self.seconds_before + time.perf_counter() - self.started


def fit_member(
    dataset: Dataset,
    recipe: Recipe,
    *,
    studies: Path,
    device: torch.device,
    judged_by: JudgedBy = _OWN_SCORES_ALONE,
    after_epoch: OnJudged | None = None,
    resumed: Resumed | None = None,
    trial: TrialInfo | None = None,
    preset: str | None = None,
    prepared: KeptPrepared | None = None,
) -> Member:
    """Train what the recipe says and cache it; a cached member is returned as it is.

    A training that was killed or interrupted before goes on from its last checkpoint. The checkpoint stays where the
    training is interrupted or cannot write, and is removed in every other end.

    Args:
        dataset: the images of `recipe.data`.
        recipe: what to make.
        studies: the studies' folder.
        device: where to train.
        judged_by: what the objective needs besides the model's own scores.
        after_epoch: told of each epoch and its judgement; may raise to give the training up.
        resumed: told of the epochs before, where the training goes on from a checkpoint.
        trial: the trial that asks for the member.
        preset: name of the published system that the member is.
        prepared: the images as trials before saw them.

    Raises:
        StorageError: if the member cannot be written.
        DivergedError: if the loss stops being finite.
        UsageError: if the family does not take the images' size, or the objective does not suit it.
    """
    checkpoint = Checkpoint(studies, recipe.key)
    if has_member(studies, recipe.key):
        checkpoint.remove()
        return load_member(studies, recipe.key)
    kind = family(recipe.family)
    dataset.check_unchanged()
    try:
        kind.check_shape(recipe.preprocess.shape)
        check_objective(recipe.objective, kind, len(dataset.test))
        remove_half_written(studies, recipe.key)
        images = (prepared or KeptPrepared()).of(dataset, recipe, studies, device, judged_by.pseudo)
        save_data_record(studies, DataRecord.of(dataset))  # before the training, since it may be refused
        judge = Judge(objective(recipe.objective), recipe, images, judged_by, after_epoch, resumed)
        trained = _trained(recipe, judge, _Keeper(checkpoint=checkpoint, judge=judge), device)
        kept = {name: value.cpu().numpy() for name, value in weights_of(trained.model, trained.references).items()}
        with weights_beside(studies, recipe.key, kept) as weights:
            info, scored = _scored(recipe, judge, trained, device)
            dataset.check_unchanged()  # scores may have been read off the file
            member = save_member(
                studies,
                replace(info, trial=trial, preset=preset),
                reference=scored.reference,
                test=scored.test or {column: np.empty(0, np.float32) for column in scored.reference},
                weights=weights,
                pseudo=scored.pseudo,
                damaged=None if judged_by.pseudo is None else judged_by.pseudo.damaged,
            )
    except StorageError:
        raise
    except Exception:
        checkpoint.remove()
        raise
    checkpoint.remove()
    return member


class _Trained(NamedTuple):
    """A trained model with the best epoch's weights.

    Attributes:
        model: in evaluation mode.
        references: where its bottlenecks and residuals of training images lie.
        seconds: what the training took.
        scoring_since: when it ended (`time.perf_counter`).
    """

    model: Model
    references: References
    seconds: float
    scoring_since: float


def _trained(recipe: Recipe, judge: Judge, keeper: _Keeper, device: torch.device) -> _Trained:
    """Train, and take the best epoch's weights."""
    model = _train(recipe, judge, keeper, device)
    seconds, ended = keeper.seconds(), time.perf_counter()
    model.load_state_dict(judge.best_weights)
    model.eval()
    return _Trained(model, judge.references(model), seconds, ended)


def _scored(recipe: Recipe, judge: Judge, trained: _Trained, device: torch.device) -> tuple[MemberInfo, Scored]:
    """Score all images, and say what is known of the member."""
    scored = judge.score(trained.model, trained.references)
    judge.images.give_back()  # else they stay in memory while the next trial begins
    judgement, objectives = judge.finished(scored)
    info = MemberInfo(
        key=recipe.key,
        recipe=RecipeInfo.from_json(recipe.as_json()),
        transductive=family(recipe.family).transductive,
        objective=ChosenBy(name=recipe.objective, direction=judge.goal.direction, **judgement._asdict()),
        objectives=objectives,
        separation=objectives.separation,
        best_epoch=judge.best_epoch,
        history=tuple(judge.history),
        parameters=count_parameters(trained.model),
        seconds=Seconds(train=round(trained.seconds, 3), score=round(time.perf_counter() - trained.scoring_since, 3)),
        environment=_environment(device),
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
    return info, scored


def _train(recipe: Recipe, judge: Judge, keeper: _Keeper, device: torch.device) -> Model:
    images, build = judge.images, partial(untrained, recipe)
    if images.folds is None:
        return train(build, images.train, images.rows, recipe.training, after_epoch=judge.epoch, keeper=keeper)
    return train_cross_fitted(
        build, images.train, images.rows, images.test, images.folds, recipe.training, judge.epoch, keeper
    )


def _environment(device: torch.device) -> dict[str, str]:
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
