"""AdamW without the compiler that `torch.optim` imports."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class AdamW:
    """AdamW (Loshchilov and Hutter 2019, ICLR) over all parameters in one fused kernel.

    It calls the functional form of `torch.optim.AdamW` and gives the same numbers. That class would import torch's
    compiler at its first step, which takes a second and more than 100 MB a process (`benchmarks/pipeline.md`) and which
    no trial here uses.

    It works with `torch.amp.GradScaler`, which sets `grad_scale`, what the loss was multiplied by, and `found_inf`, 1
    where a gradient overflowed, while it calls `step`: the fused kernel divides by the one, and moves nothing at the
    other.

    Attributes:
        parameters: the tensors that it moves.
        rate: float32 (), the learning rate; read at every step, so that a schedule may write to it.
        param_groups: the parameters, as a scaler of the loss looks for them.
    """

    _step_supports_amp_scaling = True

    def __init__(self, parameters: Iterable[Tensor], *, rate: Tensor, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.param_groups = [{"params": self.parameters}]
        self.rate = rate
        self._weight_decay = weight_decay
        self._first, self._second = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        self._steps = [torch.zeros((), device=p.device) for p in self.parameters]
        moved = (self.parameters, self._first, self._second)
        self._moved = [[_as_they_lie(tensor.detach()) for tensor in some] for some in moved]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        gradients = {i: _as_they_lie(_laid(p.grad, p)) for i, p in enumerate(self.parameters) if p.grad is not None}
        parameters, first, second, steps = ([each[i] for i in gradients] for each in (*self._moved, self._steps))
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
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),
        )

    def state(self) -> dict[str, Tensor]:
        """The moments and step counts by "index.part": all that the next step needs besides parameters and rate.

        The tensors are the optimizer's own, not copies.
        """
        return dict(self._state())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave.

        Raises:
            KeyError, RuntimeError: if the state is of other parameters.
        """
        for name, value in self._state():
            value.copy_(state[name])

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        parts = (("step", self._steps), ("exp_avg", self._first), ("exp_avg_sq", self._second))
        for index in range(len(self.parameters)):
            for part, values in parts:
                yield f"{index}.{part}", values[index]


def _as_they_lie(tensor: Tensor) -> Tensor:
    """The numbers of a tensor without gaps, (n,), in memory's order: the fused kernel copies gradients in another."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _laid(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in its parameter's layout, which autograd gives it wherever it makes it."""
    same = gradient.stride() == parameter.stride()
    return gradient if same else torch.empty_like(parameter).copy_(gradient)
