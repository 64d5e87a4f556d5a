"""Optuna's samplers by name, seeded per question, with one model per stage.

The two stages of a trial have separate models. The baseline's model learns from distinct
baselines, each once, with the best value of its fine-tunes. The fine-tune's model learns from all
trials. So a baseline with many fine-tunes does not weigh more, and for a further fine-tune of a
given baseline only the fine-tune's model is asked. Optuna itself would draw both parts together
and then overwrite the given part.

Hyperparameters that always exist are drawn by one model that learns from all trials. Those that
exist only when others have certain values are drawn afterwards, by their own model, which learns
from the trials that have them. Optuna's `group=True` compares such trials with all trials, so good
trials without these hyperparameters can make all trials with them look bad; see
experiments/LOG.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from shiftsearch.search.proposing.conditions import NONE, Conditions
from shiftsearch.search.proposing.evidence import (
    best_of_baselines,
    others_of,
    restricted,
    trained,
    usable,
)
from shiftsearch.search.proposing.sobol import question_seed, sobol_point
from shiftsearch.search.proposing.tried import Tried, every_configuration

START_UP = 6
"""Trials that end before a model is asked; until then, points of a Sobol sequence are used."""


def _tpe(seed: int) -> BaseSampler:
    # Multivariate and constant liar are Optuna 5's defaults, written out because we rely on them.
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
"""Samplers that learn from trials, by name. A joint sampler has one model for both stages; it does
not use the values of a given baseline when it draws the fine-tune."""

MODEL_FREE = ("qmc", "random")
"""Samplers that do not learn from trials."""

OFFERED = [name for name in (*MODELS, *MODEL_FREE) if not name.endswith("-joint")]
"""Samplers that an experiment may choose; the joint ones exist only for comparison."""

_TRIES = 20
"""Random draws to replace a configuration that was tried, before all are enumerated."""


class StageSampler(BaseSampler):
    """Answers one question of a study.

    Args:
        name: a name in `MODELS` or `MODEL_FREE`.
        study_seed: the study's seed.
        number: the question's number.
        space: the searched hyperparameters.
        given: values that are not drawn: those of a baseline that is fine-tuned again.
        start_up: see `START_UP`.
        tried: the configurations of all other trials; None: they are read from the study.
        conditions: when searched hyperparameters exist; they name only searched ones.
        costs: costs of a trial's network that are minimised while its value is maximised
            (Ozaki et al., Multiobjective Tree-Structured Parzen Estimator, JAIR 73, 2022).

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
        conditions: Conditions = NONE,
        costs: Sequence[str] = (),
    ) -> None:
        if name not in (*MODELS, *MODEL_FREE):
            names = ", ".join((*MODELS, *MODEL_FREE))
            raise ValueError(f"sampler is {name!r}, but must be one of {names}")
        self._name, self._number, self._start_up = name, number, start_up
        self._study_seed, self._seed = study_seed, question_seed(study_seed, number)
        self._space = {k: d for k, d in space.items() if not d.single()}
        self._tried = tried
        self._conditions, self._costs = conditions, costs
        self._given = {k: v for k, v in (given or {}).items() if k in self._space}
        self._random = RandomSampler(seed=self._seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All searched hyperparameters, so that they are drawn in one step."""
        return self._space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The given and the drawn values; a configuration that was not tried, if one is left."""
        if not search_space:
            return {}
        tried = self._tried
        if tried is None:
            tried = Tried(self._space)
            for other in others_of(study, trial):
                tried.add(other.params)
        drawn = self._draw(study, trial)
        for _ in range(_TRIES):
            if drawn not in tried:
                return drawn
            drawn = self._at_random(study, trial)
        left = every_configuration(self._space, self._given, self._conditions)
        return next((c for c in left if c not in tried), drawn)

    def _at_random(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        draw = self._random.sample_independent
        drawn = {k: draw(study, trial, k, d) for k, d in self._space.items()}
        return self._existing(drawn)

    def _existing(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The drawn values with the given ones in their place; only those that exist."""
        return self._conditions.existing({**drawn, **self._given})

    def _draw(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        if self._name == "random":
            return self._at_random(study, trial)
        drawn = sobol_point(self._space, self._study_seed, self._number)
        if self._name == "qmc":
            return self._existing(drawn)
        others = others_of(study, trial)
        if self._is_informed(others):
            model = MODELS[self._name](self._seed)
            for part, trials in self._parts(others):
                for place, names in enumerate(self._conditions.groups(part)):
                    group = {name: self._space[name] for name in names}
                    if not self._is_asked(group, drawn):
                        continue
                    if self._conditions.of(names[0]):
                        drawn |= self._ask_of_those_with(group, trials, place)
                    elif trials is not others or self._costs:
                        drawn |= self._ask_of(group, usable(trials), self._seed)
                    else:
                        # The study itself: a model uses only its group's hyperparameters.
                        drawn |= model.sample_relative(study, trial, group)
        return self._existing(drawn)

    def _is_informed(self, trials: Sequence[FrozenTrial]) -> bool:
        return len(trained(trials)) >= self._start_up

    def _parts(
        self, others: Sequence[FrozenTrial]
    ) -> Iterator[tuple[list[str], Sequence[FrozenTrial]]]:
        """The names of each model, in the order of drawing, and the trials that it learns from."""
        fine_tune = [k for k in self._space if k.startswith("fine_tune.")]
        if self._name.endswith("-joint"):
            yield list(self._space), others
            return
        yield [k for k in self._space if k not in fine_tune], best_of_baselines(others)
        yield fine_tune, others

    def _is_asked(self, group: Mapping[str, BaseDistribution], drawn: Mapping[str, Any]) -> bool:
        """Whether the group exists beside the drawn values, and some of it is not given."""
        exists = self._conditions.exists(next(iter(group)), {**drawn, **self._given})
        return exists and bool(group.keys() - self._given.keys())

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A random value; used only for hyperparameters with a single value."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _ask_of_those_with(
        self, group: dict[str, BaseDistribution], trials: Sequence[FrozenTrial], place: int
    ) -> dict[str, Any]:
        """The answer of a model that learns only from trials in which the group exists.

        Empty while there are too few; then the Sobol point is kept.
        """
        own = [t for t in usable(trials) if group.keys() <= t.params.keys()]
        seed = question_seed(self._seed, place)
        return self._ask_of(group, own, seed) if self._is_informed(own) else {}

    def _ask_of(
        self, space: dict[str, BaseDistribution], trials: Sequence[FrozenTrial], seed: int
    ) -> dict[str, Any]:
        """The answer of a model that learns from these trials."""
        directions = [StudyDirection.MAXIMIZE, *(StudyDirection.MINIMIZE for _ in self._costs)]
        memory = optuna.create_study(directions=directions, sampler=MODELS[self._name](seed))
        memory.add_trials([restricted(t, space, self._costs) for t in trials])
        return memory.ask(space).params
