"""What only a GPU shows: each family's graph, a capture that fails, memory that does not suffice, whole commands."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from ensemble_ad.cli import main
from ensemble_ad.families import FAMILIES
from ensemble_ad.families.reconstruction import LOSSES
from ensemble_ad.members.store import list_members
from ensemble_ad.training.cross_fitted import Folds
from ensemble_ad.training.cross_fitted import train as train_cross_fitted
from ensemble_ad.training.device import PRECISIONS
from ensemble_ad.training.error_vectors import error_vectors, fit_references
from ensemble_ad.training.loop import train
from ensemble_ad.training.progress import Progress
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import Schedule, make_optimizer

pytestmark = pytest.mark.gpu
SETTINGS = TrainSettings(epochs=3, batch_size=64, noise_scale=0.1, latent_noise_scale=0.1, mirror=True)
BY_STEPS = [name for name, family in FAMILIES.items() if not family.transductive and name != "pca"]


@pytest.fixture(scope="module")
def pictures(photos):
    return torch.from_numpy(np.ascontiguousarray(photos(480, 32, 1))).cuda()


def trained(architecture, images, settings):
    """The model, and what was told of each epoch."""
    epochs = []
    rows, shape = torch.arange(len(images), device="cuda"), (images.shape[3], *images.shape[1:3])
    model = train(
        lambda: architecture.build(shape), images, rows, settings, after_epoch=lambda epoch, _: not epochs.append(epoch)
    )
    return model, epochs


def sound():
    """Whether the process can go on: kernels run, on the default stream, and random numbers are drawn."""
    torch.cuda.synchronize()
    stream = torch.cuda.current_stream()
    return stream == torch.cuda.default_stream() and bool(torch.isfinite(torch.rand(8, device="cuda")).all())


def scores_alike(model, images):
    """A model's error vectors on the GPU are those that its weights give on the CPU."""
    here = error_vectors(model, images, fit_references(model, images))
    model, images = model.cpu(), images.cpu()
    there = error_vectors(model, images, fit_references(model, images))
    assert list(here) == list(there)
    for kind, values in there.items():
        spread = values.std() + 1e-6 * abs(values).max()
        assert np.isfinite(here[kind]).all(), kind
        assert np.median(abs(here[kind] - values)) < 0.02 * spread, kind


@pytest.mark.parametrize("name", BY_STEPS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_family_is_replayed_as_a_graph(small, pictures, name, precision):
    model, epochs = trained(small[name], pictures, replace(SETTINGS, precision=precision))
    assert [epoch.refused for epoch in epochs] == [""] * 3
    assert sound()
    scores_alike(model, pictures)


def test_what_is_solved_in_closed_form_scores_as_on_a_cpu(small, pictures):
    scores_alike(trained(small["pca"], pictures, SETTINGS)[0], pictures)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_transductive_training_is_replayed_as_a_graph(small, pictures, precision):
    normal, test = pictures[:320], pictures[320:]
    fold = torch.arange(len(test), device="cuda") % 5
    folds = Folds(torch.arange(len(normal), device="cuda") % 5, fold)
    epochs = []
    train_cross_fitted(
        partial(small["contrast"].build, (1, 32, 32)), normal, torch.arange(320, device="cuda"), test, folds,
        replace(SETTINGS, precision=precision), after_epoch=lambda epoch, _: not epochs.append(epoch),
    )  # fmt: skip
    assert [epoch.refused for epoch in epochs] == [""] * 3
    assert sound()


def test_after_a_capture_that_fails_the_process_goes_on(small, pictures, monkeypatch):
    settings = replace(SETTINGS, precision="fp32")
    whole = trained(small["cnn"], pictures, settings)[1]
    mse = LOSSES["mse"]
    # A number is asked for, which waits for the device: no graph can hold that.
    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, "mse", lambda one, other: mse(one, other) * float(torch.ones_like(one).mean()))
        eager = trained(small["cnn"], pictures, settings)[1]
    assert all(epoch.refused for epoch in eager)
    assert sound()
    assert eager[-1].loss == pytest.approx(whole[-1].loss, rel=0.05)
    again = trained(small["cnn"], pictures, settings)[1]
    assert [epoch.refused for epoch in again] == [""] * 3
    assert again[-1].loss == pytest.approx(whole[-1].loss, rel=0.05)


# In a process of its own: what other tests have left on the device, graphs' memory above all, would count as room.
_TOO_LARGE = """
import torch
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings

images = torch.randint(0, 256, (8192, 64, 64, 1), dtype=torch.uint8, device="cuda")
settings = TrainSettings(epochs=1, batch_size=8192, precision="fp32")
small, epochs = CnnArchitecture(channels=(8, 16, 32), batch_norm=True, bottleneck=16), []

def told(epoch, model):
    epochs.append(epoch)
    return True

def trained():
    train(lambda: small.build((1, 64, 64)), images, torch.arange(8192, device="cuda"), settings, after_epoch=told)

torch.cuda.reset_peak_memory_stats()
before = torch.cuda.memory_allocated()
trained()
needed = torch.cuda.max_memory_allocated() - before
torch.cuda.empty_cache()
room = torch.cuda.memory_reserved() + needed // 3
torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
trained()
torch.cuda.set_per_process_memory_fraction(1.0)
torch.cuda.synchronize()
assert torch.cuda.current_stream() == torch.cuda.default_stream()
assert torch.isfinite(torch.rand(8, device="cuda")).all()
print([epoch.parts for epoch in epochs])
"""


def test_a_batch_that_does_not_fit_is_computed_in_parts():
    done = subprocess.run([sys.executable, "-c", _TOO_LARGE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole, parts = json.loads(done.stdout)
    assert whole == 1
    assert parts > 1


def test_a_training_goes_on_where_the_other_device_left_it(small):
    def progress(device):
        model = small["fcn"].build((1, 32, 32)).to(device)
        optimizer = make_optimizer(model, SETTINGS, Schedule(SETTINGS, 5, torch.device(device)))
        scaler = torch.amp.GradScaler(device, enabled=False)
        return Progress(model=model, optimizer=optimizer, device=torch.device(device), scaler=scaler)

    for one, other in (("cpu", "cuda"), ("cuda", "cpu")):
        tensors, values = progress(one).state()
        goes_on = progress(other)
        goes_on.restore(tensors, {**values, "epochs": 3})
        assert goes_on.epochs == 3
        for name, tensor in goes_on.state()[0].items():
            if not name.startswith("random"):
                torch.testing.assert_close(tensor.cpu(), tensors[name].cpu(), msg=name)


@pytest.mark.parametrize(
    "command", ["tune --family fcn,contrast --trials 2 --epochs 3 --transductive", "run --trials 6"]
)
def test_a_command_uses_the_gpu_unasked(digits_folder, tmp_path, monkeypatch, command, capsys):
    monkeypatch.chdir(tmp_path)
    main([*command.split(), "--data", str(digits_folder), "-q"], standalone_mode=False)
    members, damaged = list_members(tmp_path / "studies")
    assert members
    assert not damaged
    for member in members:
        told = json.loads((member.folder / "member.json").read_text())
        assert told["environment"]["device"] == torch.cuda.get_device_name(0)
