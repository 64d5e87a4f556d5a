"""AdamW with torch's own fused kernel, without torch's optimiser object.

Making a `torch.optim.AdamW` imports torch's compiler, 1.3 s in each worker's first trial, for a
hook that is not used here. The numbers equal those of the object to the last bit.
Source: Loshchilov and Hutter 2019, arXiv 1711.05101; `torch.optim.adamw.adamw`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adamw import adamw

SLOTS = ("exp_avg", "exp_avg_sq", "step")
"""The state of each parameter: both moments, in its shape, and the number of steps."""


class AdamW:
    """AdamW with betas 0.9 and 0.999 and epsilon 1e-8.

    Args:
        parameters: float32 leaf tensors.
        weight_decay: decoupled weight decay.

    Attributes:
        state: one mapping from `SLOTS` to tensors for each parameter.
    """

    def __init__(self, parameters: Sequence[Parameter], weight_decay: float) -> None:
        self._parameters, self._weight_decay = list(parameters), weight_decay
        self.state: list[dict[str, Tensor]] = [
            {
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
                "step": torch.zeros((), dtype=torch.float32, device=p.device),
            }
            for p in self._parameters
        ]

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
        groups: dict[float, list[tuple[Parameter, Tensor, dict[str, Tensor]]]] = {}
        for p, s, rate in zip(self._parameters, self.state, learning_rates, strict=True):
            if p.grad is not None:
                groups.setdefault(rate, []).append((p, p.grad, s))
        for rate, group in groups.items():
            adamw(
                [p for p, _, _ in group],
                [gradient for _, gradient, _ in group],
                [s["exp_avg"] for _, _, s in group],
                [s["exp_avg_sq"] for _, _, s in group],
                [],
                [s["step"] for _, _, s in group],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rate,
                weight_decay=self._weight_decay,
                eps=1e-8,
                maximize=False,
            )
