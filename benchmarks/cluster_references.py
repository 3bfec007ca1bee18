"""References of whole clusters, held against the test's normal images: do they score as new kinds of normal do?

    python benchmarks/cluster_references.py --data data --labels labels.csv

Training images are averaged to 16 x 16 or to 8 x 8 (of 32 pixels and less) and clustered (k-means on 30 principal
components). Clusters that hold 7.5% of the images are left out, and as many of the others at random; closed-form models
of the rest score both and the test images. A is how often the one scores above the other. Labels pick the test's normal
images, to measure. Prints a Markdown table: mean and standard deviation over the draws.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from _record import head, line, parser
from scipy.cluster.vq import kmeans2

from ensemble_ad.files.id_table import read_labels
from ensemble_ad.statistics import separation

CLUSTERS = (20, 60, 200)
DRAWS = 6
LEFT_OUT = 0.075
COMPONENTS = 30
KEPT = 32  # components of the model that reconstructs
Floats = npt.NDArray[np.float64]


def small(images: npt.NDArray[np.uint8]) -> Floats:
    """float64 (N, d): grey images, averaged in square fields."""
    grey = images.reshape(*images.shape[:3], -1).mean(axis=3, dtype=np.float32)
    side = 16 if grey.shape[1] > 32 else 8
    field = grey.shape[1] // side
    fields: Floats = grey.reshape(len(grey), side, field, side, field).mean(axis=(2, 4), dtype=np.float64)
    return fields.reshape(len(grey), -1)


def scores(train: Floats, *others: Floats) -> dict[str, list[Floats]]:
    """What two models of `train` give of the others: the squared residual of PCA, and Mahalanobis' squared distance."""
    mean = train.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov((train - mean).T))
    ridge = 0.05 * values.mean()
    found: dict[str, list[Floats]] = defaultdict(list)
    for each in others:
        numbers = (each - mean) @ axes
        found[f"PCA residual, {KEPT} components"].append((numbers[:, :-KEPT] ** 2).sum(axis=1))
        found["Mahalanobis"].append((numbers**2 / (values + ridge)).sum(axis=1))
    return found


def main() -> None:
    """Draw, score, print."""
    given = parser(__doc__, "data", "labels").parse_args()
    train, test = (small(np.load(Path(given.data) / f"{name}ingset.npy", mmap_mode="r")) for name in ("train", "test"))
    label = read_labels(given.labels, tuple(map(str, range(len(test)))))
    centred = train - train.mean(axis=0)
    numbers = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -COMPONENTS:]
    wanted = round(LEFT_OUT * len(train))
    print(head("clusters", "model", "A: clusters above random", "A: normal above random", "A: normal above clusters"))
    for count in CLUSTERS:
        found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            cluster = kmeans2(numbers, count, minit="++", seed=seed, iter=15)[1]
            order = rng.permutation(count)
            sizes = np.cumsum(np.bincount(cluster, minlength=count)[order])
            new = np.isin(cluster, order[: int(np.searchsorted(sizes, wanted)) + 1])
            rest = rng.permutation(np.flatnonzero(~new))
            sides = scores(train[rest[wanted:]], train[new], train[rest[:wanted]], test[label == 0])
            for model, (left_out, random, normal) in sides.items():
                pairs = ((random, left_out), (random, normal), (left_out, normal))
                found[model].append(tuple(separation(*pair).value for pair in pairs))
        for model, values in found.items():
            cells = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(*_moments(values), strict=True))
            print(line(count, model, *cells))


def _moments(values: list[tuple[float, ...]]) -> tuple[Floats, Floats]:
    table = np.array(values)
    return table.mean(axis=0), table.std(axis=0, ddof=1)


if __name__ == "__main__":
    main()
