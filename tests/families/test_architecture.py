"""Hyperparameters that no model can be built of are refused."""

import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.contrast import ContrastArchitecture
from ensemble_ad.families.cutpaste import CutpasteArchitecture
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.memory import MemoryArchitecture
from ensemble_ad.families.mesdnet import MesdnetArchitecture
from ensemble_ad.families.multi_encoder import MultiEncoderArchitecture
from ensemble_ad.families.pca import PcaArchitecture
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.families.resnet_aux import ResnetAuxArchitecture
from ensemble_ad.families.vae import VaeArchitecture


@pytest.mark.parametrize(
    "broken",
    [
        lambda: FcnArchitecture(widths=()),
        lambda: FcnArchitecture(widths=(8, 0)),
        lambda: FcnArchitecture(widths=(8,), activation="tanh"),  # type: ignore[arg-type]
        lambda: ResnetArchitecture(blocks=(1, 1)),
        lambda: ResnetArchitecture(width=1),
        lambda: ResnetArchitecture(classifier_weight=-1.0),
        lambda: CnnArchitecture(channels=(8, 8)),  # type: ignore[arg-type]
        lambda: CnnArchitecture(bottleneck=0),
        lambda: VaeArchitecture(channels=(0, 8, 8)),
        lambda: VaeArchitecture(kl_weight=-1.0),
        lambda: VaeArchitecture(kl_warmup=1.5),
        lambda: ResnetAuxArchitecture(blocks=(0, 1, 1, 1)),
        lambda: ResnetAuxArchitecture(bottleneck=0),
        lambda: ResnetAuxArchitecture(dropout=1.0),
        lambda: ResnetAuxArchitecture(auxiliary_target="latent"),  # type: ignore[arg-type]
        lambda: MultiEncoderArchitecture(encoders=()),
        lambda: MultiEncoderArchitecture(encoders=("fcn", "vae")),  # type: ignore[arg-type]
        lambda: MultiEncoderArchitecture(widths=(8, 0)),
        lambda: MultiEncoderArchitecture(channels=(8,)),  # type: ignore[arg-type]
        lambda: MesdnetArchitecture(fcn_widths=()),
        lambda: MesdnetArchitecture(decoder_channels=(8, 8)),  # type: ignore[arg-type]
        lambda: MesdnetArchitecture(consistency_weight=-1.0),
        lambda: MemoryArchitecture(encoder="rnn"),  # type: ignore[arg-type]
        lambda: MemoryArchitecture(slots=0),
        lambda: MemoryArchitecture(temperature=0.0),
        lambda: MemoryArchitecture(shrinkage=-1.0),
        lambda: PcaArchitecture(components=0),
        lambda: CutpasteArchitecture(backbone="vit"),  # type: ignore[arg-type]
        lambda: CutpasteArchitecture(stages=6),
        lambda: CutpasteArchitecture(width=0),
        lambda: CutpasteArchitecture(head=(8, 0)),
        lambda: CutpasteArchitecture(jitter=1.5),
        lambda: ContrastArchitecture(folds=1),
        lambda: ContrastArchitecture(stages=5),
    ],
)
def test_impossible_architectures_are_refused(broken):
    with pytest.raises(UsageError):
        broken()
