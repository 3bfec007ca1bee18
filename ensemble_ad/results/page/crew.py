"""The blend's members beside each other: their columns, weights and correlations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_ad.blend.columns import Columns as ErrorVectors
from ensemble_ad.blend.columns import main_columns, stacked
from ensemble_ad.blend.info import weight_by_member
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.blend.seen import SeenDefects
from ensemble_ad.members.column import Column
from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.members.store import Member
from ensemble_ad.results.page.figures import Correlations, Weight
from ensemble_ad.statistics import auc_many, midranks, separation_many
from ensemble_ad.statistics.arrays import Floats64, Labels

MOST_CORRELATED = 40


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that a blend is made of.

    Attributes:
        names: m names; see `blend.column.Column.name`.
        read: their error vectors as they are stored.
        reference, test: float64 (n, m) and (k, m) errors of the held-out normal and of the test images.
        main: by member's key, its main column as the blend has it: float64 (k,) errors of the test images, or where
            there are none, (n,) of the held-out ones.
    """

    names: tuple[str, ...]
    read: ErrorVectors
    reference: Floats64
    test: Floats64
    main: Mapping[str, Floats64]


def columns(blend: SavedBlend, members: Sequence[Member]) -> Columns:
    """Read a blend's columns from its members.

    Raises:
        StorageError: if a member is damaged.
    """
    names = tuple(blend.weights)
    later, mains = blend.later(), main_columns(members, names)
    read = stacked(names, members, later)
    of_main = stacked(mains, members, None if later is None else later[:, [names.index(name) for name in mains]])
    main = (of_main.test if len(of_main.test) else of_main.reference).astype(np.float64)
    return Columns(
        names=names,
        read=read,
        reference=read.reference.astype(np.float64),
        test=read.test.astype(np.float64),
        main=dict(zip([m.key for m in members], main.T, strict=True)),
    )


def main_column(member: Member, names: Sequence[str]) -> int:
    """The place of a member's main column among a blend's."""
    return [*names].index(main_columns([member], names)[0])


def weights(blend: SavedBlend, members: Sequence[Member], found: Columns, label: Labels | None) -> tuple[Weight, ...]:
    """How much each column counts, the heaviest first."""
    families = {member.key: member.family for member in members}
    separation = separation_many(found.reference, found.test).value if len(found.test) else None
    pseudo = None if len(found.test) else _seen(found)
    auc = None if label is None else auc_many(label, found.test).value
    rows = []
    for i, name in enumerate(found.names):
        column = Column.of(name)
        rows.append(
            Weight(
                key=column.key,
                family=families[column.key],
                kind=column.marked_kind,
                weight=blend.weights[name],
                separation=None if separation is None else float(separation[i]),
                pseudo=None if pseudo is None or np.isnan(pseudo[i]) else float(pseudo[i]),
                auc=None if auc is None else float(auc[i]),
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.weight, row.key, row.kind)))


def _seen(found: Columns) -> Floats64 | None:
    """The AUC of pseudo-anomalies, pooled over their kinds, of each column; NaN where it has none."""
    seen = SeenDefects.of(found.read.reference, found.read.pseudo)
    if seen is None:
        return None
    return np.array([np.nan if np.isnan(row).any() else pooled(row) for row in seen.aucs.tolist()])


def correlations(blend: SavedBlend, members: Sequence[Member], found: Columns) -> Correlations:
    """Rank correlations of the 40 heaviest members, by family and then by weight, with the blend last."""
    weight = weight_by_member(blend.weights)
    scores = blend.scores() if len(found.test) else blend.rule().score(found.reference)
    heaviest: dict[str, float] = {}
    for member in members:
        heaviest[member.family] = max(heaviest.get(member.family, 0.0), weight[member.key])
    ordered = sorted(members, key=lambda m: (-heaviest[m.family], m.family, -weight[m.key], m.key))
    heavy = sorted(ordered, key=lambda m: -weight[m.key])[:MOST_CORRELATED]
    ordered = [member for member in ordered if member in heavy]
    ranks = midranks(np.stack([*(found.main[member.key] for member in ordered), scores]))
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.atleast_2d(np.corrcoef(ranks))
    return Correlations(
        names=(*(member.key for member in ordered), blend.name),
        families=(*(member.family for member in ordered), "blend"),
        matrix=matrix,
    )
