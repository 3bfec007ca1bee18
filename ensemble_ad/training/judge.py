"""The judge of one training: it judges the model after each epoch, and keeps the weights of the best epoch."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ensemble_ad.errors import DivergedError
from ensemble_ad.families import Model
from ensemble_ad.members.info import EpochInfo
from ensemble_ad.members.measured import Believed, EstimatedShare, Measured, Objectives, Synthetic
from ensemble_ad.members.objectives import (
    AUTO,
    OBJECTIVES,
    Evidence,
    Judgement,
    Objective,
    implausible_kinds,
    loss,
    separation,
    synthetic,
    synthetic_kinds,
)
from ensemble_ad.statistics import SURE, estimate_share
from ensemble_ad.statistics.arrays import Floats32, Floats64, Labels
from ensemble_ad.statistics.belief import Belief
from ensemble_ad.training.checkpoint import State
from ensemble_ad.training.error_vectors import error_vectors, fit_references, reference_rows
from ensemble_ad.training.loop import Epoch
from ensemble_ad.training.prepared import Prepared, PseudoImages
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.references import Reference, References

# An epoch is judged by references of half as many training images as the finished model.
_IMAGES_AN_EPOCH, _IMAGES = 1000, 2000
_BEST = "best."

OnJudged = Callable[[Epoch, Judgement], None]
"""Called after each epoch with the judgement of its model; may raise to give the training up."""
Resumed = Callable[[Mapping[int, float]], None]
"""Called when a training goes on from a checkpoint, with the values of the epochs before by their numbers."""


@dataclass(frozen=True, kw_only=True)
class JudgedBy:
    """What the objective may need besides the model's own scores; None where it needs it not.

    Attributes:
        pseudo: the pseudo-anomalies; a member that is judged with them has `synthetic` on record.
        belief: how much the test images say beside them.
        consensus: float64 (k,), mean rank of the test images over the trials before.
        label: (k,) of 0 and 1, the test images' labels.
    """

    pseudo: PseudoImages | None = None
    belief: Belief = field(default_factory=Belief)
    consensus: Floats64 | None = None
    label: Labels | None = None


class Scored(NamedTuple):
    """A model's error vectors, float32 (N,) by kind of error; those of pseudo-anomalies by their kind first."""

    reference: dict[str, Floats32]
    test: dict[str, Floats32]
    pseudo: dict[str, dict[str, Floats32]]


