"""A step on CUDA as a graph: captured once, replayed from then on, so that no kernel waits for the host's next call."""

import gc
from functools import cache

import torch

from ensemble_ad.errors import in_one_line
from ensemble_ad.training.step import Step

_STEPS_BEFORE_CAPTURE = 3


class GraphedStep:
    """A `Step` on CUDA, captured once and replayed (Ng et al. 2021, "Accelerating PyTorch with CUDA graphs").

    The first steps run without a graph, since libraries set themselves up in them. All steps do where a batch has to be
    computed in parts, or where the capture failed.

    Attributes:
        captured: whether a graph is replayed.
        refused: why the capture failed, if it did.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._before = _STEPS_BEFORE_CAPTURE
        self._graph: torch.cuda.CUDAGraph | None = None
        self._number = torch.cuda.current_device() if step.device.index is None else step.device.index
        self.refused = ""

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def __call__(self) -> None:
        """Do one step."""
        if self._graph is None and self._before == 0 and self._step.parts == 1 and not self.refused:
            self._graph = self._capture()
        if self._graph is not None:
            self._graph.replay()
            return
        self._before = max(0, self._before - 1)
        before, aside = torch.cuda.current_stream(self._number), _stream(self._number)
        aside.wait_stream(before)
        with torch.cuda.stream(aside):
            self._step()
        before.wait_stream(aside)

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        graph, stream = torch.cuda.CUDAGraph(), _stream(self._number)
        generator = torch.cuda.default_generators[self._number]
        drawn_before = generator.clone_state()
        self._step.optimizer.zero_grad()
        gc.collect()  # a graph of a training before, if it went while this one is captured, would spoil it
        try:
            # The stream is entered twice, since a capture that fails leaves it current on torch 2.11. In this mode no
            # other thread of the process can spoil the capture.
            with (
                torch.cuda.stream(stream),
                torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
            ):
                self._step.run()
        except RuntimeError as error:
            # On torch 2.11 the generator's state goes on as if it were captured, and refuses every other draw.
            generator.graphsafe_set_state(drawn_before)
            self.refused = in_one_line(error, 200)
            torch.cuda.synchronize(self._number)
            return None
        return graph


@cache
def _stream(number: int) -> torch.cuda.Stream:
    """The one stream for warm-up and capture of that device: CUDA's libraries keep a workspace for each they meet."""
    return torch.cuda.Stream(torch.device("cuda", number))  # type: ignore[no-untyped-call]


def suited(step: Step, device: torch.device) -> Step | GraphedStep:
    """The step as a graph on CUDA, as it is elsewhere."""
    return GraphedStep(step) if device.type == "cuda" else step
