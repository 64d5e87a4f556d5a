"""Which layers may be frozen: what a linear classifier reads from their features.

A linear probe (see `model.probe`) is trained on TEST's features of a layer, and classifies TEST2's
selection part: once with the features of the baseline, which freezing would keep, and once with
those after fine-tuning. If fine-tuning a layer and those before it did not make its features
clearly better, nothing that the later layers need was missing in the frozen ones.

The fine-tuned layers have learnt TEST, so its images flatter their features, most in the last
layer. There the network's own head, also a linear classifier, takes the probe's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shiftsearch.experiments.outcome.statistics import paired_bootstrap
from shiftsearch.model.evaluation import BATCH
from shiftsearch.model.network import Network
from shiftsearch.model.probe import linear_probe
from shiftsearch.model.representation import layer_features, layer_names

MOST = 600
"""Largest number of images that a probe is trained on; twice as many take six times as long."""
LEAST = 160
"""Least number of images to judge by. With fewer, an improvement of five points may go unseen."""


@dataclass(frozen=True)
class LayerProbe:
    """What a linear classifier reads from a layer.

    Attributes:
        name: the layer's name.
        before: accuracy with the baseline's features, in 0..1.
        after: accuracy with the features after fine-tuning; of the last layer, unless it was
            frozen with all before it, that of the network itself.
        interval: paired 95 % interval of after minus before, over images.
    """

    name: str
    before: float
    after: float
    interval: tuple[float, float]

    @property
    def is_improved(self) -> bool:
        """Whether fine-tuning made the features better, beyond the choice of images."""
        return self.interval[0] > 0


@dataclass(frozen=True)
class Probes:
    """The probes of all layers that can be frozen.

    Attributes:
        layers: in the network's order.
        trained_on: number of TEST's images that each was trained on.
        n: number of images of TEST2's selection part that each classified.
    """

    layers: tuple[LayerProbe, ...]
    trained_on: int
    n: int

    @property
    def suggested(self) -> tuple[int, int] | None:
        """Least and most layers to freeze from the input; None with too few images.

        The most is the last layer that is not improved, with all before it, because its features
        are made from theirs. The least is 0: no probe can show that freezing is needed.
        """
        if self.n < LEAST:
            return None
        last = [i for i, layer in enumerate(self.layers, start=1) if not layer.is_improved]
        return 0, max(last, default=0)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, with `suggested`."""
        layers = [asdict(layer) | {"interval": list(layer.interval)} for layer in self.layers]
        suggested = None if self.suggested is None else list(self.suggested)
        numbers = {"trained_on": self.trained_on, "n": self.n}
        return {**numbers, "layers": layers, "suggested": suggested}


@torch.inference_mode()
def probe_layers(
    pair: Sequence[Network],
    test: tuple[Tensor, Tensor],
    selection: tuple[Tensor, Tensor],
    classes: int,
) -> Probes:
    """Probe every layer but the head, before and after fine-tuning.

    Args:
        pair: the network with frozen features, and the fine-tuned one; on the images' device.
        test: images [N, 1, H, W] and labels [N] int64 to train on; of more than `MOST`, evenly
            spaced ones are taken.
        selection: images [M, 1, H, W] and labels [M] int64 of TEST2's selection part.
        classes: number of classes.
    """
    few = torch.linspace(0, len(test[1]) - 1, min(len(test[1]), MOST)).long()
    learnt, labels = test[0][few.to(test[0].device)], test[1][few.to(test[1].device)]
    images = torch.cat([learnt, selection[0]])
    found: list[LayerProbe] = []
    n, names = len(few), layer_names(pair[0])[:-1]
    both = zip(*(layer_features(network, images, BATCH) for network in pair), strict=True)
    for name, (x, y) in zip(names, both, strict=False):
        predicted = [linear_probe(x[:n], labels, x[n:], classes)]
        if not torch.equal(x, y):
            is_last = name == names[-1]
            predicted.append(
                pair[1].head(y[n:]).argmax(1)
                if is_last
                else linear_probe(y[:n], labels, y[n:], classes)
            )
        right = [(p == selection[1]).cpu().numpy().astype(np.float64) for p in predicted]
        before, after = right[0], right[-1]
        _, low, high = paired_bootstrap(after, before)
        found.append(LayerProbe(name, float(before.mean()), float(after.mean()), (low, high)))
    return Probes(tuple(found), n, len(selection[1]))
