"""The digits, the recipe of a small member that is made of them in seconds, and a small model of every family."""

import pytest

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.contrast import ContrastArchitecture
from ensemble_ad.families.cutpaste import CutpasteArchitecture
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.inpaint import InpaintArchitecture
from ensemble_ad.families.memory import MemoryArchitecture
from ensemble_ad.families.mesdnet import MesdnetArchitecture
from ensemble_ad.families.multi_encoder import MultiEncoderArchitecture
from ensemble_ad.families.patchsvdd import PatchsvddArchitecture
from ensemble_ad.families.pca import PcaArchitecture
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.families.resnet_aux import ResnetAuxArchitecture
from ensemble_ad.families.vae import VaeArchitecture
from ensemble_ad.families.vqvae import VqvaeArchitecture
from ensemble_ad.training.prepared import PseudoImages
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings


@pytest.fixture(scope="module")
def dataset(digits_folder, tmp_path_factory):
    return load_dataset(digits_folder, image_cache=tmp_path_factory.mktemp("images"))


@pytest.fixture
def recipe(dataset):
    return Recipe(
        data=dataset.fingerprint,
        family="fcn",
        architecture=FcnArchitecture(widths=(64, 8)),
        preprocess=Preprocess(crop=(0.75, 0.75), size=(32, 32), channels=1),
        training=TrainSettings(epochs=4, batch_size=16),
        objective="separation",
        labels=None,
        subset=None,
        patience=None,
    )


@pytest.fixture(scope="module")
def pseudo(dataset):
    return PseudoImages.of(dataset)


@pytest.fixture(scope="session")
def small():
    """A small architecture of every family, by its name."""
    return {
        "fcn": FcnArchitecture(widths=(64, 8)),
        "cnn": CnnArchitecture(channels=(8, 16, 32), batch_norm=True, bottleneck=16),
        "vae": VaeArchitecture(channels=(8, 16, 4), batch_norm=True, kl_weight=0.01, kl_warmup=0.25),
        "resnet": ResnetArchitecture(blocks=(1, 1, 1, 1), width=8, bottleneck=16),
        "resnet_aux": ResnetAuxArchitecture(blocks=(1, 1, 1, 1), width=4, bottleneck=16),
        "multi_encoder": MultiEncoderArchitecture(
            encoders=("fcn", "fcn", "cnn"), widths=(64, 8), channels=(4, 8), decoder_width=64
        ),
        "mesdnet": MesdnetArchitecture(fcn_widths=(64, 8), map_widths=(16,), width=4, decoder_channels=(16, 8, 8)),
        "memory": MemoryArchitecture(encoder="fcn", width=64, bottleneck=16, slots=64, temperature=0.1),
        "pca": PcaArchitecture(components=16),
        "vqvae": VqvaeArchitecture(width=8, codes=32, code_length=8),
        "cutpaste": CutpasteArchitecture(width=8, stages=3),
        "patchsvdd": PatchsvddArchitecture(width=16, features=8),
        "contrast": ContrastArchitecture(width=16, stages=3),
        "inpaint": InpaintArchitecture(width=64),
    }
