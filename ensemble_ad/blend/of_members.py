"""From cached members to a saved blend: choose columns, stack them, weight them, keep the result."""

import time
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ensemble_ad.blend import blend_scores
from ensemble_ad.blend import saved as saved_blend
from ensemble_ad.blend.auto import fit_auto
from ensemble_ad.blend.result import total_score
from ensemble_ad.blend.saved import LEVEL, SavedBlend
from ensemble_ad.errors import DataError, StorageError, UsageError
from ensemble_ad.files.json_file import json_hash
from ensemble_ad.members.choose import Term
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import DamagedError, Member
from ensemble_ad.statistics import Estimate, rank_correlations, separation_many
from ensemble_ad.statistics.estimate import two_sided_quantile

COLUMN_CHOICES = ("main", "all")
# Those of `reconstruction.ERROR_KINDS` and `score.LatentReference`, which import torch; a test holds them together.
_SHARED_KINDS = ("rss", "mae", "top", "gradient", "ssim", "latent_mahalanobis", "latent_knn")

# Of the cross-fitted share: what makes it sharp, and still takes less than a second.
_SHARE_ROWS = 5_000
_SHARE_COLUMNS = 50
_SHARE_LEAST_ROWS = 40
_SHARE_SURE = 3.0  # standard errors that a threshold is charged: a low one is right, but sees few images
Columns = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


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
    info = {
        "data": members[0].data,
        "members": [member.key for member in members],
        "families": sorted({member.family for member in members}),
        "terms": [term.text for term in terms],
        "method": made.method,
        "asked_method": "given" if term_weights is not None else method,
        "normaliser": made.normaliser,
        "explanation": made.explanation,
        "weights": {column: float(weight) for column, weight in zip(names, made.weights, strict=True)},
        "separation": {"value": made.separation.value, "standard_error": made.separation.standard_error},
        "anomaly_share": anomaly_share,
        "share": None if share is None else {"value": share.value, "standard_error": share.standard_error},
        "correlation": {key: value for key, value in correlation.items() if np.isfinite(value)},
        "transductive": any(bool(member.info.get("transductive", False)) for member in members),
        "labels_used": ", ".join(sorted({m.info["recipe"]["labels"] or "" for m in members} - {""})) or "none",
        "seconds": round(time.perf_counter() - started, 3),
    }
    if name is None:
        digest = json_hash([info["data"], info["method"], info["normaliser"], info["weights"]])[:6]
        name = f"{'+'.join(term.text.replace(':', '') for term in terms)[:80]}-{digest}"
    state = {key: np.asarray(value) for key, value in made.state().items()}
    return saved_blend.save_blend(studies, name, info, {"test": state.pop("scores"), **state})


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
                member,
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


def crossfit_share(reference: npt.NDArray[np.floating], test: npt.NDArray[np.floating]) -> Estimate | None:
    """The share of anomalies among the test images, without labels, by the sharpest score that is still sound.

    Where no anomaly scores below a threshold t, F_test(t) / F_reference(t) = 1 - p (see `statistics.estimate_share`).
    A score that was fitted to tell test from reference sees a difference in the very images that it was fitted on,
    anomalies or not, and a single member or a flat mean finds fewer of them. So the rule `auto` is fitted on one half
    of both sides and scores the other, and the other way round. The threshold is chosen on one half's scores, in
    shares of the reference below it and where 1 - F_test / F_reference less three standard errors is largest, and the
    ratio is read off the other half's: the least of many noisy ratios is too small, one that was chosen elsewhere is
    not. The method of the blend plays no part, so blends of the same members tell the same share.

    Args:
        reference: (n, m) scores of held-out normal images, finite; higher = more anomalous.
        test: (k, m) scores of the test images.

    Returns:
        The mean of both halves, not below 0; None where a side has fewer than 40 images. Its standard error is that of
        one ratio, since the choice of rule and threshold takes away what averaging two brings, or half their difference
        where that is larger. Anomalies that score as normal images do are
        not in it, and a test set whose normal images differ from the reference is. Of more than 5,000 images a side,
        and 50 columns, as many are used: images drawn with a fixed seed, columns by separation within the fitted half.
    """
    if min(len(reference), len(test)) < _SHARE_LEAST_ROWS:
        return None
    rng = np.random.default_rng(0)
    halves = [np.array_split(rng.permutation(len(side))[:_SHARE_ROWS], 2) for side in (reference, test)]
    curves = []
    for fitted, scored in ((0, 1), (1, 0)):
        low, high = reference[halves[0][fitted]], test[halves[1][fitted]]
        some = np.arange(low.shape[1])
        if len(some) > _SHARE_COLUMNS:
            order = np.argsort(-separation_many(low, high).value, kind="stable")
            some = np.sort(order[:_SHARE_COLUMNS])
        rule = fit_auto(low[:, some], high[:, some])
        base = total_score(rule.parts, reference[np.ix_(halves[0][scored], some)])
        curves.append(_excess(base, total_score(rule.parts, test[np.ix_(halves[1][scored], some)])))
    found = []
    for (here, error_here), (there, error_there) in (curves, curves[::-1]):
        chosen = int(np.argmax(np.where(np.isfinite(error_there), here - _SHARE_SURE * error_here, -np.inf)))
        found.append((float(there[chosen]), float(error_there[chosen])))
    (one, one_error), (two, two_error) = found
    value = min(1.0, max(0.0, (one + two) / 2))
    error = max(sqrt((one_error**2 + two_error**2) / 2), abs(one - two) / 2)
    half = two_sided_quantile(LEVEL) * error
    return Estimate(
        value=value,
        low=max(0.0, value - half),
        high=min(1.0, value + half),
        standard_error=error,
        level=LEVEL,
        method="1 - F_test / F_reference, rule and threshold cross-fitted",
        note="an estimate without labels",
    )


def _excess(reference: Floats, test: Floats) -> tuple[Floats, Floats]:
    """1 - F_test / F_reference at 1%, 2%, ... 99% of the reference, and its standard error.

    Infinite where fewer than a tenth of the reference, or 10 of it, lie below.
    """
    n, k = len(reference), len(test)
    thresholds = np.quantile(reference, np.arange(1, 100) / 100)
    of_reference = np.searchsorted(np.sort(reference), thresholds, side="right") / n
    of_test = np.searchsorted(np.sort(test), thresholds, side="right") / k
    # Half an image keeps the standard error above zero where no test image lies below the threshold.
    least = np.maximum(of_test, 0.5 / k)
    error = least / of_reference * np.sqrt((1 - least) / (least * k) + (1 - of_reference) / (of_reference * n))
    return 1 - of_test / of_reference, np.where(of_reference * n >= max(10, n / 10), error, np.inf)
