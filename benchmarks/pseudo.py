"""Held against labels: which kinds of pseudo-anomaly rank models as the true AUC does, and what `auto` picks.

    python benchmarks/pseudo.py --data data --labels labels.csv --tiles magnetic_tile --scores scores --out pseudo.json

Some twenty-five closed forms (`pca`, and `inpaint` with the predictor `gauss`, at several settings) score the
held-out images, the pseudo-anomalies and the test images of nine sets: the faces of --data; the same turned round, with
1,300 of its anomalies as normal images; photographs of magnetic tiles (--tiles, laid out as published), whole and in
crops of 32 pixels at half scale; and scikit-learn's digits, five times, other digits normal. A model here is one kind
of error of one closed form. `synthetic`, separation and `auto` pick one among all of them. Anomalies are thinned to a
share p, and in half of the draws the held-out and the normal test images are dealt anew. Every constant of `auto` is
also chosen by the other sets. Labels measure; nothing else sees them. Prints Markdown tables and writes JSON.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from _record import environment, head, line, parser
from PIL import Image
from sklearn.datasets import load_digits

from ensemble_ad import statistics
from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.data.defect_kinds import KINDS
from ensemble_ad.data.defects import pseudo_anomalies, split_reference
from ensemble_ad.data.images import Images, ImageSet
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.data.split import split_rows
from ensemble_ad.data.square import as_uint8
from ensemble_ad.data.warps import smoothed
from ensemble_ad.families import Architecture
from ensemble_ad.families.inpaint import InpaintArchitecture
from ensemble_ad.families.pca import PcaArchitecture
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.defect_aucs import pooled
from ensemble_ad.statistics import belief
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
DRAWS = 5
DETECTORS = ("inpaint 16 0.8125 0.5 0.16", "inpaint 16 1.0 0.25 0.05", "pca 16 0.8125 64", "pca 16 1.0 16")
INPAINT = (
    (16, 0.8125, 0.5, 0.16), (16, 0.8125, 0.25, 0.16), (16, 1.0, 0.5, 0.16), (16, 1.0, 0.25, 0.05),
    (16, 0.65, 0.5, 0.16), (16, 0.65, 0.375, 0.4), (16, 1.0, 0.5, 0.4), (24, 0.8125, 0.5, 0.16),
    (24, 1.0, 0.375, 0.16), (24, 0.8125, 0.25, 0.05), (24, 0.65, 0.25, 0.4), (24, 0.65, 0.5, 0.05),
    (32, 0.8125, 0.5, 0.16), (32, 1.0, 0.25, 0.16), (32, 0.8125, 0.375, 0.05), (32, 0.65, 0.5, 0.4),
)  # fmt: skip
"""Side, crop, block and ridge."""
PCA = (
    (16, 1.0, 16), (16, 0.8125, 64), (16, 0.65, 32), (32, 1.0, 8), (32, 1.0, 64), (32, 0.8125, 32), (32, 0.8125, 128),
    (32, 0.65, 64), (32, 1.0, 256),
)  # fmt: skip
"""Side, crop and components."""
SLOPES, SPREADS, CHARGES = (0.5, 0.7, 1.0), (0.03, 0.04, 0.05), (1.5, 2.0, 2.5)
Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def blur(images: Images, rng: np.random.Generator) -> Images:
    """A kind that was dropped: smoothed by 1.2 to 3% of the side."""
    n, side = images.shape[:2]
    return as_uint8(smoothed(images.astype(np.float32), np.maximum(rng.uniform(0.012, 0.03, n) * side, 0.6)))


def contrast(images: Images, rng: np.random.Generator) -> Images:
    """A kind that was dropped: contrast times 0.5 to 2, brightness by up to 25 grey levels."""
    n = len(images)
    gain = np.exp(rng.uniform(np.log(1.3), np.log(2), n) * rng.choice([-1, 1], n))[:, None, None, None]
    brightness = (rng.uniform(5, 25, n) * rng.choice([-1, 1], n))[:, None, None, None]
    mean = images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return as_uint8((images - mean) * gain + mean + brightness)


def noise(images: Images, rng: np.random.Generator) -> Images:
    """A kind that was dropped: Gaussian noise of 5 to 20% of the images' standard deviation."""
    sigma = np.maximum(rng.uniform(0.05, 0.2, len(images)) * images.std(), 2)
    return as_uint8(images + sigma[:, None, None, None] * rng.standard_normal(images.shape, dtype=np.float32))


