"""Whether a blend from elsewhere is sound: all that later commands rely on, tried before they do."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.forest import Forest
from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.blend.result import Blend
from ensemble_ad.blend.rule import Part
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.errors import EnsadError, StorageError, in_one_line
from ensemble_ad.layout import members_folder
from ensemble_ad.members.arrived import check_bombs
from ensemble_ad.members.column import column_name
from ensemble_ad.members.data_record import DataRecord, load_data_record
from ensemble_ad.members.store import Member, load_member
from ensemble_ad.statistics.arrays import Floats64

# A rule of ours has at most five parts and 50 trees in each; what scoring takes grows with both.
_MOST_PARTS, _MOST_TREES = 100, 1_000
# Rows that are scored to see whether the rule gives the scores that are stored, and by how much of their spread it may
# miss: where there are very many rows, a rule keeps only some of their ranks.
_ROWS_TRIED, _TOLERANCE = 5_000, 0.02
_SUM_TOLERANCE = 1e-6


def sound_blend(studies: Path, blend: SavedBlend) -> SavedBlend:
    """`blend`, if it, its members and its rule belong together and score its test images as it says.

    Args:
        studies: a studies' folder that holds the blend, its members, and nothing else.
        blend: the blend.

    Raises:
        EnsadError: naming what is wrong.
    """
    try:
        record = load_data_record(studies, blend.data)
        _check_members(studies, blend.info)
        check_bombs(studies)
        members = [load_member(studies, key) for key in blend.info.members]
        for member in members:
            if member.data != blend.data:
                raise StorageError(f"{member.key} is of another data set")
            member.verify(record)
        scores, rule = blend.scores(), blend.rule()
        if len(scores) != len(record.ids):
            raise StorageError(f"it has {len(scores)} scores of {len(record.ids)} images")
        _check_columns(rule, blend.info, members)
        check_rule(rule)
        _check_scores(rule, scores, members, record)
    except EnsadError:
        raise
    except Exception as error:  # whatever numpy meets in a stranger's arrays
        raise StorageError(in_one_line(error, with_kind=True)) from error
    return blend


def _check_members(studies: Path, info: BlendInfo) -> None:
    """Whether the folder holds the blend's members and no others."""
    found = {folder.name for folder in members_folder(studies).iterdir()}
    if set(info.members) != found:
        raise StorageError(f"it must hold the blend's members, but {sorted(found ^ set(info.members))[:3]} differ")


def _check_columns(rule: Blend, info: BlendInfo, members: Sequence[Member]) -> None:
    """Whether the rule's columns are members', and have the weights that the blend's record shows."""
    columns = {column_name(member.key, kind) for member in members for kind in member.columns}
    unknown = set(rule.names) - columns
    if unknown or len(set(rule.names)) < len(rule.names):
        raise StorageError(f"no member has the columns {sorted(unknown)[:3]}, or one comes twice")
    shown = [info.weights.get(name, np.nan) for name in rule.names]
    if rule.weights.shape != (len(rule.names),) or not np.allclose(shown, rule.weights, rtol=1e-6, atol=1e-9):
        raise StorageError("the weights that it shows are not its rule's")


def check_rule(rule: Blend) -> None:
    """Refuse arrays that do not belong together, numbers that cannot be, and trees that lead out of their table.

    Raises:
        StorageError: if the rule has any of these.
    """
    members = len(rule.names)
    if not 0 < len(rule.parts) <= _MOST_PARTS:
        raise StorageError(f"a rule has 1 to {_MOST_PARTS} parts, and this one {len(rule.parts)}")
    for weights in (rule.weights, *(part.weights for part in rule.parts)):
        if weights.shape != (members,) or not _are_weights(weights):
            raise StorageError("the rule's weights must be 0 or more, one a column, with the sum 1")
    for part in rule.parts:
        if not all(_conditions(part, members)):
            raise StorageError("the rule's arrays do not belong together")


def _are_weights(weights: Floats64) -> bool:
    return bool((weights >= 0).all() and (weights <= 1).all() and abs(weights.sum() - 1) <= _SUM_TOLERANCE)


def _conditions(part: Part, members: int) -> Iterator[bool]:
    base, count = part.normaliser.base, part.normaliser.count
    yield base.shape[1:] == (members,) and len(count) == len(base) + 1
    yield bool(np.isfinite(base).all() and np.isfinite(count).all())
    yield bool(np.isfinite([part.centre, part.scale, part.portion]).all()) and part.scale > 0
    if part.forest is not None:
        yield from _forest_conditions(part.forest, members)


def _forest_conditions(forest: Forest, members: int) -> Iterator[bool]:
    feature, child = forest.feature, forest.child
    inner = np.flatnonzero(feature >= 0)
    yield feature.ndim == 1 and feature.shape == child.shape == forest.value.shape == forest.threshold.shape
    yield bool((feature < members).all()) and 0 < forest.trees <= min(len(feature), _MOST_TREES)
    # Every child comes after its parent, so that a row reaches a leaf.
    yield bool((child[inner] > inner).all() and (child[inner] + 1 < len(child)).all())
    yield bool(np.isfinite(forest.value).all() and np.isfinite(forest.threshold[inner]).all())


def _check_scores(rule: Blend, scores: Floats64, members: Sequence[Member], record: DataRecord) -> None:
    """Whether the rule gives finite numbers, and of the test images the scores that are stored."""
    reference, test, _ = stacked(rule.names, members)
    rows = np.unique(np.linspace(0, len(test) - 1, min(len(test), _ROWS_TRIED)).astype(int))
    with np.errstate(all="ignore"):
        found = rule.score(test[rows])
        held_out = rule.score(reference[:_ROWS_TRIED])
        spread = np.ptp(scores) if len(scores) else np.zeros(1)
        off = np.abs(found - scores[rows]).max(initial=0)
    if not all(np.isfinite(values).all() for values in (found, held_out, spread)):
        raise StorageError("its rule gives scores that are not finite")
    if off > _TOLERANCE * spread + np.finfo(np.float32).eps:
        raise StorageError("its rule does not give the scores that it has")
