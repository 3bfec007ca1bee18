"""One step of the optimizer: what it reads is on the device, and where memory does not suffice it is done in parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ensemble_ad.families import FAMILIES, family, preset
from ensemble_ad.families.cnn import CnnArchitecture
from ensemble_ad.families.encoders import ENCODERS
from ensemble_ad.families.fcn import FcnArchitecture, FcnAutoencoder
from ensemble_ad.families.memory import MemoryArchitecture
from ensemble_ad.families.model import GradientModel
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.families.vae import VaeArchitecture
from ensemble_ad.training.device import Precision
from ensemble_ad.training.loop import train
from ensemble_ad.training.out_of_memory import is_out_of_memory
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import (
    Batches,
    GradientStep,
    Schedule,
    make_optimizer,
    mirrored,
    schedule,
    to_input,
)

SHAPE = (1, 32, 32)
SETTINGS = TrainSettings(epochs=2, batch_size=32, learning_rate=3e-3)
EVERYTHING = replace(SETTINGS, noise_scale=0.1, latent_noise_scale=0.1, mirror=True, precision="bf16")
CPU = torch.device("cpu")
WIDTHS = {"fcn": 32, "memory": 128, "cutpaste": 8, "resnet": 8, "resnet_aux": 4, "mesdnet": 2, "multi_encoder": 32}


@pytest.fixture(scope="module")
def images(digits_folder):
    return torch.from_numpy(np.load(digits_folder / "trainingset.npy")[:160, ..., :1].copy())


def start_of(name, number=0):
    """A small architecture of a family: that of one of its studies' first trials, no wider than need be."""
    kind = family(name)
    width, start = min(kind.widths), family(name).start[number]

    class First:
        def suggest_categorical(self, name, choices):
            wanted = width if name == "width" else start.get(name)
            return wanted if wanted in list(choices) else next(iter(choices))

        def suggest_int(self, name, low, high, **how):
            return int(start.get(name, low))

        def suggest_float(self, name, low, high, **how):
            return float(start.get(name, low))

    return kind.suggest(First(), (width,))


def losses_of(build, images, settings):
    epochs = []
    model = train(
        build,
        images,
        torch.arange(len(images), device=images.device),
        settings,
        after_epoch=lambda e, m: epochs.append(e) is None,
    )
    return epochs, model


def test_a_batch_is_what_to_input_gives_and_takes_no_new_memory(images):
    batches = Batches(images, 8)
    first = batches.take(torch.arange(8, 16))
    torch.testing.assert_close(first, to_input(images[8:16]), rtol=0, atol=0)
    place = first.data_ptr()
    second = batches.take(torch.tensor([3, 3, 150]))
    torch.testing.assert_close(second, to_input(images[[3, 3, 150]]), rtol=0, atol=0)
    assert second.data_ptr() == place
    assert second.is_contiguous(memory_format=torch.channels_last)


def test_the_optimizer_reads_the_schedule():
    settings = replace(SETTINGS, epochs=5, warmup_ratio=0.3, learning_rate=0.1)
    plan = Schedule(settings, 4, CPU)
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer = make_optimizer(model, settings, plan)
    model.weight.data.fill_(0.0)
    for step in range(20):
        plan.set()
        assert float(plan.progress) == pytest.approx(step / 20)
        before = float(model.weight.detach())
        model.weight.grad = torch.ones(1, 1)
        optimizer.step()
        plan.advance()
        # A constant gradient moves Adam by the learning rate.
        assert before - float(model.weight.detach()) == pytest.approx(0.1 * schedule(step, 20, 0.3), rel=1e-3, abs=1e-6)


def test_an_epoch_that_is_gone_to_has_its_learning_rate():
    plan = Schedule(replace(SETTINGS, epochs=3, learning_rate=1.0), 10, CPU)
    plan.go_to(20)
    plan.set()
    assert float(plan.rate) == pytest.approx(schedule(20, 30, SETTINGS.warmup_ratio))
    assert float(plan.progress) == pytest.approx(2 / 3)


