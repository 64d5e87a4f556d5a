"""Racing: which of the retrained configurations get the next replicates.

Every configuration is trained with a few new seeds. After that, replicates go to the best one and
to those that are hardest to tell from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from shiftsearch.search.judging.gain import seed_noise

LEAST_ROUND = 2
"""Fewest trainings between two decisions, so that a run with one worker and one with two make the
same decisions."""

_FIRST = 2  # replicates of each configuration before any decision: the noise needs two
_CLOSEST = 1e-3  # smallest difference of two means, in standard deviations


class Retrain(BaseModel):
    """How many configurations are retrained after the search, with how many new replicates."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    top_k: Annotated[int, Field(ge=1, le=100)] = 3
    replicates: Annotated[int, Field(ge=1, le=100)] = 3
    """Mean number of replicates of a configuration, and fewest of the reference."""
    budget: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Trainings of all configurations that compete; default: `replicates` times their number."""

    def first(self, configurations: int) -> int:
        """Replicates of each configuration but the reference before the first decision.

        Of two configurations both get the same share, so nothing is decided between them.

        Args:
            configurations: number of those that compete, at least 1.
        """
        least = min(_FIRST, self.replicates)
        if configurations > 2:
            return least
        return max(least, min(self.replicates, self.trainings(configurations) - self.replicates))

    def trainings(self, configurations: int) -> int:
        """Trainings in all for this number of competing configurations."""
        return self.budget or configurations * self.replicates

    def problems(self) -> list[str]:
        """One line if the budget is too small for the first replicates."""
        first = min(_FIRST, self.replicates)
        least = self.top_k * first + self.replicates
        if self.budget is None or self.budget >= least:
            return []
        return [
            f"retrain.budget: {self.budget}, but must be at least {least}: {first} for each of "
            f"top_k {self.top_k}, and replicates {self.replicates} for the reference"
        ]


def next_replicates(groups: Sequence[Sequence[float]], count: int) -> list[int]:
    """Which configurations get the next replicates (OCBA).

    The shares are those of Chen, Lin, Yucesan and Chick 2000, equations 5 and 6 of
    https://doi.org/10.1023/A:1008349927281, with one standard deviation s for all: configuration i
    gets (s / (m_b - m_i))^2, the best one, b, gets s * sqrt(sum of (w_i / s)^2). Each replicate
    goes to the configuration that is farthest below its share ("most starving": Chen and Lee,
    Stochastic Simulation Optimization, 2011, section 3.4). `experiments/LOG.md` compares the rule
    with others.

    Args:
        groups: for each configuration the objectives of its replicates, at least one each.
        count: number of replicates to give out, at least 0.

    Returns:
        `count` indices into `groups`. Without noise, or while it is unknown, the configurations
        with the fewest replicates come first. Ties go to the first configuration.
    """
    counts = np.array([len(group) for group in groups], dtype=np.float64)
    noise = seed_noise(groups)
    known = noise is not None and noise.sd > 0 and len(groups) > 1
    weights = _shares(groups, noise.sd) if noise is not None and known else np.ones(len(groups))
    given = []
    for _ in range(count):
        due = weights / weights.sum() * (counts.sum() + 1) - counts
        given.append(int(due.argmax()))
        counts[given[-1]] += 1
    return given


def _shares(groups: Sequence[Sequence[float]], sd: float) -> NDArray[np.float64]:
    """[configurations] weights of the configurations, not normalised."""
    means = np.array([np.mean(group) for group in groups])
    best = int(means.argmax())
    apart = np.maximum((means[best] - means) / sd, _CLOSEST)
    weights: NDArray[np.float64] = apart**-2.0
    weights[best] = 0
    weights[best] = np.sqrt(np.square(weights).sum())
    return weights
