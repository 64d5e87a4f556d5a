"""Networks that are trained, or averaged from trained ones, and their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.data.dataset import Dataset, Split
from shiftsearch.data.tensors import changed
from shiftsearch.experiments.outcome.kept import weights_of
from shiftsearch.experiments.outcome.results import Part
from shiftsearch.experiments.outcome.trained import Trained
from shiftsearch.model.combining import Score, mean_probabilities, mean_weights
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import predict, summarise
from shiftsearch.model.hyperparameters import PreprocessingHyperparameters
from shiftsearch.model.network import Network
from shiftsearch.model.objective import Objective
from shiftsearch.model.protocol import build
from shiftsearch.model.statistics import re_estimate
from shiftsearch.model.store import Entry, Store, content_key

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Blend:
    """One network: the mean of the weights of fine-tunes of one baseline.

    Attributes:
        of: the trainings, the best first; a single one is taken as it is.
        share: of the fine-tunes, in (0, 1]; the rest is their baseline's.
        re_estimated: whether batch statistics are re-estimated on TEST.

    Raises:
        ValueError: the trainings have different baselines.
    """

    of: tuple[Trained, ...]
    share: float = 1.0
    re_estimated: bool = False

    def __post_init__(self) -> None:
        if len({trained.family for trained in self.of}) != 1:
            raise ValueError("weights are averaged over fine-tunes of one baseline only")

    @property
    def is_trained(self) -> bool:
        """Whether it is a training's network, not an average."""
        return len(self.of) == 1 and self.share == 1 and not self.re_estimated

    @property
    def key(self) -> str:
        """Its key in the store: 32 hex digits."""
        return content_key(["blend", [t.key for t in self.of], self.share, self.re_estimated])


@dataclass(frozen=True)
class Model:
    """What can be exported: one network, or several whose probabilities are averaged.

    Attributes:
        kind: "replicate", "single", "soup", "interpolation" or "ensemble".
        members: the networks, the one with the largest share first.
        shares: the weight of each in the mean, with sum 1.
    """

    kind: str
    members: tuple[Blend, ...]
    shares: tuple[float, ...] = (1.0,)

    @property
    def first(self) -> Trained:
        """The training that names the model: the first of its first member."""
        return self.members[0].of[0]


class Predictor:
    """Makes the networks of blends, and their predictions.

    Args:
        store: the run's; it keeps the predictions on the selection part.
        dataset: the run's.
        parts: TEST, TEST2's selection part, and perhaps its held-out part.
        device: where to compute, in float32.
        objective: what models are chosen by.
    """

    SELECTION = 1

    def __init__(
        self,
        store: Store,
        dataset: Dataset,
        parts: Sequence[Part],
        device: Device,
        objective: Objective,
    ) -> None:
        self.store, self.dataset = store, dataset
        # A network is scored on the whole selection part, also where trials are cross-fitted.
        self.parts = [replace(part, out_of_fold=False) for part in parts]
        self.device, self.objective = replace(device, dtype="float32"), objective
        self.labels = parts[self.SELECTION].labels
        self._images = lru_cache(maxsize=8)(self._preprocessed)
        images = parts[self.SELECTION].images
        pixels = images[:, 0].cpu().numpy()
        self._digest = Split(pixels, self.labels.numpy()).digest()[:16]
        self._known: dict[str, Probabilities] = {}

    def weights(self, blend: Blend) -> dict[str, Tensor]:
        """The network's state.

        Raises:
            FileNotFoundError: the store no longer holds the weights that it is made from.
        """
        tuned = [weights_of(self.store, t.result, "fine_tune") for t in blend.of]
        state = mean_weights(tuned, [1 / len(tuned)] * len(tuned))
        if blend.share < 1:
            start = weights_of(self.store, blend.of[0].result, "baseline")
            state = mean_weights([state, start], [blend.share, 1 - blend.share])
        if blend.re_estimated:
            network = self.build(state, blend)
            how = blend.of[0].hyperparameters.preprocessing
            re_estimate(network, None, self._images(how, 0), self.device)
            state = {k: t.detach().cpu().clone() for k, t in network.state_dict().items()}
        return state

    def build(self, state: dict[str, Tensor], blend: Blend) -> Network:
        """The network of a blend with this state, in evaluation mode."""
        architecture = blend.of[0].hyperparameters.network.architecture
        classes, size = len(self.dataset.classes), self.dataset.image_size
        return build(state, classes, size, self.device, architecture)

    def on(self, network: Network, blend: Blend, part: int) -> Probabilities:
        """A network's probabilities on a part, with the blend's preprocessing: [n, classes]."""
        how = blend.of[0].hyperparameters.preprocessing
        found: Probabilities = predict(network, self._images(how, part)).numpy()
        return found

    def selection(self, blend: Blend) -> Probabilities:
        """Probabilities on the selection part, [n, classes]; computed once for each run."""
        key = blend.key
        if key not in self._known:
            name = f"probabilities-{self._digest}"
            entry = self.store.load(key, name)
            if entry is None:
                found = self.on(self.build(self.weights(blend), blend), blend, self.SELECTION)
                entry = Entry({"probabilities": torch.from_numpy(found)}, {})
                self.store.save(key, name, entry)
            self._known[key] = entry.tensors["probabilities"].numpy()
        return self._known[key]

    def mean(self, model: Model) -> Probabilities:
        """The model's probabilities on the selection part: [n, classes]."""
        return mean_probabilities([self.selection(m) for m in model.members], model.shares)

    def score(self, probabilities: Probabilities, rows: NDArray[np.int64]) -> Score:
        """The score of probabilities of all images, on the images at these positions."""
        return self.score_of(probabilities[rows], rows)

    def score_of(self, probabilities: Probabilities, rows: NDArray[np.int64]) -> Score:
        """The score of the probabilities of the images at these positions."""
        evaluation = summarise(torch.from_numpy(probabilities), self.labels[rows])
        return self.objective.of_split(evaluation), -evaluation.loss

    def barrier(self, one: Trained, other: Trained) -> float:
        """Accuracy of the middle of two fine-tunes minus their mean, on the selection part.

        Clearly below 0, the two do not lie in one basin of the loss (Frankle et al. 2020, arXiv
        1912.05671, section 2).
        """
        rows = np.arange(len(self.labels))
        ends = [self.score(self.selection(Blend((t,))), rows)[0] for t in (one, other)]
        return self.score(self.selection(Blend((one, other))), rows)[0] - fmean(ends)

    def _preprocessed(self, how: PreprocessingHyperparameters, part: int) -> Tensor:
        return changed(self.parts[part].images, how.apply)
