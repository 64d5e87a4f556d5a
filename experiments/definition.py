"""Reads and checks experiment files.

An experiment is a YAML mapping. Every key has a default, so an empty file runs only the reference
configuration. All problems are collected, each with key path, value and rule, and with the nearest
valid name for an unknown key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from shiftsearch.data.problems import ProblemsError
from shiftsearch.experiments.callbacks.named import CallbackName
from shiftsearch.experiments.declared import as_declared, problem_line, with_boolean_log
from shiftsearch.experiments.export_settings import (
    AUTO,
    MAX_MODELS,
    Export,
    Keep,
    Licence,
)
from shiftsearch.experiments.mapping import MappingError, read_mapping, set_value
from shiftsearch.experiments.overrides import cause
from shiftsearch.experiments.run_folder import beside, user_path
from shiftsearch.experiments.sections import (
    BudgetRequest,
    Failures,
    Images,
    ResourceRequest,
    Section,
    Synthetic,
)
from shiftsearch.model.architecture import OWN_NAME
from shiftsearch.model.frozen import OneOf, flatten
from shiftsearch.model.hyperparameters import Protocol, Value
from shiftsearch.model.objective import ACCURACY, OBJECTIVES
from shiftsearch.model.remote import masked, url_problem
from shiftsearch.search.judging.racing import Retrain
from shiftsearch.search.proposing.domains import domain_values
from shiftsearch.search.proposing.fields import nearest
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.samplers import OFFERED, START_UP
from shiftsearch.search.proposing.space import Space, SpaceError
from shiftsearch.search.study import goals
from shiftsearch.search.study.budget import Budget, FailurePolicy
from shiftsearch.search.study.goals import Limits
from shiftsearch.search.study.settings import Settings

SHIPPED = Path(__file__).parent
DEFAULT_SPACE = "digits6"
REQUIRED = "required"
"""The value of `data` in an experiment that is for the user's own images."""
MAX_TRIALS = 100_000


class DefinitionError(ProblemsError):
    """The experiment is wrong; each problem names file, key path, value and rule."""


