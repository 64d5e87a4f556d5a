"""What to change in an experiment that failed, as settings and as a command to paste."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from shiftsearch.experiments.definition import MAX_TRIALS, load
from shiftsearch.model.hyperparameters import Schedule
from shiftsearch.search.proposing.space import Space

ENOUGH = 20
"""Complete trials that are enough to say that the space holds nothing better."""
_MOST_EPOCHS = 10_000
_ELSEWHERE = ("fine_tune.train_share",)
"""Recommended, but an experiment may decide it elsewhere, and then refuses it in the space."""


def options(settings: Sequence[str]) -> str:
    """`KEY=VALUE` texts as options of `shiftsearch search`, quoted for a shell."""
    return " ".join(f"--set {quote(setting)}" for setting in settings)


def command(folder: Path, new: Path, settings: Sequence[str]) -> str:
    """The command that searches again with these settings, quoted for a shell.

    More trials continue the run. Anything else needs a new run.

    Args:
        folder: the run's folder.
        new: folder of a new run.
        settings: `KEY=VALUE` texts; of a key that is given twice, the larger number, else the
            first.
    """
    chosen: dict[str, str] = {}
    for key, _, value in (setting.partition("=") for setting in settings):
        other = chosen.get(key, value)
        is_larger = value.isdecimal() and other.isdecimal() and int(value) > int(other)
        chosen[key] = value if is_larger else other
    if chosen.keys() == {"trials"}:
        return f"shiftsearch search --run {quote(str(folder))} --trials {chosen['trials']}"
    file = quote(str(folder / "experiment.yaml"))
    changes = options([f"{key}={value}" for key, value in chosen.items()])
    return f"shiftsearch search {file} --run {quote(str(new))} {changes}"


def wider(result: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """The recommended domains of what the space fixes; if there are none, twice as many trials.

    Args:
        result: content of `result.json`.
        prefix: of the names of hyperparameters.
    """
    names = [n for n in _recommended()[0] if n.startswith(prefix) and n not in _ELSEWHERE]
    trials = min(MAX_TRIALS, 2 * max(ENOUGH, result["search"]["asked"]))
    fixed = [n for n in names if not _is_searched(result["space"].get(n, ""))]
    return _domains(result, fixed) or (f"trials={trials}",)


def rates_and_epochs(result: Mapping[str, Any], stage: str) -> tuple[str, ...]:
    """The stage's recommended learning rates, and the usual number of epochs.

    If the space has these rates, or an optimiser that needs others, only epochs; and if the stage
    has the usual number, twice as many.
    """
    rates = _domains(result, [f"{stage}.learning_rate"])
    if f"{stage}.optimiser" in result["space"]:
        rates = ()
    usual, most = Schedule().max_epochs, result["protocol"][stage]["max_epochs"]
    if most >= usual and rates:
        return rates
    epochs = usual if most < usual else min(_MOST_EPOCHS, 2 * most)
    return (*rates, f"protocol.{stage}.max_epochs={epochs}")


def without_points(settings: Sequence[str]) -> tuple[str, ...]:
    """The settings, and no points if they change the space, which might not hold the points."""
    touched = any(setting.startswith("space.") for setting in settings)
    return (*settings, "points=[]") if touched else tuple(settings)


def _is_searched(text: str) -> bool:
    """Whether `Space.describe` wrote this text of a domain, not of a fixed value."""
    return " to " in text or text.startswith("one of ")


def _domains(result: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """The recommended domains of these names, where the space has others."""
    written, described = _recommended()
    other = [n for n in names if result["space"].get(n) != described[n]]
    return tuple(f"space.{name}={written[name]}" for name in other)


@cache
def _recommended() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The recommended domains by name: as YAML, and as `Space.describe` writes them."""
    space, flat = load("recommended").space, dict[str, str]()

    def collect(node: Mapping[str, Any], path: str) -> None:
        for name, value in node.items():
            if {"low", "choices"} & value.keys():
                text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
                flat[f"{path}{name}"] = text.strip()
            else:
                collect(value, f"{path}{name}.")

    collect(space, "")
    return flat, Space.parse(space).describe()