@dataclass
class Judge:
    """Judges the model after each epoch, and keeps the weights of the best epoch.

    Attributes:
        goal: the objective that judges.
        recipe: what the model is made of.
        images: the data set as the recipe sees it.
        judged_by: what the objective needs besides the model's own scores.
        on_judged: told of each judgement.
        resumed: told of the epochs before, where the training goes on from a checkpoint.
        history: the epochs so far.
        best_epoch: number of the best epoch so far; 0 before the first.
        best_value: the objective's value there.
        best_weights: the model's weights there, by name.
    """

    goal: Objective
    recipe: Recipe
    images: Prepared
    judged_by: JudgedBy
    on_judged: OnJudged | None
    resumed: Resumed | None = None
    history: list[EpochInfo] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = float("nan")
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def epoch(self, epoch: Epoch, model: Model) -> bool:
        """Judge the model of an epoch; False when the patience has run out."""
        self.images.give_back()
        needs = self.goal.needs | self.goal.takes
        references = self.references(model, _IMAGES_AN_EPOCH) if needs & {"test", "pseudo"} else {}
        glance = self.images.glance if "test" in needs else self.images.glance[:0]
        scored = self.score(model, references, test_rows=glance, pseudo="pseudo" in self.goal.needs)
        judgement = self.goal.judge(self._evidence(scored, glance.cpu().numpy()))
        self.history.append(
            EpochInfo(
                number=epoch.number,
                loss=epoch.loss,
                value=judgement.value,
                rate=epoch.images_per_second,
                parts=epoch.parts,
            )
        )
        if self.best_epoch == 0 or self.goal.better(judgement.value, self.best_value):
            self.best_epoch, self.best_value = epoch.number, judgement.value
            self.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if self.on_judged is not None:
            self.on_judged(epoch, judgement)
        return self.recipe.patience is None or epoch.number - self.best_epoch < self.recipe.patience

    def state(self) -> State:
        """What the judge knows of the epochs so far, for a checkpoint."""
        values = {
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "history": [epoch.to_json() for epoch in self.history],
        }
        return State({_BEST + name: value for name, value in self.best_weights.items()}, values)

    def restore(self, state: State) -> None:
        """Go on from what `state` gave, and tell `resumed` of the epochs before."""
        self.best_epoch, self.best_value = state.values["best_epoch"], state.values["best_value"]
        self.history[:] = map(EpochInfo.from_json, state.values["history"])
        device = self.images.train.device
        self.best_weights = {
            name.removeprefix(_BEST): value.to(device)
            for name, value in state.tensors.items()
            if name.startswith(_BEST)
        }
        if self.resumed is not None:
            self.resumed({epoch.number: epoch.value for epoch in self.history})

    def references(self, model: Model, most: int = _IMAGES) -> dict[str, Reference]:
        """Where the bottlenecks and the residuals of `most` training images lie."""
        if self.images.folds is not None:
            return {}  # the networks of a transductive model share no space
        self.images.give_back()  # the test images, which need not be held beside the training images
        rows = reference_rows(self.images.rows, most)
        fitted = fit_references(model, self.images.train[rows], flips=self.recipe.flips)
        self.images.give_back()
        return fitted

    def score(
        self, model: Model, references: References, *, test_rows: Tensor | None = None, pseudo: bool = True
    ) -> Scored:
        """Score the reference, the test images (only `test_rows`, where given) and the pseudo-anomalies."""
        folds, test, tiles = self.images.folds, self.images.test, self.images.tiles
        test_fold = None if folds is None else folds.test
        if test_rows is not None:
            rows = (test_rows[:, None] * tiles + torch.arange(tiles, device=test_rows.device)).flatten()
            test, test_fold = test[rows], None if test_fold is None else test_fold[rows]
        scored = partial(error_vectors, model, references=references, flips=self.recipe.flips, tiles=tiles)
        return Scored(
            scored(self.images.reference, fold=None if folds is None else folds.reference),
            scored(test, fold=test_fold) if len(test) else {},
            {kind: scored(images) for kind, images in (self.images.pseudo if pseudo else {}).items()},
        )

    def finished(self, scored: Scored) -> tuple[Judgement, Objectives]:
        """Judge the finished model by all test images and the same kinds of error as after each epoch.

        Returns:
            The judgement, and what the other objectives say of the kind of error that it chose.
        """
        every = self._evidence(scored, self._every_test_row())
        judgement = self.goal.judge(every)
        chosen = self._evidence(_only(scored, judgement.column), self._every_test_row())
        column = judgement.column
        known = Objectives()
        if chosen.test:
            share = estimate_share(chosen.reference[column], chosen.test[column], level=SURE)
            known = Objectives(
                separation=_measured(separation(chosen)),
                implausible=tuple(implausible_kinds(every)),
                share=EstimatedShare(value=share.value, low=share.low),
            )
        if chosen.pseudo:
            found = _measured(synthetic(chosen))
            kinds = synthetic_kinds(chosen, column)
            known = replace(known, synthetic=Synthetic(**asdict(found), kinds=kinds))
        if self.goal == OBJECTIVES[AUTO]:
            belief = self.judged_by.belief
            known = replace(known, believed=Believed(share=belief.share, weight=belief.weight))
        if "rss" in scored.reference:
            known = replace(known, loss=_measured(loss(every)))
        return judgement, known

    def _every_test_row(self) -> npt.NDArray[np.int64]:
        return np.arange(len(self.images.test) // self.images.tiles)

    def _evidence(self, scored: Scored, test_rows: npt.NDArray[np.int64]) -> Evidence:
        for columns in (scored.reference, scored.test, *scored.pseudo.values()):
            for kind, values in columns.items():
                if not np.isfinite(values).all():
                    raise DivergedError(f"the error vectors are not finite ({kind}); lower the learning rate")

        label, crowd, pseudo = self.judged_by.label, self.judged_by.consensus, self.judged_by.pseudo
        return Evidence(
            reference=scored.reference,
            test=scored.test if len(test_rows) else {},
            pixels=int(np.prod(self.recipe.preprocess.shape)),
            pseudo=scored.pseudo,
            normal_rows=None if pseudo is None else pseudo.normal_rows,
            belief=self.judged_by.belief,
            consensus=None if crowd is None else crowd[test_rows],
            label=None if label is None else label[test_rows],
        )


def _only(scored: Scored, column: str) -> Scored:
    return Scored(
        {column: scored.reference[column]},
        {column: scored.test[column]} if scored.test else {},
        {kind: {column: columns[column]} for kind, columns in scored.pseudo.items()},
    )


def _measured(judgement: Judgement) -> Measured:
    return Measured(value=judgement.value, standard_error=judgement.standard_error)
