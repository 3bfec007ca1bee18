"""Where the defect is: pixel AUROC of a blend's maps and of its single members', by the masks of magnetic_tile.

    python benchmarks/maps.py magnetic_tile OUT [--side 64] [--seeds 0 1 2]

Pictures are padded to squares of `--side` pixels. Each seed trains a few cheap members on the good ones, blends them
with the unlabelled test pictures, and lays every map back on its picture: judged are the pictures' own pixels alone, at
their own size, all good test pictures among them. Masks are used for the figures and for nothing else. What is trained
lies in `OUT` and is not trained again.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ensemble_ad.data.fit import fitted, unfitted
from ensemble_ad.detect.explain import Guide, blended_maps
from ensemble_ad.detect.scorer import BlendScorer, load_blend

PRESETS = (
    ("pca-64",),
    ("pca-256",),
    ("inpaint-gauss", "--size", "48"),
    ("fcn-sample", "--epochs", "20", "--batch-size", "64"),
    ("memory-sparse", "--epochs", "3", "--batch-size", "32"),
)
KINDS = ("blowhole", "break", "crack", "fray", "uneven")
BINS = 20_000  # of equal ratios, from a thousandth of the usual error to a thousand times it
Histogram = np.ndarray


def ensad(*words: object) -> str:
    """Run a command; what it prints."""
    command = [sys.executable, "-m", "ensemble_ad", *map(str, words), "-q"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def picture(path: Path) -> np.ndarray:
    """uint8 (height, width)."""
    return np.asarray(Image.open(path).convert("L"))


def make_data(source: Path, folder: Path, side: int) -> list[Path]:
    """Write both sets as padded squares; the test pictures' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    tested = sorted((source / "test").glob("*/*"))
    for name, paths in (("trainingset", sorted((source / "train/good").iterdir())), ("testingset", tested)):
        if not (folder / f"{name}.npy").exists():
            squares = np.stack([fitted(picture(path), "pad", side) for path in paths])
            np.save(folder / f"{name}.npy", squares[..., None])
    return tested


def masks(source: Path, paths: list[Path]) -> Iterator[np.ndarray]:
    """Where each picture is broken, bool (height, width); nowhere in a good one."""
    for path in paths:
        mask = source / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        yield picture(mask) > 127 if mask.exists() else np.zeros(picture(path).shape, bool)


def auroc(good: Histogram, bad: Histogram) -> float:
    """The AUC of two histograms over the same ascending bins, ties one half."""
    below = np.cumsum(good) - good / 2
    return float((bad * below).sum() / bad.sum() / good.sum())


def judge(maps: np.ndarray, shown: list[tuple[str, np.ndarray]]) -> dict[str, float]:
    """Pixel AUROC of all kinds together and of each, against all pixels that are not broken."""
    counts = {kind: np.zeros(BINS + 1) for kind in (*KINDS, "good")}
    for errors, (kind, mask) in zip(maps, shown, strict=True):
        share = (np.log10(np.clip(unfitted(errors, mask.shape, "pad"), 1e-3, 1e3)) + 3) / 6
        place = (share * BINS).astype(np.int32)
        counts["good"] += np.bincount(place[~mask], minlength=BINS + 1)
        if mask.any():
            counts[kind] += np.bincount(place[mask], minlength=BINS + 1)
    found = {kind: auroc(counts["good"], counts[kind]) for kind in KINDS}
    found["mean of kinds"] = float(np.mean(list(found.values())))
    return {"all": auroc(counts["good"], np.sum([counts[kind] for kind in KINDS], axis=0)), **found}


def rows(scorer: BlendScorer, names: dict[str, str]) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """What is judged: the blend, its members with equal weights, each member."""
    yield "blend", scorer.explain
    guides = scorer._guides
    yield "equal weights", partial(_by, [replace(guide, weight=1.0) for guide in guides.values()])
    for key, guide in guides.items():
        yield names[key], partial(_by, [guide])


def _by(guides: list[Guide], images: np.ndarray) -> np.ndarray:
    return blended_maps(guides, images, torch.device("cpu"))


def main() -> None:
    """Read the command line, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    data = given.out / f"data-{given.side}"
    paths = make_data(given.source, data, given.side)
    shown = [(path.parent.name, mask) for path, mask in zip(paths, masks(given.source, paths), strict=True)]
    images = np.load(data / "testingset.npy")
    found: dict[str, list[dict[str, float]]] = {}
    for seed in given.seeds:
        where = ("--studies", given.out / f"studies-{given.side}-{seed}")
        keys = {
            ensad("train", "--preset", *preset, "--seed", seed, "--data", data, *where): preset[0] for preset in PRESETS
        }
        ensad("blend", "--members", ",".join(keys), "--name", "tiles", *where)
        scorer = load_blend("tiles", where[1], device="cpu")
        weights = {keys[key]: guide.weight for key, guide in scorer._guides.items()}
        print(seed, {name: round(weight, 2) for name, weight in weights.items()}, file=sys.stderr)
        for name, explain in rows(scorer, keys):
            found.setdefault(name, []).append(judge(explain(images), shown))
    columns = ["all", "mean of kinds", *KINDS]
    print(f"| map | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, results in found.items():
        cells = [[result[column] for result in results] for column in columns]
        print(f"| {name} | {' | '.join(f'{np.mean(c):.3f} ({np.min(c):.3f} to {np.max(c):.3f})' for c in cells)} |")


if __name__ == "__main__":
    main()
