"""From a studies' folder to what a report says."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ensemble_ad.anytime.record import RunRecord
from ensemble_ad.blend import blend_scores
from ensemble_ad.blend.columns import reference_scores
from ensemble_ad.blend.saved import SavedBlend, list_blends
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.members.data_record import DataRecord, load_data_record
from ensemble_ad.members.store import Member, list_members, load_member
from ensemble_ad.results.comparison import tabulate
from ensemble_ad.results.evaluation import evaluate_scores, main_scores
from ensemble_ad.results.page import crew, pictures
from ensemble_ad.results.page.contents import Contents, Headline, LabelUse
from ensemble_ad.results.page.curves import curves, histogram
from ensemble_ad.results.page.damaged import Damaged, damaged
from ensemble_ad.results.page.figures import Curves
from ensemble_ad.results.page.headline import headline
from ensemble_ad.results.page.labels import find_labels
from ensemble_ad.results.page.making import making
from ensemble_ad.results.page.searches import searches
from ensemble_ad.results.page.shots import Gallery, LatentSheet
from ensemble_ad.results.same_images import difference
from ensemble_ad.statistics.arrays import Floats64


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where a report's contents come from.

    Attributes:
        studies: the studies' folder.
        data: the folder of images.
        labels: a CSV file ID,label that the user named; None where none was named.
        storage: an Optuna storage URL; None is SQLite in the studies' folder.
        pictures: number of test images in each group; 0 leaves pictures and latents out.
        seed: seed of the bootstrap's bands, of the importance and of the latents' noise.
        device: `auto`, `cpu`, `cuda` or `cuda:1`, where models are run for pictures and latents.
    """

    studies: Path
    data: Path
    labels: Path | None = None
    storage: str | None = None
    pictures: int = 6
    seed: int = 0
    device: str = "cpu"


def collect(blend: SavedBlend, sources: Sources) -> Contents:
    """Collect what a report of `blend` says. Without pictures, no torch is imported.

    Raises:
        DataError: if the labels that the user named do not fit.
        StorageError: if the blend, one of its members or an evaluation is missing or damaged.
    """
    studies = sources.studies
    record = load_data_record(studies, blend.data)
    members = [load_member(studies, key) for key in blend.info.members]
    labels = find_labels(studies, record, blend.name, sources.labels, sources.data)
    found = crew.columns(blend, members)
    equal = blend_scores(found.reference, found.test, method="mean", names=found.names)
    scores: dict[str, Floats64] = {"blend": blend.scores(), "equal": equal.scores, **found.main}
    first = headline(blend, members, labels, scores, equal.separation)
    cached, broken = list_members(studies)
    of_data = [member for member in cached if member.data == blend.data]
    searched, missing = searches(studies, sources.storage, of_data, sources.seed)
    notes = [*broken, *missing]
    seen = None if record.ids else damaged(blend, max(members, key=pictures.worth_of), equal, found)
    if not record.ids and seen is None:
        notes.append("pseudo-anomalies: a member was made without them, so the blend has no scores of them")
    blends = [saved for saved in list_blends(studies)[0] if saved.data == blend.data]
    gallery, latents, duplicates, missing = _pictures(blend, members, record, labels, found, sources)
    return Contents(
        headline=first,
        labels=labels,
        table=_table(studies, of_data, blends, blend, labels),
        histogram=histogram(_groups(blend, labels, found, seen)),
        seen=seen.kinds if seen else (),
        curves=_curves(first, labels, scores, sources.seed),
        growth=_growth(blend, studies),
        weights=crew.weights(blend, members, found, labels.label),
        explanation=blend.info.explanation,
        correlations=crew.correlations(blend, members, found),
        searches=searched,
        gallery=gallery,
        latents=latents,
        duplicates=duplicates,
        making=making(blend, members, record, labels, searched),
        notes=(*notes, *missing),
    )


