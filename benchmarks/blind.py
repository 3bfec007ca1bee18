"""Held against labels: how well each objective ranks the trials of a study, and what moves `auto`.

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
from dataclasses import dataclass
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
from ensemble_ad.members.auto_objective import Circumstances, Finished, guard
from ensemble_ad.members.defect_aucs import synthetic_values
from ensemble_ad.members.objectives import (
    Evidence,
    Judgement,
    borda,
    both,
    consensus,
    implausible_kinds,
    loss,
    separation,
    synthetic,
    synthetic_kinds,
)
from ensemble_ad.members.store import list_members
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.load import load_model
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


def rescore(given: argparse.Namespace) -> tuple[list[Trial], Labels, PseudoImages]:
    """Every inductive trial's error vectors, the labels of the test images, and the pseudo-anomalies."""
    dataset = load_dataset(given.data, image_cache=preprocessed_folder(given.studies))
    label = read_labels(given.labels, dataset.test.ids)
    pseudo = PseudoImages.of(dataset)
    held_out = np.asarray(dataset.train.images[dataset.split().reference])
    plain = np.asarray(dataset.test.images)
    sets = {"as it is": plain}
    for name, shift in SHIFTS.items():
        sets[name] = plain.copy()
        sets[name][label == 0] = shift(plain[label == 0].astype(np.float32), np.random.default_rng(0))
    trials = []
    for member in list_members(given.studies)[0]:
        if not member.info.trial or member.info.transductive or member.data != dataset.fingerprint:
            continue
        recipe = Recipe.from_json(member.info.recipe.json)
        model, references, _ = load_model(member, torch.device("cpu"))
        score = partial(_score, model, recipe, references)
        trials.append(
            Trial(
                key=member.key,
                family=member.family,
                pixels=int(np.prod(recipe.preprocess.shape)),
                reference=score(held_out),
                pseudo={kind: score(images) for kind, images in pseudo.images.items()},
                test={name: score(images) for name, images in sets.items()},
            )
        )
        print(f"scored {member.key}", flush=True)
    return trials, label, pseudo


def judge(trials: list[Trial], label: Labels, pseudo: PseudoImages, condition: str, rows: Rows) -> Result:
    """What each objective does on these test images: rank correlation, the chosen trial's AUC, the best trial's."""
    evidence = [
        Evidence(
            reference=trial.reference,
            test={kind: scores[rows] for kind, scores in trial.test[condition].items()},
            pixels=trial.pixels,
            pseudo=trial.pseudo,
            normal_rows=pseudo.normal_rows,
        )
        for trial in trials
    ]
    truth = label[rows]
    by_separation = [separation(each) for each in evidence]
    finished = [_finished(each, judged) for each, judged in zip(evidence, by_separation, strict=True)]
    n_reference = len(next(iter(evidence[0].reference.values())))
    known = Circumstances(reference_rows=n_reference, test_rows=len(rows), anomaly_share=None)
    result: Result = {
        "guard": guard(finished, known),
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


def _finished(evidence: Evidence, judged: Judgement) -> Finished:
    """What the guards look at, as separation judged the trial."""
    reference, test = evidence.reference[judged.column], evidence.test[judged.column]
    share = statistics.estimate_share(reference, test, level=statistics.SURE)
    return Finished(
        separation=judged.value,
        standard_error=judged.standard_error,
        share=share.value,
        least_share=share.low,
        implausible=implausible_kinds(evidence),
        kinds=synthetic_kinds(evidence, judged.column),
    )


def choices(evidence: list[Evidence], by_separation: list[Judgement]) -> dict[str, Choice]:
    """What each objective says of the trials."""

    def choice(judgements: list[Judgement], goal: npt.NDArray[np.float64] | None = None) -> Choice:
        values = [judged.value for judged in judgements] if goal is None else goal
        return Choice(evidence=evidence, columns=[judged.column for judged in judgements], goal=values)

    def kinds(judgements: list[Judgement]) -> npt.NDArray[np.float64]:
        judged = zip(evidence, judgements, strict=True)
        return synthetic_values([synthetic_kinds(each, one.column) for each, one in judged])

    by_synthetic, by_both = [synthetic(each) for each in evidence], [both(each) for each in evidence]
    separations = [
        statistics.separation(each.reference[judged.column], each.test[judged.column]).value
        for each, judged in zip(evidence, by_both, strict=True)
    ]
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
        "synthetic": choice(by_synthetic, kinds(by_synthetic)),
        "both": choice(by_both, borda(np.column_stack([separations, kinds(by_both)]))),
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
    trials, label, pseudo = rescore(given)
    judged = partial(judge, trials, label, pseudo)
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
    """A table of rank correlations, one of what is chosen, one of the guards and one of the blends."""
    names = ("separation", "synthetic", "both", "consensus", "loss")
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
    lines += ["", head("test set", "guards fire", "what the first says")]
    for condition, results in conditions.items():
        reasons = [result["guard"] for result in results if result["guard"]]
        lines.append(line(condition, f"{len(reasons)} of {len(results)}", reasons[0] if reasons else ""))
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
