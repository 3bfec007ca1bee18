"""Several encoders, one decoder."""

import torch

from ensemble_ad.families.multi_encoder import MultiEncoderArchitecture
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)


def test_the_encoders_of_a_multi_encoder_are_not_one(digits):
    model = MultiEncoderArchitecture(widths=(16, 4), decoder_width=16).build(SHAPE)
    first, second, third = (encoder(to_input(digits[:8])) for encoder in model.encoders)
    assert not torch.allclose(first, second)
    assert not torch.allclose(second, third)
