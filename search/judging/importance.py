"""How much each searched hyperparameter separates the better half of the trials from all trials.

Optuna's PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv 2304.10255): how far the distribution
of a hyperparameter among the best trials is from that among all. The comparison is with all
trials, not with the space, so that the sampler's own preferences do not count. Optuna's fANOVA and
mean decrease of impurity need scikit-learn, which is not a dependency.

A divergence is never below 0 and importances add up to 1, so noise has some too. Each therefore
comes with a limit from shuffled trials and with an interval over halves of the baselines. Both
keep all fine-tunes of a baseline together.

If only some trials have a hyperparameter, they are compared among themselves, weighted by their
number in the better half (Conditional PED-ANOVA, arXiv 2601.20800).

The better half is used instead of Optuna's best tenth. In simulated searches of 12
hyperparameters, one of them moved accuracy through a peak by 10 points, with noise of 1.5 points
and a spread of 2 between baselines. It stood out in 0.5 of the searches of 24 trials and 0.75 of
those of 40; with the best quarter, in 0.07 and 0.47, although the limit of chance was lower then.
When nothing had an effect, something stood out in 0 to 0.05.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from shiftsearch.model.hyperparameters import Value
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord, stage_values

LEAST = 16
"""Least number of trials. A hyperparameter that moved accuracy by 15 points, with noise of 2
points and a spread of 2 between baselines, stood out in 0.3 of simulated searches of 12 trials, in
0.45 of 16 and in 0.75 of 24."""

MOST = 500
"""The largest number of trials that are used; of more, baselines are drawn at random, each with
all its fine-tunes. Halves and shuffles repeat the computation 150 times."""

_BEST = 0.5
_HALVES = 50
_SHUFFLES = 99
_LEVEL = 0.95

_Row = tuple[Mapping[str, Value], float]


@dataclass(frozen=True)
class ParameterImportance:
    """One hyperparameter's part in the difference between the better half and all trials.

    Attributes:
        name: flat dotted name.
        importance: in 0..1; those of all hyperparameters add up to 1.
        interval: 95 % interval, low and high, over random halves of the baselines with their
            fine-tunes; contains `importance`.
        chance: limit of chance: in 95 of 100 shuffles no hyperparameter is above its limit.
        independent: number of independent values: one per baseline, or one per trial for a
            hyperparameter of the fine-tune; only trials that have the hyperparameter count.
    """

    name: str
    importance: float
    interval: tuple[float, float]
    chance: float
    independent: int

    @property
    def stands_out(self) -> bool:
        """Whether it is larger than chance explains."""
        return self.importance > self.chance


@dataclass(frozen=True)
class Importance:
    """The importances of all searched hyperparameters.

    Attributes:
        parameters: sorted by falling importance, ties by name.
        trials: number of trials used, at most `MOST`.
        best: number of them in the better half, ties included.
        baselines: number of different baselines among those used.
        outside: number of trials left out because the space does not contain them.
        unused: number of trials that were not drawn, because there are more than `MOST`.
    """

    parameters: tuple[ParameterImportance, ...]
    trials: int
    best: int
    baselines: int
    outside: int
    unused: int = 0


def importances(trials: Sequence[TrialRecord], space: Space, seed: int) -> Importance | None:
    """How much each searched hyperparameter sets the better half of the trials apart from all.

    Uses complete trials, and stopped trials with their last intermediate value. Without stopped
    trials, a hyperparameter that got trials stopped would seem to have no effect. The reference
    configuration is left out if the space does not contain it.

    Args:
        trials: the study's trials.
        space: the searched space.
        seed: seeds the halves and shuffles; the same trials and seed give the same numbers.

    Returns:
        None for fewer than `LEAST` trials, or if values or hyperparameters do not differ.
    """
    ended = [t for t in trials if t.last_value is not None]
    kept = [t for t in ended if _inside(t.configuration, space)]
    outside = len(ended) - len(kept)
    searched = [name for name, d in space.distributions.items() if not d.single()]
    names = [name for name in searched if any(name in t.configuration for t in kept)]
    if len(kept) < LEAST or not names:
        return None
    rng = np.random.default_rng(seed)
    kept = _at_most(MOST, kept, rng)
    rows: list[_Row] = [
        ({k: t.configuration[k] for k in names if k in t.configuration}, t.last_value or 0.0)
        for t in kept
    ]
    measure = _Measure(names, space)
    raw = measure(rows)
    if not raw.sum() > 0:
        return None
    families = _families(kept)
    drawn = [measure(_half(rows, families, rng)) for _ in range(_HALVES)]
    own = raw / raw.sum()
    halves = np.array([d / d.sum() for d in drawn if d.sum() > 0] or [own])
    low, high = np.quantile(halves, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
    shuffled = [measure(_shuffled(rows, families, rng)) for _ in range(_SHUFFLES)]
    # The unshuffled trials count as one more arrangement, which makes the level exact.
    chance = _chance(np.array([raw, *shuffled]))
    found = [
        ParameterImportance(
            name,
            float(own[i]),
            (min(float(low[i]), float(own[i])), max(float(high[i]), float(own[i]))),
            float(chance[i] / raw.sum()),
            _independent(name, kept, families),
        )
        for i, name in enumerate(names)
    ]
    cut = sorted((value for _, value in rows), reverse=True)[int(np.ceil(_BEST * len(rows))) - 1]
    return Importance(
        tuple(sorted(found, key=lambda s: (-s.importance, s.name))),
        len(kept),
        sum(value >= cut for _, value in rows),
        len(families),
        outside,
        len(ended) - outside - len(kept),
    )


def _inside(configuration: Mapping[str, Value], space: Space) -> bool:
    return all(
        space.contains(name, value)
        if name in space.distributions
        else value == space.fixed.get(name)
        for name, value in configuration.items()
    )


def _independent(
    name: str, trials: Sequence[TrialRecord], families: Sequence[Sequence[int]]
) -> int:
    places = range(len(trials)) if name.startswith("fine_tune.") else [f[0] for f in families]
    return sum(name in trials[place].configuration for place in places)


def _families(trials: Sequence[TrialRecord]) -> list[list[int]]:
    """Positions of the trials of each baseline."""
    found: dict[tuple[tuple[str, Value], ...], list[int]] = {}
    for place, trial in enumerate(trials):
        key = tuple(sorted(stage_values(trial.configuration, "baseline").items()))
        found.setdefault(key, []).append(place)
    return list(found.values())


def _at_most(most: int, trials: list[TrialRecord], rng: np.random.Generator) -> list[TrialRecord]:
    """So many trials, of baselines drawn at random, the last one perhaps cut; in their order."""
    if len(trials) <= most:
        return trials
    families = _families(trials)
    drawn = [place for family in rng.permutation(len(families)) for place in families[family]]
    return [trials[place] for place in sorted(drawn[:most])]


def _half(
    rows: Sequence[_Row], families: Sequence[Sequence[int]], rng: np.random.Generator
) -> list[_Row]:
    """Half of the baselines, drawn at random, each with all its fine-tunes.

    Importances vary over halves as over new searches of full size (half-sampling, McCarthy 1969).
    A bootstrap draws some trials twice, which looks like agreement: it raised the importances of
    noise, so that two in three were outside their own intervals.
    """
    drawn = rng.permutation(len(families))[: -(-len(families) // 2)]
    return [rows[place] for family in drawn for place in families[family]]


def _shuffled(
    rows: Sequence[_Row], families: Sequence[Sequence[int]], rng: np.random.Generator
) -> list[_Row]:
    """Shuffle whole baselines, and fine-tunes one by one; objective values stay in place."""
    found: list[_Row] = list(rows)
    fine_tunes = rng.permutation(len(rows))
    for family, other in zip(families, rng.permutation(len(families)), strict=True):
        baseline = stage_values(rows[families[other][0]][0], "baseline")
        for place in family:
            fine_tune = stage_values(rows[fine_tunes[place]][0], "fine_tune")
            found[place] = ({**baseline, **fine_tune}, rows[place][1])
    return found


def _chance(shuffled: NDArray[np.float64]) -> NDArray[np.float64]:
    """The limits, from [shuffles, hyperparameters], that none exceeds in 95 of 100 shuffles.

    Each hyperparameter has its own scale, because those with few values or few baselines have
    larger shares by chance (max T of Westfall and Young 1993).
    """
    mean, sd = shuffled.mean(0), shuffled.std(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = np.nan_to_num((shuffled - mean) / sd).max(1)
    return np.asarray(mean + np.quantile(largest, _LEVEL, method="higher") * sd)


class _Trials(optuna.Study):
    """A study of given trials, without storage, which would cost more time than the evaluation."""

    def __init__(self, storage: InMemoryStorage, name: str) -> None:
        super().__init__(name, storage)
        self.given: list[FrozenTrial] = []

    def get_trials(
        self, deepcopy: bool = True, states: object = None
    ) -> list[FrozenTrial]:  # all are complete
        return self.given


class _Measure:
    """Optuna's evaluator, as a function of configurations and values."""

    def __init__(self, names: Sequence[str], space: Space) -> None:
        storage = InMemoryStorage()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # otherwise it reports the next line
        name = optuna.create_study(storage=storage, direction="maximize").study_name
        self._study, self._names = _Trials(storage, name), list(names)
        self._distributions = {n: space.distributions[n] for n in names}
        self._evaluator = PedAnovaImportanceEvaluator(target_quantile=_BEST)

    def __call__(self, rows: Sequence[_Row]) -> NDArray[np.float64]:
        """Divergences, in the order of the names."""
        now = datetime.now()
        present = [name for name in self._names if any(name in values for values, _ in rows)]
        self._study.given = [
            FrozenTrial(
                number,
                TrialState.COMPLETE,
                value,
                now,
                now,
                dict(configuration),
                {name: self._distributions[name] for name in configuration},
                {},
                {},
                {},
                number,
            )
            for number, (configuration, value) in enumerate(rows)
        ]
        with warnings.catch_warnings():
            # Known warnings: raw divergences are experimental, and all trials may be best.
            warnings.simplefilter("ignore")
            found = get_param_importances(
                self._study, evaluator=self._evaluator, params=present, normalize=False
            )
        return np.array([found.get(name, 0.0) for name in self._names])
