"""The search space: which hyperparameters are searched, over what, and the values of the rest.

A configuration is the full flat dictionary of all hyperparameters (`model.hyperparameters`), in
canonical form: declared type, on the step's grid. Only canonical configurations are hashed,
compared and trained, because equal values of other types or roundings give other content keys.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError

from model.hyperparameters import Hyperparameters, Value

REFERENCE: Mapping[str, Value] = Hyperparameters().to_flat()
"""The reference configuration."""
ADDED: Mapping[str, Value] = {
    name: value
    for name, value in REFERENCE.items()
    if name not in Hyperparameters.flat_content(REFERENCE)
}
"""Neutral values of the hyperparameters added since the first version."""

_RANGE_KEYS = ("low", "high", "log", "step", "choices")


class SpaceError(ValueError):
    """The space, or a point of it, is wrong.

    Attributes:
        problems: one line each, naming key, value and rule.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class Space:
    """Searched hyperparameters with their distributions, and the fixed values of the others.

    Attributes:
        distributions: of the searched hyperparameters, by dotted name, in declared order.
        fixed: values of the others.
    """

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], fixed: Mapping[str, Value]
    ) -> None:
        self.distributions = dict(distributions)
        self.fixed = {k: v for k, v in {**REFERENCE, **fixed}.items() if k not in distributions}

    @classmethod
    def parse(cls, raw: Mapping[str, Any], path: str = "space") -> Self:
        """From nested mappings whose leaves are a value (fixed), a range or choices.

        A range is `{low, high}` with `log: true` or `step` beside; choices are `{choices: [...]}`.

        Raises:
            SpaceError: one line per problem, with the key's path and the nearest valid name.
        """
        distributions: dict[str, BaseDistribution] = {}
        fixed: dict[str, Value] = {}
        problems: list[str] = []
        for name, leaf in _leaves(raw):
            try:
                if name not in REFERENCE:
                    raise ValueError(f"is not a hyperparameter{nearest(name, REFERENCE)}")
                if name in distributions or name in fixed:
                    raise ValueError("is given twice, nested and dotted")
                if isinstance(leaf, Mapping):
                    distributions[name] = _distribution(name, leaf)
                else:
                    fixed[name] = _value(name, leaf)
            except ValueError as error:
                problems.append(f"{path}.{name}: {error}")
        if problems:
            raise SpaceError(problems)
        ordered = {name: distributions[name] for name in REFERENCE if name in distributions}
        return cls(ordered, fixed)

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        """The full canonical configuration of a trial; draws what the trial does not have yet."""
        drawn: dict[str, Value] = {}
        for name, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                drawn[name] = trial.suggest_categorical(name, distribution.choices)  # type: ignore[assignment]
            elif isinstance(distribution, IntDistribution):
                d = distribution
                drawn[name] = trial.suggest_int(name, d.low, d.high, step=d.step, log=d.log)
            elif isinstance(distribution, FloatDistribution):
                f = distribution
                drawn[name] = trial.suggest_float(name, f.low, f.high, step=f.step, log=f.log)
        return self.complete(drawn)

    def complete(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Canonical full configuration: `values`, then fixed values, then reference values."""
        full = {**REFERENCE, **self.fixed, **values}
        return {name: self._canonical(name, full[name]) for name in REFERENCE}

    def point(self, raw: Mapping[str, Any], path: str) -> dict[str, Value]:
        """A known-good point, checked against the space; what it leaves out is as reference.

        Args:
            raw: nested or dotted names to values.
            path: names the point in problems.

        Raises:
            SpaceError: unknown name, wrong type, value outside its domain or not the fixed one.
        """
        problems: list[str] = []
        values: dict[str, Value] = {}
        for name, leaf in _leaves(raw):
            try:
                if name not in REFERENCE:
                    raise ValueError(f"is not a hyperparameter{nearest(name, REFERENCE)}")
                values[name] = _value(name, leaf)
            except ValueError as error:
                problems.append(f"{path}.{name}: {error}")
        full = {**REFERENCE, **self.fixed, **values}
        for name, value in full.items():
            if name in self.distributions and not self.contains(name, value):
                problems.append(
                    f"{path}.{name}: {value!r} is outside the space, "
                    f"{describe(self.distributions[name])}"
                )
            elif name in self.fixed and value != self.fixed[name]:
                problems.append(
                    f"{path}.{name}: {value!r}, but the space fixes it at {self.fixed[name]!r}"
                )
        if problems:
            raise SpaceError(problems)
        return self.complete(values)

    def contains(self, name: str, value: Value) -> bool:
        """Whether a searched hyperparameter may take the value, steps included."""
        d = self.distributions[name]
        if isinstance(d, CategoricalDistribution):
            return value in d.choices
        if not isinstance(d, FloatDistribution | IntDistribution) or not d.low <= value <= d.high:
            return False
        return d.step is None or math.isclose(self._canonical(name, value), value, rel_tol=1e-9)

    def nearest_inside(self, configuration: Mapping[str, Value]) -> dict[str, Value]:
        """Values of the searched hyperparameters, moved into their domains where outside.

        The study records these for the reference configuration, which is tried as it is even
        when the space does not contain it.
        """
        inside: dict[str, Value] = {}
        for name, d in self.distributions.items():
            value = configuration[name]
            if isinstance(d, CategoricalDistribution):
                choices = [c for c in d.choices if isinstance(c, float | int)]
                value = min(choices, key=lambda c, v=value: abs(c - v))  # type: ignore[misc]
            elif isinstance(d, FloatDistribution | IntDistribution):
                value = min(max(value, d.low), d.high)
            inside[name] = self._canonical(name, value)
        return inside

    def fine_tunes(self) -> float:
        """How many fine-tunes of one baseline differ; infinite where one is drawn from a range."""
        domains = [d for name, d in self.distributions.items() if name.startswith("fine_tune.")]
        return math.prod(len(domain_values(d) or ()) or math.inf for d in domains)

    def describe(self) -> dict[str, str]:
        """Each hyperparameter to its domain or fixed value, as short text; the identity.

        Those that are fixed at a neutral value are left out, see `model.frozen.Neutral`.
        """
        kept = Hyperparameters.flat_content(self.fixed).keys() | self.distributions.keys()
        return {
            name: describe(self.distributions[name])
            if name in self.distributions
            else f"{self.fixed[name]!r}"
            for name in REFERENCE
            if name in kept
        }

    def _canonical(self, name: str, value: Value) -> Value:
        d = self.distributions.get(name)
        if isinstance(d, FloatDistribution | IntDistribution) and d.step is not None:
            steps = round((value - d.low) / d.step)
            # 12 significant digits: 0.30000000000000004 and 0.3 are one value.
            value = float(f"{d.low + steps * d.step:.12g}")
        return _declared_type(name)(value)


def as_stored(configuration: Mapping[str, Value]) -> dict[str, Value]:
    """A stored configuration with neutral values for the hyperparameters that are newer than it.

    Args:
        configuration: full when it was stored, or empty, which it remains.
    """
    return {**ADDED, **configuration} if configuration else {}


def domain_values(distribution: BaseDistribution) -> Sequence[Any] | None:
    """The values of a domain in order, never beyond its ends; None for a range without steps."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    # 6 * 0.1 is above 0.6, which Optuna would not take for a value of the domain.
    return [min(low + k * step, high) for k in range(round((high - low) / step) + 1)]


def describe(distribution: BaseDistribution) -> str:
    """A domain as short text: `0.0001 to 0.01 (log)`, `0 to 4 (step 1)`, `one of 32, 64`."""
    if isinstance(distribution, CategoricalDistribution):
        return "one of " + ", ".join(repr(c) for c in distribution.choices)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"{type(distribution).__name__} is not a domain of this space")
    # Twelve digits, not six: this text is compared when a run is continued.
    text = f"{distribution.low:.12g} to {distribution.high:.12g}"
    if distribution.log:
        return text + " (log)"
    return text if distribution.step is None else f"{text} (step {distribution.step:.12g})"


