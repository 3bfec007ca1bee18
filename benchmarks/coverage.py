"""How often the label-free 95% intervals of the AUC cover the truth: blends and members, few anomalies, planted shifts.

    python benchmarks/coverage.py --cache cases --tasks ../shared/data/score_matrices \\
        --images faces64 data labels.csv studies --images digits digits digits/labels.csv digits-studies

A case is the members of a blend and a batch of test images: each of --tasks (a score matrix, a column a member), and of
each data set of --images (name, data, labels, studies) the blends that `_sets` lists, by main columns and by all.
Anomalies are thinned to a share p. A planted shift changes the test's normal images alone: images are changed and
scored again by the members' models; of the tasks, a part of the scores' spread is added. The labels make the cases and
measure; no estimate sees them. What takes time is kept in --cache, a file a case, and found there. Prints Markdown, and
with -v each interval that misses.
"""

import io
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from _record import environment, head, line, parser
from PIL import Image

from ensemble_ad.blend import blend_scores
from ensemble_ad.blend.guard import ENOUGH_REFERENCE
from ensemble_ad.blend.of_members import columns_of
from ensemble_ad.blend.share import scored_halves, share_of
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import apply
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.files.whole import whole_file
from ensemble_ad.members.store import Member, list_members
from ensemble_ad.statistics import auc_many, separation_many
from ensemble_ad.statistics.implied import Share
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.load import load_model

THINNED = {0.2: 2, 0.1: 2, 0.05: 2, 0.02: 1, 0.01: 1}
"""Draws of each share; of the tasks one."""
ADDED = (0.25, 1.0)  # of the scores' spread (interquartile range of the reference / 1.349)
WHOLE, NONE = "whole", "none"
Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Scores of members, a column each: of the held-out images, and of test images whose labels are known.

    Attributes:
        group: the data.
        name: of the members, within the group.
        reference, test: the scores.
        label: True for anomalies.
        share: the share of anomalies in words.
        shift: what was done to the normal images.
    """

    group: str
    name: str
    reference: Scores
    test: Scores
    label: Labels
    share: str = WHOLE
    shift: str = NONE


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What of a case takes time: cross-fitted scores, and separations with their errors and true AUCs.

    Attributes:
        scored: pairs of reference and test scores, see `blend.share.scored_halves`.
        blends: float64 (2, 3), of `auto` and `mean`.
        members: float64 (m, 3).
        p: the true share of anomalies.
        n: number of held-out images.
    """

    scored: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
    blends: npt.NDArray[np.float64]
    members: npt.NDArray[np.float64]
    p: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An interval, and the truth; `low` is None where none is given, and `why` says why."""

    row: tuple[str, ...]
    name: str
    truth: float
    low: float | None
    high: float | None
    why: str


def draws(case: Case, seeds: int | None) -> Iterator[Case]:
    """The case with its anomalies thinned to each share, two at least."""
    normal, odd = np.flatnonzero(~case.label), np.flatnonzero(case.label)
    for share, several in THINNED.items():
        wanted = max(2, round(len(normal) * share / (1 - share)))
        for seed in range(seeds or several) if case.label.mean() > 1.2 * share else ():
            rows = np.sort(np.concatenate([normal, np.random.default_rng(seed).permutation(odd)[:wanted]]))
            name = f"{case.name}-{share}-{seed}"
            yield replace(case, test=case.test[rows], label=case.label[rows], name=name, share=f"{share:g}")


def measured(case: Case, cache: Path) -> Measured:
    """The case measured, or what an earlier run kept of it."""
    path = cache / f"{case.group}-{case.name}-{case.shift}.npz".replace(" ", "_")
    if not path.exists():
        found = [blend_scores(case.reference, case.test, method) for method in ("auto", "mean")]
        truth = auc_many(case.label, np.stack([each.scores for each in found], axis=1)).value
        members = separation_many(case.reference, case.test)
        columns = (members.value, members.standard_error, auc_many(case.label, case.test).value)
        judged = [blend.separation for blend in found if blend.separation is not None]
        blends = [[one.value, one.standard_error, auc] for one, auc in zip(judged, truth, strict=True)]
        (r0, t0), (r1, t1) = scored_halves(case.reference, case.test)
        cache.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part, part.open("wb") as file:
            np.savez(
                file, r0=r0, t0=t0, r1=r1, t1=t1, members=np.stack(columns, axis=1), p=case.label.mean(),
                blends=blends,
            )  # fmt: skip
    with np.load(path, allow_pickle=False) as file:
        pairs = [(file["r0"], file["t0"]), (file["r1"], file["t1"])]
        return Measured(
            scored=pairs, blends=file["blends"], members=file["members"], p=float(file["p"]), n=len(case.reference)
        )


def judge(case: Case, cache: Path) -> Iterator[Judged]:
    """The intervals of the blends `auto` and `mean` and of every member; of whole test sets also with p given."""
    known = measured(case, cache)
    for given in (None, known.p) if case.share == WHOLE and case.shift == NONE else (None,):
        few = given is None and known.n < ENOUGH_REFERENCE
        share = None if few else share_of(known.scored, given)
        for what, table in (
            ("blend auto", known.blends[:1]),
            ("blend mean", known.blends[1:]),
            ("member", known.members),
        ):
            kind = what.partition(" ")[0]
            row = (case.group, case.shift, case.share, "estimated" if given is None else "given", kind)
            for separation, error, truth in table:
                found = None
                if share is not None:
                    found = share.implied_auc(float(separation), float(error), own_shift=what == "blend auto")
                yield Judged(
                    row=row,
                    name=case.name,
                    truth=float(truth),
                    low=None if found is None else found.low,
                    high=None if found is None else found.high,
                    why="" if found is not None else _why(share),
                )


def _why(share: Share | None) -> str:
    if share is None:
        return "few held-out images"
    if share.withheld or not share.why_none:
        return share.withheld or "wider than 0.4, or nothing explains the separation"
    return "more than 60% anomalies" if "more than" in share.why_none else "share not told from none"


# Score matrices


def tasks(folder: Path) -> Iterator[Case]:
    """A case a task, as it is, thinned, and with its normal test rows' scores raised."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            reference, test, label = file["validation"], file["test"], file["label"].astype(bool)
        sound = np.isfinite(reference).all(axis=0) & np.isfinite(test).all(axis=0)
        case = Case(group="25 tasks", name=path.stem, reference=reference[:, sound], test=test[:, sound], label=label)
        yield case
        yield from draws(case, 1)
        spread = np.subtract(*np.quantile(case.reference, [0.75, 0.25], axis=0)) / 1.349
        for part in ADDED:
            raised = case.test + np.where(label[:, None], 0, part * spread).astype(np.float32)
            yield replace(case, test=raised, shift=f"scores + {part} spreads")


