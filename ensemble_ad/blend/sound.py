"""Whether a blend from elsewhere is sound: all that later commands rely on, tried before they do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.blend.result import Blend
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.errors import EnsadError, StorageError, in_one_line
from ensemble_ad.layout import members_folder
from ensemble_ad.members.arrived import check_bombs
from ensemble_ad.members.column import Column
from ensemble_ad.members.data_record import load_data_record
from ensemble_ad.members.store import Member, load_member
from ensemble_ad.statistics.arrays import Floats32, Floats64

# Rows that are scored to see whether the rule gives the scores that are stored, and by how much of their spread it may
# miss: where there are very many rows, a rule keeps only some of their ranks.
_ROWS_TRIED, _TOLERANCE = 5_000, 0.02


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
        later = blend.later()
        if len(scores) != len(record.ids if later is None else later):
            raise StorageError(f"it has {len(scores)} scores of {len(record.ids)} images")
        _check_columns(rule, blend.info, members)
        _check_scores(rule, scores, members, later)
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
    columns = {Column(member.key, kind) for member in members for kind in member.columns}
    found = {Column.of(name)._replace(inverted=False) for name in rule.names}
    unknown = {column.name for column in found - columns}
    if unknown or len(found) < len(rule.names):
        raise StorageError(f"no member has the columns {sorted(unknown)[:3]}, or one comes twice")
    shown = [info.weights.get(name, np.nan) for name in rule.names]
    if rule.weights.shape != (len(rule.names),) or not np.allclose(shown, rule.weights, rtol=1e-6, atol=1e-9):
        raise StorageError("the weights that it shows are not its rule's")


def _check_scores(rule: Blend, scores: Floats64, members: Sequence[Member], later: Floats32 | None) -> None:
    """Whether the rule gives finite numbers, and of the test images the scores that are stored."""
    reference, test, *_ = stacked(rule.names, members, later)
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
