"""From cached members to a saved blend: choose columns, stack them, weight them, keep the result."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ensemble_ad.blend import blend_scores
from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.blend.saved import SavedBlend, save_blend
from ensemble_ad.blend.share import crossfit_share
from ensemble_ad.errors import DataError, StorageError, UsageError
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.members.choose import Term
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.measured import Measured
from ensemble_ad.members.store import DamagedError, Member
from ensemble_ad.statistics import Estimate, rank_correlations

COLUMN_CHOICES = ("main", "all")
# Those of `reconstruction.ERROR_KINDS` and `score.LatentReference`, which import torch; a test holds them together.
_SHARED_KINDS = ("rss", "mae", "top", "gradient", "ssim", "latent_mahalanobis", "latent_knn")
Columns = npt.NDArray[np.float32]


def columns_of(member: Member, choice: str) -> list[str]:
    """Which of a member's error kinds enter a blend.

    `main` is the kind that its objective found best and whatever its family adds of its own (a classifier's logit);
    `all` is every kind.

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
) -> SavedBlend:
    """Blend the members of `terms` and save the result.

    Saved with it, for the comparison table: the share of anomalies (the user's, and `crossfit_share`'s), the rank
    correlation of each member's main column with the blend, and whether a member is transductive.

    Args:
        studies: the studies' folder.
        terms: what `--members` stood for; all of one data set.
        method: a name of `blend.METHODS`, or `auto`.
        columns: `main` or `all`.
        term_weights: one a term, shared equally among its columns; instead of a method.
        anomaly_share: what the user knows of the share of anomalies in the test set.
        name: of the blend; None makes one of the terms and a hash.
        seed: of methods that draw.

    Raises:
        StorageError: if a member is damaged or the blend cannot be written.
        UsageError: for a name that is taken, or an unknown method.
    """
    started = time.perf_counter()
    names: list[str] = []
    weights: list[float] = []
    rows = _rows(studies, terms[0].members[0])
    for i, term in enumerate(terms):
        of_term = [f"{member.key}/{kind}" for member in term.members for kind in columns_of(member, columns)]
        names += of_term
        if term_weights is not None:
            weights += [term_weights[i] / len(of_term)] * len(of_term)
    reference_columns, test_columns = _stacked([member for term in terms for member in term.members], columns, rows)
    made = blend_scores(
        reference_columns,
        test_columns,
        method="given" if term_weights is not None else method,
        weights=np.array(weights) if term_weights is not None else None,
        names=names,
        anomaly_share=anomaly_share,
        seed=seed,
    )
    members = [member for term in terms for member in term.members]
    share = crossfit_share(reference_columns, test_columns)
    place = {name: position for position, name in enumerate(names)}
    main = [place[f"{member.key}/{member.main_column}"] for member in members]
    found = rank_correlations([test_columns[:, column] for column in main], made.scores)
    correlation = {member.key: float(value) for member, value in zip(members, found, strict=True)}
    info = BlendInfo(
        name=name or "",
        data=members[0].data,
        members=tuple(member.key for member in members),
        families=tuple(sorted({member.family for member in members})),
        terms=tuple(term.text for term in terms),
        method=made.method,
        asked_method="given" if term_weights is not None else method,
        normaliser=made.normaliser,
        explanation=made.explanation,
        weights={column: float(weight) for column, weight in zip(names, made.weights, strict=True)},
        separation=_measured(made.separation),
        anomaly_share=anomaly_share,
        share=None if share is None else _measured(share),
        correlation={key: value for key, value in correlation.items() if np.isfinite(value)},
        transductive=any(member.info.transductive for member in members),
        labels_used=", ".join(sorted({m.info.recipe.labels or "" for m in members} - {""})) or "none",
        seconds=round(time.perf_counter() - started, 3),
    )
    if name is None:
        digest = json_hash([info.data, info.method, info.normaliser, dict(info.weights)])[:6]
        info = replace(info, name=f"{'+'.join(term.text.replace(':', '') for term in terms)[:80]}-{digest}")
    state = {key: np.asarray(value) for key, value in made.state().items()}
    return save_blend(studies, info, {"test": state.pop("scores"), **state})


def _measured(estimate: Estimate) -> Measured:
    return Measured(value=estimate.value, standard_error=estimate.standard_error)


def _stacked(members: Sequence[Member], choice: str, rows: tuple[int, int]) -> tuple[Columns, Columns]:
    """float32 (n, m) and (k, m) of the chosen kinds of all members; read one by one into the one place they have."""
    chosen = [[member.columns.index(kind) for kind in columns_of(member, choice)] for member in members]
    width, done = sum(map(len, chosen)), 0
    sides: list[Columns] = []
    for member, kinds in zip(members, chosen, strict=True):
        found = member.vectors()
        reference, test = found
        if not len(test):
            raise DataError(
                f"{member.key} was made without test images, so there is nothing to blend; put them into "
                "testingset.npy or test/ and tune again"
            )
        if (len(reference), len(test)) != rows:
            raise DamagedError(
                f"{member.key} has scores of {len(reference)} and {len(test)} images, and its data set {rows[0]} "
                f"and {rows[1]}; it is of another data set",
                key=member.key,
                folder=member.folder,
            )
        sides = sides or [np.empty((n, width), dtype=np.float32, order="F") for n in rows]
        for side, values in zip(sides, found, strict=True):
            side[:, done : done + len(kinds)] = values[:, kinds]
        done += len(kinds)
    return sides[0], sides[1]


def _rows(studies: Path, member: Member) -> tuple[int, int]:
    """Held-out and test images of a member's data set: by its record, or by the member where that cannot be read."""
    try:
        record = load_data_record(studies, member.data)
    except StorageError:
        reference, test = member.vectors()
        return len(reference), len(test)
    return record.n_reference, len(record.ids)
