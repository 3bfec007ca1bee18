"""Which test images a report shows, what each family makes of them, and each family's bottleneck.

Only the functions that draw need torch, and import it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.errors import EnsadError, UsageError
from ensemble_ad.layout import preprocessed_folder
from ensemble_ad.members.data_record import DataRecord
from ensemble_ad.members.store import Member
from ensemble_ad.results.page.shots import Gallery, LatentSheet, Pixels, Shot, View
from ensemble_ad.results.same_images import difference
from ensemble_ad.statistics import midranks
from ensemble_ad.statistics.arrays import Floats64, Labels

if TYPE_CHECKING:
    from ensemble_ad.detect.latent import OpenMember

FACTORS = (0.0, 2.0, 4.0)
NOISE = (0.2, 0.5, 0.8)
ELEMENTS = 3
MOST_GROUPS = 20
_BRIGHTEST = 0.995


def find_images(
    data: Path, studies: Path, record: DataRecord, changed: str | None
) -> tuple[Dataset, None] | tuple[None, str]:
    """The blend's images, from the data folder or where they lay when members were made; else why there are none.

    Args:
        data: the data folder.
        studies: the studies' folder.
        record: the record of the blend's images.
        changed: how the images in the data folder differ from them; None if they do not.
    """
    why = ""
    for folder in dict.fromkeys((data, record.folder or data)):
        found = changed if folder == data else difference(folder, studies, record, "this blend")
        if found is None:
            try:
                found_there = load_dataset(folder, image_cache=preprocessed_folder(studies), fit=record.fit)
                return replace(found_there, named=record.groups), None
            except EnsadError as error:
                found = str(error)
        why = why or found
    return None, why


def kept_together(dataset: Dataset) -> tuple[tuple[str, ...], ...]:
    """Names of the training images of each group of near-duplicates or of the user's, the largest groups first."""
    together = dataset.together
    if together is None:
        return ()
    of_group: dict[int, list[str]] = {}
    for name, group in zip(dataset.train.ids, together, strict=True):
        of_group.setdefault(group, []).append(name)
    several = sorted((names for names in of_group.values() if len(names) > 1), key=lambda names: -len(names))
    return tuple(map(tuple, several[:MOST_GROUPS]))


def rank_shares(score: Floats64) -> Floats64:
    """For each image the share of images that score lower, ties one half; float64 (k,) in [0, 1)."""
    shares: Floats64 = (midranks(score[None])[0] - 0.5) / len(score)
    return shares


def disagreement(main: Mapping[str, Floats64]) -> Floats64:
    """For each image the standard deviation of its rank share over the members; float64 (k,)."""
    spread: Floats64 = np.stack([rank_shares(score) for score in main.values()]).std(axis=0)
    return spread


def choose(score: Floats64, disputed: Floats64, label: Labels | None, count: int) -> dict[str, list[int]]:
    """Rows of the test images to show, at most `count` in each group, the most telling first.

    False positives are the normal images that score highest, false negatives the anomalies that score lowest.
    """
    falling = np.argsort(-score, kind="stable")
    groups = {
        "most": falling[:count],
        "least": falling[::-1][:count],
        "disputed": np.argsort(-disputed, kind="stable")[:count],
    }
    if label is not None:
        groups["false_positives"] = falling[label[falling] == 0][:count]
        groups["false_negatives"] = falling[::-1][label[falling[::-1]] == 1][:count]
    return {name: [int(row) for row in rows] for name, rows in groups.items()}


def representatives(members: Sequence[Member]) -> list[Member]:
    """Of each family the member with the best separation, the best family first; imported ones are left out.

    Not the one that counts most in the blend: a weak member may count because it differs, and its pictures mislead.
    """
    chosen: dict[str, Member] = {}
    for member in sorted(members, key=lambda m: (-worth_of(m), m.key)):
        if member.info.origin is None:
            chosen.setdefault(member.family, member)
    return list(chosen.values())


def worth_of(member: Member) -> float:
    """The separation of a member's main column, without test images its `synthetic`; minus infinity if not known."""
    known = member.info.separation or member.info.objectives.synthetic
    return known.value if known else float("-inf")