def _groups(blend: SavedBlend, labels: LabelUse, found: crew.Columns, seen: Damaged | None) -> dict[str, Floats64]:
    """The blend's scores of each group of images whose distribution is shown."""
    test = blend.scores()
    groups = {"reference": reference_scores(blend.info, found.read)}
    groups |= {"test": test} if len(test) else {"pseudo": seen.scores} if seen else {}
    if labels.label is not None:
        groups |= {"normal": test[labels.label == 0], "anomaly": test[labels.label == 1]}
    return groups


def _curves(first: Headline, labels: LabelUse, scores: Mapping[str, Floats64], seed: int) -> Curves | None:
    """The curves of the blend, of its best member and of equal weights; None without labels."""
    if labels.label is None:
        return None
    best = next(j for j in reversed(first.judged) if j.role in ("chosen", "hindsight"))
    wanted = {"blend": scores["blend"], best.role: scores[best.name], "equal": scores["equal"]}
    return curves(labels.label, wanted, seed)


def _growth(blend: SavedBlend, studies: Path) -> tuple[tuple[float, float], ...]:
    """How the blend of a run has grown; empty where no run of its name is on record."""
    with contextlib.suppress(StorageError, UsageError):
        return RunRecord.load(studies, blend.name, blend.data).curve
    return ()


def _pictures(
    blend: SavedBlend,
    members: Sequence[Member],
    record: DataRecord,
    labels: LabelUse,
    found: crew.Columns,
    sources: Sources,
) -> tuple[Gallery | None, tuple[LatentSheet, ...], tuple[tuple[str, ...], ...], list[str]]:
    """Pictures, latents and near-duplicates, as far as they are wanted and can be had; a line about what cannot."""
    if not record.ids:
        return None, (), (), ["pictures and latents of test images: the blend was made without any"]
    changed = difference(sources.data, sources.studies, record, "this blend")
    if not sources.pictures:
        return None, (), (), [] if changed is None else [f"what lies in the data folder now: {changed}"]
    dataset, why = pictures.find_images(sources.data, sources.studies, record, changed)
    if dataset is None:
        return None, (), (), [f"no pictures and latents: {why}"]
    some = pictures.representatives(members)
    shown, missing = pictures.gallery(
        blend,
        sources.studies,
        dataset,
        record,
        found.main,
        labels.label,
        some,
        sources.pictures,
        sources.device,
    )
    rows = [record.ids.index(shown.groups[end][0].name) for end in ("least", "most")]
    latents = pictures.latent_sheets(dataset, record, rows, some, sources.seed, sources.device)
    if changed is not None:
        missing = [*missing, f"what lies in the data folder now: {changed}"]
    return shown, latents, pictures.kept_together(dataset), missing


def _table(
    studies: Path, members: Sequence[Member], blends: Sequence[SavedBlend], blend: SavedBlend, labels: LabelUse
) -> pd.DataFrame:
    """The comparison table; where labels may be read, with the AUCs by them of all whose scores can be read."""
    table = tabulate(studies, members, blends, blend.name)
    if labels.label is None:
        if not labels.evaluated:  # of other rows than the blend there may be AUCs: then they are not used either
            for column in ("auc", "auc_low", "auc_high", "ties_best"):
                table[column] = pd.Series(pd.NA, index=table.index, dtype=table[column].dtype)
            table = table.sort_values("separation", ascending=False, na_position="last", kind="stable")
        return table
    scores: dict[str, Floats64] = {}
    for member in members:
        with contextlib.suppress(StorageError):
            scores |= main_scores([member], [])
    for saved in blends:
        with contextlib.suppress(StorageError):
            scores |= main_scores([], [saved])
    judged = evaluate_scores(labels.label, scores)
    for column in ("auc", "auc_low", "auc_high", "ties_best"):
        table[column] = judged[column].reindex(table.index).astype(table[column].dtype)
    return table.sort_values(["auc", "separation"], ascending=False, na_position="last", kind="stable")
