"""The exponential moving average of a network's weights over the steps of training.

Sources: Polyak and Juditsky 1992, doi 10.1137/0330046; Tarvainen and Valpola 2017, arXiv
1703.01780, section 2, whose teacher it is. The decay rises from 2 / 11 to its value as in
TensorFlow's `ExponentialMovingAverage`, because a small set has few steps and the first weights
must not last.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from shiftsearch.model.network import Network

_UPDATES = "updates"


class AveragedNetwork:
    """A second network with the averaged weights and batch statistics, in evaluation mode.

    Args:
        network: the network in training; its weights now are the average's first ones.
        decay: of the average in each step, in (0, 1).

    Attributes:
        network: the averaged one; nothing of it has a gradient.
        updates: steps averaged so far.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.updates = 0
        self._decay = decay
        # state_dict() gives the networks' own memory, so that these stay up to date.
        averages, sources = self.network.state_dict(), network.state_dict()
        real = [name for name, tensor in averages.items() if tensor.is_floating_point()]
        self._averages = [averages[name] for name in real]
        self._sources = [sources[name] for name in real]
        self._counters = [(averages[n], sources[n]) for n in averages.keys() - set(real)]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights after one more step of its optimiser."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._averages, self._sources, 1 - decay)
        for counter, source in self._counters:
            counter.copy_(source)

    def state(self) -> dict[str, Tensor]:
        """The tensors that `restore` takes."""
        return {**self.network.state_dict(), _UPDATES: torch.tensor(self.updates)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the tensors of `state`."""
        self.updates = int(state[_UPDATES])
        self.network.load_state_dict({k: t for k, t in state.items() if k != _UPDATES})