class Waits(TorchDispatchMode):
    """Notes the operations that make the host wait for a GPU, and that no graph can hold."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket._qualified_op_name
        if name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"):
            self.seen.add(name)
        return function(*args, **(kwargs or {}))


def step_of(architecture, images, settings, shape=SHAPE):
    torch.manual_seed(0)
    model = architecture.build(shape).train()
    plan = Schedule(settings, 4, CPU)
    step = GradientStep(
        model, make_optimizer(model, settings, plan), plan, images, settings, steps=4, batch_size=settings.batch_size
    )
    step.begin_epoch(1, torch.arange(len(images)))
    return step


def by_steps():
    """Each family's first trials whose models are trained by steps, as (name, number of the trial)."""
    with torch.device("meta"):
        return [
            (name, number)
            for name, kind in FAMILIES.items()
            for number in range(len(kind.start))
            if isinstance(start_of(name, number).build(SHAPE), GradientModel)
        ]


@pytest.mark.parametrize(("name", "number"), by_steps())
def test_a_step_of_every_family_waits_for_nothing(images, name, number):
    waits_for_nothing(step_of(start_of(name, number), images, EVERYTHING))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_step_of_every_encoder_waits_for_nothing(images, name):
    waits_for_nothing(step_of(ResnetArchitecture(encoder=name, width=8), images, EVERYTHING))


def waits_for_nothing(step):
    step.run()
    with Waits() as waits:
        step.run()
    assert waits.seen == set()


def test_images_are_mirrored_by_a_coin_toss_each():
    images = torch.arange(200 * 3 * 4 * 5).reshape(200, 4, 5, 3).permute(0, 3, 1, 2).float()
    torch.manual_seed(0)
    some = mirrored(images)
    assert some.stride() == images.stride()
    turned = [torch.equal(one, other.flip(2)) for one, other in zip(some, images, strict=True)]
    kept = [torch.equal(one, other) for one, other in zip(some, images, strict=True)]
    assert all(a != b for a, b in zip(turned, kept, strict=True))
    assert 70 < sum(turned) < 130


def test_a_mirrored_batch_is_compared_with_what_the_model_sees(images):
    passes = []

    class Listening(FcnAutoencoder):
        def training_pass(self, images, latent_noise_scale, progress):
            reconstruction, more = super().training_pass(images, latent_noise_scale, progress)
            passes.append((images.clone(), reconstruction.detach()))
            return reconstruction, more

    class Told:
        def build(self, shape):
            return Listening(shape, FcnArchitecture(widths=(4,)))

    step = step_of(Told(), images, replace(SETTINGS, mirror=True))
    step.run()
    clean = to_input(images[step._order[: step.batch_size]])
    ((seen, reconstruction),) = passes
    assert not torch.equal(seen, clean)
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(seen, clean, strict=True))
    assert float(step.total) == pytest.approx(float((seen - reconstruction).square().mean()), rel=1e-5)


def test_an_epoch_of_several_passes_shows_each_image_so_often(images):
    settings = replace(SETTINGS, passes=3)
    torch.manual_seed(0)
    model = FcnArchitecture(widths=(4,)).build(SHAPE)
    n, steps = len(images), 3 * len(images) // settings.batch_size
    plan = Schedule(settings, steps, CPU)
    step = GradientStep(
        model, make_optimizer(model, settings, plan), plan, images, settings, steps=steps, batch_size=32
    )
    step.begin_epoch(1, torch.arange(n))
    shown = torch.bincount(step._order, minlength=n)
    assert shown.sum() == steps * settings.batch_size
    assert shown.max() == 3
    assert torch.equal(step._order[:n].sort().values, torch.arange(n))


def test_what_waits_is_found(images):
    with Waits() as waits:
        float(images.sum())
    assert waits.seen == {"aten::_local_scalar_dense"}


