"""Averages of a network's weights over training: exponential over steps, or uniform over epochs.

Sources: Polyak and Juditsky 1992, doi 10.1137/0330046; Tarvainen and Valpola 2017, arXiv
1703.01780, section 2, whose teacher the exponential one is; Izmailov et al. 2018, arXiv
1803.05407, algorithm 1, for the uniform one (stochastic weight averaging). The exponential one's
decay rises from 2 / 11 to its value as in TensorFlow's `ExponentialMovingAverage`, because a small
set has few steps and the first weights must not last.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from shiftsearch.model.network import Network

_UPDATES = "updates"

Share = Callable[[int], float]
"""The share, in (0, 1], of the newest weights in the average, by the number of the update."""


def exponential(decay: float) -> Share:
    """Earlier weights count less: their share is multiplied by `decay`, in (0, 1), each time."""
    return lambda update: 1 - min(decay, (1 + update) / (10 + update))


def uniform(update: int) -> float:
    """All weights count the same; the first weights of the average itself do not count."""
    return 1 / update


class AveragedNetwork:
    """A second network with the averaged weights and batch statistics, in evaluation mode.

    Args:
        network: the network in training; its weights now are the average's first ones.
        share: of the newest weights in each update.

    Attributes:
        network: the averaged one; nothing of it has a gradient.
        updates: weights averaged so far.
    """

    def __init__(self, network: Network, share: Share) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.updates = 0
        self._share = share
        # state_dict() gives the networks' own memory, so that these stay up to date.
        averages, sources = self.network.state_dict(), network.state_dict()
        real = [name for name, tensor in averages.items() if tensor.is_floating_point()]
        self._averages = [averages[name] for name in real]
        self._sources = [sources[name] for name in real]
        self._counters = [(averages[n], sources[n]) for n in averages.keys() - set(real)]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights of now."""
        self.updates += 1
        torch._foreach_lerp_(self._averages, self._sources, self._share(self.updates))
        for counter, source in self._counters:
            counter.copy_(source)

    def state(self) -> dict[str, Tensor]:
        """The tensors that `restore` takes."""
        return {**self.network.state_dict(), _UPDATES: torch.tensor(self.updates)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the tensors of `state`."""
        self.updates = int(state[_UPDATES])
        self.network.load_state_dict({k: t for k, t in state.items() if k != _UPDATES})
