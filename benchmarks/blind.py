"""Held against labels: how well each objective ranks the trials of a study, and what moves `auto`.

    python benchmarks/blind.py --data data --studies studies --labels labels.csv --out benchmarks/results/blind.json

Every completed trial's model is loaded and scores the held-out normal images, the pseudo-anomalies and the test images
as they are and with the normal ones changed. Each objective then chooses its kind of error and its trial anew, on all
test images, and on draws in which the anomalies are thinned. The weights are the study's: which epoch was kept is not
judged anew. Labels make the conditions and measure; no objective sees them. Prints Markdown tables and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ensemble_ad import statistics
from ensemble_ad.blend import blend_scores
from ensemble_ad.data.images import load_dataset
from ensemble_ad.data.preprocess import apply
from ensemble_ad.data.split import split_rows
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.auto_objective import Circumstances, Finished, guard
from ensemble_ad.members.defect_aucs import synthetic_values
from ensemble_ad.members.objectives import (
    Evidence,
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
from ensemble_ad.training.make_member import PseudoImages, load_model
from ensemble_ad.training.recipe import Recipe

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


def rescore(arguments: argparse.Namespace) -> tuple[list[dict], np.ndarray, PseudoImages]:
    """Every inductive trial's error vectors: {"reference", "pseudo", "test": {condition: ...}}, and the labels."""
    dataset = load_dataset(arguments.data, image_cache=arguments.studies / "preprocessed")
    label = read_labels(arguments.labels, dataset.test.ids)
    pseudo = PseudoImages.of(dataset)
    held_out = np.asarray(dataset.train.images[split_rows(len(dataset.train), dataset.fingerprint).reference])
    plain = np.asarray(dataset.test.images)
    sets = {"as it is": plain}
    for name, shift in SHIFTS.items():
        sets[name] = plain.copy()
        sets[name][label == 0] = shift(plain[label == 0].astype(np.float32), np.random.default_rng(0))
    trials = []
    for member in list_members(arguments.studies)[0]:
        if not member.info.get("trial") or member.info.get("transductive") or member.data != dataset.fingerprint:
            continue
        recipe = Recipe.from_json(member.info["recipe"])
        model, latents = load_model(member, torch.device("cpu"))
        judged = latents if recipe.family == "cutpaste" else {}

        def score(images, model=model, recipe=recipe, judged=judged):
            ready = torch.from_numpy(np.array(apply(images, recipe.preprocess)))
            return error_vectors(model, ready, judged, flips=recipe.flips)

        trials.append(
            {
                "key": member.key,
                "family": member.family,
                "pixels": int(np.prod(recipe.preprocess.shape)),
                "reference": score(held_out),
                "pseudo": {kind: score(images) for kind, images in pseudo.images.items()},
                "test": {name: score(images) for name, images in sets.items()},
            }
        )
        print(f"scored {member.key}", flush=True)
    return trials, label, pseudo


def judge(trials: list[dict], label: np.ndarray, pseudo: PseudoImages, condition: str, rows: np.ndarray) -> dict:
    """What each objective does on these test images: rank correlation, the chosen trial's AUC, the best trial's."""
    evidence = [
        Evidence(
            reference=trial["reference"],
            test={kind: scores[rows] for kind, scores in trial["test"][condition].items()},
            pixels=trial["pixels"],
            pseudo=trial["pseudo"],
            normal_rows=pseudo.normal_rows,
        )
        for trial in trials
    ]
    truth = label[rows]
    by_separation = [separation(each) for each in evidence]
    main = np.stack([each.test[judged.column] for each, judged in zip(evidence, by_separation, strict=True)])
    crowd = statistics.midranks(main.astype(np.float64))
    by_consensus = []
    for i, each in enumerate(evidence):
        others = np.delete(crowd, i, axis=0).mean(axis=0)
        by_consensus.append(consensus(Evidence(reference={}, test=each.test, pixels=1, consensus=others)))
    by_synthetic, by_both = [synthetic(each) for each in evidence], [both(each) for each in evidence]

    def kinds(judgements):
        return synthetic_values([synthetic_kinds(e, j.column) for e, j in zip(evidence, judgements, strict=True)])

    def separations(judgements):
        return [
            statistics.separation(e.reference[j.column], e.test[j.column]).value
            for e, j in zip(evidence, judgements, strict=True)
        ]

    choices = {
        "separation": (by_separation, [j.value for j in by_separation]),
        "synthetic": (by_synthetic, kinds(by_synthetic)),
        "both": (by_both, borda(np.column_stack([separations(by_both), kinds(by_both)]))),
        "consensus": (by_consensus, [j.value for j in by_consensus]),
        "loss": ([loss(e) if "rss" in e.reference else None for e in evidence], None),
    }
    finished = []
    for each, judged in zip(evidence, by_separation, strict=True):
        share = statistics.estimate_share(
            each.reference[judged.column], each.test[judged.column], level=statistics.SURE
        )
        finished.append(
            Finished(
                separation=judged.value,
                standard_error=judged.standard_error,
                share=share.value,
                least_share=share.low,
                implausible=implausible_kinds(each),
                kinds=synthetic_kinds(each, judged.column),
            )
        )
    n_reference = len(next(iter(evidence[0].reference.values())))
    known = Circumstances(reference_rows=n_reference, test_rows=len(rows), anomaly_share=None)
    result: dict = {"guard": guard(finished, known), "best": best_single(evidence, truth)}
    result["points"] = [
        {
            "key": trial["key"],
            "separation": judged.value,
            "standard_error": judged.standard_error,
            "synthetic": synthetic(each).value,
            "auc": statistics.auc(truth, each.test[judged.column]).value,
        }
        for trial, each, judged in zip(trials, evidence, by_separation, strict=True)
    ]
    for name, (judgements, value) in choices.items():
        some = [i for i, judged in enumerate(judgements) if judged is not None]
        goal = np.array([-judgements[i].value if value is None else value[i] for i in some])
        auc = np.array([statistics.auc(truth, evidence[i].test[judgements[i].column]).value for i in some])
        result[name] = {
            "rank_correlation": statistics.rank_correlation(goal, auc),
            "chosen": float(auc[np.argmax(goal)]),
            "best": float(auc.max()),
        }
    return result