class Experiment(Section):
    """One experiment; the fields are the keys of the file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "default"
    data: str = "synthetic"
    """A folder as `data.cache` opens it, `synthetic`, or `required`: `--data` gives the folder."""
    images: Images = Images()
    synthetic: Synthetic = Synthetic()
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 1
    """Number of complete or pruned trials to reach; the first is the reference configuration."""
    budget: BudgetRequest = BudgetRequest()
    until_converged: bool = False
    """Stop when more trials are expected to gain less than the noise between seeds."""
    sampler: Annotated[str, OneOf(OFFERED)] = "tpe"
    """Name of a sampler of `search.proposing.samplers`."""
    objective: Annotated[str, OneOf(OBJECTIVES)] = ACCURACY.name
    """What trials are ranked by, on TEST2's selection part; a name in `model.objective`."""
    start_up: Annotated[int, Field(ge=1)] = START_UP
    """Number of trials that must end before the sampler's model is used."""
    policy: Policy = Policy()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The study's seed, from which the seeds of all trials derive."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    protocol: Protocol = Protocol()
    also_fine_tune_on: Literal["TRAIN+TEST"] | None = None
    """A second reading of the protocol, reported for the reference configuration."""
    network: str | None = None
    """A person's own network: `MODULE:FUNCTION`, see `experiments.own_network`; with a digest of
    its source in a run's file."""
    space: Annotated[dict[str, Any], Field(default_factory=dict)]
    points: Annotated[tuple[dict[str, Any], ...], Field(default_factory=tuple, strict=False)]
    """Known-good configurations, tried right after the reference."""
    resources: ResourceRequest = ResourceRequest()
    retrain: Retrain = Retrain()
    export: Export = Export()
    keep: Keep = MAX_MODELS
    """Number of the best trials whose weights stay in the store, or `all`."""
    licence: Licence = ""
    """The licence of the exported model, in one line, such as CC-BY-4.0."""
    objectives: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The objective, maximised, chooses the winner; the costs after it are minimised."""
    constraints: Limits = Limits()
    """Bounds on the costs of a network; a configuration that breaks one is not trained."""
    failures: Failures = Failures()
    callbacks: Annotated[tuple[CallbackName, ...], Field(strict=False)] = ()
    """Classes that hear what happens in the search."""
    storage: str = ""
    """A URL below which the run lies besides its folder, see `experiments.storage`."""

    @field_validator("network")
    @classmethod
    def _names_a_function(cls, name: str | None) -> str | None:
        if name is not None and re.fullmatch(OWN_NAME, name) is None:
            raise ValueError("must be MODULE:FUNCTION, as in my_package.my_module:build")
        return name

    @field_validator("storage")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if url and (problem := url_problem(url)):
            raise ValueError(problem)
        return url

    def search_space(self) -> Space:
        """The parsed `space`, with the own network if there is one."""
        if self.network is None:
            return Space.parse(self.space)
        group = self.space.get("network", {})
        is_named = "network.name" in self.space or (isinstance(group, Mapping) and "name" in group)
        added = {"network.source": self.network} | ({} if is_named else {"network.name": "own"})
        return Space.parse({**self.space, **added})

    def checked_points(self) -> tuple[dict[str, Value], ...]:
        """The parsed `points`."""
        space = self.search_space()
        return tuple(space.point(p, f"points[{i}]") for i, p in enumerate(self.points))

    def steered(self, trials: int, points: Sequence[Mapping[str, Value]]) -> Experiment:
        """A copy that asks for `trials` trials and has the given points besides its own."""
        known = self.checked_points()
        more = [dict(point) for point in points if point not in known]
        return self.model_copy(update={"trials": trials, "points": (*self.points, *more)})

    def twice_decided(self) -> list[str]:
        """One line for each hyperparameter that says otherwise than the protocol what to train on.

        Points need no check, because they lie in the space.
        """
        space, decided = self.search_space(), self.protocol.fine_tune_on
        if decided == "TEST":
            return []
        names = ("fine_tune.train_on", "fine_tune.train_share")
        found = [(name, "is searched") for name in names if name in space.distributions]
        if share := space.fixed.get(names[1]):
            found.append((names[1], f"is {share!r}"))
        return [
            f"space.{name}: {what}, but protocol.fine_tune_on, {decided!r}, decides it for all "
            "trials"
            for name, what in found
        ]

    @property
    def times_networks(self) -> bool:
        """Whether the latency of networks is needed."""
        return "latency_ms" in (*self.objectives, *self.constraints.bounds)

    @property
    def export_rule(self) -> str:
        """The rule of export; `auto` is one network where the costs of a network matter."""
        if self.export.model != "auto":
            return self.export.model
        return "single" if self.objectives or self.constraints.bounds else AUTO

    def unnamed_network(self) -> list[str]:
        """One line if the space has an own network that no key `network` names."""
        if self.network is not None:
            return []
        space, name = self.search_space(), "network.name"
        domain = space.distributions.get(name)
        names = [space.fixed.get(name)] if domain is None else domain_values(domain) or []
        rule = "but the key network, which names its function as MODULE:FUNCTION, is missing"
        return [f"space.{name}: 'own', {rule}"] if "own" in names else []

    def settings(self) -> Settings:
        """The settings that `search.study.study.Study` takes."""
        return Settings(
            name=self.name,
            sampler=self.sampler,
            seed=self.seed,
            budget=Budget(self.trials, self.budget.seconds, self.budget.trainings),
            points=self.checked_points(),
            failures=FailurePolicy(self.failures.max_share, self.failures.min_ended),
            policy=self.policy,
            start_up=self.start_up,
            objective=OBJECTIVES[self.objective],
            costs=self.objectives[1:],
            limits=self.constraints,
        )

    def identity(self, digest: str) -> dict[str, str]:
        """What must never change for a run, value by field."""
        fixed = {"data": digest, "seed": str(self.seed), "dtype": self.dtype}
        if self.objective != ACCURACY.name:
            fixed["objective"] = self.objective
        fixed |= {f"space.{k}": v for k, v in self.search_space().describe().items()}
        fixed |= {f"protocol.{k}": str(v) for k, v in flatten(self.protocol.content()).items()}
        if self.protocol.fine_tune_on != "TEST":
            # Earlier versions used it only in retraining; their trials must not mix with ours.
            fixed["protocol.fine_tune_on"] += " in every trial"
        if self.objectives[1:]:
            fixed["objectives"] = ", ".join(self.objectives)
        fixed |= {f"constraints.max_{k}": f"{v}" for k, v in self.constraints.bounds.items()}
        return fixed


def shipped() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(
    name: str, overrides: Sequence[str] = (), flags: Mapping[str, str] | None = None
) -> Experiment:
    """A shipped experiment by name, or a file by path, with `KEY=VALUE` overrides.

    A file without the key `space` has the space of the shipped experiment `DEFAULT_SPACE`.

    Args:
        name: a name in `shipped()`, or a path.
        overrides: texts `KEY=VALUE`; later ones win.
        flags: how the user wrote an override, if not as `--set KEY=VALUE`.

    Raises:
        DefinitionError: unknown name, unreadable file, or any problem of its content.
    """
    path = SHIPPED / f"{name}.yaml" if name in shipped() else user_path(name)
    if path.is_dir():
        raise DefinitionError([f"{name}: is a folder, but must be a file; give a run with --run"])
    if not path.exists():
        names = ", ".join(shipped())
        hint = nearest(name, shipped())
        raise DefinitionError([f"{name}: neither a file nor a shipped experiment ({names}){hint}"])
    texts = [key for key, field in Experiment.model_fields.items() if field.annotation is str]
    try:
        raw = read_mapping(path, texts)
        raw.setdefault("name", path.stem)
        if "space" not in raw:
            raw["space"] = default_space()
        data = raw.get("data", "synthetic")
        if isinstance(data, str) and data not in ("synthetic", REQUIRED):
            raw["data"] = beside(path, data)
        for override in overrides:
            set_value(raw, override, texts)
    except MappingError as error:
        raise DefinitionError([masked(str(error))]) from None
    return build(raw, str(path), {o: (flags or {}).get(o, f"--set {o}") for o in overrides})


def default_space() -> dict[str, Any]:
    """The space of an experiment file that has none."""
    space: dict[str, Any] = read_mapping(SHIPPED / f"{DEFAULT_SPACE}.yaml")["space"]
    return space


def build(
    raw: Mapping[str, Any], origin: str, overrides: Mapping[str, str] | None = None
) -> Experiment:
    """The experiment described by a mapping.

    Args:
        raw: the mapping, with overrides.
        origin: names the file in problems.
        overrides: texts `KEY=VALUE` and what names them in problems; later ones win.

    Raises:
        DefinitionError: one line per problem.
    """
    problems: list[str] = []
    try:
        experiment = Experiment.model_validate(_prepared(raw))
    except ValidationError as error:
        problems += [problem_line(Experiment, e) for e in error.errors()]
    if not problems:
        try:
            experiment.checked_points()
            problems += experiment.twice_decided()
            problems += experiment.unnamed_network()
        except SpaceError as error:
            problems += error.found
        problems += experiment.retrain.problems()
        problems += experiment.policy.problems(experiment.protocol.baseline.max_epochs)
        problems += goals.problems(
            experiment.objectives,
            OBJECTIVES[experiment.objective].column,
            experiment.constraints,
            experiment.sampler,
            experiment.policy.rungs,
        )
    if problems:
        causes = overrides or {}
        raise DefinitionError([masked(f"{cause(p, causes) or origin}: {p}") for p in problems])
    return experiment


def dump(experiment: Experiment) -> str:
    """The experiment as YAML with every key; `build` reads it back unchanged."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)


def _prepared(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with the types that the strict fields need and YAML cannot express."""
    prepared = as_declared(Experiment, raw)
    if isinstance(prepared.get("space"), Mapping):
        prepared["space"] = with_boolean_log(prepared["space"])
    return prepared
