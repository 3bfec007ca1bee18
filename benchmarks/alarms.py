"""Which share of good photographs of magnetic_tile alarms at `ensad score --alarm-rate 0.05`, trained on good ones.

    python benchmarks/alarms.py magnetic_tile OUT

Three ways to share the 952 good ones out into some 700 to train on and the rest: at random (three seeds; a new
photograph mostly shows a tile that training images show too), by whole tiles, and by whole tiles with `--groups` naming
them. Pictures are 64 x 64: the middle square of each at random, padded ones of `magnetic_tile.py` by tiles.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import magnetic_tile
import numpy as np
import pandas as pd
from PIL import Image

SIDE, RATE = 64, "0.05"


def middle(path: Path) -> np.ndarray:
    """uint8 (64, 64), of the middle square."""
    picture = Image.open(path).convert("L")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def ensad(folder: Path, *words: str) -> None:
    """Run a command in a folder."""
    subprocess.run(
        [sys.executable, "-m", "ensemble_ad", *words, "-q"], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )


def alarms(folder: Path, name: str, *more: str) -> pd.Series:
    """Whether each picture of `new.npy` alarms, by a run of two trials on `data/`."""
    ensad(folder, "run", "--trials", "2", "--families", "pca,inpaint", "--name", "m", "--studies", name, *more)
    ensad(folder, "score", "new.npy", "--studies", name, "--alarm-rate", RATE, "-o", f"{name}.csv")
    return pd.read_csv(folder / f"{name}.csv")["alarm"]


def written(folder: Path, train: list[np.ndarray], new: list[np.ndarray]) -> Path:
    """A folder with `data/trainingset.npy` and `new.npy`."""
    (folder / "data").mkdir(parents=True)
    np.save(folder / "data/trainingset.npy", np.stack(train)[..., None])
    np.save(folder / "new.npy", np.stack(new)[..., None])
    return folder


def main() -> None:
    """Read the command line, print a line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    good = sorted([*(given.source / "train/good").iterdir(), *(given.source / "test/good").iterdir()])
    for seed in (1, 2, 3):
        rows = np.random.default_rng(seed).permutation(len(good))
        pictures = [middle(good[row]) for row in rows]
        found = alarms(written(given.out / str(seed), pictures[:700], pictures[700:]), "random")
        print(f"at random, seed {seed}: {found.sum()} of {len(found)} good alarm", flush=True)
    trained, kept = magnetic_tile.shared_out(given.source, np.random.default_rng(0))
    fresh = [path.parent.name == "good" for path in kept]
    folder = written(
        given.out / "tiles", *([magnetic_tile.padded(path) for path in paths] for paths in (trained, kept))
    )
    tiles = np.cumsum(np.diff([magnetic_tile.number(path) for path in trained], prepend=0) > magnetic_tile.GAP)
    (folder / "tiles.csv").write_text("ID,group\n" + "".join(f"{row},tile{tile}\n" for row, tile in enumerate(tiles)))
    for name, more in (("by tiles", ()), ("by tiles, grouped", ("--groups", "tiles.csv"))):
        found = alarms(folder, name.replace(", ", "-").replace(" ", "-"), *more)
        print(f"{name}: {found[fresh].sum()} of {sum(fresh)} good alarm", flush=True)
        broken = ~np.array(fresh)
        print(f"    and {found[broken].sum()} of {broken.sum()} broken ones", flush=True)


if __name__ == "__main__":
    main()
