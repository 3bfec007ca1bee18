"""Every preset, and every family's best searched trial, over seeds: trained without labels, then held against them.

    python benchmarks/faces64_presets.py presets --data data --runs runs
    python benchmarks/faces64_presets.py searched --data data --runs runs --studies studies
    python benchmarks/faces64_presets.py table --data data --runs runs --studies studies --labels labels.csv --json FILE

`presets` trains what PLAN says, `searched` retrains the trial of each family's study that separation ranks first, under
the other seeds. Both skip what is cached and go on with a training that was killed. The epoch that is kept and the kind
of error are chosen by separation. `table` prints Markdown and writes JSON; it alone reads labels.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _members import blind_recipe, known
from _record import head, line, over_seeds, parser, write

from ensemble_ad.data.dataset import Dataset, load_dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families import FAMILIES, preset
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.store import Member, has_member, list_members, load_member
from ensemble_ad.statistics import auc
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What a preset is given of its published training.

    Attributes:
        epochs: instead of the published number.
        batch: images a step instead of the published number; a batch of 2,000 would leave 3 steps an epoch here, where
            the contest's 100,000 images gave 50.
        images: training images; None is all.
        thin: whether the data are every third training image and every third test image, where scoring all of them
            would take longer than the training.
    """

    epochs: int
    batch: int
    images: int | None = None
    thin: bool = False


PLAN = {
    "pca-10": Cut(epochs=1, batch=128),
    "pca-64": Cut(epochs=1, batch=128),
    "pca-256": Cut(epochs=1, batch=128),
    "fcn-crop": Cut(epochs=4, batch=128),
    "fcn-sample": Cut(epochs=5, batch=128),
    "mesdnet": Cut(epochs=1, batch=32, thin=True),
    "resnet-boss": Cut(epochs=2, batch=32, thin=True),
    "cutpaste-3way": Cut(epochs=1, batch=32, thin=True),
    "resnet-aux": Cut(epochs=1, batch=32, thin=True),
    "multi-cnn": Cut(epochs=1, batch=16, images=1000, thin=True),
    "cutpaste-small": Cut(epochs=4, batch=64),
    "fcn-strong": Cut(epochs=4, batch=64, thin=True),
    "multi-mixed": Cut(epochs=2, batch=64, thin=True),
    "multi-fcn": Cut(epochs=3, batch=64, thin=True),
    "fcn-report": Cut(epochs=3, batch=64, thin=True),
    "fcn-boss": Cut(epochs=3, batch=64, thin=True),
    "memory-dense": Cut(epochs=3, batch=128),
    "cnn-sample": Cut(epochs=3, batch=128),
    "fcn-medium": Cut(epochs=2, batch=128),
    "memory-sparse": Cut(epochs=3, batch=128),
    "vae-sample": Cut(epochs=3, batch=128),
    "contrast-small": Cut(epochs=2, batch=128),
}
THIN = 3
MEASURED = ("AUC, mean ± sd over the seeds", "median seed [95%]", "kind", "by rss")
END = ("kept epochs", "images/s")
# Others' measurements on the same test images, where there are any.
OTHERS = {
    "cnn-sample": "0.698, 0.631 (3, 20 epochs)",
    "vae-sample": "0.671 (20 epochs)",
    "fcn-sample": "0.861 (20 epochs)",
    "fcn-medium": "0.865 (20 epochs)",
    "fcn-strong": "0.855 (12 epochs)",
    "fcn-report": "0.868 (6 epochs)",
    "pca-10": "0.860",
    "pca-64": "0.844",
    "pca-256": "0.777",
}


