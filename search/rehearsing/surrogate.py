"""Predict the result of any configuration from the recorded ones.

The log-odds of accuracies, which do not saturate, are modelled by a Gaussian process over the
searched hyperparameters, with an effect shared by all fine-tunes of a baseline, and noise. The
posterior mean is smoother than the truth. So a simulated search sees one function drawn from the
posterior, plus a draw of the noise at each configuration. It may then find values above all
recorded ones, and the noise at one configuration says nothing about its neighbours. A recorded
configuration has its recorded values. Seconds and the effect of a shorter baseline are those of
the nearest recorded configuration, by the length scales of the process.

Sources: Rasmussen and Williams 2006, equations 2.23 and 5.8; Rahimi and Recht 2007 (draws of the
prior by random features); Wilson et al. 2020, arXiv 2002.09309 (from prior to posterior draws).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import spearmanr

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.proposing.domains import to_unit
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.rehearsing.recording import RecordedBaseline, RecordedFineTune

Array = NDArray[np.float64]

_FEATURES = 1024
_EDGE = 1e-3
_ABSENT = 0.5


@dataclass(frozen=True)
class Expected:
    """The expected result of a configuration.

    Attributes:
        value: `test2_accuracy` on the selection part.
        held_out: accuracy on the held-out part; None if it was not recorded.
        baseline_seconds: cumulative seconds after each epoch.
        fine_tune_seconds: seconds of the whole fine-tune.
        intermediate: by number of baseline epochs, the value after a whole fine-tune from there.
        looks: by number of baseline epochs, TEST2 accuracy of the baseline itself; 0 is its end.
        curve: TEST2 accuracy after each epoch of the fine-tune.
    """

    value: float
    held_out: float | None
    baseline_seconds: Sequence[float]
    fine_tune_seconds: float
    intermediate: Mapping[int, float]
    looks: Mapping[int, float]
    curve: Sequence[float]


class Surrogate:
    """A Gaussian process fitted to a recording.

    Args:
        recording: at least 5 configurations with a finished baseline.
        space: the searched space.

    Raises:
        ValueError: there are fewer configurations.
    """

    def __init__(self, recording: Sequence[RecordedBaseline], space: Space) -> None:
        self._space = space
        self._rows = [(b, f) for b in recording for f in b.fine_tunes if f.start == 0]
        if len(self._rows) < 5:
            raise ValueError(f"{len(self._rows)} recorded trials, but replay needs at least 5")
        self._differences = {
            i: {f.start: f.value - own.value for f in b.fine_tunes if f.start and _same(f, own)}
            for i, (b, own) in enumerate(self._rows)
        }
        self._with_differences = [i for i, differences in self._differences.items() if differences]
        self._x = np.array([self._place({**b.values, **f.values}) for b, f in self._rows])
        held_out = [f.value if f.held_out is None else f.held_out for _, f in self._rows]
        self._was_scored = all(f.held_out is not None for _, f in self._rows)
        self._recorded = np.array([[f.value for _, f in self._rows], held_out]).T
        self._y = logit(np.clip(self._recorded, _EDGE, 1 - _EDGE))
        names = list(space.distributions)
        self._of_baseline = [i for i, k in enumerate(names) if not k.startswith("fine_tune.")]
        self._known = {self._key(x): i for i, x in enumerate(self._x)}
        self._fit()

    def drawn(self, seed: int) -> Callable[[Mapping[str, Value]], Expected]:
        """Draw the function that gives each configuration's result in one simulated search."""
        rng = np.random.default_rng(seed)
        # The two accuracies of one configuration are correlated like the recorded ones.
        with np.errstate(divide="ignore", invalid="ignore"):  # where all recorded ones are alike
            together = np.nan_to_num(np.corrcoef(self._y.T))
        mixing = np.linalg.cholesky(together + 1e-9 * np.eye(2))
        omega = rng.standard_normal((_FEATURES, self._x.shape[1])) / self._scales
        phase = rng.uniform(0, 2 * np.pi, _FEATURES)
        weights = rng.standard_normal((_FEATURES, 2)) @ mixing.T * self._spread

        effects: dict[tuple[int, ...], Array] = {}
        effect_sd = np.sqrt(self._shared) * self._spread

        def effect(x: Array) -> Array:
            key = self._key(x[self._of_baseline])
            if key not in effects:
                draw = np.random.default_rng([seed, 1, *key]).standard_normal(2)
                effects[key] = (draw @ mixing.T) * effect_sd
            return effects[key]

        def prior(x: Array) -> Array:
            features: Array = np.sqrt(2 / _FEATURES) * np.cos(x @ omega.T + phase)
            return np.asarray(features @ weights + np.array([effect(row) for row in x]))

        noise_sd = np.sqrt(self._noise) * self._spread
        noise = rng.standard_normal(self._y.shape) @ mixing.T * noise_sd
        every = np.ones(len(self._x), bool)
        update = cho_solve(self._factor(every), (self._y - self._centre - prior(self._x) - noise))

        def expected(configuration: Mapping[str, Value]) -> Expected:
            """The recorded values, else the drawn ones; repeated calls give the same."""
            x = self._place(configuration)
            recorded = self._known.get(self._key(x))
            if recorded is not None:
                return self._expected(x, self._recorded[recorded])
            own = np.random.default_rng([seed, 0, *self._key(x)])
            smooth = prior(x[None])[0] + (self._kernel(x[None], self._x) @ update)[0]
            y = self._centre + smooth + (own.standard_normal(2) @ mixing.T) * noise_sd
            return self._expected(x, expit(y))

        return expected

    def _expected(self, x: Array, y: Array) -> Expected:
        distance = (((self._x - x) / self._scales) ** 2).sum(1)
        baseline, fine_tune = self._rows[int(distance.argmin())]
        differences: Mapping[int, float] = {}
        if self._with_differences:
            near = min(self._with_differences, key=lambda i: float(distance[i]))
            differences = self._differences[near]
        return Expected(
            float(y[0]),
            float(y[1]) if self._was_scored else None,
            baseline.seconds,
            fine_tune.seconds,
            {epochs: min(max(float(y[0]) + d, 0.0), 1.0) for epochs, d in differences.items()},
            baseline.looks,
            fine_tune.curve,
        )

    @staticmethod
    def _key(x: Array) -> tuple[int, ...]:
        return tuple(int(v) for v in np.round(x * 2**30))

    def errors(self, folds: int = 10) -> dict[str, float]:
        """Errors of the model on left-out baselines, for the selection part.

        Returns:
            `rmse`: root mean square error of the process' mean; `recorded_sd`: standard deviation
            of the recorded values; `rank_correlation` of the two (Spearman); `noise_sd`: the
            fitted noise, and `baseline_sd`: the fitted spread between baselines, both at the
            median accuracy.
        """
        names = [str(sorted(b.values.items())) for b, _ in self._rows]
        group = np.unique(names, return_inverse=True)[1]
        y, mean = self._y[:, 0], np.full(len(group), self._centre[0])
        for fold in range(folds):
            out = group % folds == fold
            if out.any() and not out.all():
                solved = cho_solve(self._factor(~out), y[~out] - self._centre[0])
                mean[out] += self._kernel(self._x[out], self._x[~out]) @ solved
        predicted, values = expit(mean), self._recorded[:, 0]
        middle = float(np.median(values))
        return {
            "rmse": float(np.sqrt(((predicted - values) ** 2).mean())),
            "recorded_sd": float(values.std()),
            "rank_correlation": float(spearmanr(predicted, values).statistic),
            "noise_sd": float(np.sqrt(self._noise) * self._spread[0]) * middle * (1 - middle),
            "baseline_sd": float(np.sqrt(self._shared) * self._spread[0]) * middle * (1 - middle),
        }

    def _place(self, configuration: Mapping[str, Value]) -> Array:
        """Each searched value on a scale from 0 to 1, choices by their position in the list.

        The reference configuration may lie outside the space; it is placed at the edge. A
        hyperparameter that a configuration does not have is placed in the middle.
        """
        inside, domains = self._space.nearest_inside(configuration), self._space.distributions
        places = [
            to_unit(d, inside[name]) if name in inside else _ABSENT for name, d in domains.items()
        ]
        return np.array(places or [0.0])

    # ---- the Gaussian process

    def _fit(self) -> None:
        """Length scales and noise by the marginal likelihood of the selection values."""
        dimensions = self._x.shape[1]
        self._centre = self._y.mean(0)
        self._spread = np.maximum(self._y.std(0), 1e-6)
        y = (self._y[:, 0] - self._centre[0]) / self._spread[0]
        every = np.ones(len(y), bool)

        def cost(log: Array) -> float:
            self._scales = np.exp(log[:-2])
            self._noise, self._shared = float(np.exp(log[-2])), float(np.exp(log[-1]))
            factor = self._factor(every)
            # A weak prior for scales of the space's width: few data cannot determine many scales.
            pull = 0.5 * ((log[:-2] / 1.5) ** 2).sum()
            return float(0.5 * y @ cho_solve(factor, y) + np.log(np.diag(factor[0])).sum() + pull)

        start = np.log(np.array([1.0] * dimensions + [0.5, 0.1]))
        bounds = [(np.log(0.1), np.log(20.0))] * dimensions
        bounds += [(np.log(0.02), np.log(2.0)), (np.log(1e-3), np.log(2.0))]
        found = minimize(cost, start, bounds=bounds, method="L-BFGS-B", options={"maxiter": 40})
        cost(found.x)

    def _kernel(self, a: Array, b: Array) -> Array:
        """The covariance, in units of the recorded variance."""
        gaps = a[:, None] - b[None]
        same = (np.abs(gaps[:, :, self._of_baseline]) < 1e-9).all(2)
        kernel: Array = np.exp(-0.5 * ((gaps / self._scales) ** 2).sum(2)) + self._shared * same
        return kernel

    def _factor(self, rows: NDArray[np.bool_]) -> Any:
        x = self._x[rows]
        return cho_factor(self._kernel(x, x) + self._noise * np.eye(len(x)), lower=True)


def _same(one: RecordedFineTune, other: RecordedFineTune) -> bool:
    return dict(one.values) == dict(other.values)
