"""The digits that the detectors are fitted to."""

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    """400 images of 0 to 4, 300 of all digits, and whether each of these is 5 to 9; uint8 (n, 8, 8)."""
    X, y = load_digits(return_X_y=True)
    images = (X * 15).astype(np.uint8).reshape(-1, 8, 8)
    return images[y < 5][:400], images[-300:], y[-300:] >= 5
