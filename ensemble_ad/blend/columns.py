"""The columns of a saved blend, read from its members: a member's kinds of error, each named `<member key>/<kind>`."""

from collections.abc import Iterable, Sequence

import numpy as np

from ensemble_ad.blend.alarm import crossfit_reference
from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.members.column import column_parts
from ensemble_ad.members.store import Member
from ensemble_ad.statistics.arrays import Floats, Floats32, Floats64


def stacked(names: Sequence[str], members: Iterable[Member]) -> tuple[Floats32, Floats32]:
    """Error vectors side by side.

    Args:
        names: the names of m columns.
        members: the members that `names` speak of, and maybe others.

    Returns:
        float32 (n, m) of the held-out normal images and (k, m) of the test images.

    Raises:
        StorageError: if a member is damaged.
    """
    known = {member.key: member for member in members}
    parts = [column_parts(name) for name in names]
    vectors = {key: known[key].vectors() for key in dict.fromkeys(key for key, _ in parts)}
    expected = [len(side) for side in vectors[parts[0][0]]]
    for key, (reference, test) in vectors.items():
        known[key].check_rows(len(reference), len(test), (expected[0], expected[1]))
    sides = [
        np.stack([vectors[key][side][:, known[key].columns.index(kind)] for key, kind in parts], axis=1)
        for side in (0, 1)
    ]
    return sides[0], sides[1]


def reference_scores(info: BlendInfo, reference: Floats, test: Floats) -> Floats64:
    """Scores of the held-out normal images by rules that were fitted without them; see `alarm.crossfit_reference`."""
    return crossfit_reference(
        reference,
        test,
        method=info.asked_method,
        weights=np.array(list(info.weights.values())) if info.asked_method == "given" else None,
        anomaly_share=info.anomaly_share,
    )