def main() -> None:
    """Read the command line and do the step that it names."""
    arguments = parser(__doc__, "data")
    arguments.add_argument("step", choices=["presets", "searched", "table"])
    arguments.add_argument("--runs", type=Path, required=True, help="where the members go")
    arguments.add_argument("--studies", type=Path, help="where the families' studies are")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--only", nargs="+", help="presets or families")
    arguments.add_argument("--labels", type=Path)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--trained-at", help="the commit that the members are of, for the JSON")
    given = arguments.parse_args()
    dataset = load_dataset(given.data, image_cache=given.runs / "preprocessed")
    if given.step == "presets":
        for seed in given.seeds:
            for name in given.only or PLAN:
                data = thinned(dataset) if PLAN[name].thin else dataset
                _train(data, preset_recipe(data, name, seed), given.runs, name)
    elif given.step == "searched":
        for seed in given.seeds:
            for family, (best, _) in chosen(given.studies).items():
                if seed != 0 and family in (given.only or FAMILIES):
                    _train(dataset, reseeded(best, seed), given.runs, family)
    else:
        label = read_labels(given.labels, dataset.test.ids)
        found = tables(dataset, label, given.runs, given.studies, given.seeds)
        if given.json is not None:
            rows = [
                {"table": table, "name": name, **row} for table, some in found.items() for name, row in some.items()
            ]
            write(given.json, rows, trained_at=given.trained_at, seeds=given.seeds)


def thinned(dataset: Dataset) -> Dataset:
    """Every third image of both sets."""
    train, test = (
        replace(each, images=each.images[::THIN].copy(), ids=each.ids[::THIN]) for each in (dataset.train, dataset.test)
    )
    return Dataset(train=train, test=test)


def preset_recipe(dataset: Dataset, name: str, seed: int) -> Recipe:
    """What `ensad train --preset NAME --epochs E --batch-size B [--subset N] --seed S` trains on `dataset`."""
    family, published = preset(name)
    cut = PLAN[name]
    training = replace(TrainSettings(seed=seed, **published.training), epochs=cut.epochs, batch_size=cut.batch)
    preprocess = Preprocess(crop=published.crop, size=published.size or (dataset.side,) * 2, channels=dataset.channels)
    return blind_recipe(dataset, family.name, published.architecture, preprocess, training, cut.images)


def chosen(studies: Path) -> dict[str, tuple[Member, list[Member]]]:
    """Of each family the completed trial that separation ranks first, and all completed ones; no labels."""
    trials: dict[str, list[Member]] = {}
    for member in list_members(studies)[0]:
        if member.info.trial:
            trials.setdefault(member.family, []).append(member)
    return {
        family: (max(trials[family], key=lambda m: known(m.info.objectives.separation)), trials[family])
        for family in FAMILIES
        if family in trials
    }


def reseeded(trial: Member, seed: int) -> Recipe:
    """The recipe of a trial, of another seed."""
    recipe = Recipe.from_json(trial.info.recipe.json)
    return replace(recipe, training=replace(recipe.training, seed=seed))


def _train(dataset: Dataset, recipe: Recipe, runs: Path, name: str) -> None:
    if not has_member(runs, recipe.key):
        print(f"{name}, seed {recipe.training.seed}", flush=True)
        member = fit_member(dataset, recipe, studies=runs, device=torch.device("cpu"))
        print(f"  separation {member.value:.4f} by {member.main_column}, {asdict(member.info.seconds)}", flush=True)