# Images


def brighter(images: Images, rng: np.random.Generator) -> Images:
    """12 grey levels brighter."""
    found: Images = np.clip(images.astype(np.int16) + 12, 0, 255).astype(np.uint8)
    return found


def noisy(images: Images, rng: np.random.Generator) -> Images:
    """Gaussian noise of 0.05 of the grey range, the same in all channels."""
    noise = rng.normal(0, 0.05 * 255, (*images.shape[:3], 1))
    found: Images = np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)
    return found


def flatter(images: Images, rng: np.random.Generator) -> Images:
    """Contrast times 0.9 around mid-grey."""
    found: Images = np.clip(np.rint(127.5 + 0.9 * (images.astype(np.float32) - 127.5)), 0, 255).astype(np.uint8)
    return found


def compressed(images: Images, rng: np.random.Generator) -> Images:
    """Another source: each image as JPEG of quality 30 gives it back."""
    found = np.empty_like(images)
    for place, image in zip(found, images, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=30)
        place[:] = np.asarray(Image.open(file)).reshape(image.shape)
    return found


SHIFTS = {
    "12 grey levels brighter": brighter,
    "noise 0.05": noisy,
    "contrast x 0.9": flatter,
    "JPEG of quality 30": compressed,
}


def image_cases(columns: Sequence[str], group: str, data: Path, labels: Path, studies: Path) -> Iterator[Case]:
    """The blends of a data set's members, as they are, thinned, and with changed normal images."""
    dataset = load_dataset(data, image_cache=studies / "preprocessed")
    label = read_labels(labels, dataset.test.ids).astype(bool)
    members = [m for m in list_members(studies)[0] if m.data == dataset.fingerprint and not m.info.transductive]
    sets = _sets(members)
    for choice in columns:
        for name, some in sets.items():
            case = _case(group, f"{name}-{choice}", some, choice, label)
            yield case
            yield from draws(case, None)
    normal = np.flatnonzero(~label)
    few = sets["one of each"]
    for shift, change in SHIFTS.items():
        changed = change(np.asarray(dataset.test.images[normal]), np.random.default_rng(0))
        moved = [_scored(member, changed) for member in few]
        case = _case(group, "one of each-main", few, "main", label)
        scored = [scores[kind] for m, scores in zip(few, moved, strict=True) for kind in columns_of(m, "main")]
        case.test[normal] = np.stack(scored, axis=1)
        yield replace(case, shift=shift)


