"""Many images, uint8 (n, 64, 64, 3): crops of photographs, or draws from a data folder."""

import tempfile
from pathlib import Path

import numpy as np

from ensemble_ad.data.digits import write_digits

SIDE = 64
HELD_OUT = 128


def crops(n: int, seed: int = 0) -> np.ndarray:
    """Crops of scikit-learn's two photographs, mirrored and tinted, no two alike."""
    from sklearn.datasets import load_sample_images

    pictures = load_sample_images().images
    rng = np.random.default_rng(seed)
    result = np.empty((n, SIDE, SIDE, 3), dtype=np.uint8)
    for i, tint in enumerate(rng.uniform(0.7, 1.0, (n, 3))):
        picture = pictures[i % 2]
        top, left = (rng.integers(0, edge - SIDE + 1) for edge in picture.shape[:2])
        result[i] = picture[top : top + SIDE, left : left + SIDE, :: rng.choice([-1, 1])] * tint
    return result


def drawn(data: Path | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` images to train on and 128 held-out ones, of a data folder, or of the bundled digits."""
    if data is not None:
        images = np.load(data / "trainingset.npy", mmap_mode="r")
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_digits(Path(folder))
            small = np.load(Path(folder) / "trainingset.npy")
        images = small.repeat(SIDE // small.shape[1], 1).repeat(SIDE // small.shape[2], 2).repeat(3, 3)
    rng = np.random.default_rng(0)
    held, rest = images[:HELD_OUT], images[HELD_OUT:]
    chosen = rng.integers(0, len(rest), n)
    made = np.array(rest[np.sort(chosen)])
    flip = rng.random(n) < 0.5
    made[flip] = made[flip, :, ::-1]
    return made, np.array(held)