DROPPED = {"blur": blur, "contrast": contrast, "noise": noise}


@dataclass(frozen=True, kw_only=True)
class Bank:
    """What m models say of a set's images.

    Attributes:
        names: of the closed form of each model, and of its kind of error.
        reference: (m, n) of held-out normal images.
        test: (m, k) of the test images.
        label: (k,) of bool, the anomalies.
        kinds: (m, d) AUCs of the kinds of pseudo-anomaly, dropped ones too.
        kind_names: their d names.
    """

    names: list[tuple[str, str]]
    reference: Scores
    test: Scores
    label: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.float64]
    kind_names: list[str]

    def synthetic(self) -> npt.NDArray[np.float64]:
        """(m,): the kinds of today, pooled."""
        used = [i for i, name in enumerate(self.kind_names) if name not in DROPPED]
        return np.array([pooled(row) for row in self.kinds[:, used]])

    def auc(self) -> npt.NDArray[np.float64]:
        """(m,): the true AUCs."""
        return statistics.auc_many(self.label, self.test.T).value


def image_sets(given: argparse.Namespace) -> Iterator[tuple[str, Images, Images, npt.NDArray[np.bool_]]]:
    """Each set's name, training images, test images and labels."""
    dataset = load_dataset(given.data, image_cache=given.out.parent)
    train_images, test = (np.asarray(each.images)[..., :1] for each in (dataset.train, dataset.test))
    label = read_labels(given.labels, dataset.test.ids) == 1
    yield "faces64", train_images, test, label
    rng = np.random.default_rng(0)
    normal, other = rng.permutation(test[label]), rng.permutation(test[~label])[:500]
    mixed = np.concatenate([normal[1300:], other])
    yield "faces64 inverse", normal[:1300], mixed, np.arange(len(mixed)) >= len(mixed) - len(other)
    yield "magnetic_tile", *whole_tiles(given.tiles)
    yield "tile crops", *tile_crops(given.tiles)
    digits = load_digits()
    pictures = np.rint(digits.images * (255 / 16)).astype(np.uint8).repeat(4, 1).repeat(4, 2)[..., None]
    for normals in ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (0, 2, 4, 6, 8), (1, 3, 5, 7, 9), (0, 3, 5, 6, 8, 9)):
        rng, is_normal = np.random.default_rng(0), np.isin(digits.target, normals)
        rows = rng.permutation(np.flatnonzero(is_normal))
        first = round(0.7 * len(rows))
        odd = rng.choice(np.flatnonzero(~is_normal), len(rows) - first, replace=False)
        mixed = rng.permutation(np.concatenate([rows[first:], odd]))
        yield f"digits {''.join(map(str, normals))}", pictures[rows[:first]], pictures[mixed], ~is_normal[mixed]


def whole_tiles(folder: Path) -> tuple[Images, Images, npt.NDArray[np.bool_]]:
    """Whole photographs, padded to a square of 64 pixels."""

    def padded(path: Path) -> npt.NDArray[np.uint8]:
        picture = Image.open(path).convert("L")
        side = max(picture.size)
        square = Image.new("L", (side, side))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return np.asarray(square.resize((64, 64), Image.Resampling.BILINEAR))[..., None]

    normal = np.stack([padded(path) for path in sorted((folder / "train/good").glob("*.jpg"))])
    paths = [path for kind in ("good", *DEFECTS, "uneven") for path in sorted((folder / "test" / kind).glob("*.jpg"))]
    return normal, np.stack([padded(path) for path in paths]), np.array([path.parent.name != "good" for path in paths])


