"""Held against labels: how well each objective ranks the trials of a study, and how far `auto` believes the test set.

    python benchmarks/blind.py --data data --studies studies --labels labels.csv --out benchmarks/results/blind.json

Every completed trial's model is loaded and scores the held-out normal images, the pseudo-anomalies and the test images
as they are and with the normal ones changed. Each objective then chooses its kind of error and its trial anew, on all
test images, and on draws in which the anomalies are thinned. The weights are the study's: which epoch was kept is not
judged anew. Labels make the conditions and measure; no objective sees them. Prints Markdown tables and writes JSON.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import pstdev
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _record import environment, head, line, over_seeds, parser

from ensemble_ad import statistics
from ensemble_ad.blend import blend_scores
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import apply
from ensemble_ad.families import Model
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.layout import preprocessed_folder
from ensemble_ad.members.auto_objective import belief_of
from ensemble_ad.members.objectives import Evidence, Judgement, auto, consensus, loss, separation, synthetic
from ensemble_ad.members.store import list_members
from ensemble_ad.training.believed import detectors
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.load import load_model, untrained
from ensemble_ad.training.loop import train
from ensemble_ad.training.prepared import PseudoImages
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.references import References

SHARES = (0.25, 0.1, 0.05)
DRAWS = 20


def lower_contrast(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast times 0.9 around mid-grey."""
    return np.clip(np.rint(127.5 + 0.9 * (images - 127.5)), 0, 255).astype(np.uint8)


