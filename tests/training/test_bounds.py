"""A stranger's recipe may ask for no more than its weights account for."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from ensemble_ad.errors import StorageError
from ensemble_ad.families import FAMILIES
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.encoders import ENCODERS
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.inpaint import InpaintArchitecture
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.training.bounds import SmallActivations, check_bounds

SHAPE = (3, 256, 256)
BLACK = torch.zeros(1, *SHAPE)


@pytest.mark.parametrize(
    ("architecture", "there", "said"),
    [
        (FcnArchitecture(widths=(10**6, 8)), 1_000, "asks for a network of .* bytes and has weights of 1000"),
        (ResnetArchitecture(blocks=(1, 1, 1, 10**5), width=8, bottleneck=16), 1 << 40, "more than 20000 layers"),
        (InpaintArchitecture(block=0.5, stride=0.015), 1 << 40, "makes .* of one image"),
    ],
    ids=["weights", "layers", "tables"],
)
def test_what_the_weights_do_not_account_for_is_refused(architecture, there, said):
    with pytest.raises(StorageError, match=said):
        check_bounds(lambda: architecture.build(SHAPE), there)


@pytest.mark.parametrize("encoder", ["blocks", *ENCODERS])
def test_a_network_of_its_weights_passes(encoder):
    architecture = ResnetArchitecture(blocks=(1, 1, 1, 1), width=8, bottleneck=16, encoder=encoder)
    size = sum(value.nbytes for value in architecture.build(SHAPE).state_dict().values())
    check_bounds(lambda: architecture.build(SHAPE), size)
    with pytest.raises(StorageError):
        check_bounds(lambda: architecture.build(SHAPE), size - 1)


@pytest.mark.parametrize(
    "step",
    [
        lambda: CnnArchitecture(channels=(50_000, 2, 4), batch_norm=True, bottleneck=16).build(SHAPE)(BLACK),
        lambda: functional.conv_transpose2d(BLACK, torch.zeros(3, 50_000, 1, 1)),
        lambda: functional.linear(BLACK.reshape(1, -1, 1), torch.zeros(10_000, 1)),
        lambda: BLACK.reshape(-1, 1) @ torch.zeros(1, 10_000),
        lambda: torch.cdist(BLACK.reshape(-1, 1), torch.zeros(10_000, 1)),
        lambda: functional.interpolate(BLACK, size=(7_000, 7_000)),
    ],
    ids=["network", "transposed convolution", "layer", "product", "distances", "what grows otherwise"],
)
def test_what_one_image_becomes_is_bounded(step):
    with SmallActivations(), pytest.raises(StorageError, match=r"makes \d+ bytes of one image, and 536870912 are"):
        step()


_BUILT = """
import sys
from functools import partial
from ensemble_ad.families import preset
from ensemble_ad.training.bounds import check_bounds

for name in sys.argv[1:]:
    check_bounds(partial(preset(name)[1].architecture.build, (1, 32, 32)), 10**12)
    if "torch._dynamo" in sys.modules:
        sys.exit(f"{name} imports torch's compiler")
"""


def test_to_build_a_network_on_meta_imports_no_compiler():
    # torchvision, whose layers these have, imports it anyway.
    of_torchvision = {"resnet", "resnet_aux", "cutpaste"}
    names = [name for family in FAMILIES.values() if family.name not in of_torchvision for name in family.presets]
    done = subprocess.run([sys.executable, "-c", _BUILT, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
