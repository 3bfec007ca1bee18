"""The photographs of magnetic_tile as a data folder with labels: as they are shared out, or no tile on both sides.

    python benchmarks/magnetic_tile.py magnetic_tile OUT [--apart]

The data set has several photographs of most tiles, and nearly every good one of the test set shows a tile that training
images show too, which what looks for neighbours makes use of. With `--apart` the good ones are shared out anew, by
tiles: files whose numbers differ by 100 at most count as one tile. Pictures are padded to a square with black and
resized to 64 pixels.
"""

import argparse
import re
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, GAP, TRAIN = 64, 100, 700


def number(path: Path) -> int:
    """The number in a file's name."""
    return int(re.findall(r"\d+", path.stem)[-1])


def padded(path: Path) -> np.ndarray:
    """uint8 (64, 64)."""
    picture = Image.open(path).convert("L")
    side = max(picture.size)
    square = Image.new("L", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BOX))


def shared_out(source: Path, rng: np.random.Generator) -> tuple[list[Path], list[Path]]:
    """Pictures to train on, whole tiles and 700 pictures at most, and to test on."""
    good = sorted([*(source / "train/good").iterdir(), *(source / "test/good").iterdir()], key=number)
    tile = np.concatenate([[0], np.cumsum(np.diff([number(path) for path in good]) > GAP)])
    order = rng.permutation(tile[-1] + 1)
    train = np.isin(tile, order[: np.searchsorted(np.cumsum(np.bincount(tile)[order]), TRAIN)])
    sides = ([path for path, here in zip(good, train, strict=True) if bool(here) is side] for side in (True, False))
    trained, kept = sides
    return trained, kept + sorted(path for path in (source / "test").glob("*/*") if path.parent.name != "good")


def main() -> None:
    """Read the command line, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--apart", action="store_true")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    trained, tested = sorted((given.source / "train/good").iterdir()), sorted((given.source / "test").glob("*/*"))
    if given.apart:
        trained, tested = shared_out(given.source, rng)
    tested = [tested[row] for row in rng.permutation(len(tested))]
    (given.out / "data").mkdir(parents=True)
    for name, paths in (("trainingset", trained), ("testingset", tested)):
        np.save(given.out / f"data/{name}.npy", np.stack([padded(path) for path in paths])[..., None])
    label = [int(path.parent.name != "good") for path in tested]
    rows = "".join(f"{row},{value}\n" for row, value in enumerate(label))
    (given.out / "labels.csv").write_text(f"ID,label\n{rows}", encoding="utf-8")
    print(f"{len(trained)} training images, {len(tested)} test images, {np.mean(label):.0%} of them anomalies")


if __name__ == "__main__":
    main()