def noisy(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of 0.05 of the grey range, the same in all channels."""
    noise = rng.normal(0, 0.05 * 255, (*images.shape[:3], 1))
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


SHIFTS = {"contrast x 0.9": lower_contrast, "noise 0.05": noisy}


Vectors = Mapping[str, npt.NDArray[np.float32]]
Labels = npt.NDArray[np.int8]
Rows = npt.NDArray[np.int64]
Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial's error vectors by kind.

    Attributes:
        key: the member's.
        family: the member's.
        pixels: numbers an image has, as the model takes it.
        reference: of the held-out normal images.
        pseudo: of the pseudo-anomalies, by the kind of defect.
        test: of the test images, by condition.
    """

    key: str
    family: str
    pixels: int
    reference: Vectors
    pseudo: Mapping[str, Vectors]
    test: Mapping[str, Vectors]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What an objective says of the trials that it can judge.

    Attributes:
        evidence: what it has seen of each.
        columns: the kind of error that it chose for each.
        goal: its value for each, higher = better.
    """

    evidence: Sequence[Evidence]
    columns: Sequence[str]
    goal: Sequence[float] | npt.NDArray[np.float64]


def _score(model: Model, recipe: Recipe, references: References, images: npt.NDArray[np.uint8]) -> Vectors:
    ready = torch.from_numpy(np.array(apply(images, recipe.preprocess)))
    return error_vectors(model, ready, references, flips=recipe.flips)


def rescore(given: argparse.Namespace) -> tuple[list[Trial], list[Trial], Labels, PseudoImages]:
    """Every inductive trial's and the detectors' error vectors, the test images' labels, and the pseudo-anomalies."""
    dataset = load_dataset(given.data, image_cache=preprocessed_folder(given.studies))
    label = read_labels(given.labels, dataset.test.ids)
    pseudo = PseudoImages.of(dataset)
    held_out = np.asarray(dataset.train.images[dataset.split().reference])
    plain = np.asarray(dataset.test.images)
    sets = {"as it is": plain}
    for name, shift in SHIFTS.items():
        sets[name] = plain.copy()
        sets[name][label == 0] = shift(plain[label == 0].astype(np.float32), np.random.default_rng(0))

    def scored(key: str, recipe: Recipe, model: Model, references: References) -> Trial:
        score = partial(_score, model, recipe, references)
        print(f"scores {key}", flush=True)
        return Trial(
            key=key,
            family=recipe.family,
            pixels=int(np.prod(recipe.preprocess.shape)),
            reference=score(held_out),
            pseudo={kind: score(images) for kind, images in pseudo.images.items()},
            test={name: score(images) for name, images in sets.items()},
        )

    trials, known = [], []
    for member in list_members(given.studies)[0]:
        if not member.info.trial or member.info.transductive or member.data != dataset.fingerprint:
            continue
        recipe = Recipe.from_json(member.info.recipe.json)
        model, references, _ = load_model(member, torch.device("cpu"))
        trials.append(scored(member.key, recipe, model, references))
    rows = torch.from_numpy(dataset.split().train)
    for recipe in detectors(dataset):
        images = torch.from_numpy(np.array(apply(np.asarray(dataset.train.images), recipe.preprocess)))
        known.append(scored(recipe.key, recipe, train(partial(untrained, recipe), images, rows, recipe.training), {}))
    return trials, known, label, pseudo


def judge(
    trials: list[Trial], known: list[Trial], label: Labels, pseudo: PseudoImages, condition: str, rows: Rows
) -> Result:
    """What each objective does on these test images: rank correlation, the chosen trial's AUC, the best trial's."""

    def seen(trial: Trial) -> Evidence:
        return Evidence(
            reference=trial.reference,
            test={kind: scores[rows] for kind, scores in trial.test[condition].items()},
            pixels=trial.pixels,
            pseudo=trial.pseudo,
            normal_rows=pseudo.normal_rows,
        )

    belief = belief_of([seen(trial) for trial in known])
    evidence = [replace(seen(trial), belief=belief) for trial in trials]
    truth = label[rows]
    by_separation = [separation(each) for each in evidence]
    result: Result = {
        "share": belief.share,
        "weight": belief.weight,
        "best": max(statistics.auc(truth, scores).value for each in evidence for scores in each.test.values()),
        "points": [
            {
                "key": trial.key,
                "separation": judged.value,
                "standard_error": judged.standard_error,
                "synthetic": synthetic(each).value,
                "auc": statistics.auc(truth, each.test[judged.column]).value,
            }
            for trial, each, judged in zip(trials, evidence, by_separation, strict=True)
        ],
    }
    for name, choice in choices(evidence, by_separation).items():
        columns = zip(choice.evidence, choice.columns, strict=True)
        auc = np.array([statistics.auc(truth, each.test[column]).value for each, column in columns])
        result[name] = {
            "rank_correlation": statistics.rank_correlation(np.array(choice.goal), auc),
            "chosen": float(auc[np.argmax(choice.goal)]),
            "best": float(auc.max()),
        }
    return result


def choices(evidence: list[Evidence], by_separation: list[Judgement]) -> dict[str, Choice]:
    """What each objective says of the trials."""

    def choice(judgements: list[Judgement]) -> Choice:
        values = [judged.value for judged in judgements]
        return Choice(evidence=evidence, columns=[judged.column for judged in judgements], goal=values)

    judged = zip(evidence, by_separation, strict=True)
    crowd = statistics.midranks(np.stack([each.test[one.column] for each, one in judged]).astype(np.float64))
    by_consensus = []
    for i, each in enumerate(evidence):
        others = np.delete(crowd, i, axis=0).mean(axis=0)
        by_consensus.append(consensus(Evidence(reference={}, test=each.test, pixels=1, consensus=others)))
    reconstructing = [each for each in evidence if "rss" in each.reference]
    by_loss = [loss(each) for each in reconstructing]
    return {
        "separation": choice(by_separation),
        "synthetic": choice([synthetic(each) for each in evidence]),
        "auto": choice([auto(each) for each in evidence]),
        "consensus": choice(by_consensus),
        "loss": Choice(
            evidence=reconstructing, columns=[one.column for one in by_loss], goal=[-one.value for one in by_loss]
        ),
    }


def blended(trials: list[Trial], label: Labels, condition: str) -> Result:
    """AUC of blends of all trials and kinds of error, how many these are, and what `auto` says."""
    reference = np.stack([scores for trial in trials for scores in trial.reference.values()], axis=1)
    test = np.stack([scores for trial in trials for scores in trial.test[condition].values()], axis=1)
    auto = blend_scores(reference, test)
    return {
        "auto": statistics.auc(label, auto.scores).value,
        "mean": statistics.auc(label, blend_scores(reference, test, method="mean").scores).value,
        "pu-lda": statistics.auc(label, blend_scores(reference, test, method="pu-lda").scores).value,
        "members": reference.shape[1],
        "guards": [said for said in auto.guards if "differ" in said],
        "method": auto.method,
    }


def main() -> None:
    """Read the command line, measure, print, write."""
    given = parser(__doc__, "data", "studies", "labels", "out").parse_args()
    trials, known, label, pseudo = rescore(given)
    judged = partial(judge, trials, known, label, pseudo)
    every = np.arange(len(label))
    conditions = {name: [judged(name, every)] for name in ("as it is", *SHIFTS)}
    for name, (result,) in conditions.items():
        result["blend"] = blended(trials, label, name)
    normal, anomalous = np.flatnonzero(label == 0), np.flatnonzero(label == 1)
    for share in SHARES:
        n_anomalous = round(share / (1 - share) * len(normal))
        draws = [np.random.default_rng(draw).choice(anomalous, n_anomalous, replace=False) for draw in range(DRAWS)]
        conditions[f"p = {share}"] = [judged("as it is", np.concatenate([normal, some])) for some in draws]
    for results in conditions.values():
        for result in results[1:]:
            del result["points"]
    now = environment()
    machine = {
        "date": now["date"].partition("T")[0],
        "cores": now["machine"]["cores"],
        "python": now["versions"]["python"],
        "torch": now["versions"]["torch"],
        "trials": dict(Counter(trial.family for trial in trials).most_common()),
    }
    given.out.write_text(json.dumps({"machine": machine, "conditions": conditions}, indent=1) + "\n")
    print(f"\n{machine}\n\n{markdown(conditions)}")


def markdown(conditions: dict[str, list[Result]]) -> str:
    """A table of rank correlations, one of what is chosen, one of what is believed and one of the blends."""
    names = ("separation", "synthetic", "auto", "consensus", "loss")
    lines = [
        "rank correlation of objective and AUC over the trials (mean and standard deviation over draws)",
        "",
        head("test set", *names),
    ]
    for condition, results in conditions.items():
        correlations = ([result[name]["rank_correlation"] for result in results] for name in names)
        lines.append(line(condition, *(over_seeds(each, ".2f", pstdev) for each in correlations)))
    lines += [
        "",
        "AUC of the trial that each would choose, in brackets its regret: how far below the best trial that is",
        "",
        head("test set", *names, "best kind and trial, by labels"),
    ]
    for condition, results in conditions.items():
        cells = [
            f"{np.mean([r[n]['chosen'] for r in results]):.3f} "
            f"({np.mean([r[n]['best'] - r[n]['chosen'] for r in results]):.3f})"
            for n in names
        ]
        lines.append(line(condition, *cells, f"{np.mean([r['best'] for r in results]):.3f}"))
    lines += ["", head("test set", "share that is believed", "what the test set decides of `auto`")]
    for condition, results in conditions.items():
        told = (over_seeds([result[what] for result in results], ".2f", pstdev) for what in ("share", "weight"))
        lines.append(line(condition, *told))
    lines += ["", head("test set", "`auto`", "`pu-lda`", "`mean`", "members", "what `auto` says")]
    for condition, results in conditions.items():
        if "blend" in results[0]:
            blend = results[0]["blend"]
            aucs = (f"{blend[name]:.3f}" for name in ("auto", "pu-lda", "mean"))
            said = "; ".join(each.partition(":")[0] for each in blend["guards"])
            lines.append(line(condition, *aucs, blend["members"], said))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
