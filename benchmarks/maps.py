"""Where the defect is: pixel AUROC of a blend's maps and of its single members'.

    python benchmarks/maps.py magnetic_tile OUT [--side 64] [--seeds 0 1 2]
    python benchmarks/maps.py faces64/trainingset.npy OUT
    python benchmarks/maps.py digits OUT

The first takes pictures with masks, padded to squares of `--side` pixels, and lays every map back on its picture:
judged are the pictures' own pixels alone, at their own size, all good test pictures among them. The others need no
labels: of 1,800 normal images 300 become the test images, and half of these get a patch (of another place, of another
image, of one tone: `data/defect_kinds.py`); the mask is what differs. Each seed trains a few cheap members on the
normal ones and blends them with the test pictures. Masks serve the figures alone. What is trained lies in `OUT` and is
not trained again.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ensemble_ad.data.defect_kinds import KINDS as DEFECTS
from ensemble_ad.data.digits import read_digits
from ensemble_ad.data.fit import fitted, unfitted
from ensemble_ad.detect.explain import Guide, blended_shares, surprise
from ensemble_ad.detect.overlays import BRIGHTEST, FAINTEST, OUTLINED
from ensemble_ad.detect.scorer import BlendScorer, load_blend

PRESETS = (
    ("pca-64",),
    ("pca-256",),
    ("inpaint-gauss", "--size", "{}"),  # three quarters of the side
    ("fcn-sample", "--epochs", "20", "--batch-size", "64"),
    ("memory-sparse", "--epochs", "3", "--batch-size", "32"),
)
PASTED = ("cut_paste", "patch_swap", "occlusion")
IMAGES, TESTED = 1800, 300
VISIBLE = 8  # grey levels by which a pixel must differ to be marked
BINS = 20_000  # of equal ratios, from a thousandth to a thousand
Histogram = np.ndarray


class Shown(NamedTuple):
    """A test picture: its kind, where it is broken, bool (height, width), and whether maps are laid back on it."""

    kind: str
    mask: np.ndarray
    padded: bool


class Data(NamedTuple):
    """Square images to train on and to test, uint8 (n, side, side, 1), and what is known of the latter."""

    train: np.ndarray
    test: np.ndarray
    shown: list[Shown]


def ensad(*words: object) -> str:
    """Run a command; what it prints."""
    command = [sys.executable, "-m", "ensemble_ad", *map(str, words), "-q"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def picture(path: Path) -> np.ndarray:
    """uint8 (height, width)."""
    return np.asarray(Image.open(path).convert("L"))


def tiles(source: Path, side: int) -> Data:
    """The photographs of magnetic tiles as padded squares, with their masks."""

    def squares(paths: list[Path]) -> np.ndarray:
        return np.stack([fitted(picture(path), "pad", side) for path in paths])[..., None]

    tested = sorted((source / "test").glob("*/*"))
    shown = []
    for path in tested:
        mask = source / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        broken = picture(mask) > 127 if mask.exists() else np.zeros(picture(path).shape, bool)
        shown.append(Shown(path.parent.name, broken, padded=True))
    return Data(squares(sorted((source / "train/good").iterdir())), squares(tested), shown)


def pasted(normal: np.ndarray) -> Data:
    """Normal images, uint8 (n, side, side, 1), of which half of the test ones get a patch."""
    normal = normal[np.random.default_rng(5).permutation(len(normal))]
    train, clean = normal[:-TESTED], normal[-TESTED:]
    test, kinds = clean.copy(), np.full(TESTED, "good", dtype=object)
    for first, kind in enumerate(PASTED):
        rows = np.arange(first, TESTED, 2 * len(PASTED))
        test[rows], kinds[rows] = DEFECTS[kind](clean[rows], np.random.default_rng(first)), kind
    masks = np.abs(test.astype(int) - clean)[..., 0] > VISIBLE
    return Data(train, test, [Shown(kind, mask, padded=False) for kind, mask in zip(kinds, masks, strict=True)])


def read(source: Path, side: int) -> Data:
    """What the first argument names."""
    if source.suffix == ".npy":
        return pasted(np.load(source, mmap_mode="r")[:IMAGES, ..., :1])
    if source.name == "digits":
        digits = read_digits()
        return pasted(np.concatenate([digits.train, digits.test[digits.label == 0]]))
    return tiles(source, side)


def auroc(good: Histogram, bad: Histogram) -> float:
    """The AUC of two histograms over the same ascending bins, ties one half."""
    below = np.cumsum(good) - good / 2
    return float((bad * below).sum() / bad.sum() / good.sum())


def judge(maps: np.ndarray, shown: list[Shown]) -> dict[str, float]:
    """Pixel AUROC of all kinds together and of each, against all pixels that are not broken.

    "within" is the mean, over broken pictures, of the AUROC among a picture's own pixels.
    """
    kinds = sorted({one.kind for one in shown} - {"good"})
    counts = {kind: np.zeros(BINS + 1) for kind in (*kinds, "good")}
    within = []
    for errors, one in zip(maps, shown, strict=True):
        own = unfitted(errors, one.mask.shape, "pad") if one.padded else errors
        place = ((np.log10(np.clip(own, 1e-3, 1e3)) + 3) / 6 * BINS).astype(np.int32)
        good, bad = (np.bincount(place[where], minlength=BINS + 1) for where in (~one.mask, one.mask))
        counts["good"] += good
        if bad.any():
            counts[one.kind] += bad
            within.append(auroc(good, bad))
    found = {kind: auroc(counts["good"], counts[kind]) for kind in kinds}
    everything = auroc(counts["good"], np.sum([counts[kind] for kind in kinds], axis=0))
    return {
        "all": everything,
        "mean of kinds": float(np.mean(list(found.values()))),
        "within": float(np.mean(within)),
        **found,
    }


def rows(scorer: BlendScorer, names: dict[str, str]) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """What is judged: the blend, what it would be otherwise, each member."""
    guides = scorer._guides
    alone = [replace(guide, residual=None) for guide in guides.values()]
    yield "blend", scorer.explain
    yield "without the image's score", partial(_shares, list(guides.values()))
    yield "the image's score alone", partial(_score, scorer)
    yield "errors, not areas", partial(_both, scorer, alone)
    for key, guide in guides.items():
        yield names[key], partial(_both, scorer, [guide])


def _score(scorer: BlendScorer, images: np.ndarray) -> np.ndarray:
    return np.broadcast_to(surprise(scorer.p_values(images))[:, None, None], images.shape[:3])


def _shares(guides: list[Guide], images: np.ndarray) -> np.ndarray:
    return blended_shares(guides, images, torch.device("cpu"))


def _both(scorer: BlendScorer, guides: list[Guide], images: np.ndarray) -> np.ndarray:
    maps: np.ndarray = _score(scorer, images) * _shares(guides, images)
    return maps


def _sized(preset: tuple[str, ...], side: int) -> list[str]:
    return [word.format(side * 3 // 4) for word in preset]


def exceeded(maps: np.ndarray, shown: list[Shown]) -> str:
    """Which share of good images' pixels an overlay colours, outlines, and draws brightest."""
    good = maps[[one.kind == "good" for one in shown]]
    shares = ", ".join(f"{(good > level).mean():.2%} above {level:g}" for level in (FAINTEST, OUTLINED, BRIGHTEST))
    return f"of the good test pictures' pixels {shares}"


