"""AdamW: torch's numbers, without torch's compiler."""

import subprocess
import sys

import pytest
import torch

from ensemble_ad.training.adamw import AdamW


def model():
    torch.manual_seed(3)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5))
    return layers.to(memory_format=torch.channels_last)


def descend(optimizer, layers, steps, rates=None):
    generator = torch.Generator().manual_seed(7)
    for step in range(steps):
        images = torch.randn(4, 3, 8, 8, generator=generator)
        for parameter in layers.parameters():
            parameter.grad = None
        layers(images).square().mean().backward()
        if rates is not None:
            rates[1].copy_(rates[0][step])
        optimizer.step()


def test_it_moves_the_parameters_as_torch_does_while_the_rate_changes():
    rates = torch.tensor([0.01, 0.02, 0.005, 0.0, 0.03])
    ours, theirs = model(), model()
    rate, their_rate = torch.tensor(0.01), torch.tensor(0.01)
    descend(AdamW(ours.parameters(), rate=rate, weight_decay=0.1), ours, 5, (rates, rate))
    other = torch.optim.AdamW(theirs.parameters(), lr=their_rate, weight_decay=0.1, fused=True)
    descend(other, theirs, 5, (rates, their_rate))
    for mine, their, start in zip(ours.parameters(), theirs.parameters(), model().parameters(), strict=True):
        assert torch.equal(mine, their)
        assert not torch.equal(mine, start)


def test_a_parameter_without_a_gradient_stays_and_the_others_move():
    layers = model()
    frozen, moved = layers[0].weight, layers[2].weight
    before = frozen.detach().clone(), moved.detach().clone()
    optimizer = AdamW(layers.parameters(), rate=torch.tensor(0.1), weight_decay=0.5)
    moved.grad = torch.ones_like(moved)
    optimizer.step()
    assert torch.equal(frozen, before[0])
    assert not torch.equal(moved, before[1])
    optimizer.zero_grad()
    assert moved.grad is None


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_gradient_in_another_layout_moves_the_same_numbers(layout):
    torch.manual_seed(3)
    start, gradient = torch.randn(8, 6, 3, 3), torch.randn(8, 6, 3, 3)
    moved = []
    for of_gradient in (torch.channels_last, torch.contiguous_format):
        parameter = torch.nn.Parameter(start.clone(memory_format=layout))
        optimizer = AdamW([parameter], rate=torch.tensor(0.1), weight_decay=0.5)
        parameter.grad = gradient.clone(memory_format=of_gradient)
        optimizer.step()
        moved.append(parameter.detach())
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=0)
    assert not torch.equal(moved[0], start)


def test_a_step_copies_no_gradient():
    layers = model()
    optimizer = AdamW(layers.parameters(), rate=torch.tensor(0.1), weight_decay=0.5)
    layers(torch.randn(4, 3, 8, 8)).square().mean().backward()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    found = {each.key for each in profile.key_averages()}
    assert "aten::_fused_adamw_" in found
    assert "aten::clone" not in found


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped():
    whole = model()
    descend(AdamW(whole.parameters(), rate=torch.tensor(0.01), weight_decay=0.1), whole, 3)
    optimizer = AdamW(whole.parameters(), rate=torch.tensor(0.01), weight_decay=0.1)
    descend(optimizer, whole, 3)
    state = {name: value.contiguous().clone() for name, value in optimizer.state().items()}
    stopped = model()
    stopped.load_state_dict(whole.state_dict())
    again = AdamW(stopped.parameters(), rate=torch.tensor(0.01), weight_decay=0.1)
    again.restore(state)
    descend(optimizer, whole, 2)
    descend(again, stopped, 2)
    for mine, their in zip(whole.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(mine, their)
    assert len(state) == 3 * len(list(whole.parameters()))


def test_the_state_of_other_parameters_is_refused():
    optimizer = AdamW(model().parameters(), rate=torch.tensor(0.01), weight_decay=0.1)
    small = AdamW([torch.nn.Parameter(torch.ones(2))], rate=torch.tensor(0.01), weight_decay=0.1)
    with pytest.raises(KeyError):
        optimizer.restore({name: value for name, value in optimizer.state().items() if not name.startswith("3.")})
    with pytest.raises(RuntimeError):
        small.restore(optimizer.state())


def test_a_training_does_not_import_the_compiler():
    script = """
import sys, torch
from ensemble_ad.families import preset
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
architecture = preset("cnn-sample")[1].architecture
images = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8)
settings = TrainSettings(epochs=1, batch_size=16)
train(lambda: architecture.build((3, 32, 32)), images, torch.arange(64), settings)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