class Hungry(FcnAutoencoder):
    """Needs memory for two images at once, and not for more than `room`; the allocator of a real GPU is not there."""

    room = 8
    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def training_pass(self, images, latent_noise_scale, progress):
        if len(images) > self.room:
            raise self.error
        return super().training_pass(images, latent_noise_scale, progress)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
    ],
    ids=["cuda", "python", "torch-cpu"],
)
def test_a_batch_that_does_not_fit_is_computed_in_parts_to_the_same_end(images, monkeypatch, error):
    architecture = FcnArchitecture(widths=(32, 8))
    monkeypatch.setattr(Hungry, "error", error)
    whole, one = losses_of(lambda: FcnAutoencoder(SHAPE, architecture), images, SETTINGS)
    parts, other = losses_of(lambda: Hungry(SHAPE, architecture), images, SETTINGS)
    assert [epoch.parts for epoch in whole] == [1, 1]
    assert [epoch.parts for epoch in parts] == [4, 4]
    assert "in 4 parts" in parts[0].notes[0]
    for mine, theirs in zip(parts, whole, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)
    for mine, theirs in zip(other.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-2, atol=2e-4)


def test_parts_that_do_not_divide_a_batch_count_every_image_once(images, monkeypatch):
    architecture = FcnArchitecture(widths=(32, 8))
    settings = replace(SETTINGS, batch_size=27)
    whole, _ = losses_of(lambda: FcnAutoencoder(SHAPE, architecture), images, settings)
    parts, _ = losses_of(lambda: Hungry(SHAPE, architecture), images, settings)
    assert parts[0].parts == 4
    assert parts[-1].loss == pytest.approx(whole[-1].loss, rel=1e-4)


def test_memory_that_does_not_suffice_for_two_images_is_an_error(images, monkeypatch):
    monkeypatch.setattr(Hungry, "room", 1)
    with pytest.raises(torch.OutOfMemoryError):
        losses_of(lambda: Hungry(SHAPE, FcnArchitecture(widths=(8,))), images, SETTINGS)


