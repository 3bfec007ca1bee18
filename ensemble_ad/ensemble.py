"""From cached members to a saved blend: choose columns, stack them, weight them, keep the result."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ensemble_ad import saved_blend, storage
from ensemble_ad.blend import blend_scores
from ensemble_ad.cache import Member
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.saved_blend import SavedBlend
from ensemble_ad.selection import Term

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
    own = [name for name in member.columns if name not in _SHARED_KINDS and name != member.main_column]
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
    references: list[Columns] = []
    tests: list[Columns] = []
    weights: list[float] = []
    for i, term in enumerate(terms):
        of_term = [(member, kind) for member in term.members for kind in columns_of(member, columns)]
        for member in term.members:
            reference, test = member.vectors()
            if references and (len(reference), len(test)) != (len(references[0]), len(tests[0])):
                raise StorageError(
                    f"{member.key} has scores of {len(reference)} and {len(test)} images, the others of "
                    f"{len(references[0])} and {len(tests[0])}; it is of another data set, remove {member.folder}"
                )
            chosen = [member.columns.index(kind) for kind in columns_of(member, columns)]
            references.append(reference[:, chosen])
            tests.append(test[:, chosen])
        names += [f"{member.key}/{kind}" for member, kind in of_term]
        if term_weights is not None:
            weights += [term_weights[i] / len(of_term)] * len(of_term)
    made = blend_scores(
        np.concatenate(references, axis=1),
        np.concatenate(tests, axis=1),
        method="given" if term_weights is not None else method,
        weights=np.array(weights) if term_weights is not None else None,
        names=names,
        anomaly_share=anomaly_share,
        seed=seed,
    )
    members = [member for term in terms for member in term.members]
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
        "labels_used": ", ".join(sorted({m.info["recipe"]["labels"] or "" for m in members} - {""})) or "none",
        "seconds": round(time.perf_counter() - started, 3),
    }
    if name is None:
        digest = storage.json_hash([info["data"], info["method"], info["normaliser"], info["weights"]])[:6]
        name = f"{'+'.join(term.text.replace(':', '') for term in terms)[:80]}-{digest}"
    state = made.state()
    return saved_blend.save_blend(studies, name, info, {"test": state.pop("scores"), **state})
