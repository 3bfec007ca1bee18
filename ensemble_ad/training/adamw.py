"""AdamW without what `torch.optim` brings along."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class AdamW:
    """AdamW (Loshchilov and Hutter 2019, ICLR) over all parameters in one fused kernel.

    The numbers are `torch.optim.AdamW`'s, whose functional form this calls. Its class imports torch's compiler at the
    first step, a second and more than 100 MB a process (`benchmarks/pipeline.md`), which no trial here uses.

    Attributes:
        parameters: what it moves.
        rate: float32 (), the learning rate; read at every step, so that a schedule may write to it.
    """

    def __init__(self, parameters: Iterable[Tensor], *, rate: Tensor, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.rate = rate
        self._weight_decay = weight_decay
        # Moments lie in memory as their parameters do, which the fused kernels walk through.
        self._first, self._second = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        self._steps = [torch.zeros((), device=p.device) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        gradients = {i: p.grad for i, p in enumerate(self.parameters) if p.grad is not None}
        parameters, first, second, steps = (
            [each[i] for i in gradients] for each in (self.parameters, self._first, self._second, self._steps)
        )
        adamw(
            parameters,
            list(gradients.values()),
            first,
            second,
            [],
            steps,
            fused=True,
            capturable=self.rate.is_cuda,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self.rate,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """What the next step depends on besides parameters and rate, by "index.part"; not copied."""
        return dict(self._state())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave.

        Raises:
            KeyError, RuntimeError: if it is of other parameters.
        """
        for name, value in self._state():
            value.copy_(state[name])

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        parts = (("step", self._steps), ("exp_avg", self._first), ("exp_avg_sq", self._second))
        for index in range(len(self.parameters)):
            for part, values in parts:
                yield f"{index}.{part}", values[index]
