"""The judge of one training: it judges the model after each epoch, and keeps the weights of the best epoch."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
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

_REFERENCES = 2000
# An epoch is judged by some of the images, so that judging costs a tenth of training: by a seventh as many as the epoch
# trains on, and of each sort by these many at least, and at most: 1,800 tell an AUC to 0.01, and of 100,000
# images they move a fifth of the bytes that training does. The finished model is judged by all.
_SHARE, _LEAST, _LEAST_PSEUDO, _MOST = 1 / 7, 360, 36, 1800
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


class _Glance(NamedTuple):
    """What an epoch is judged by: rows of the reference and of the test images, int64, and pseudo-anomalies of a kind.

    Of the training images that the references are fitted to there are as many as of the reference.
    """

    reference: Tensor
    test: Tensor
    pseudo: int


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
        glance, needs = self._glance(), self.goal.needs | self.goal.takes
        references = self.references(model, len(glance.reference)) if needs & {"test", "pseudo"} else {}
        scored = self.score(model, references, glance)
        judgement = self.goal.judge(self._evidence(scored, glance))
        self.history.append(
            EpochInfo(
                number=epoch.number,
                loss=epoch.loss,
                value=judgement.value,
                rate=epoch.images_per_second,
                parts=epoch.parts,
                refused=epoch.refused,
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

    def _glance(self) -> _Glance:
        """The same images after each epoch, so that epochs compare."""
        seen = self.images
        trained = len(seen.rows) * self.recipe.training.passes // seen.tiles
        kinds = len(seen.pseudo) if "pseudo" in self.goal.needs else 0
        test = seen.glance if "test" in self.goal.needs | self.goal.takes else seen.glance[:0]
        most = min(max(_LEAST, int(trained * _SHARE / 3)), _MOST)
        return _Glance(
            reference=self._spread(seen.reference, most),
            test=reference_rows(test, most) if len(test) else test,
            pseudo=max(_LEAST_PSEUDO, most // kinds) if kinds else 0,
        )

    def _spread(self, images: Tensor, most: int) -> Tensor:
        """int64: which of the images, or of those that these tiles are of, are `most`, evenly spread."""
        return reference_rows(torch.arange(len(images) // self.images.tiles, device=images.device), most)

    def references(self, model: Model, most: int = _REFERENCES) -> dict[str, Reference]:
        """Where the bottlenecks and the residuals of `most` training images lie."""
        if self.images.folds is not None:
            return {}  # the networks of a transductive model share no space
        self.images.give_back()  # the test images, which need not be held beside the training images
        some = self.images.train[reference_rows(self.images.rows, most)]
        self.images.give_back()  # the rows lie all over the training images, which the system has mapped around them
        return fit_references(model, some, flips=self.recipe.flips)

    def score(self, model: Model, references: References, glance: _Glance | None = None) -> Scored:
        """Score the reference, the test images and the pseudo-anomalies: all, or those of `glance`."""
        images, folds = self.images, self.images.folds

        def scored(values: Tensor, seen: Tensor | None = None, fold: Tensor | None = None) -> dict[str, Floats32]:
            if seen is not None:
                values, fold = self._those(values, seen), None if fold is None else self._those(fold, seen)
            if not len(values):
                return {}
            return error_vectors(model, values, references, fold=fold, flips=self.recipe.flips, tiles=images.tiles)

        of_reference, of_test = (None, None) if glance is None else (glance.reference, glance.test)
        return Scored(
            scored(images.reference, of_reference, None if folds is None else folds.reference),
            scored(images.test, of_test, None if folds is None else folds.test),
            {kind: scored(damaged) for kind, damaged in images.pseudo.items()}
            if glance is None
            else self._few_of_each_kind(scored, glance.pseudo),
        )

    def _few_of_each_kind(
        self, scored: Callable[[Tensor], dict[str, Floats32]], most: int
    ) -> dict[str, dict[str, Floats32]]:
        """`most` pseudo-anomalies of each kind, all scored at once: those of one kind would not fill a batch."""
        kinds = self.images.pseudo if most else {}
        seen = {kind: self._spread(damaged, most) for kind, damaged in kinds.items()}
        if not seen:
            return {}
        sizes = np.array([len(rows) for rows in seen.values()])
        of_kinds = self.images.reference.new_empty((sizes.sum() * self.images.tiles, *self.images.reference.shape[1:]))
        for part, kind in zip(torch.split(of_kinds, (sizes * self.images.tiles).tolist()), seen, strict=True):
            part.copy_(self._those(kinds[kind], seen[kind]))
        parts = {error: np.split(values, sizes.cumsum()[:-1]) for error, values in scored(of_kinds).items()}
        return {kind: {error: each[n] for error, each in parts.items()} for n, kind in enumerate(seen)}

    def _those(self, values: Tensor, seen: Tensor) -> Tensor:
        """Of images, or what their tiles have, those that are seen."""
        tiles = self.images.tiles
        return values[(seen[:, None] * tiles + torch.arange(tiles, device=seen.device)).flatten()]

    def finished(self, scored: Scored) -> tuple[Judgement, Objectives]:
        """Judge the finished model by all test images and the same kinds of error as after each epoch.

        Returns:
            The judgement, and what the other objectives say of the kind of error that it chose.
        """
        every = self._evidence(scored)
        judgement = self.goal.judge(every)
        chosen = self._evidence(_only(scored, judgement.column))
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

    def _evidence(self, scored: Scored, glance: _Glance | None = None) -> Evidence:
        for columns in (scored.reference, scored.test, *scored.pseudo.values()):
            for kind, values in columns.items():
                if not np.isfinite(values).all():
                    raise DivergedError(f"the error vectors are not finite ({kind}); lower the learning rate")

        label, crowd, pseudo = self.judged_by.label, self.judged_by.consensus, self.judged_by.pseudo
        normal_rows = None if pseudo is None else pseudo.normal_rows
        test_rows = np.arange(len(self.images.test) // self.images.tiles)
        if glance is not None:
            test_rows = glance.test.cpu().numpy()
            normal_rows = None if normal_rows is None else _places(glance.reference.cpu().numpy(), normal_rows)
        return Evidence(
            reference=scored.reference,
            test=scored.test,
            pixels=int(np.prod(self.recipe.preprocess.shape)),
            pseudo=scored.pseudo,
            normal_rows=normal_rows,
            belief=self.judged_by.belief,
            consensus=None if crowd is None else crowd[test_rows],
            label=None if label is None else label[test_rows],
        )


def _places(rows: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64: where in `rows` those lie that are wanted."""
    return np.flatnonzero(np.isin(rows, wanted))


def _only(scored: Scored, column: str) -> Scored:
    return Scored(
        {column: scored.reference[column]},
        {column: scored.test[column]} if scored.test else {},
        {kind: {column: columns[column]} for kind, columns in scored.pseudo.items()},
    )


def _measured(judgement: Judgement) -> Measured:
    return Measured(value=judgement.value, standard_error=judgement.standard_error)
