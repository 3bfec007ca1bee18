"""What the tests of several families share."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """160 real handwritten digits, uint8 (160, 32, 32, 1)."""
    images = np.rint(load_digits().images[:160] * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(images.repeat(4, axis=1).repeat(4, axis=2)[..., None].copy())