DEFECTS = ("blowhole", "break", "crack", "fray")


def tile_crops(folder: Path) -> tuple[Images, Images, npt.NDArray[np.bool_]]:
    """Crops of 32 pixels of the photographs at half scale: anywhere of good tiles, about a defect of the others."""
    rng, side = np.random.default_rng(1), 32

    def half(path: Path) -> npt.NDArray[np.uint8]:
        picture = Image.open(path).convert("L")
        size = (picture.width // 2, picture.height // 2)
        return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))

    def good(part: str, count: int) -> Iterator[npt.NDArray[np.uint8]]:
        for path in sorted((folder / part / "good").glob("*.jpg")):
            whole = half(path)
            for _ in range(count if min(whole.shape) >= side else 0):
                top, left = (int(rng.integers(0, edge - side + 1)) for edge in whole.shape)
                yield whole[top : top + side, left : left + side, None]

    def damaged() -> Iterator[npt.NDArray[np.uint8]]:
        for path in (path for kind in DEFECTS for path in sorted((folder / "test" / kind).glob("*.jpg"))):
            whole = half(path)
            mask = Image.open(folder / "ground_truth" / path.parent.name / f"{path.stem}_mask.png").convert("L")
            places = np.argwhere(np.asarray(mask.resize(whole.shape[::-1])) > 127)
            if min(whole.shape) < side or not len(places):
                continue
            place = places[rng.integers(len(places))] - rng.integers(4, side - 4, 2)
            top, left = np.clip(place, 0, np.array(whole.shape) - side)
            yield whole[top : top + side, left : left + side, None]

    normal, fine, bad = np.stack(list(good("train", 3))), list(good("test", 1)), list(damaged())
    return normal, np.stack([*fine, *bad]), np.arange(len(fine) + len(bad)) >= len(fine)


def closed_forms(side: int) -> Iterator[tuple[str, Architecture, int, float, float]]:
    """Name, architecture, side, crop and noise scale of each closed form for images of that side."""
    for size, crop, block, ridge in INPAINT:
        architecture = InpaintArchitecture(predictor="gauss", block=block)
        yield f"inpaint {size} {crop} {block} {ridge}", architecture, size, crop, ridge
    for size, crop, components in (*PCA, *(((64, 1.0, 256), (64, 0.8125, 64)) if side == 64 else ())):
        yield f"pca {size} {crop} {components}", PcaArchitecture(components=components), size, crop, 0.0


def kept_bank(path: Path, images: Images, test: Images, label: npt.NDArray[np.bool_]) -> Bank:
    """What `bank` gives, kept in a file."""
    if not path.exists():
        made = bank(images, test, label)
        np.savez(
            path,
            names=np.array(made.names),
            kind_names=np.array(made.kind_names),
            reference=made.reference,
            test=made.test,
            kinds=made.kinds,
        )
    with np.load(path) as file:
        return Bank(
            names=[(str(form), str(kind)) for form, kind in file["names"]],
            reference=file["reference"],
            test=file["test"],
            label=label,
            kinds=file["kinds"],
            kind_names=file["kind_names"].tolist(),
        )