def gallery(
    blend: SavedBlend,
    studies: Path,
    dataset: Dataset,
    record: DataRecord,
    main: Mapping[str, Floats64],
    label: Labels | None,
    members: Sequence[Member],
    count: int,
    device: str,
) -> tuple[Gallery, list[str]]:
    """Pictures, `count` a group, with what each of `members` makes of them, and a line about each that cannot."""
    score = blend.scores()
    ranks, spread = rank_shares(score), disagreement(main)
    groups = choose(score, spread, label, count)
    rows = list(dict.fromkeys(row for some in groups.values() for row in some))
    notes: list[str] = []
    images = np.ascontiguousarray(dataset.test.images[rows])
    where = _where(blend, studies, images, device, notes)
    views: list[list[View]] = []
    scales: dict[str, float] = {}
    for member, opened in _opened(members, device, notes):
        made, brightest = _views(member, opened, images, rank_shares(main[member.key])[rows])
        views.append(made)
        scales |= {} if brightest is None else {member.family: brightest}
    shots = {
        row: Shot(
            name=record.ids[row],
            image=images[i],
            score=float(score[row]),
            rank=float(ranks[row]),
            disagreement=float(spread[row]),
            label=None if label is None else int(label[row]),
            views=tuple(made[i] for made in views),
            where=where[i],
        )
        for i, row in enumerate(rows)
    }
    return Gallery(
        groups={name: tuple(shots[row] for row in some) for name, some in groups.items()}, error_scale=scales
    ), notes


def _where(blend: SavedBlend, studies: Path, images: Pixels, device: str, notes: list[str]) -> Sequence[Pixels | None]:
    """Images with where the blend sees anomalies laid over them."""
    from ensemble_ad.detect.overlays import overlay
    from ensemble_ad.detect.scorer import load_blend

    try:
        maps = load_blend(blend.name, studies, device=device).explain(images)
    except UsageError:  # none of its members has a map, or one has no model
        return [None] * len(images)
    except EnsadError as error:
        notes.append(f"no maps of the blend: {error}")
        return [None] * len(images)
    return [overlay(image, errors) for image, errors in zip(images, maps, strict=True)]


def _views(member: Member, opened: "OpenMember", images: Pixels, ranks: Floats64) -> tuple[list[View], float | None]:
    """What a member makes of images, and the error that is drawn as the brightest, None if it does not reconstruct."""
    made = opened.reconstruct(images)
    if made is None:
        parts: list[tuple[Pixels | None, Floats64 | None]] = [(None, None)] * len(images)
        brightest = None
    else:
        errors = np.abs(opened.seen(images).astype(np.float64) - made).mean(axis=3)
        parts, brightest = list(zip(made, errors, strict=True)), float(np.quantile(errors, _BRIGHTEST))
    return [
        View(family=member.family, key=member.key, rank=float(rank), reconstruction=picture, error=error)
        for (picture, error), rank in zip(parts, ranks, strict=True)
    ], brightest


def latent_sheets(
    dataset: Dataset, record: DataRecord, rows: Sequence[int], members: Sequence[Member], seed: int, device: str
) -> tuple[LatentSheet, ...]:
    """The bottleneck of each of `members` that has a decoder, looked into by the test images `rows`."""
    from ensemble_ad.detect.latent import NORMAL_IMAGES, bottleneck
    from ensemble_ad.families import Decoder

    held_out = dataset.split().reference[:NORMAL_IMAGES]
    normal = dataset.train.images[held_out]
    sheets = []
    for member, opened in _opened(members, device, []):
        if not isinstance(opened.model, Decoder):
            continue
        opening = bottleneck(opened, normal)
        for row in rows:
            image = dataset.test.images[row]
            z = opening.encode(image)
            scaled = {
                (element, factor): opening.decode(opening.scaled(z, {element: factor}))[0]
                for element in opening.telling(z, ELEMENTS)
                for factor in FACTORS
            }
            sheets.append(
                LatentSheet(
                    family=member.family,
                    key=member.key,
                    name=record.ids[row],
                    elements=opening.elements,
                    seen=opened.seen(image[None])[0],
                    reconstruction=opening.decode(z)[0],
                    scaled=scaled,
                    noise={share: opening.decode(opening.mixed(z, share, seed))[0] for share in NOISE},
                )
            )
    return tuple(sheets)


def _opened(members: Sequence[Member], device: str, notes: list[str]) -> Iterator[tuple[Member, "OpenMember"]]:
    from ensemble_ad.detect.latent import open_member
    from ensemble_ad.training.device import choose_device

    place = choose_device(device)
    for member in members:
        try:
            opened = open_member(member, place)
        except EnsadError as error:
            notes.append(f"no pictures of {member.family}: {error}")
            continue
        yield member, opened