def best_single(evidence: list[Evidence], truth: np.ndarray) -> float:
    """The best AUC of any trial and kind of error, chosen with labels."""
    return max(statistics.auc(truth, scores).value for each in evidence for scores in each.test.values())


def blended(trials: list[dict], label: np.ndarray, condition: str) -> dict:
    """AUC of blends of all trials and kinds of error, and how many members `auto` leaves out."""
    reference, test = (
        np.stack([scores for trial in trials for scores in side(trial).values()], axis=1)
        for side in (lambda trial: trial["reference"], lambda trial: trial["test"][condition])
    )
    auto = blend_scores(reference, test)
    return {
        "auto": statistics.auc(label, auto.scores).value,
        "mean": statistics.auc(label, blend_scores(reference, test, method="mean").scores).value,
        "pu-lda": statistics.auc(label, blend_scores(reference, test, method="pu-lda").scores).value,
        "members": reference.shape[1],
        "guards": [line for line in auto.guards if "differ" in line],
        "method": auto.method,
    }


def main() -> None:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "studies", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    trials, label, pseudo = rescore(arguments)
    every = np.arange(len(label))
    conditions = {name: [judge(trials, label, pseudo, name, every)] for name in ("as it is", *SHIFTS)}
    for name, (result,) in conditions.items():
        result["blend"] = blended(trials, label, name)
    normal, anomalous = np.flatnonzero(label == 0), np.flatnonzero(label == 1)
    for share in SHARES:
        n_anomalous = round(share / (1 - share) * len(normal))
        conditions[f"p = {share}"] = [
            judge(
                trials,
                label,
                pseudo,
                "as it is",
                np.concatenate([normal, np.random.default_rng(draw).choice(anomalous, n_anomalous, replace=False)]),
            )
            for draw in range(DRAWS)
        ]
    counts = pd.Series([trial["family"] for trial in trials]).value_counts().to_dict()
    machine = {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "trials": counts,
    }
    for results in conditions.values():
        for result in results[1:]:
            del result["points"]
    arguments.out.write_text(json.dumps({"machine": machine, "conditions": conditions}, indent=1) + "\n")
    print(f"\n{machine}\n\n{markdown(conditions)}")


def markdown(conditions: dict[str, list[dict]]) -> str:
    """A table of rank correlations, one of what is chosen, and the guards."""
    names = ["separation", "synthetic", "both", "consensus", "loss"]
    lines = [
        "rank correlation of objective and AUC over the trials (mean and standard deviation over draws)",
        "",
        f"| test set | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for condition, results in conditions.items():
        cells = [_spread([r[name]["rank_correlation"] for r in results]) for name in names]
        lines.append(f"| {condition} | {' | '.join(cells)} |")
    lines += [
        "",
        "AUC of the trial that each would choose, in brackets its regret: how far below the best trial that is",
        "",
        f"| test set | {' | '.join(names)} | best kind and trial, by labels |",
        f"|---|{'---|' * len(names)}---|",
    ]
    for condition, results in conditions.items():
        cells = [
            f"{np.mean([r[n]['chosen'] for r in results]):.3f} "
            f"({np.mean([r[n]['best'] - r[n]['chosen'] for r in results]):.3f})"
            for n in names
        ]
        lines.append(f"| {condition} | {' | '.join(cells)} | {np.mean([r['best'] for r in results]):.3f} |")
    lines += ["", "| test set | guards fire | what the first says |", "|---|---|---|"]
    for condition, results in conditions.items():
        said = [r["guard"] for r in results if r["guard"]]
        lines.append(f"| {condition} | {len(said)} of {len(results)} | {said[0] if said else ''} |")
    lines += ["", "| test set | `auto` | `pu-lda` | `mean` | members | what `auto` says |", "|---|---|---|---|---|---|"]
    for condition, results in conditions.items():
        if "blend" in results[0]:
            b = results[0]["blend"]
            said = "; ".join(line.partition(":")[0] for line in b["guards"])
            lines.append(
                f"| {condition} | {b['auto']:.3f} | {b['pu-lda']:.3f} | {b['mean']:.3f} | {b['members']} | {said} |"
            )
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values):.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
