"""Optimisers: AdamW with torch's own fused kernel, and SGD, without torch's optimiser objects.

Making a `torch.optim.AdamW` imports torch's compiler, 1.3 s in each worker's first trial, for a
hook that is not used here. The numbers equal those of the objects to the last bit.
Sources: Loshchilov and Hutter 2019, arXiv 1711.05101; `torch.optim.adamw.adamw`;
Sutskever et al. 2013, proceedings.mlr.press/v28/sutskever13.html, equations 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adamw import adamw

SLOTS = ("exp_avg", "exp_avg_sq", "step")
"""The state of each parameter: both moments, in its shape, and the number of steps."""


class Optimiser:
    """Base of the optimisers; a subclass has the state of each parameter and the update.

    Args:
        parameters: float32 leaf tensors.
        weight_decay: decoupled: a step of rate r first multiplies weights by 1 - r * weight_decay.
        start_decay: decoupled decay towards the values that the parameters have now: a step first
            moves them by the fraction r * start_decay, at most 1, of the way back.

    Attributes:
        state: one mapping from names to tensors for each parameter.
    """

    def __init__(
        self, parameters: Sequence[Parameter], weight_decay: float, start_decay: float = 0.0
    ) -> None:
        self._parameters, self._weight_decay = list(parameters), weight_decay
        self._start_decay = start_decay
        self._start = [p.detach().clone() for p in self._parameters] if start_decay else []
        self.state: list[dict[str, Tensor]] = [self._slots(p) for p in self._parameters]

    def zero_grad(self) -> None:
        """Delete the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rates: Sequence[float]) -> None:
        """Update each parameter that has a gradient; the others keep their values and their state.

        Args:
            learning_rates: one per parameter.
        """
        groups: dict[float, list[int]] = {}
        for i, rate in enumerate(learning_rates):
            if self._parameters[i].grad is not None:
                groups.setdefault(rate, []).append(i)
        for rate, group in groups.items():
            parameters: list[Tensor] = [self._parameters[i] for i in group]
            if self._start_decay:
                start = [self._start[i] for i in group]
                torch._foreach_lerp_(parameters, start, min(1.0, rate * self._start_decay))
            gradients = [p.grad for p in parameters if p.grad is not None]
            self._update(rate, parameters, gradients, [self.state[i] for i in group])

    def _slots(self, parameter: Parameter) -> dict[str, Tensor]:
        """The state of a parameter before the first step."""
        raise NotImplementedError

    def _update(
        self,
        rate: float,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: list[dict[str, Tensor]],
    ) -> None:
        """Change parameters and state in place."""
        raise NotImplementedError


class AdamW(Optimiser):
    """AdamW with betas 0.9 and 0.999 and epsilon 1e-8; its state has the `SLOTS`."""

    def _slots(self, parameter: Parameter) -> dict[str, Tensor]:
        return {
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        }

    def _update(
        self,
        rate: float,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: list[dict[str, Tensor]],
    ) -> None:
        adamw(
            parameters,
            gradients,
            [s["exp_avg"] for s in slots],
            [s["exp_avg_sq"] for s in slots],
            [],
            [s["step"] for s in slots],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=self._weight_decay,
            eps=1e-8,
            maximize=False,
        )


class SGD(Optimiser):
    """Stochastic gradient descent with Nesterov's momentum and decoupled weight decay (SGDW).

    Args:
        parameters, weight_decay, start_decay: as of every optimiser.
        momentum: fraction of the last step's direction that is kept, in [0, 1).
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        weight_decay: float,
        start_decay: float = 0.0,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(parameters, weight_decay, start_decay)
        self._momentum = momentum

    def _slots(self, parameter: Parameter) -> dict[str, Tensor]:
        return {"direction": torch.zeros_like(parameter)}

    def _update(
        self,
        rate: float,
        parameters: list[Tensor],
        gradients: list[Tensor],
        slots: list[dict[str, Tensor]],
    ) -> None:
        directions = [s["direction"] for s in slots]
        torch._foreach_mul_(directions, self._momentum)
        torch._foreach_add_(directions, gradients)
        steps = torch._foreach_add(gradients, directions, alpha=self._momentum)
        if self._weight_decay:
            torch._foreach_mul_(parameters, 1 - rate * self._weight_decay)
        torch._foreach_add_(parameters, steps, alpha=-rate)
