"""What tells runs apart: settings, winners, accuracies, time and trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftsearch.experiments.definition import DefinitionError, Experiment, load
from shiftsearch.experiments.live.status import trials_of
from shiftsearch.experiments.outcome.result_rows import final_row, rows_of
from shiftsearch.experiments.run_folder import NotARun, Run, read_json
from shiftsearch.experiments.wording import counted, duration, interval, percent, points
from shiftsearch.model.frozen import flatten
from shiftsearch.search.study.records import best_trials

NOT_YET = "not finished"
_STATES = ("complete", "pruned", "failed")
_SCORED = ("winner", "reference", "model")


@dataclass(frozen=True)
class Compared:
    """A run, as it is compared with others.

    Attributes:
        label: short name of the run, different for each.
        folder: its folder.
        settings: every setting by dotted name; of a searched hyperparameter the domain, as text.
        trials: number of trials by state.
        asked: trials that were asked for.
        training_seconds: time of training of all complete trials; shared baselines count once.
        best: number and value of the best trial in the search, on TEST2's selection part.
        result: content of `result.json`; None before the end.
    """

    label: str
    folder: Path
    settings: Mapping[str, Any]
    trials: Mapping[str, int]
    asked: int
    training_seconds: float
    best: tuple[int, float] | None
    result: Mapping[str, Any] | None

    def final(self, configuration: str) -> dict[str, Any] | None:
        """Accuracy after fine-tuning on TEST2's held-out part, else on its selection part.

        Args:
            configuration: "winner", "reference" or "model", the exported one.
        """
        if self.result is None:
            return None
        row = final_row(rows_of(self.result), configuration)
        if row is None and configuration == "winner":  # the reference won
            row = final_row(rows_of(self.result), "reference")
        kept = ("label", "n", "accuracy", "interval")
        return None if row is None else {key: getattr(row, key) for key in kept}

    @property
    def winner(self) -> Mapping[str, Any] | None:
        """Number and configuration of the winner."""
        return None if self.result is None else self.result["winner"]

    def to_json(self) -> dict[str, Any]:
        """The run as JSON values, without its settings."""
        return {
            "label": self.label,
            "folder": str(self.folder),
            "trials": {**self.trials, "asked": self.asked},
            "training_seconds": self.training_seconds,
            "best": None
            if self.best is None
            else dict(zip(("number", "value"), self.best, strict=True)),
            "winner": self.winner,
            **{f"{name}_test2": self.final(name) for name in _SCORED},
            "comparison": None if self.result is None else self.result["comparison"],
        }


def compared(folders: Sequence[Path]) -> tuple[list[Compared], list[str]]:
    """Read runs, finished or not, in the order that is given; nothing is changed in them.

    Returns:
        The runs that can be read, and a line for each problem of the others.
    """
    names = Counter(folder.name for folder in folders)
    found: list[Compared] = []
    problems: list[str] = []
    for folder in folders:
        try:
            found.append(_read(folder, folder.name if names[folder.name] == 1 else str(folder)))
        except (NotARun, DefinitionError) as error:
            problems += getattr(error, "problems", [str(error)])
    return found, problems


def _read(folder: Path, label: str) -> Compared:
    run = Run(folder)
    trials = trials_of(run)
    if not run.definition.exists():
        raise NotARun(f"{run.folder}: is not a run; it has no {run.definition.name}")
    experiment = load(str(run.definition))
    stages = [
        stage
        for trial in trials
        if trial.result is not None
        for stage in (trial.result.baseline, trial.result.fine_tune)
    ]
    best = next(iter(best_trials(trials)), None)
    return Compared(
        label,
        run.folder,
        settings_of(experiment),
        {state: sum(t.state == state for t in trials) for state in _STATES},
        experiment.trials,
        sum({stage.key: stage.seconds for stage in stages}.values()),
        None if best is None or best.value is None else (best.number, best.value),
        read_json(run.result) if run.result.exists() else None,
    )


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """Every setting that is used, by dotted name; of a searched hyperparameter the domain."""
    unused = set() if experiment.data == "synthetic" else {"synthetic"}
    written = experiment.model_dump(mode="json", exclude={"space", "name"} | unused)
    space = experiment.search_space().describe()
    return flatten(written) | {f"space.{name}": text for name, text in space.items()}


def differing(columns: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The names whose values are not all the same, with the value of each column, else None."""
    names = dict.fromkeys(name for column in columns for name in column)
    rows = {name: [column.get(name) for column in columns] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def differing_winners(runs: Sequence[Compared]) -> dict[str, list[Any]]:
    """The hyperparameters in which the winners differ; None where a run has no winner yet."""
    found = [run.winner["configuration"] if run.winner else {} for run in runs]
    names = differing([values for values in found if values])
    return {name: [values.get(name) for values in found] for name in names}


def fact_rows(runs: Sequence[Compared]) -> list[tuple[str, list[str]]]:
    """The runs' results as text: a title, and a cell for each run."""
    return [
        ("trials", [_trials(run) for run in runs]),
        ("training time of the trials", [duration(run.training_seconds) for run in runs]),
        ("best trial, selected on", [_best(run) for run in runs]),
        ("winner", [f"trial {r.winner['number']}" if r.winner else NOT_YET for r in runs]),
        *(
            (f"{title} on TEST2", [_final(run, name) for run in runs])
            for name, title in zip(_SCORED, ("winner", "reference", "exported model"), strict=True)
        ),
        ("winner minus reference", [_difference(run) for run in runs]),
    ]


def notes(runs: Sequence[Compared]) -> list[str]:
    """What a reader must know before comparing the accuracies."""
    done = [run.result for run in runs if run.result is not None]
    if len(done) < 2:
        return []
    divisions = {
        (r["dataset"]["digest"], r["division"]["holdout"], r["division"]["seed"]) for r in done
    }
    lines = [
        "The runs have the same data and division of TEST2, so their accuracies are of the same "
        "images."
        if len(divisions) == 1
        else "The runs differ in their data or in the division of TEST2, so their accuracies are "
        "of different images."
    ]
    if any(r["division"]["held_out_n"] for r in done):
        lines.append(
            "Whoever chooses a run by its held-out accuracy has selected on these images: the "
            "accuracy of the chosen one is then too favourable."
        )
    return lines


def _trials(run: Compared) -> str:
    counts = ", ".join(f"{run.trials[s]} {s}" for s in _STATES if run.trials[s])
    return f"{counts or '0 complete'} of {counted(run.asked, 'trial')}"


def _best(run: Compared) -> str:
    return "-" if run.best is None else f"{percent(run.best[1])} (trial {run.best[0]})"


def _final(run: Compared, name: str) -> str:
    found = run.final(name)
    if found is None:
        return "-" if run.result else NOT_YET
    return (
        f"{percent(found['accuracy'])} {interval(found['interval'])}, n = {found['n']}, "
        f"{found['label']}"
    )


def _difference(run: Compared) -> str:
    if run.result is None:
        return NOT_YET
    found = run.result["comparison"]
    return "-" if found is None else points(found["difference"], found["interval"])
