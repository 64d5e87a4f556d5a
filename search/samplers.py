"""Optuna's samplers by name, seeded per question, one model per stage.

A trial's two stages are sampled apart. The baseline's hyperparameters are modelled over distinct
baselines, each once, with the best value that any of its fine-tunes reached; the fine-tune's over
all trials. So a baseline with many fine-tunes does not weigh more, and a question about a further
fine-tune of a given baseline is a question about the fine-tune alone: Optuna itself would draw
the joint sample first and then overwrite the given part.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import qmc

from search.space import domain_values

START_UP = 6
"""Trials that end before a model is asked; until then points of a Sobol sequence are tried."""


def question_seed(study_seed: int, number: int) -> int:
    """Of the sampler that answers question `number`; 32 bits.

    A sampler seeded once per process would repeat its start-up suggestions after a restart. With
    this, a search at concurrency 1 that is killed and continued equals the undisturbed one.
    """
    digest = hashlib.blake2b(f"{study_seed}:{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def _tpe(seed: int) -> BaseSampler:
    # Multivariate and constant liar are Optuna 5's defaults; said here because we rely on them.
    return TPESampler(multivariate=True, constant_liar=True, n_startup_trials=1, seed=seed)


def _univariate(seed: int) -> BaseSampler:
    return TPESampler(multivariate=False, constant_liar=True, n_startup_trials=1, seed=seed)


def _gp(seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=1, deterministic_objective=False)


MODELS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "tpe-univariate": _univariate,
    "tpe-joint": _tpe,
    "gp": _gp,
    "gp-joint": _gp,
}
"""Samplers that learn from trials, by name. A joint one has one model
over both stages; when a baseline is given, its fine-tune is drawn as if it were not."""

MODEL_FREE = ("qmc", "random")
"""Samplers that do not."""

_TRIES = 20
"""Draws at random in place of a configuration that was tried, before one is looked for."""


class StageSampler(BaseSampler):
    """Answers one question of a study.

    Args:
        name: in `MODELS` or `MODEL_FREE`.
        study_seed: the study's.
        number: of the question.
        space: what is searched.
        given: values that are not to be drawn: those of the baseline that is taken up again.
        start_up: see `START_UP`.
        tried: values of all other trials; None: they are looked for in the study.

    Raises:
        ValueError: for another name.
    """

    def __init__(
        self,
        name: str,
        study_seed: int,
        number: int,
        space: Mapping[str, BaseDistribution],
        given: Mapping[str, Any] | None = None,
        start_up: int = START_UP,
        tried: Tried | None = None,
    ) -> None:
        if name not in (*MODELS, *MODEL_FREE):
            names = ", ".join((*MODELS, *MODEL_FREE))
            raise ValueError(f"sampler is {name!r}, but must be one of {names}")
        self._name, self._number, self._start_up = name, number, start_up
        self._study_seed, self._seed = study_seed, question_seed(study_seed, number)
        self._space = {k: d for k, d in space.items() if not d.single()}
        self._tried = tried
        self._given = {k: v for k, v in (given or {}).items() if k in self._space}
        self._random = RandomSampler(seed=self._seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All that is searched, so that it is drawn in one step."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The given values and drawn ones; not a configuration that was tried, if there is one."""
        if not search_space:
            return {}
        tried = self._tried
        if tried is None:
            tried = Tried(self._space)
            for other in _others(study, trial):
                tried.add(other.params)
        drawn = self._draw(study, trial)
        for _ in range(_TRIES):
            if drawn not in tried:
                return drawn
            drawn = self._at_random(study, trial)
        return next((c for c in self._all() if c not in tried), drawn)

    def _all(self) -> Iterator[dict[str, Any]]:
        """Every configuration with the given values; none of a space that is not finite."""
        domains = [
            [self._given[k]] if k in self._given else domain_values(d)
            for k, d in self._space.items()
        ]
        finite = [domain for domain in domains if domain is not None]
        if len(finite) == len(domains):
            for values in itertools.product(*finite):
                yield dict(zip(self._space, values, strict=True))

    def _at_random(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        draw = self._random.sample_independent
        return {k: draw(study, trial, k, d) for k, d in self._space.items()} | self._given

    def _draw(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        if self._name == "random":
            return self._at_random(study, trial)
        drawn = _sobol_point(self._space, self._study_seed, self._number)
        if self._name == "qmc":
            return drawn | self._given
        others = _others(study, trial)
        if sum(t.state in _ENDED for t in others) >= self._start_up:
            model = MODELS[self._name](self._seed)
            if self._name.endswith("-joint"):
                return drawn | model.sample_relative(study, trial, self._space) | self._given
            baseline, fine_tune = self._part("baseline."), self._part("fine_tune.")
            if baseline.keys() - self._given.keys():
                drawn |= self._ask_of_baselines(baseline, others)
            if fine_tune:
                # Over the study itself: a model looks at the part of a trial that it is asked for.
                drawn |= model.sample_relative(study, trial, fine_tune)
        return drawn | self._given

    def _part(self, prefix: str) -> dict[str, BaseDistribution]:
        return {k: d for k, d in self._space.items() if k.startswith(prefix)}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """At random; only for values that cannot differ."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _ask_of_baselines(
        self, space: dict[str, BaseDistribution], others: Sequence[FrozenTrial]
    ) -> dict[str, Any]:
        """The model's answer when it is told of each baseline once."""
        memory = optuna.create_study(direction="maximize", sampler=MODELS[self._name](self._seed))
        memory.add_trials([_part(t, space) for t in _baselines(others)])
        return memory.ask(space).params


class Tried:
    """Values that trials have, for `in`; a trial's may be added again when it has more of them.

    Args:
        space: what is searched; values that cannot differ are of no interest.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = {k: d for k, d in space.items() if not d.single()}
        self._places: set[tuple[Any, ...]] = set()

    def add(self, values: Mapping[str, Any]) -> None:
        """A trial has these."""
        self._places.add(self._place(values))

    def __contains__(self, values: Mapping[str, Any]) -> bool:
        return self._place(values) in self._places

    def _place(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Equal for equal configurations: steps are counted, as 3 * 0.1 is not 0.3."""
        return tuple(
            round((values[k] - d.low) / d.step)
            if k in values and isinstance(d, FloatDistribution) and d.step is not None
            else values.get(k)
            for k, d in self._space.items()
        )


_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def _others(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]


def _alive(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state in (*_ENDED, TrialState.RUNNING) and t.params]


def _baselines(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Of each baseline the best fine-tune: complete before stopped before running."""
    rank = {TrialState.COMPLETE: 2, TrialState.PRUNED: 1, TrialState.RUNNING: 0}

    def key(trial: FrozenTrial) -> tuple[int, float]:
        return rank[trial.state], -math.inf if trial.value is None else trial.value

    best: dict[int, FrozenTrial] = {}
    for trial in _alive(trials):
        root = trial.user_attrs.get("branch_of", trial.number)
        best[root] = max(best.get(root, trial), trial, key=key)
    return list(best.values())


def _part(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """The trial as one over a part of the space."""
    return create_trial(
        state=trial.state,
        value=trial.value,
        params={k: trial.params[k] for k in space if k in trial.params},
        distributions={k: d for k, d in space.items() if k in trial.params},
        intermediate_values=trial.intermediate_values,
    )


def _sobol_point(
    space: Mapping[str, BaseDistribution], seed: int, number: int
) -> dict[str, float | int | str]:
    """Point `number` of the study's scrambled Sobol sequence over the space.

    Source: Sobol 1967, scrambled after Owen and Matousek (scipy.stats.qmc.Sobol). Not Optuna's
    QMCSampler, which keeps its place in the sequence in the study.
    """
    engine = qmc.Sobol(len(space), scramble=True, rng=question_seed(seed, -1))
    if number:
        engine.fast_forward(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a count that is no power of two
        (unit,) = engine.random(1)
    return {k: _scaled(d, float(u)) for (k, d), u in zip(space.items(), unit, strict=True)}


def _scaled(distribution: BaseDistribution, unit: float) -> Any:
    """The value of a domain at `unit` in [0, 1), all values of a step or choice alike likely."""
    d = distribution
    if isinstance(d, CategoricalDistribution):
        return d.choices[int(unit * len(d.choices))]
    if not isinstance(d, FloatDistribution | IntDistribution):
        raise TypeError(f"{type(d).__name__} is not a domain of a space")
    if d.log:
        # A whole number stands for the half below and above it, the first and last too.
        half = 0.5 if isinstance(d, IntDistribution) else 0.0
        value = (d.low - half) * ((d.high + half) / (d.low - half)) ** unit
        value = value if isinstance(d, FloatDistribution) else round(value)
        return min(max(value, d.low), d.high)
    if d.step is None:
        return d.low + unit * (d.high - d.low)
    values = domain_values(d) or []
    return values[int(unit * len(values))]