def main() -> None:
    """Read the command line, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    read_data = read(given.source, given.side)
    side = read_data.train.shape[1]
    data = given.out / f"data-{side}"
    data.mkdir(parents=True, exist_ok=True)
    for name, some in (("trainingset", read_data.train), ("testingset", read_data.test)):
        if not (data / f"{name}.npy").exists():
            np.save(data / f"{name}.npy", some)
    images = np.load(data / "testingset.npy")
    found: dict[str, list[dict[str, float]]] = {}
    for seed in given.seeds:
        where = ("--studies", given.out / f"studies-{side}-{seed}")
        keys = {
            ensad("train", "--preset", *_sized(preset, side), "--seed", seed, "--data", data, *where): preset[0]
            for preset in PRESETS
        }
        ensad("blend", "--members", ",".join(keys), "--name", "maps", *where)
        scorer = load_blend("maps", where[1], device="cpu")
        for name, explain in rows(scorer, keys):
            maps = explain(images)
            found.setdefault(name, []).append(judge(maps, read_data.shown))
            if name == "blend":
                print(seed, exceeded(maps, read_data.shown), file=sys.stderr)
    columns = list(found["blend"][0])
    print(f"| map | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, results in found.items():
        cells = [[result[column] for result in results] for column in columns]
        print(f"| {name} | {' | '.join(f'{np.mean(c):.3f} ({np.min(c):.3f} to {np.max(c):.3f})' for c in cells)} |")


if __name__ == "__main__":
    main()
