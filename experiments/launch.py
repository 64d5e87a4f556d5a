"""From what a user names, on the command line or in Python, to an experiment and its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from shiftsearch.experiments.definition import DefinitionError, Experiment, load
from shiftsearch.experiments.run_folder import Run, user_path

DEFAULT, DEFAULT_WITH_DATA = "demo", "digits6"


def resolve(
    name: str | None,
    *,
    data: str | None = None,
    run: Path | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Experiment, Path]:
    """The experiment with absolute `data`, and the absolute folder of its run.

    Args:
        name: of a shipped experiment, or the path of a file; None: what the run's folder holds,
            else the default.
        data: a folder, in place of the experiment's.
        run: the run's folder; None: `runs/` and the experiment's name.
        overrides: `KEY=VALUE`, later ones win.

    Raises:
        DefinitionError: the experiment is wrong, or a path cannot be handed to Ray.
    """
    if name is None and run and Run(run).definition.exists():
        name = str(Run(run).definition)
    if name is None:
        name = DEFAULT_WITH_DATA if data else DEFAULT
    if problems := [
        f"{path!r}: is no UTF-8 text, and Ray takes no other path"
        for path in (str(run or user_path("runs")), data or "")
        if any("\ud800" <= character <= "\udfff" for character in path)
    ]:
        raise DefinitionError(problems)
    if data is not None:
        overrides = [*overrides, f"data={json.dumps(data)}"]
    experiment = load(name, overrides)
    if experiment.data != "synthetic":
        # Absolute before Ray starts: its workers stand elsewhere.
        absolute = str(user_path(experiment.data))
        experiment = experiment.model_copy(update={"data": absolute})
    return experiment, run or user_path(f"runs/{experiment.name}")
