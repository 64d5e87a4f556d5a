"""Finds and makes the callbacks that an experiment names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator

from shiftsearch.experiments.callbacks.callback import Callback
from shiftsearch.experiments.wording import in_one_line
from shiftsearch.model.architecture import OWN_NAME

SHIPPED: Mapping[str, str] = {
    "mlflow": "shiftsearch.experiments.callbacks.to_mlflow:MLflow",
    "wandb": "shiftsearch.experiments.callbacks.to_wandb:WandB",
}
"""Callbacks that come with the package, by name."""


def _checked(name: str) -> str:
    if name in SHIPPED or (re.fullmatch(OWN_NAME, name) and "@" not in name):
        return name
    raise ValueError(f"must be MODULE:CLASS, or one of {', '.join(SHIPPED)}")


CallbackName = Annotated[str, AfterValidator(_checked)]
"""`MODULE:CLASS`, or a name in `SHIPPED`."""


def made(names: Sequence[str]) -> list[tuple[str, Callback]]:
    """A callback for each name. This runs the code of its module.

    Raises:
        experiments.definition.DefinitionError: one cannot be made; a line for each.
        model.own_network.OwnNetworkError: there is no such module or class.
    """
    from shiftsearch.experiments.definition import DefinitionError

    found, problems = [], []
    for name in names:
        maker = _class_of(name)
        if not (isinstance(maker, type) and issubclass(maker, Callback)):
            problems.append(f"callbacks: {name}: must be a subclass of shiftsearch.Callback")
            continue
        try:
            found.append((name, maker()))
        except Exception as error:  # of any kind: it is a person's code
            problems.append(f"callbacks: {name}: cannot be made: {in_one_line(error)}")
    if problems:
        raise DefinitionError(problems)
    return found


def _class_of(name: str) -> object:
    from shiftsearch.experiments.own_network import found  # imports torch

    if name in SHIPPED:
        module, _, maker = SHIPPED[name].partition(":")
        return getattr(importlib.import_module(module), maker)
    return found(name, "callbacks").load()
