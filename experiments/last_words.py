"""What a search prints about its data before it starts, and its last lines below the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from shiftsearch.data.dataset import Dataset
from shiftsearch.data.reading import ROLES
from shiftsearch.experiments.analysis.suggestion import suggestion
from shiftsearch.experiments.definition import (
    DEFAULT_SPACE,
    DefinitionError,
    Experiment,
    default_space,
)
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.outcome.tradeoff import constraint_lines
from shiftsearch.experiments.report.failures import signs
from shiftsearch.experiments.report.findings import front_table, result_table
from shiftsearch.experiments.report.top import failure_lines
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.wording import counted, one_line

if TYPE_CHECKING:
    from shiftsearch.search.study.records import TrialRecord
    from shiftsearch.search.study.study import Study


def warner(console: Console) -> Callable[[str], None]:
    """A function that prints a line as a warning."""
    return lambda line: console.print(Text(f"warning: {line}", style="yellow"), soft_wrap=True)


def say_of_data(
    console: Console, experiment: Experiment, dataset: Dataset, warnings: Sequence[str]
) -> None:
    """Which data and space a run has, warnings, what the shift suggests, and what folds cost."""
    for line in about(experiment, dataset):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    for warning in warnings:
        warner(console)(warning)
    if line := suggestion(dataset, experiment.protocol, experiment.search_space()):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if line := cost_of_folds(experiment):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def cost_of_folds(experiment: Experiment) -> str:
    """What cross-fitting costs, in one line; empty without folds."""
    folds = experiment.protocol.folds
    if folds == 1:
        return ""
    return (
        f"protocol.folds is {folds}: each of {counted(experiment.trials, 'trial')} trains {folds} "
        f"fine-tunes of its baseline instead of 1, and each retraining {folds + 1}, the last one "
        "for the model"
    )


def about(experiment: Experiment, dataset: Dataset) -> list[str]:
    """Which data a run has, and the space if it is the default one."""
    made, counts = (
        experiment.synthetic,
        ", ".join(f"{name} {len(split)}" for name, split in dataset.splits.items()),
    )
    source = experiment.data
    if source == "synthetic":
        source = f"synthetic images, drift {made.drift}, seed {made.seed}"
    height, width = dataset.image_size
    lines = [f"data: {source}; {len(dataset.classes)} classes, {height}x{width}; {counts}"]
    if experiment.space == default_space() and experiment.name != DEFAULT_SPACE:
        lines.append(f"space: that of the shipped experiment {DEFAULT_SPACE}")
    if experiment.trials == 1 and experiment.search_space().distributions:
        lines.append("trials: 1, so only the reference configuration is trained; see --trials")
    return lines


def say_why(console: Console, study: Study, max_share: float) -> None:
    """Print why the search gave up: how many trials failed, and the last reasons.

    Raises:
        DefinitionError: no configuration keeps the constraints.
    """
    if study.ending.hopeless:
        raise DefinitionError([f"no trial keeps the constraints: {study.stop_reason}"])
    trials = study.trials()
    failed = [t for t in trials if t.state == "failed"]
    console.print(
        f"too many trials failed: {len(failed)} of {len(trials)} "
        f"(failures.max_share is {max_share:g}); the last ones:",
        style="red",
    )
    for trial in failed[-3:]:
        console.print(f"  trial {trial.number}: {one_line(trial.reason)}")


def say_result(
    console: Console,
    experiment: Experiment,
    run: Run,
    result: Mapping[str, Any],
    trials: Sequence[TrialRecord],
) -> None:
    """Print what went wrong, the table of the result, what constraints did, and what is next."""
    say_failures(console, run, result, trials)
    console.print(result_table(result))
    if "front" in result:
        console.print(front_table(result))
    for line in constraint_lines(result):
        console.print(line, soft_wrap=True, highlight=False)
    say_next(console, experiment, run)


def say_failures(
    console: Console, run: Run, result: Mapping[str, Any], trials: Sequence[TrialRecord]
) -> None:
    """Print the signs that the search failed, and what to change; nothing without any."""
    for line in failure_lines(run.folder, signs(result, trials)):
        console.print(Text(line, style="yellow"), soft_wrap=True)


def say_next(console: Console, experiment: Experiment, run: Run) -> None:
    """Print the looks, the bundle, and the next three commands, with paths quoted for a shell."""
    data, synthetic, made = quote(experiment.data), experiment.synthetic, ""
    if experiment.data == "synthetic":
        data = quote(f"{run.folder}-data")
        made = f"shiftsearch data synthesize {data} --seed {synthetic.seed}"
        made += f" --size {synthetic.size} --drift {synthetic.drift} && "
    given = experiment.images.model_dump(include={*ROLES}).items()
    names = "".join(f" --{role} {quote(name)}" for role, name in given if name)
    bundle = quote(str(run.bundle))
    console.print(f"looks at the held-out part so far: {len(looks_so_far(run.looks))}")
    lines = [
        f"model:  {run.bundle}",
        f"report: {run.report}",
        f"curves of every trial and replicate, for TensorBoard: {run.every_tensorboard}",
        "next:",
        f"  tensorboard --logdir {quote(str(run.tensorboard))}",
        f"  {made}shiftsearch evaluate {bundle} {data}{names}",
        f"  shiftsearch predict {bundle} IMAGE...",
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