def test_another_error_is_not_taken_for_want_of_memory(images, monkeypatch):
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    monkeypatch.setattr(Hungry, "error", RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        losses_of(lambda: Hungry(SHAPE, FcnArchitecture(widths=(8,))), images, SETTINGS)


@pytest.mark.parametrize(
    ("architecture", "seeds"),
    [
        (FcnArchitecture(widths=(64, 8), batch_norm=True, activation="prelu"), 1),
        (CnnArchitecture(channels=(8, 16, 32), batch_norm=True, bottleneck=16), 1),
        (VaeArchitecture(channels=(8, 16, 4), batch_norm=True), 1),
        # Its sharp attention makes much of rounding: a seed's loss differs by up to 9%, either way.
        (MemoryArchitecture(encoder="fcn", width=64, bottleneck=16, slots=64, temperature=0.05), 6),
    ],
    ids=["fcn", "cnn", "vae", "memory"],
)
def test_16_bits_learn_what_float32_learns_and_leave_float32_weights(images, architecture, seeds):
    def build():
        return architecture.build(SHAPE).to(memory_format=torch.channels_last)

    ratios: dict[Precision, list[float]] = {"bf16": [], "fp16": []}
    for seed in range(seeds):
        settings = replace(SETTINGS, epochs=6, seed=seed)
        exact, _ = losses_of(build, images, settings)
        for precision, found in ratios.items():
            rounded, model = losses_of(build, images, replace(settings, precision=precision))
            assert [e.loss for e in rounded] != [e.loss for e in exact]
            assert rounded[-1].loss < 0.8 * rounded[0].loss
            assert {p.dtype for p in (*model.parameters(), *model.buffers())} <= {torch.float32, torch.int64}
            found.append(rounded[-1].loss / exact[-1].loss)
    for precision, found in ratios.items():
        assert np.mean(found) == pytest.approx(1, abs=0.05), precision


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_falls(images):
    step = step_of(FcnArchitecture(widths=(32, 8)), images, replace(SETTINGS, precision="fp16"))
    step.run()
    scale, weights = step.scaler.get_scale(), [p.clone() for p in step.optimizer.parameters]
    step.scaler.update(2.0**40)
    step.run()
    assert all(torch.equal(p, before) for p, before in zip(step.optimizer.parameters, weights, strict=True))
    assert step.scaler.get_scale() == 2.0**39
    step.scaler.update(scale)
    step.run()
    assert not any(torch.equal(p, before) for p, before in zip(step.optimizer.parameters, weights, strict=True))
    assert {float(value) for name, value in step.optimizer.state().items() if name.endswith("step")} == {2.0}


def test_the_scale_of_the_loss_changes_nothing_but_rounding(images):
    small, large = (
        step_of(FcnArchitecture(widths=(32, 8)), images, replace(SETTINGS, precision="fp16")) for _ in range(2)
    )
    small.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    for step in (small, large):
        step.begin_epoch(1, torch.arange(len(images)))
    large._order.copy_(small._order)
    for step in (small, large):
        step.run()
    for one, other in zip(small.optimizer.parameters, large.optimizer.parameters, strict=True):
        # Adam's first step is the sign of a gradient, and some gradients are rounding errors.
        assert float(((one - other).abs() > 1e-5).float().mean()) < 2e-3


def test_every_family_that_is_trained_by_steps_is_tested_here():
    assert {name for name, _ in by_steps()} == {n for n, f in FAMILIES.items() if not f.transductive and n != "pca"}


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fcn-sample", "cnn-sample", "vae-sample"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_replayed_graph_learns_what_single_kernels_learn(images, monkeypatch, name, precision):
    settings = replace(SETTINGS, epochs=6, precision=precision)
    shape, architecture = (1, 32, 32), preset(name)[1].architecture
    on_gpu = images.cuda()

    def build():
        return architecture.build(shape).to(memory_format=torch.channels_last)

    graphed, _ = losses_of(build, on_gpu, settings)
    monkeypatch.setattr("ensemble_ad.training.loop.suited", lambda step, device: step)
    eager, _ = losses_of(build, on_gpu, settings)
    assert graphed[-1].loss == pytest.approx(eager[-1].loss, rel=0.05)


@pytest.mark.gpu
def test_a_step_on_cuda_is_captured_and_waits_for_nothing(images):
    from ensemble_ad.training.graphed import GraphedStep

    settings = replace(SETTINGS, noise_scale=0.1, mirror=True, precision="bf16")
    on_gpu = images.cuda()
    model = CnnArchitecture().build(SHAPE).cuda().to(memory_format=torch.channels_last).train()
    plan = Schedule(settings, 5, on_gpu.device)
    inner = GradientStep(model, make_optimizer(model, settings, plan), plan, on_gpu, settings, steps=5, batch_size=32)
    step = GraphedStep(inner)
    inner.begin_epoch(1, torch.arange(len(images), device="cuda"))
    for _ in range(4):
        step()
    assert step.captured, step.refused
    torch.cuda.set_sync_debug_mode("error")
    try:
        inner.begin_epoch(2, torch.arange(len(images), device="cuda"))
        for _ in range(5):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_learning_rate_warms_up_linearly_and_falls_linearly_at_the_end():
    factors = [schedule(step, 100, 0.2) for step in range(100)]
    np.testing.assert_allclose(factors[:20], np.arange(1, 21) / 20)
    np.testing.assert_array_equal(factors[20:81], 1.0)
    np.testing.assert_allclose(factors[80:], np.arange(20, 0, -1) / 20)


def test_a_long_warm_up_leaves_no_constant_rate_and_what_is_left_falls():
    factors = [schedule(step, 100, 0.9) for step in range(100)]
    np.testing.assert_allclose(factors[:90], np.arange(1, 91) / 90)
    np.testing.assert_allclose(factors[90:], np.arange(10, 0, -1) / 10)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
@pytest.mark.parametrize("total", [1, 2, 3, 10])
def test_the_schedule_has_no_warm_up_or_nothing_else_at_its_ends(ratio, total):
    factors = [schedule(step, total, ratio) for step in range(total)]
    assert factors[0] == (1.0 if ratio == 0 else 1 / total)
    assert all(0 < factor <= 1 for factor in factors)


def test_pixels_become_minus_one_to_one_with_channels_first():
    batch = torch.tensor([0, 51, 255, 128], dtype=torch.uint8).reshape(1, 2, 2, 1).repeat(1, 1, 1, 3)
    values = to_input(batch)
    assert values.shape == (1, 3, 2, 2)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values[0, 0].flatten(), torch.tensor([-1.0, -0.6, 1.0, 128 / 127.5 - 1]))
