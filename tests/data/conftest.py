"""What several tests of the data share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ensemble_ad.data.digits import write_digits
from ensemble_ad.data.images import ImageSet


@pytest.fixture
def image_set() -> Callable[[np.ndarray], ImageSet]:
    """Makes a set of pixels in memory, uint8 (n, side, side, C)."""
    return lambda pixels: ImageSet(images=pixels, ids=tuple(map(str, range(len(pixels)))), source=Path("memory"))


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> np.ndarray:
    """The bundled normal digits, uint8 (631, 32, 32, 1)."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return np.load(folder / "trainingset.npy")
