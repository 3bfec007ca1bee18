"""The device that is asked for."""

import pytest
import torch

from ensemble_ad.errors import UsageError
from ensemble_ad.training.device import choose_device


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_a_clear_error():
    with pytest.raises(UsageError, match="--device cpu"):
        choose_device("cuda")