def tables(
    dataset: Dataset, label: npt.NDArray[np.int8], runs: Path, studies: Path | None, seeds: list[int]
) -> dict[str, Any]:
    """Print both tables; what they hold, for the JSON."""
    searched = {} if studies is None else chosen(studies)

    def cached(recipe: Recipe) -> list[Member]:
        return [load_member(runs, recipe.key)] if has_member(runs, recipe.key) else []

    used = {False: dataset, True: thinned(dataset)}
    presets = {name: [m for s in seeds for m in cached(preset_recipe(used[PLAN[name].thin], name, s))] for name in PLAN}
    families = {
        name: [best, *(m for s in seeds if s != 0 for m in cached(reseeded(best, s)))]
        for name, (best, _) in searched.items()
    }
    rows = {
        "presets": {name: _row(members, label) for name, members in presets.items() if members},
        "searched": {
            name: _row(members, label)
            | {
                "completed_trials": len(searched[name][1]),
                "best_trial_by_labels": max(_run(trial, label)["auc"] for trial in searched[name][1]),
            }
            for name, members in families.items()
        },
    }
    print(head("preset", "epochs, batch, images", *MEASURED, "others'", *END, "parameters"))
    for name, row in _by_auc(rows["presets"]):
        cut = PLAN[name]
        images = ("all" if cut.images is None else f"{cut.images:,}") + ("*" if cut.thin else "")
        trained = f"{cut.epochs}, {cut.batch}, {images}"
        print(line(name, trained, *_measured(row), OTHERS.get(name, "-"), *_end(row), f"{row['parameters']:,}"))
    print()
    print(head("family", "trials", "chosen", "crop, size", *MEASURED, "seed 0; best by labels", *END))
    for name, row in _by_auc(rows["searched"]):
        where = f"{row['crop'][0]:g}, {row['size'][0]}"
        regret = f"{row['runs'][0]['auc']:.3f}; {row['best_trial_by_labels']:.3f}"
        print(line(name, row["completed_trials"], row["key"], where, *_measured(row), regret, *_end(row)))
    return rows


def _row(members: list[Member], label: npt.NDArray[np.int8]) -> dict[str, Any]:
    """All that is known of the members of one row, one a seed."""
    runs = [_run(member, label) for member in members]
    aucs = [run["auc"] for run in runs]
    first = members[0].info
    recipe = first.recipe.json
    return {
        "key": members[0].key,
        "mean": float(np.mean(aucs)),
        "sd": float(np.std(aucs, ddof=1)) if len(aucs) > 1 else None,
        "median_seed": sorted(runs, key=lambda run: run["auc"])[(len(runs) - 1) // 2]["seed"],
        "crop": recipe["preprocess"]["crop"],
        "size": recipe["preprocess"]["size"],
        "parameters": first.parameters,
        "images_per_second": float(np.median([epoch.rate for m in members for epoch in m.info.history])),
        "architecture": recipe["architecture"],
        "training": {k: v for k, v in recipe["training"].items() if k != "seed"},
        "environment": dict(first.environment),
        "runs": runs,
    }


def _run(member: Member, label: npt.NDArray[np.int8]) -> dict[str, Any]:
    test = member.vectors()[1]
    label = label if len(test) == len(label) else label[::THIN]
    by_kind = {kind: auc(label, test[:, i]) for i, kind in enumerate(member.columns)}
    found = by_kind[member.main_column]
    return {
        "key": member.key,
        "seed": member.info.recipe.json["training"]["seed"],
        "kind": member.main_column,
        "separation": known(member.info.objectives.separation),
        "auc": found.value,
        "interval": [found.low, found.high],
        "auc_by_kind": {kind: each.value for kind, each in by_kind.items()},
        "kept_epoch": member.info.best_epoch,
        "epochs": len(member.info.history),
        "seconds": asdict(member.info.seconds),
        "created": member.info.created,
    }


def _by_auc(rows: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(rows.items(), key=lambda item: -item[1]["mean"])


def _measured(row: dict[str, Any]) -> list[str]:
    runs = row["runs"]
    middle = next(run for run in runs if run["seed"] == row["median_seed"])
    rss = [run["auc_by_kind"]["rss"] for run in runs if "rss" in run["auc_by_kind"]]
    return [
        _over_seeds([run["auc"] for run in runs]),
        f"{middle['auc']:.3f} [{middle['interval'][0]:.3f}, {middle['interval'][1]:.3f}]",
        ", ".join(dict.fromkeys(run["kind"] for run in runs)),
        _over_seeds(rss) if rss else "-",
    ]


def _over_seeds(values: list[float]) -> str:
    few = "" if len(values) == 3 else f" ({len(values)} seed{'s' if len(values) > 1 else ''})"
    return over_seeds(values, ".3f") + few


def _end(row: dict[str, Any]) -> list[str]:
    return [", ".join(str(run["kept_epoch"]) for run in row["runs"]), f"{row['images_per_second']:,.0f}"]


if __name__ == "__main__":
    main()
