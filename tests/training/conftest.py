"""The digits, the recipe of a small member that is made of them in seconds, small models, and a CUDA that is fake."""

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
from ensemble_ad.families.patchsvdd import PatchSvdd, PatchsvddArchitecture
from ensemble_ad.families.pca import PcaArchitecture
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.families.resnet_aux import ResnetAuxArchitecture
from ensemble_ad.families.vae import VaeArchitecture
from ensemble_ad.families.vqvae import VqvaeArchitecture
from ensemble_ad.training import cross_fitted, loop
from ensemble_ad.training.adamw import AdamW
from ensemble_ad.training.loop import Epoch
from ensemble_ad.training.prepared import PseudoImages
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import Step


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
        "patchsvdd": PatchsvddArchitecture(patch=0.25, width=16, features=8),
        "contrast": ContrastArchitecture(width=16, stages=3),
        "inpaint": InpaintArchitecture(width=64),
    }


def _moved(module, device=None, *, memory_format=None):
    """As `Module.to`, which cannot move fake tensors: the module's weights and buffers are new ones on the device."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, old in tensors.items():
                if old is None:
                    continue
                layout = torch.channels_last if old.dim() == 4 else torch.contiguous_format
                new = torch.empty(old.shape, dtype=old.dtype, device=device or old.device, memory_format=layout)
                tensors[name] = torch.nn.Parameter(new) if tensors is part._parameters else new
    return module


class OneDevice(TorchDispatchMode):
    """Refuses operations that touch two devices, or that copy from the host or to it: none of them fits in a graph."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)]
        devices = {str(each.device) for each in tensors if each.dim() or each.device.type == "cuda"}
        assert len(devices) < 2, f"{function} of {sorted(devices)}"
        assert devices <= {"cuda:0"}, f"{function} on {devices}"
        return result


@pytest.fixture
def fake_cuda(monkeypatch):
    """A training on fake CUDA tensors: they have the shapes, types and devices of real ones, no numbers and no GPU.

    Whatever asks for a number, or whose shape depends on numbers, raises; each step is held to one device. What needs
    a driver is left out: the backward pass and the optimizer's kernel, streams, and the loss that ends an epoch.
    """

    def backward(step, loss):
        assert step.scaler.scale(loss).device.type == "cuda"
        assert not loss.shape
        for weight in step.optimizer.parameters:
            weight.grad = torch.empty_like(weight)

    def update(optimizer):
        kept = [*optimizer.state().values(), *(weight.grad for weight in optimizer.parameters)]
        assert {each.device.type for each in (*optimizer.parameters, *kept)} == {"cuda"}

    def on_one_device(step, device):
        run = step.run

        def held():
            with OneDevice():
                run()

        step.run = held
        return step

    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(torch.nn.Module, "to", _moved)
    monkeypatch.setattr(Step, "_backward", backward)
    monkeypatch.setattr(AdamW, "step", update)
    for module in (loop, cross_fitted):
        monkeypatch.setattr(module, "training_on", lambda device, settings: nullcontext())
        monkeypatch.setattr(module, "suited", on_one_device)
    # Which vectors it keeps is asked on the host, whose fake tensors have no numbers either.
    monkeypatch.setattr(PatchSvdd, "settle", lambda model, batches, count: None)
    monkeypatch.setattr(loop, "_finished", lambda number, done, started: Epoch(number, 0.0, 0.0, done.parts))
    with FakeTensorMode():
        yield


@pytest.fixture
def one_device():
    """What refuses operations of two devices, to be entered."""
    return OneDevice