def bank(images: Images, test: Images, label: npt.NDArray[np.bool_]) -> Bank:
    """Score one set by all closed forms."""
    sets = (ImageSet(images=each, ids=(), source=Path()) for each in (images, test))
    fingerprint = Dataset(train=next(sets), test=next(sets)).fingerprint
    rows = split_rows(len(images), fingerprint)
    split = split_reference(len(rows.reference), fingerprint, image_bytes=images[0].nbytes)
    with mock.patch.dict(KINDS, DROPPED):
        damaged = pseudo_anomalies(images[rows.reference[split.damaged]], seed=int(fingerprint, 16))
    names, reference, tested, aucs = [], [], [], []
    for name, architecture, size, crop, ridge in closed_forms(images.shape[1]):
        preprocess = Preprocess(crop=(crop, crop), size=(size, size), channels=1)
        ready = torch.from_numpy(np.array(apply(images, preprocess)))
        build: Callable[[], Any] = partial(architecture.build, preprocess.shape)
        settings = TrainSettings(epochs=1, noise_scale=ridge)
        model = train(build, ready, torch.from_numpy(rows.train), settings)
        score = partial(error_vectors, model)
        held_out, seen = score(ready[rows.reference]), score(torch.from_numpy(np.array(apply(test, preprocess))))
        of_kind = [score(torch.from_numpy(np.array(apply(each, preprocess)))) for each in damaged.values()]
        for kind, scores in held_out.items():
            names.append((name, kind))
            reference.append(scores)
            tested.append(seen[kind])
            aucs.append([statistics.separation(scores[split.normal], each[kind]).value for each in of_kind])
        print(f"  {name}", flush=True)
    return Bank(
        names=names,
        reference=np.stack(reference),
        test=np.stack(tested),
        label=label,
        kinds=np.array(aucs),
        kind_names=list(damaged),
    )


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A thinned test set: every model's separation, whether it is passed over, and how many images there are."""

    separation: npt.NDArray[np.float64]
    implausible: npt.NDArray[np.bool_]
    reference_rows: int
    test_rows: int


def draws(models: Bank, share: float) -> Iterator[Draw]:
    """Test sets with that share of anomalies, each with the normal images as they are and dealt anew."""
    normal, anomalous = np.flatnonzero(~models.label), np.flatnonzero(models.label)
    wanted = min(len(anomalous), max(1, round(share / (1 - share) * len(normal))))
    for number, deals in product(range(DRAWS), (False, True)):
        rng = np.random.default_rng([number, round(1000 * share)])
        some = rng.choice(anomalous, wanted, replace=False)
        together = np.concatenate([models.reference, models.test[:, normal]], axis=1)
        order = rng.permutation(together.shape[1]) if deals else np.arange(together.shape[1])
        n = models.reference.shape[1]
        reference = together[:, order[:n]]
        test = np.concatenate([together[:, order[n:]], models.test[:, some]], axis=1)
        apart = statistics.separation_many(reference.T, test.T).value
        # A separation of 0.7 allows 40% anomalies: below, none speaks of more than 60% for sure.
        passed = [a > 0.7 and statistics.implausible(r, t) for a, r, t in zip(apart, reference, test, strict=True)]
        yield Draw(separation=apart, implausible=np.array(passed), reference_rows=n, test_rows=test.shape[1])


def auto_pick(models: Bank, synthetic: npt.NDArray[np.float64], drawn: Draw) -> tuple[int, float, float]:
    """The model that `auto` picks, and the share and weight that are believed."""
    known = [i for i, (name, _) in enumerate(models.names) if name in DETECTORS]
    plausible = [i for i in known if not drawn.implausible[i]]
    believed = belief.Belief()
    if len(known) - len(plausible) <= 0.1 * len(known):
        believed = belief.Belief.of_detectors(
            list(synthetic[plausible]), list(drawn.separation[plausible]), drawn.reference_rows, drawn.test_rows
        )
    shown = np.where(drawn.implausible, 0.5, drawn.separation)
    value = [believed.auc(s, a) for s, a in zip(synthetic, shown, strict=True)]
    return int(np.argmax(value)), believed.share, believed.weight


Result = dict[str, Any]


def picks(models: Bank) -> Mapping[float, Result]:
    """By share: AUCs of what each objective picks in each draw, and of `auto` by each choice of constants."""
    auc, synthetic, found = models.auc(), models.synthetic(), {}
    for share in SHARES:
        some = list(draws(models, share))
        result: Result = {"synthetic": [float(auc[synthetic.argmax()])] * len(some)}
        result["separation"] = [float(auc[np.where(d.implausible, 0, d.separation).argmax()]) for d in some]
        picked = [auto_pick(models, synthetic, each) for each in some]
        result["auto"], result["share"], result["weight"] = ([float(p[i]) for p in picked] for i in range(3))
        result["auto"] = [float(auc[each[0]]) for each in picked]
        result["grid"] = {}
        for slope, spread, charge in product(SLOPES, SPREADS, CHARGES):
            with mock.patch.multiple(belief, SLOPE=slope, SPREAD=spread, _CHARGED=charge):
                tried = [float(auc[auto_pick(models, synthetic, each)[0]]) for each in some]
            result["grid"][f"{slope} {spread} {charge}"] = fmean(tried)
        found[share] = result
    return found


