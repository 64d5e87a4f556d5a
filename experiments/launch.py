"""Finds the experiment and the run folder that a user names, on the command line or in Python."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from shiftsearch.experiments.definition import REQUIRED, DefinitionError, Experiment, load
from shiftsearch.experiments.run_folder import Run, user_path

DEFAULT, DEFAULT_WITH_DATA = "demo", "digits6"


def resolve(
    name: str | None,
    *,
    data: str | None = None,
    run: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
) -> tuple[Experiment, Path]:
    """The experiment with absolute `data`, and the absolute folder of its run.

    Args:
        name: name of a shipped experiment, or path of a file; None: the experiment in the run's
            folder if there is one, else the default.
        data: a folder that replaces the experiment's data.
        run: the run's folder; None: `runs/` and the experiment's name.
        overrides: texts `KEY=VALUE`; later ones win.
        flags: how the user wrote an override, if not as `--set KEY=VALUE`.

    Raises:
        DefinitionError: the experiment is wrong, it lacks the data it needs, or Ray cannot use a
            path.
        model.own_network.OwnNetworkError: there is no source of the own network, or it is not the
            run's.
    """
    if name is None and run and Run(run).definition.exists():
        name = str(Run(run).definition)
    if name is None:
        name = DEFAULT_WITH_DATA if data else DEFAULT
    if problems := [
        f"{path!r}: is not valid UTF-8, and Ray cannot use such a path"
        for path in (str(run or user_path("runs")), data or "")
        if any("\ud800" <= character <= "\udfff" for character in path)
    ]:
        raise DefinitionError(problems)
    if data is not None:
        given = f"data={json.dumps(data, ensure_ascii=False)}"
        overrides, flags = [*overrides, given], {**(flags or {}), given: f"--data {data}"}
    experiment = load(name, overrides, flags)
    if experiment.data == REQUIRED:
        rule = "this experiment is for your own images; name their folder with --data DIR"
        raise DefinitionError([f"{name}: {rule}"])
    if experiment.data != "synthetic":
        # Absolute, because Ray's workers have another current folder.
        absolute = str(user_path(experiment.data))
        experiment = experiment.model_copy(update={"data": absolute})
    if experiment.network is not None:
        from shiftsearch.experiments.own_network import found  # imports torch

        pinned = found(experiment.network).name
        experiment = experiment.model_copy(update={"network": pinned})
    return experiment, run or user_path(f"runs/{experiment.name}")
