"""A step as a CUDA graph, on a stand-in for CUDA: streams, generators and captures that fail as torch's do."""

import pytest
import torch

from ensemble_ad.training import graphed
from ensemble_ad.training.graphed import GraphedStep
from ensemble_ad.training.loop import Epoch

FAILURE = "CUDA error: operation not permitted when stream is capturing\nSearch for `cudaErrorStreamCapture...`"


class Stream:
    def __init__(self, device):
        self.device, self.waited_for = device, []

    def wait_stream(self, other):
        self.waited_for.append(other)


class Generator:
    """As torch 2.11's: a capture that fails leaves it capturing, and it refuses to draw outside of a capture."""

    def __init__(self, capturing=False):
        self.capturing = capturing

    def clone_state(self):
        return Generator(self.capturing)

    def graphsafe_set_state(self, state):
        self.capturing = state.capturing


class Cuda:
    """What of `torch.cuda` a graphed step uses. `fails` makes each capture fail when it ends, as on torch 2.11."""

    def __init__(self, devices, fails):
        self.device, self.fails, self.made, self.modes, self.replays = 0, fails, [], [], 0
        self.current = {number: Stream(number) for number in range(devices)}
        self.default = dict(self.current)
        self.default_generators = [Generator() for _ in range(devices)]
        self.capturing_on = None

    def current_device(self):
        return self.device

    def current_stream(self, number):
        return self.current[number]

    def synchronize(self, number):
        assert self.capturing_on is None

    def Stream(self, device):
        self.made.append(Stream(device.index))
        return self.made[-1]

    def stream(self, stream):
        return Entered(self, stream)

    def CUDAGraph(self):
        return self

    def replay(self):
        self.replays += 1

    def graph(self, graph, *, stream, capture_error_mode):
        self.modes.append(capture_error_mode)
        return Capture(self, stream)


class Entered:
    def __init__(self, cuda, stream):
        self.cuda, self.stream = cuda, stream

    def __enter__(self):
        self.before = self.cuda.current[self.stream.device]
        self.cuda.current[self.stream.device] = self.stream

    def __exit__(self, *error):
        self.cuda.current[self.stream.device] = self.before


class Capture(Entered):
    def __enter__(self):
        super().__enter__()
        self.cuda.capturing_on = self.stream
        self.cuda.default_generators[self.stream.device].capturing = True

    def __exit__(self, *error):
        self.cuda.capturing_on = None
        if self.cuda.fails:
            raise RuntimeError(FAILURE)
        self.cuda.default_generators[self.stream.device].capturing = False
        super().__exit__(*error)


@pytest.fixture
def cuda(monkeypatch):
    def stand_in(devices=1, *, fails=False):
        found = Cuda(devices, fails)
        for name in ("current_device", "current_stream", "synchronize", "Stream", "stream", "CUDAGraph", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(found, name))
        monkeypatch.setattr(torch.cuda, "default_generators", found.default_generators)
        graphed._stream.cache_clear()
        return found

    yield stand_in
    graphed._stream.cache_clear()


class Kernels:
    """A step whose kernels run, or are captured, on the current stream of their device."""

    def __init__(self, cuda, number):
        self.cuda, self.device, self.parts = cuda, torch.device("cuda", number), 1
        self.optimizer, self.run_on, self.captured_on = self, [], []

    def zero_grad(self):
        pass

    def __call__(self):
        assert not self.cuda.default_generators[self.device.index].capturing, "the generator refuses to draw"
        self.run_on.append(self.cuda.current[self.device.index])

    def run(self):
        here = self.cuda.current[self.device.index]
        if here is self.cuda.capturing_on:
            self.captured_on.append(here)


def test_a_step_is_captured_after_three_and_replayed(cuda):
    cuda = cuda()
    kernels = Kernels(cuda, 0)
    step = GraphedStep(kernels)  # type: ignore[arg-type]
    for _ in range(5):
        step()
    assert (len(kernels.run_on), len(kernels.captured_on), cuda.replays) == (3, 1, 2)
    assert step.captured
    assert cuda.modes == ["thread_local"]
    assert {*kernels.run_on, *kernels.captured_on} == {*cuda.made} != {cuda.default[0]}
    assert cuda.current == cuda.default
    assert cuda.made[0].waited_for == [cuda.default[0]] * 3


def test_a_capture_that_fails_leaves_the_process_as_it_was(cuda):
    cuda = cuda(fails=True)
    kernels = Kernels(cuda, 0)
    step = GraphedStep(kernels)  # type: ignore[arg-type]
    for _ in range(6):
        step()
    assert not step.captured
    assert len(kernels.run_on) == 6
    assert len(cuda.modes) == 1
    assert cuda.current == cuda.default
    assert not cuda.default_generators[0].capturing
    assert step.refused.startswith("CUDA error: operation not permitted when stream is capturing")
    assert "\n" not in step.refused
    (note,) = Epoch(1, 0.5, 100.0, 1, step.refused).notes
    assert note.startswith("CUDA refused a graph of the step, which is slower without: CUDA error")


def test_every_device_has_one_stream_and_its_own_kernels_are_captured(cuda):
    cuda = cuda(devices=2)
    for number in (0, 1, 0, 1):
        cuda.device = number
        kernels = Kernels(cuda, number)
        step = GraphedStep(kernels)  # type: ignore[arg-type]
        for _ in range(4):
            step()
        assert step.captured
        assert [stream.device for stream in kernels.captured_on] == [number]
    assert [stream.device for stream in cuda.made] == [0, 1]


def test_a_step_in_parts_is_not_captured(cuda):
    cuda = cuda()
    kernels = Kernels(cuda, 0)
    kernels.parts = 2
    step = GraphedStep(kernels)  # type: ignore[arg-type]
    for _ in range(5):
        step()
    assert len(kernels.run_on) == 5
    assert cuda.modes == []