def five(values: npt.NDArray[np.float64], models: Bank) -> float:
    """Mean AUC of the best models of the five best closed forms."""
    best: dict[str, int] = {}
    for i in np.argsort(-values):
        best.setdefault(models.names[i][0], int(i))
    return float(models.auc()[list(best.values())[:5]].mean())


def main() -> None:
    """Read the command line, measure, print, write."""
    arguments = parser(__doc__, "data", "labels", "out")
    arguments.add_argument("--scores", type=Path, required=True, help="folder where scores are kept")
    arguments.add_argument("--tiles", type=Path, required=True, help="folder of the magnetic tiles")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    given.scores.mkdir(exist_ok=True)
    record: Result = {"environment": environment(), "sets": {}}
    for name, images, test, label in image_sets(given):
        print(name, flush=True)
        models = kept_bank(given.scores / f"{name}.npz", images, test, label)
        auc, synthetic = models.auc(), models.synthetic()
        record["sets"][name] = {
            "models": len(auc),
            "kinds": {
                kind: {
                    "rank_correlation": statistics.rank_correlation(models.kinds[:, i], auc),
                    "median": float(np.median(models.kinds[:, i])),
                    "picked": float(auc[models.kinds[:, i].argmax()]),
                }
                for i, kind in enumerate(models.kind_names)
            },
            "synthetic": {
                "rank_correlation": statistics.rank_correlation(synthetic, auc),
                "picked": float(auc[synthetic.argmax()]),
                "five": five(synthetic, models),
            },
            "best": float(auc.max()),
            "picks": picks(models),
        }
        given.out.write_text(json.dumps(record, indent=1) + "\n")
    print(markdown(record))


def markdown(record: Result) -> str:
    """A table of the kinds, one of what `synthetic` picks, and one of picks by the share of anomalies."""
    sets = record["sets"]
    kinds = list(dict.fromkeys(kind for each in sets.values() for kind in each["kinds"]))
    lines = ["rank correlation with the AUC, in brackets the median AUC of the kind", "", head("kind", *sets)]
    for kind in kinds:
        found = [each["kinds"].get(kind) for each in sets.values()]
        lines.append(line(kind, *(f"{f['rank_correlation']:+.2f} ({f['median']:.2f})" if f else "" for f in found)))
    lines += ["", head("set", "models", "rank correlation", "pick", "five", "best by labels")]
    for name, each in sets.items():
        known = each["synthetic"]
        cells = [known["rank_correlation"], known["picked"], known["five"], each["best"]]
        lines.append(line(name, each["models"], *(f"{cell:.3f}" for cell in cells)))
    lines += ["", head("set", "objective", *(f"p = {share}" for share in SHARES))]
    for name, each in sets.items():
        for objective in ("separation", "synthetic", "auto"):
            found = [each["picks"][share][objective] for share in SHARES]
            lines.append(line(name, objective, *(f"{fmean(aucs):.3f} ± {pstdev(aucs):.3f}" for aucs in found)))
        others = [other for other in sets if other.split()[0] != name.split()[0]]
        grid = each["picks"][SHARES[0]]["grid"]
        best = max(grid, key=lambda q: fmean(sets[o]["picks"][s]["grid"][q] for o in others for s in SHARES))
        cells = [each["picks"][share]["grid"][best] for share in SHARES]
        lines.append(line(name, f"`auto` by the others ({best})", *(f"{cell:.3f}" for cell in cells)))
        believed = [each["picks"][share]["share"] for share in SHARES]
        lines.append(line(name, "share believed", *(f"{fmean(shares):.2f}" for shares in believed)))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
