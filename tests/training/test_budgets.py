"""What a step and a score cost, counted without a GPU: kernels of a whole step on `meta`, bytes of a scored image.

A budget is a tenth above what was counted when it was set. Who makes something cheaper lowers what stands here; who
needs more raises it where everyone sees it.
"""

import weakref
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ensemble_ad.data.images import ChannelsFirst
from ensemble_ad.families import FAMILIES, preset
from ensemble_ad.families.contrast import ContrastArchitecture
from ensemble_ad.families.model import GradientModel
from ensemble_ad.training import judge
from ensemble_ad.training.adamw import AdamW
from ensemble_ad.training.cross_fitted import CrossFittedStep, _Side
from ensemble_ad.training.error_vectors import error_vectors, fit_references
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import GradientStep, Schedule, make_optimizer

META = torch.device("meta")
SHAPE: ChannelsFirst = (3, 64, 64)
SETTINGS = TrainSettings(epochs=1, batch_size=32, noise_scale=0.1)
_ROOM = 1.1
KERNELS = {
    "fcn-sample": 73, "fcn-medium": 85, "fcn-strong": 85, "fcn-boss": 117, "fcn-report": 60, "fcn-crop": 57,
    "cnn-sample": 51, "vae-sample": 89, "resnet-boss": 461, "resnet-aux": 223, "multi-fcn": 126, "multi-cnn": 72,
    "multi-mixed": 106, "mesdnet": 290, "memory-sparse": 154, "memory-dense": 134, "vqvae-sonnet": 133,
    "vqvae-small": 121, "cutpaste-3way": 532, "cutpaste-small": 392, "patchsvdd": 455, "patchsvdd-small": 455,
    "inpaint-mlp": 116, "inpaint-conv": 169, "contrast-small": 341,
}  # fmt: skip
"""Kernels of a step in float32, the optimizer's counted as one; autocast adds a conversion for each weight."""
_MOVED, _HELD = 200, 22
"""Bytes that scoring moves, and holds at once, in batches of images as float32."""
_MANY = 100_000
_JUDGED = 1 / 5
"""What judging an epoch of that many images may move, of what its steps move."""
_OPTIMIZED = 28
"""Bytes a parameter that AdamW reads and writes: weight, gradient and two moments, and three of them anew."""


class Kernels(TorchDispatchMode):
    """Counts the operations that compute: not views, not empty memory."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket._qualified_op_name
        self.count += not (function.is_view or "empty" in name or name in ("aten::detach", "prim::device"))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def on_meta(monkeypatch):
    """`meta` has no autocast and no fused optimizer, which is one kernel where there is one."""

    def update(optimizer):
        for weight in optimizer.parameters:
            assert weight.grad is not None, "a weight without a gradient"
            assert (weight.grad.shape, weight.grad.dtype, weight.grad.device) == (weight.shape, weight.dtype, META)

    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(AdamW, "step", update)


def kernels_of(step):
    with Kernels() as kernels:
        step.run()
    return kernels.count + 1


def step_of(architecture, settings=SETTINGS):
    n = 2 * settings.batch_size
    with META:
        model = architecture.build(SHAPE).train()
        images = torch.zeros((n, *SHAPE[1:], SHAPE[0]), dtype=torch.uint8)
        plan = Schedule(settings, 2, META)
        optimizer = make_optimizer(model, settings, plan)
        step = GradientStep(model, optimizer, plan, images, settings, steps=2, batch_size=settings.batch_size)
        step.begin_epoch(1, torch.arange(n))
    return step


def by_steps():
    """The presets that are trained by steps on the training images alone."""
    with META:
        return [
            each
            for kind in FAMILIES.values()
            for each, preset in kind.presets.items()
            if isinstance(preset.architecture.build(SHAPE), GradientModel)
        ]


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("name", by_steps())
def test_a_whole_step_takes_no_more_kernels_than_it_did(name):
    assert kernels_of(step_of(preset(name)[1].architecture)) <= _ROOM * KERNELS[name]


@pytest.mark.usefixtures("on_meta")
def test_a_step_of_a_transductive_training_takes_no_more_kernels_than_it_did():
    with META:
        model = ContrastArchitecture().build(SHAPE).train()
        images, rows = torch.zeros((64, *SHAPE[1:], SHAPE[0]), dtype=torch.uint8), torch.arange(64)
        side = _Side(images, [rows] * model.folds)
        step = CrossFittedStep.of(model, side, side, SETTINGS)
        step.begin_epoch(1)
    assert kernels_of(step) <= _ROOM * KERNELS["contrast-small"]


class Bytes(TorchDispatchMode):
    """Adds up what operations read and write, and what of their results is held at once."""

    def __init__(self):
        super().__init__()
        self.moved = self.held = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            given, made = ([t for t in tree_leaves(each) if isinstance(t, torch.Tensor)] for each in (args, result))
            self.moved += sum(t.nbytes for t in (*given, *made))
            known = {t.untyped_storage()._cdata for t in given}
            for t in made:
                if t.untyped_storage()._cdata not in known:
                    self._hold(t.untyped_storage())
        return result

    def _hold(self, storage):
        size = storage.nbytes()
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._let_go, size)

    def _let_go(self, size):
        self.held -= size


def test_a_scored_image_moves_and_holds_no_more_bytes_than_it_did(photos, small):
    images = torch.from_numpy(photos(64, 64, 3))
    model = small["cnn"].build(SHAPE).to(memory_format=torch.channels_last).eval()
    references = fit_references(model, images)
    batch = 4 * images.nbytes  # as float32
    with Bytes() as counted:
        error_vectors(model, images, references)
    assert counted.moved / batch <= _ROOM * _MOVED
    assert counted.peak / batch <= _ROOM * _HELD


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("name", ["cnn-sample", "vae-sample", "fcn-medium"])
def test_judging_an_epoch_of_many_images_moves_a_fifth_of_what_training_it_does(name, photos):
    architecture, settings = preset(name)[1].architecture, replace(SETTINGS, batch_size=1024)
    step = step_of(architecture, settings)
    with Bytes() as trained:
        step.run()
    weights = sum(parameter.numel() for parameter in step.optimizer.parameters)
    of_epoch = (trained.moved + _OPTIMIZED * weights) / settings.batch_size * _MANY

    images = torch.from_numpy(photos(32, 64, 3))
    model = architecture.build(SHAPE).to(memory_format=torch.channels_last).eval()
    with Bytes() as referred:
        references = fit_references(model, images)
    with Bytes() as scored:
        error_vectors(model, images, references)
    # On a GPU the weights are read once a batch of thousands, not once for these few images.
    referred_to, judged = ((each.moved - 4 * weights) / len(images) for each in (referred, scored))
    sorts = 3  # normal images, test images, pseudo-anomalies: `auto` looks at all
    assert judge._MOST * (sorts * judged + referred_to) <= _JUDGED * of_epoch


def test_every_preset_has_a_budget():
    assert {*KERNELS} == {*by_steps(), "contrast-small"}
