"""What several tests of the statistics stand on."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer


@pytest.fixture(scope="session")
def tumours() -> tuple[np.ndarray, np.ndarray]:
    """(label, scores): real measurements of 569 tumours, rounded so that some columns have many ties."""
    data = load_breast_cancer()
    return 1 - data.target, np.round(data.data, 2)
