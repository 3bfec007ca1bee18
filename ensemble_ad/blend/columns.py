"""The columns of a saved blend, read from its members."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ensemble_ad.blend.alarm import crossfit_reference
from ensemble_ad.blend.info import BlendInfo
from ensemble_ad.members.column import Column
from ensemble_ad.members.pseudo_vectors import PseudoVectors
from ensemble_ad.members.store import Member
from ensemble_ad.statistics.arrays import Bools, Floats32, Floats64


class Columns(NamedTuple):
    """The error vectors of a blend's m columns, side by side.

    Attributes:
        reference, test: float32 (n, m) of the held-out normal images and (k, m) of the test images.
        pseudo: float32 (d, m) of pseudo-anomalies, by kind; NaN where a member has none.
        transductive: (m,) True where a member was trained on the test images too.
    """

    reference: Floats32
    test: Floats32
    pseudo: Mapping[str, Floats32]
    transductive: Bools

    def negate(self, columns: Sequence[int]) -> None:
        """Negate some columns, in place."""
        for side in (self.reference, self.test, *self.pseudo.values()):
            side[:, columns] *= -1


class Batch(NamedTuple):
    """Unlabelled images that came after the members, as these score them.

    Attributes:
        fingerprint: the images', as `ImageSet.fingerprint` has it.
        vectors: float32 (k, m) error vectors of each member, by its key, in the order of its columns.
    """

    fingerprint: str
    vectors: Mapping[str, Floats32]


def stacked(names: Sequence[str], members: Iterable[Member], later: Floats32 | None = None) -> Columns:
    """Error vectors side by side, those of inverted columns negated.

    Args:
        names: the names of m columns; see `Column.name`.
        members: the members that `names` speak of, and maybe others.
        later: float32 (k, m), error vectors of the test images that came after the members; see `SavedBlend.later`.

    Raises:
        StorageError: if a member is damaged.
    """
    known = {member.key: member for member in members}
    parts = [Column.of(name) for name in names]
    vectors = {key: known[key].all_vectors() for key in dict.fromkeys(part.key for part in parts)}
    reference, test, _ = vectors[parts[0].key]
    expected = (len(reference), len(test))
    for key, (reference, test, _) in vectors.items():
        known[key].check_rows(len(reference), len(test), expected)
    places = [(vectors[part.key], known[part.key].columns.index(part.kind)) for part in parts]
    seen = np.stack([test[:, column] for (_, test, _), column in places], axis=1)
    found = Columns(
        reference=np.stack([reference[:, column] for (reference, _, _), column in places], axis=1),
        test=seen if later is None else later.copy(),
        pseudo=side_by_side([(pseudo, [column]) for (_, _, pseudo), column in places]),
        transductive=np.array([known[part.key].info.transductive for part in parts]),
    )
    found.negate([place for place, part in enumerate(parts) if part.inverted])
    return found


def main_columns(members: Sequence[Member], names: Iterable[str]) -> list[str]:
    """The names of the members' main columns, inverted where they are so among `names`."""
    among = set(names)
    both = [[Column(member.key, member.main_column, inverted).name for inverted in (True, False)] for member in members]
    return [inverted if inverted in among else plain for inverted, plain in both]


def side_by_side(found: Sequence[tuple[PseudoVectors | None, list[int]]]) -> dict[str, Floats32]:
    """Scores of pseudo-anomalies (d, m) by kind, of the kinds that all members have which have any.

    Args:
        found: a member's error vectors of pseudo-anomalies, and which of its columns are wanted.

    Returns:
        float32 (d, m) by kind, NaN in the columns of a member that has none or has them of other images than the first
        one that has some; empty where no member has any.
    """
    some = [pseudo for pseudo, _ in found if pseudo is not None]
    if not some:
        return {}
    like = [pseudo for pseudo in some if np.array_equal(pseudo.damaged, some[0].damaged)]
    kinds = [kind for kind in some[0].kinds if all(kind in pseudo.kinds for pseudo in like)]
    lacking = np.full(len(some[0].damaged), np.nan, dtype=np.float32)
    alike = [pseudo is not None and np.array_equal(pseudo.damaged, some[0].damaged) for pseudo, _ in found]
    return {
        kind: np.stack(
            [
                pseudo.scores[pseudo.kinds.index(kind), :, column] if pseudo is not None and has else lacking
                for (pseudo, columns), has in zip(found, alike, strict=True)
                for column in columns
            ],
            axis=1,
        )
        for kind in kinds
    }


def reference_scores(info: BlendInfo, columns: Columns) -> Floats64:
    """Scores of the held-out normal images by rules that were fitted without them; see `alarm.crossfit_reference`."""
    return crossfit_reference(
        columns.reference,
        columns.test,
        pseudo=columns.pseudo,
        transductive=columns.transductive,
        method=info.asked_method,
        weights=np.array(list(info.weights.values())) if info.asked_method == "given" else None,
        anomaly_share=info.anomaly_share,
    )
