"""The columns of a saved blend, read from its members."""

from collections.abc import Iterable, Sequence

import numpy as np

from ensemble_ad.blend.alarm import crossfit_reference
from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.members.column import Column
from ensemble_ad.members.store import Member
from ensemble_ad.statistics.arrays import Floats, Floats32, Floats64


def stacked(names: Sequence[str], members: Iterable[Member]) -> tuple[Floats32, Floats32]:
    """Error vectors side by side, those of inverted columns negated.

    Args:
        names: the names of m columns; see `Column.name`.
        members: the members that `names` speak of, and maybe others.

    Returns:
        float32 (n, m) of the held-out normal images and (k, m) of the test images.

    Raises:
        StorageError: if a member is damaged.
    """
    known = {member.key: member for member in members}
    columns = [Column.of(name) for name in names]
    vectors = {key: known[key].vectors() for key in dict.fromkeys(column.key for column in columns)}
    expected = [len(side) for side in vectors[columns[0].key]]
    for key, (reference, test) in vectors.items():
        known[key].check_rows(len(reference), len(test), (expected[0], expected[1]))
    sides = [
        np.stack([vectors[key][side][:, known[key].columns.index(kind)] for key, kind, _ in columns], axis=1)
        for side in (0, 1)
    ]
    for table in sides:
        table[:, [column.inverted for column in columns]] *= -1
    return sides[0], sides[1]


def main_columns(members: Sequence[Member], names: Iterable[str]) -> list[str]:
    """The names of the members' main columns, inverted where they are so among `names`."""
    among = set(names)
    both = [[Column(member.key, member.main_column, inverted).name for inverted in (True, False)] for member in members]
    return [inverted if inverted in among else plain for inverted, plain in both]


def reference_scores(info: BlendInfo, reference: Floats, test: Floats) -> Floats64:
    """Scores of the held-out normal images by rules that were fitted without them; see `alarm.crossfit_reference`."""
    return crossfit_reference(
        reference,
        test,
        method=info.asked_method,
        weights=np.array(list(info.weights.values())) if info.asked_method == "given" else None,
        anomaly_share=info.anomaly_share,
    )