def _sets(members: Sequence[Member]) -> dict[str, list[Member]]:
    """The members of each source (a family's trials, or a preset's seeds), of pairs of sources, and all.

    In a pair the first seed stands for a preset; a family's trials and its own presets make none.
    """
    sources: dict[tuple[str, str], list[Member]] = defaultdict(list)
    for member in members:
        sources[member.family, member.info.preset or ""].append(member)
    names = {source: source[1] or source[0] for source in sources}
    found = {names[source]: some for source, some in sources.items()}
    for one, other in combinations(sources, 2):
        if one[0] != other[0] or (one[1] and other[1]):
            some = [member for source in (one, other) for member in sources[source][: 1 if source[1] else None]]
            found[f"{names[one]}+{names[other]}"] = some
    return found | {"one of each": [some[0] for some in sources.values()], "every": list(members)}


def _case(group: str, name: str, members: Sequence[Member], choice: str, label: Labels) -> Case:
    """A case of some members of one data set."""
    sides: list[list[Scores]] = [[], []]
    for member in members:
        kinds = [member.columns.index(kind) for kind in columns_of(member, choice)]
        for side, vectors in zip(sides, member.vectors(), strict=True):
            side.append(vectors[:, kinds])
    reference, test = (np.concatenate(side, axis=1) for side in sides)
    return Case(group=group, name=name, reference=reference, test=test, label=label)


def _scored(member: Member, images: Images) -> dict[str, Scores]:
    """What a member's model gives of new images."""
    model, latents, recipe = load_model(member, torch.device("cpu"))
    ready = torch.from_numpy(np.array(apply(images, recipe.preprocess)))
    return error_vectors(model, ready, latents, flips=recipe.flips)


# Tables


def table(judged: Sequence[Judged]) -> list[str]:
    """A row a group, a shift, a share and a kind of interval, and a row of all shares."""
    rows: dict[tuple[str, ...], list[Judged]] = defaultdict(list)
    for each in judged:
        rows[each.row].append(each)
        if each.row[1] == NONE and each.row[3] == "estimated":
            rows[each.row[0], NONE, "all of these", *each.row[3:]].append(each)
    lines = [head("data", "shift", "p", "share", "of", "cases", "given", "cover", "width", "most often withheld since")]
    return lines + [line(*row, *_cells(rows[row])) for row in sorted(rows, key=lambda row: (row[0], row[3], row[1:]))]


def _cells(some: Sequence[Judged]) -> tuple[str, ...]:
    widths, hits = [], 0
    for each in some:
        if each.low is not None and each.high is not None:
            widths.append(each.high - each.low)
            hits += each.low <= each.truth <= each.high
    whys = Counter(each.why for each in some if each.why)
    why = f"{whys.most_common(1)[0][0]} ({whys.most_common(1)[0][1]})" if whys else ""
    covered = f"{hits} of {len(widths)} ({hits / len(widths):.0%})" if widths else "-"
    width = f"{np.mean(widths):.2f}" if widths else "-"
    return str(len(some)), f"{len(widths) / len(some):.0%}", covered, width, why


def main() -> None:
    """Make the cases, judge them, print."""
    arguments = parser(__doc__, "cache")
    arguments.add_argument("--tasks", type=Path)
    four = ("NAME", "DATA", "LABELS", "STUDIES")
    arguments.add_argument("--images", nargs=4, action="append", default=[], metavar=four)
    arguments.add_argument("--columns", nargs="+", choices=["main", "all"], default=["main", "all"])
    arguments.add_argument("-v", "--verbose", action="store_true")
    given = arguments.parse_args()
    cases = [tasks(given.tasks)] if given.tasks else []
    cases += [image_cases(given.columns, name, *map(Path, paths)) for name, *paths in given.images]
    judged: list[Judged] = []
    for case in chain.from_iterable(cases):
        print(case.group, case.name, case.shift, case.share, file=sys.stderr, flush=True)
        judged += judge(case, given.cache)
    for each in judged if given.verbose else ():
        if each.low is not None and each.high is not None and not each.low <= each.truth <= each.high:
            print(each, file=sys.stderr)
    now = environment()
    print(f"{now['date'].partition('T')[0]}, Python {now['versions']['python']}, numpy {now['versions']['numpy']}\n")
    print("\n".join(table(judged)))


if __name__ == "__main__":
    main()
