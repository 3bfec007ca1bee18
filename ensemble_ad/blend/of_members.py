"""From cached members to a blend: choose columns, stack them, weight them; the result can be saved."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ensemble_ad.blend import blend_scores
from ensemble_ad.blend.columns import Batch, Columns, main_columns, side_by_side
from ensemble_ad.blend.foreseen import foreseen_auc
from ensemble_ad.blend.guard import surely_inverted
from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.blend.methods import PRIOR
from ensemble_ad.blend.saved import SavedBlend, save_blend
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.members.choose import Term
from ensemble_ad.members.column import Column
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.measured import Measured
from ensemble_ad.members.pseudo_vectors import PseudoVectors
from ensemble_ad.members.store import Member
from ensemble_ad.statistics import Estimate, rank_correlations, separation_many
from ensemble_ad.statistics.arrays import Floats32, Floats64
from ensemble_ad.statistics.implied import Share

COLUMN_CHOICES = ("main", "all")
_CHANCE = 0.5
# The kinds of `reconstruction.ERROR_KINDS` and of `references.DISTANCES`, whose modules import torch; a test compares
# them.
_SHARED_KINDS = (
    "rss", "mae", "top", "gradient", "ssim", "latent_mahalanobis", "latent_knn", "latent_lof", "residual_mahalanobis",
    "residual_knn", "residual_lof",
)  # fmt: skip


class Unsaved(NamedTuple):
    """A blend that is not saved yet: what is known of it, and the arrays that it keeps, by name."""

    info: BlendInfo
    arrays: Mapping[str, npt.NDArray[Any]]

    def save(self, studies: Path, *, overwrite: bool = False) -> SavedBlend:
        """Save it among `studies`; see `saved.save_blend`."""
        return save_blend(studies, self.info, self.arrays, overwrite=overwrite)


def columns_of(member: Member, choice: str) -> list[str]:
    """Which of a member's error kinds enter a blend.

    `main` is the kind that its objective found best and those that only its family has (a classifier's logit); `all` is
    every kind.

    Raises:
        UsageError: for another choice.
    """
    if choice not in COLUMN_CHOICES:
        raise UsageError(f"--columns must be one of {', '.join(COLUMN_CHOICES)}, not {choice!r}")
    if choice == "all":
        return list(member.columns)
    own = [
        name
        for name in member.columns
        if name not in _SHARED_KINDS and not name.startswith("latent_") and name != member.main_column
    ]
    return [member.main_column, *own]


def blend_members(
    studies: Path,
    terms: Sequence[Term],
    *,
    method: str,
    columns: str = "main",
    term_weights: Sequence[float] | None = None,
    anomaly_share: float | None = None,
    name: str | None = None,
    seed: int = 0,
    batch: Batch | None = None,
) -> Unsaved:
    """Blend the members of `terms`.

    Kept with it, for the comparison table: the share of anomalies (the user's, else `crossfit_share`'s), the rank
    correlation of each member's main column with the blend, and whether a member is transductive.

    A main column that is surely inverted, test below reference by three standard errors, enters negated where its
    member ranks pseudo-anomalies low too (`synthetic` below 0.5): two sorts of anomalies then agree. Its name says so.

    Args:
        studies: the studies' folder.
        terms: what `--members` stood for; all of one data set.
        method: a name of `blend.METHODS`, or `auto`.
        columns: `main` or `all`.
        term_weights: a weight a term, shared equally among its columns; they take the place of a method.
        anomaly_share: the share of anomalies in the test set, where the user knows it.
        name: the blend's name; None makes one of the terms and a hash.
        seed: the seed of methods that draw.
        batch: test images that came after the members, which were made without any.

    Raises:
        StorageError: if a member is damaged.
        UsageError: for an unknown method.
    """
    started = time.perf_counter()
    members = [member for term in terms for member in term.members]
    found = _stacked(members, columns, _rows(studies, members[0]), batch)
    later = {} if batch is None else {"later": found.test.copy()}
    names = _inverting([name for term in terms for name in _column_names(term, columns)], members, found)
    reference, test, pseudo, transductive = found
    asked_method = method if term_weights is None else "given"
    made = blend_scores(
        reference,
        test,
        method=asked_method,
        weights=None if term_weights is None else _shared_out(term_weights, terms, columns),
        names=names,
        anomaly_share=anomaly_share,
        seed=seed,
        pseudo=pseudo,
        transductive=transductive,
    )
    share = made.share
    info = BlendInfo(
        name=name or "",
        data=members[0].data,
        members=tuple(member.key for member in members),
        families=tuple(sorted({member.family for member in members})),
        terms=tuple(term.text for term in terms),
        method=made.method,
        asked_method=asked_method,
        normaliser=made.normaliser,
        explanation=made.explanation + _about_inverted(names),
        weights={column: float(weight) for column, weight in zip(names, made.weights, strict=True)},
        separation=None if made.separation is None else _measured(made.separation),
        batch=None if batch is None else batch.fingerprint,
        foreseen=foreseen_auc(found) if made.method == PRIOR and not len(test) and len(pseudo) > 1 else None,
        anomaly_share=anomaly_share,
        share=None if share is None or share.given else _measured(share),
        shift=None if share is None else Measured(value=share.shift, standard_error=share.shift_error),
        withheld="" if share is None else share.withheld,
        correlation=_correlations(members, dict(zip(names, test.T, strict=True)), made.scores) if len(test) else {},
        transductive=bool(transductive.any()),
        labels_used=_labels_of(members),
        seconds=round(time.perf_counter() - started, 3),
    )
    if name is None:
        info = replace(info, name=_name_of(info, terms))
    state = {key: np.asarray(value) for key, value in made.state().items()}
    return Unsaved(info, {"test": state.pop("scores"), **later, **state})


def _inverting(names: Sequence[str], members: Sequence[Member], found: Columns) -> list[str]:
    """Negate, in place, the columns that are to enter inverted; the names of all, those marked."""
    low = {
        Column(member.key, member.main_column).name
        for member in members
        if (synthetic := member.info.objectives.synthetic) is not None and synthetic.value < _CHANCE
    }
    some = [i for i, name in enumerate(names) if name in low]
    turned = set()
    if some and len(found.test):
        surely = surely_inverted(separation_many(found.reference[:, some], found.test[:, some]))
        turned = {i for i, inverted in zip(some, surely, strict=True) if inverted}
    found.negate(sorted(turned))
    return [Column.of(name)._replace(inverted=i in turned).name for i, name in enumerate(names)]


def _about_inverted(names: Sequence[str]) -> str:
    turned = [name for name in names if Column.of(name).inverted]
    if not turned:
        return ""
    return f" Negated, since test images and pseudo-anomalies both score below normal ones: {', '.join(turned)}."


def _labels_of(members: Sequence[Member]) -> str:
    return ", ".join(sorted({member.info.recipe.labels or "" for member in members} - {""})) or "none"


def _column_names(term: Term, choice: str) -> list[str]:
    return [Column(member.key, kind).name for member in term.members for kind in columns_of(member, choice)]


def _shared_out(term_weights: Sequence[float], terms: Sequence[Term], choice: str) -> Floats64:
    """float64 (m,): a weight a column; the columns of a term share its weight equally."""
    counts = [len(_column_names(term, choice)) for term in terms]
    return np.repeat(np.divide(term_weights, counts), counts)


def _correlations(members: Sequence[Member], columns: Mapping[str, Floats32], scores: Floats64) -> dict[str, float]:
    """Rank correlation of each member's main column with the blend's scores; a constant column has none."""
    found = rank_correlations([columns[name] for name in main_columns(members, columns)], scores)
    return {m.key: float(value) for m, value in zip(members, found, strict=True) if np.isfinite(value)}


def _name_of(info: BlendInfo, terms: Sequence[Term]) -> str:
    known = [info.data, info.method, info.normaliser, dict(info.weights)]
    digest = json_hash(known if info.batch is None else [*known, info.batch])[:6]
    return f"{'+'.join(term.text.replace(':', '') for term in terms)[:80]}-{digest}"


def _measured(estimate: Estimate | Share) -> Measured:
    return Measured(value=estimate.value, standard_error=estimate.standard_error)


def _stacked(members: Sequence[Member], choice: str, rows: tuple[int, int], batch: Batch | None) -> Columns:
    """The chosen columns of all members, each member read into its place in the result."""
    chosen = [[member.columns.index(kind) for kind in columns_of(member, choice)] for member in members]
    width, done = sum(map(len, chosen)), 0
    sides: list[Floats32] = []
    damaged: list[tuple[PseudoVectors | None, list[int]]] = []
    for member, kinds in zip(members, chosen, strict=True):
        reference, test, pseudo = member.all_vectors()
        member.check_rows(len(reference), len(test), rows)
        test = test if batch is None else batch.vectors[member.key]
        sides = sides or [np.empty((len(s), width), dtype=np.float32, order="F") for s in (reference, test)]
        for side, values in zip(sides, (reference, test), strict=True):
            side[:, done : done + len(kinds)] = values[:, kinds]
        damaged.append((pseudo, kinds))
        done += len(kinds)
    transductive = np.repeat([member.info.transductive for member in members], [len(kinds) for kinds in chosen])
    return Columns(sides[0], sides[1], side_by_side(damaged), transductive)


def _rows(studies: Path, member: Member) -> tuple[int, int]:
    """How many held-out and test images a member's data set has: its record says, or else the member itself."""
    try:
        record = load_data_record(studies, member.data)
    except StorageError:
        reference, test = member.vectors()
        return len(reference), len(test)
    return record.n_reference, len(record.ids)