def nearest(name: str, valid: Mapping[str, Any] | Sequence[str]) -> str:
    """`; nearest is ...`, or nothing when no valid name is near."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.4)
    return f"; nearest is {close[0]}" if close else ""


def _leaves(raw: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in raw.items():
        name = f"{prefix}{key}"
        is_domain = isinstance(value, Mapping) and (
            name in REFERENCE or set(value) & {*_RANGE_KEYS}
        )
        if isinstance(value, Mapping) and not is_domain:
            found += _leaves(value, f"{name}.")
        else:
            found.append((name, value))
    return found


def _declared_type(name: str) -> Callable[[Any], Value]:
    return int if isinstance(REFERENCE[name], int) else float


def _value(name: str, raw: object) -> Value:
    """A canonical value of a hyperparameter, within the range its field declares."""
    declared = _declared_type(name)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"{raw!r} is not a number")
    if abs(raw) > sys.float_info.max or not math.isfinite(raw):
        raise ValueError(f"{raw!r} is not finite")
    if declared is int and raw != int(raw):
        raise ValueError(f"{raw!r} is not a whole number")
    value = declared(raw)
    try:
        Hyperparameters.from_flat({name: value})
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ValueError(f"{raw!r}: {reason[0].lower()}{reason[1:]}") from None
    return value


def _distribution(name: str, raw: Mapping[str, Any]) -> BaseDistribution:
    unknown = [key for key in raw if key not in _RANGE_KEYS]
    if unknown:
        rule = f"a range has {', '.join(_RANGE_KEYS)}{nearest(str(unknown[0]), _RANGE_KEYS)}"
        raise ValueError(f"key {unknown[0]!r} is unknown; {rule}")
    if "choices" in raw:
        return _choices(name, raw)
    missing = [key for key in ("low", "high") if key not in raw]
    if missing:
        raise ValueError(f"a range needs low and high; {' and '.join(missing)} is missing")
    low, high = _value(name, raw["low"]), _value(name, raw["high"])
    log, step = raw.get("log", False), raw.get("step")
    if not isinstance(log, bool):
        raise ValueError(f"log is {log!r}, but must be true or false")
    if low >= high:
        raise ValueError(f"low {low!r} must be below high {high!r}")
    if log and step is not None:
        raise ValueError("log and step exclude each other")
    if log and low <= 0:
        raise ValueError(f"low is {low!r}, but must be above 0 with log")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float)):
        raise ValueError(f"step is {step!r}, but must be a number")
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"step is {step!r}, but must be above 0 and at most {high - low:g}")
    if _declared_type(name) is float:
        return FloatDistribution(low, high, log=log, step=step)
    if step is not None and step != int(step):
        raise ValueError(f"step is {step!r}, but must be a whole number")
    return IntDistribution(int(low), int(high), log=log, step=int(step or 1))


def _choices(name: str, raw: Mapping[str, Any]) -> BaseDistribution:
    if len(raw) > 1:
        raise ValueError("choices stand alone, without low, high, log or step")
    choices = raw["choices"]
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"choices is {choices!r}, but must be a list that is not empty")
    values = [_value(name, choice) for choice in choices]
    if len(set(values)) < len(values):
        raise ValueError(f"choices {choices!r} holds a value twice")
    return CategoricalDistribution(values)
