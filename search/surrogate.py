"""What a configuration would have come to, from those that were recorded.

Accuracy is a Gaussian process' mean plus the residual of the nearest recorded configuration: at a
recorded configuration it is the recorded value, elsewhere it scatters as much as the recorded
ones do, and it never leaves their range. Seconds, and what a rung makes different, are the nearest
one's. "Nearest" is by the process' own length scales, so what does not matter does not count.
Source: Rasmussen and Williams 2006, equations 2.23 and 5.8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from model.hyperparameters import Value
from search.recording import RecordedBaseline, RecordedFineTune
from search.space import Space

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    """What a configuration would come to.

    Attributes:
        value: `test2_accuracy` on the selection part.
        held_out: accuracy on the held-out part; None where it was not recorded.
        baseline_seconds: cumulated, after each epoch.
        fine_tune_seconds: of the whole fine-tune.
        rungs: baseline epochs to the value after a whole fine-tune from there.
    """

    value: float
    held_out: float | None
    baseline_seconds: Sequence[float]
    fine_tune_seconds: float
    rungs: Mapping[int, float]


class Surrogate:
    """Fitted to a recording.

    Args:
        recording: at least 5 configurations with a finished baseline.
        space: what is searched.

    Raises:
        ValueError: with fewer configurations.
    """

    def __init__(self, recording: Sequence[RecordedBaseline], space: Space) -> None:
        self._space = dict(space.distributions)
        self._rows = [(b, f) for b in recording for f in b.fine_tunes if f.rung == 0]
        if len(self._rows) < 5:
            raise ValueError(
                f"{len(self._rows)} recorded trials are too few to replay; 5 is least"
            )
        self._rungs = {
            i: {f.rung: f.value - own.value for f in b.fine_tunes if f.rung and _same(f, own)}
            for i, (b, own) in enumerate(self._rows)
        }
        self._with_rungs = [i for i, differences in self._rungs.items() if differences]
        self._x = np.array([self._place({**b.values, **f.values}) for b, f in self._rows])
        self._y = np.array(
            [[f.value, np.nan if f.held_out is None else f.held_out] for _, f in self._rows]
        )
        self._low, self._high = self._y.min(0), self._y.max(0)
        self._fit()

    def __call__(self, configuration: Mapping[str, Value]) -> Expected:
        """What the configuration would come to."""
        x = self._place(configuration)
        distance = (((self._x - x) / self._scales) ** 2).sum(1)
        nearest = int(distance.argmin())
        y = np.clip(self._mean(x[None])[0] + self._residuals[nearest], self._low, self._high)
        baseline, fine_tune = self._rows[nearest]
        differences: Mapping[int, float] = {}
        if self._with_rungs:
            near = min(self._with_rungs, key=lambda i: float(distance[i]))
            differences = self._rungs[near]
        return Expected(
            float(y[0]),
            None if np.isnan(y[1]) else float(y[1]),
            baseline.seconds,
            fine_tune.seconds,
            {epochs: float(y[0]) + d for epochs, d in differences.items()},
        )

    def errors(self, folds: int = 10) -> dict[str, float]:
        """Out of sample, whole baselines left out: root mean square errors and rank correlation.

        Returns:
            `mean_rmse` of the process' mean, `drawn_rmse` of what `__call__` says, `recorded_sd`,
            `rank_correlation` of the mean with the recorded values (Spearman).
        """
        group = np.unique(
            [str(sorted(b.values.items())) for b, _ in self._rows], return_inverse=True
        )[1]
        mean, drawn = np.empty(len(group)), np.empty(len(group))
        for fold in range(folds):
            out = group % folds == fold
            if not out.any() or out.all():
                continue
            weights = self._weights(~out)
            predicted = self._kernel(self._x[out], self._x[~out]) @ weights + self._centre
            inside = self._kernel(self._x[~out], self._x[~out]) @ weights + self._centre
            gaps = self._x[out][:, None] - self._x[~out][None]
            nearest = ((gaps / self._scales) ** 2).sum(2).argmin(1)
            mean[out] = predicted[:, 0]
            drawn[out] = (predicted + (self._y[~out] - inside)[nearest])[:, 0]
        y = self._y[:, 0]
        ranks = np.corrcoef(mean.argsort().argsort(), y.argsort().argsort())[0, 1]
        return {
            "mean_rmse": float(np.sqrt(((mean - y) ** 2).mean())),
            "drawn_rmse": float(np.sqrt(((drawn - y) ** 2).mean())),
            "recorded_sd": float(y.std()),
            "rank_correlation": float(ranks),
        }

    def _place(self, configuration: Mapping[str, Value]) -> Array:
        """Each searched value on a scale from 0 to 1, choices by their place in the list."""
        return np.array(
            [_unit(d, configuration[name]) for name, d in self._space.items()] or [0.0]
        )

    # ---- the Gaussian process

    def _fit(self) -> None:
        """Length scales and noise by the marginal likelihood of the selection values."""
        dimensions = self._x.shape[1]
        self._centre = self._y.mean(0)
        y = self._y[:, 0] - self._centre[0]
        self._variance = float(y.var()) or 1e-6

        def cost(log: Array) -> float:
            self._scales, self._noise = np.exp(log[:-1]), float(np.exp(log[-1]))
            factor = self._factor(np.ones(len(y), bool))
            determinant = np.log(np.diag(factor[0])).sum()
            # A weak pull to scales of the space's width keeps few data from many scales.
            pull = 0.5 * (((log[:-1] - np.log(1.0)) / 1.5) ** 2).sum()
            return float(0.5 * y @ cho_solve(factor, y) + determinant + pull)

        start = np.log(np.array([1.0] * dimensions + [0.5]))
        bounds = [(np.log(0.1), np.log(20.0))] * dimensions + [(np.log(0.02), np.log(2.0))]
        found = minimize(cost, start, bounds=bounds, method="L-BFGS-B", options={"maxiter": 40})
        cost(found.x)
        self._all = self._weights(np.ones(len(y), bool))
        self._residuals = self._y - self._mean(self._x)

    def _kernel(self, a: Array, b: Array) -> Array:
        gaps = ((a[:, None] - b[None]) / self._scales) ** 2
        kernel: Array = self._variance * np.exp(-0.5 * gaps.sum(2))
        return kernel

    def _factor(self, rows: NDArray[np.bool_]) -> Any:
        x = self._x[rows]
        noise = self._noise * self._variance
        return cho_factor(self._kernel(x, x) + noise * np.eye(len(x)), lower=True)

    def _weights(self, rows: NDArray[np.bool_]) -> Array:
        weights: Array = np.asarray(
            cho_solve(self._factor(rows), np.nan_to_num(self._y[rows] - self._centre))
        )
        return weights

    def _mean(self, x: Array) -> Array:
        mean: Array = self._kernel(x, self._x) @ self._all + self._centre
        return mean


def _same(one: RecordedFineTune, other: RecordedFineTune) -> bool:
    return dict(one.values) == dict(other.values)


def _unit(distribution: BaseDistribution, value: Value) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value) / max(1, len(distribution.choices) - 1)
    low, high, at = distribution.low, distribution.high, value  # type: ignore[attr-defined]
    if distribution.log:  # type: ignore[attr-defined]
        low, high, at = np.log(low), np.log(high), np.log(at)
    return float((at - low) / (high - low)) if high > low else 0.0
