"""Kinds of error held against labels: what each is worth, alone and among those that a model is judged by.

    python benchmarks/kinds.py --data data --labels labels.csv --out vectors --models pca:3,fcn:4 --epochs 30 --size 32

Trains models that are drawn from their families' search spaces (the first ones are those that a study begins with), as
the last epoch leaves them, and keeps their error vectors in the folder `--out`; what is there already is not trained
again. A choice without labels takes, of each model, the kind of error of largest separation, or of largest AUC on
pseudo-anomalies, among those that a row of the table allows; the labels say what it is worth. Prints Markdown tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
import torch
from _record import head, line, over_seeds, parser

from ensemble_ad import statistics
from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.data.preprocess import Preprocess, apply
from ensemble_ad.data.split import split_rows
from ensemble_ad.families import Model, family
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.defect_aucs import synthetic_aucs
from ensemble_ad.training.error_vectors import error_vectors, fit_references, reference_rows
from ensemble_ad.training.load import untrained
from ensemble_ad.training.loop import train
from ensemble_ad.training.prepared import PseudoImages
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings

NEW = ("latent_lof", "residual_mahalanobis", "residual_knn", "residual_lof")
Labels = npt.NDArray[np.int8]


def drawn(dataset: Dataset, name: str, seed: int, size: int, epochs: int) -> Recipe:
    """A recipe of the family's search space."""
    kind = family(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=100 + seed))
    if seed < len(kind.start):
        study.enqueue_trial(dict(kind.start[seed]))
    trial = study.ask()
    architecture = kind.suggest(trial, kind.widths_up_to(kind.cpu_width))
    crop, _, training = kind.ranges_of(architecture).suggest(trial, epochs, sizes=(size,))
    return Recipe(
        data=dataset.fingerprint, family=name, architecture=architecture, objective="separation", labels=None,
        preprocess=Preprocess(crop=(crop, crop), size=(size, size), channels=dataset.channels),
        training=TrainSettings(seed=seed, **training), subset=None, patience=None,
    )  # fmt: skip


def vectors(dataset: Dataset, recipe: Recipe, pseudo: PseudoImages, subset: int | None) -> dict[str, np.ndarray]:
    """Error vectors by `SET/KIND`, where SET is `reference`, `test` or a kind of pseudo-anomaly."""
    split = split_rows(len(dataset.train), dataset.fingerprint, subset)

    def prepared(images: npt.NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(np.array(apply(images, recipe.preprocess)))

    normal, rows = prepared(np.asarray(dataset.train.images)), torch.from_numpy(split.train)
    model: Model = train(lambda: untrained(recipe), normal, rows, recipe.training).eval()
    references = fit_references(model, normal[reference_rows(rows)])
    sets = {"reference": normal[torch.from_numpy(split.reference)], "test": prepared(np.asarray(dataset.test.images))}
    sets |= {name: prepared(images) for name, images in pseudo.images.items()}
    return {
        f"{name}/{kind}": scores
        for name, images in sets.items()
        for kind, scores in error_vectors(model, images, references).items()
    }


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is known of a kind of error of a model: by labels, by the test images without labels, by neither.

    Attributes:
        normals: how far normal test images score above held-out ones; 0.5 where they are alike.
    """

    auc: float
    separation: float
    synthetic: float
    implausible: bool
    normals: float


def judged(found: Mapping[str, np.ndarray], label: Labels, pseudo: PseudoImages) -> dict[str, Judged]:
    """All kinds of error of a model."""
    result = {}
    for kind in (key.removeprefix("test/") for key in found if key.startswith("test/")):
        normal, scores = found[f"reference/{kind}"], found[f"test/{kind}"]
        seen = synthetic_aucs(normal[pseudo.normal_rows], {name: found[f"{name}/{kind}"] for name in pseudo.images})
        result[kind] = Judged(
            auc=statistics.auc(label, scores).value,
            separation=statistics.separation(normal, scores).value,
            synthetic=float(np.mean([each.value for each in seen.values()])),
            implausible=statistics.implausible(normal, scores),
            normals=statistics.separation(normal, scores[label == 0]).value,
        )
    return result


def _before(kind: str) -> bool:
    return not kind.startswith(NEW)


def _with(new: str) -> Callable[[str], bool]:
    return lambda kind: _before(kind) or kind.startswith(new)


SETS: Mapping[str, Callable[[str], bool]] = {
    "no distances": lambda kind: not kind.startswith(("latent_", "residual_")),
    "and latent_mahalanobis, latent_knn": _before,
    **{f"these and {new}": _with(new) for new in NEW},
    "all": lambda kind: True,
}
"""The kinds of error that are allowed, by the row of the table."""


def chosen(found: Mapping[str, Judged], by: str) -> Judged:
    """The kind that a choice without labels takes."""
    plausible = {kind: each for kind, each in found.items() if not each.implausible} or found
    return max((plausible if by == "separation" else found).values(), key=lambda each: float(getattr(each, by)))


def tables(known: Mapping[str, Mapping[str, Judged]]) -> str:
    """What choices among the sets of kinds are worth, and what each kind is."""
    ways = ("separation", "synthetic")
    lines = [head("kinds", *(title for way in ways for title in (f"by {way}: mean AUC", "its best model")))]
    for name, allowed in SETS.items():
        cells = []
        for way in ways:
            picks = [chosen(some, way) for found in known.values() if (some := _allowed(found, allowed))]
            best = max(picks, key=lambda each: float(getattr(each, way)))
            cells += [over_seeds([each.auc for each in picks], ".3f"), f"{best.auc:.3f}"]
        lines.append(line(name, *cells))
    lines += ["", head("kind", "models", "AUC", "separation", "normal test images above held-out ones")]
    for kind in dict.fromkeys(kind for found in known.values() for kind in found):
        those = [found[kind] for found in known.values() if kind in found]
        values = ([float(getattr(each, what)) for each in those] for what in ("auc", "separation", "normals"))
        lines.append(line(kind, len(those), *(over_seeds(each, ".3f") for each in values)))
    return "\n".join(lines)


def _allowed(found: Mapping[str, Judged], allowed: Callable[[str], bool]) -> dict[str, Judged]:
    return {kind: each for kind, each in found.items() if allowed(kind)}


def main() -> None:
    """Read the command line, train, print."""
    arguments = parser(__doc__, "data", "labels", "out")
    arguments.add_argument("--models", default="pca:3,fcn:4,cnn:3,vae:2,memory:2")
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--size", type=int, default=32)
    arguments.add_argument("--subset", type=int)
    given = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    given.out.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(given.data, image_cache=given.out)
    label, pseudo = read_labels(given.labels, dataset.test.ids), PseudoImages.of(dataset)
    known = {}
    for name, count in (each.split(":") for each in given.models.split(",")):
        for seed in range(int(count)):
            file: Path = given.out / f"{name}-{seed}.npz"
            if not file.exists():
                recipe = drawn(dataset, name, seed, given.size, given.epochs)
                np.savez(file, **vectors(dataset, recipe, pseudo, given.subset))  # type: ignore[arg-type]
            with np.load(file) as found:
                known[file.stem] = judged(dict(found), label, pseudo)
    print(f"{len(known)} models: {', '.join(known)}\n\n{tables(known)}")


if __name__ == "__main__":
    main()
