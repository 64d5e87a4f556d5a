"""What a finished run says: `trials.csv`, the terminal's end table, and `report.html`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from experiments.figures.accuracy import accuracy_intervals, confusion_matrix
from experiments.figures.search import search_history
from experiments.outlook import outlook_lines
from experiments.wording import duration, interval, one_line, percent, points
from model.hyperparameters import Hyperparameters, flatten
from model.store import write_atomically
from search.records import TrialRecord

_STAGES = {"before": "baseline", "after": "fine_tune"}


def trials_frame(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row per trial; what a trial does not have is missing, never NaN.

    Columns: number, state, role, branch_of (the trial whose baseline it fine-tunes; missing where
    it trained its own), stopped_at (the rung's baseline epochs), test2_accuracy (the objective,
    selection part),
    {test,test2}_accuracy_{before,after}, {baseline,fine_tune}_epochs, seconds, one per
    hyperparameter under its dotted name, reason.
    """
    kinds = {"number": "Int64", "state": "string", "role": "string", "branch_of": "Int64"}
    kinds |= {"stopped_at": "Int64", "test2_accuracy": "Float64"}
    kinds |= {f"{s}_accuracy_{when}": "Float64" for s in ("test", "test2") for when in _STAGES}
    kinds |= {f"{stage}_epochs": "Int64" for stage in _STAGES.values()} | {"seconds": "Float64"}
    for name, value in Hyperparameters().to_flat().items():
        kinds[name] = "Int64" if isinstance(value, int) else "Float64"
    kinds["reason"] = "string"
    rows = [_trial_row(trial) for trial in trials]
    return pd.DataFrame(rows, columns=list(kinds), dtype=object).astype(kinds)


def _trial_row(trial: TrialRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state,
        "role": trial.role,
        "branch_of": trial.branch_of,
        "stopped_at": max(trial.rungs, default=None) if trial.state == "pruned" else None,
        "test2_accuracy": trial.value,
        "seconds": trial.seconds,
        "reason": trial.reason or None,
        **trial.configuration,
    }
    if trial.result is None:
        return row
    for when, stage in _STAGES.items():
        report = trial.result[stage]
        row[f"{stage}_epochs"] = report["epochs"]
        for split in ("test", "test2"):
            row[f"{split}_accuracy_{when}"] = report[split]["accuracy"]
    return row


def write_trials_csv(trials: Sequence[TrialRecord], path: Path) -> None:
    """`trials_frame` as UTF-8 CSV; missing values are empty cells."""
    write_atomically(path, trials_frame(trials).to_csv(index=False).encode())


def result_table(result: Mapping[str, Any]) -> Table:
    """Every accuracy before and after fine-tuning, for the terminal."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title="Accuracy, mean over replicates, and its 95 % interval over images",
        title_justify="left",
        caption=Text("\n".join([_comparison_line(result), *outlook_lines(result)])),
        caption_justify="left",
    )
    table.add_column("configuration")
    for header in ("images", "before fine-tuning", "after fine-tuning"):
        table.add_column(header, no_wrap=True)
    above = ""
    for line in _table_lines(result):
        cells = [
            Text(f"{percent(row['accuracy'])}  {row['label']}\n{interval(row['interval'])}")
            for row in (line["before"], line["after"])
        ]
        name = line["configuration"] if line["configuration"] != above else ""
        above = line["configuration"]
        table.add_row(Text(name), Text(f"{line['images']}\nn = {line['n']}"), *cells)
    return table


def write_report(result: Mapping[str, Any], trials: Sequence[TrialRecord], path: Path) -> None:
    """One self-contained HTML page without scripts.

    Args:
        result: `result.json`.
        trials: of the study.
        path: of the page; replaced in one step.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "interval": interval,
        "duration": duration,
        "value": _value,
    }
    page = environment.get_template("report.html.j2").render(
        result=result,
        answer=_answer(result),
        lines=_table_lines(result),
        configurations=_configurations(result),
        protocol=flatten(result["protocol"]),
        intervals=accuracy_intervals(result["table"]),
        confusions=_confusions(result),
        history=search_history(trials, result["winner"]["number"]),
        failed=[(t.number, one_line(t.reason)) for t in trials if t.state == "fail"],
        stopped=[(t.number, one_line(t.reason)) for t in trials if t.state == "pruned"],
        branches=sum(t.branch_of is not None for t in trials),
        outlook=outlook_lines(result),
        looks=Counter((k["configuration"], k["purpose"]) for k in result["held_out_looks"]),
    )
    write_atomically(path, page.encode())


def _table_lines(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table's rows with before and after beside each other."""
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in result["table"]:
        key = (row["configuration"], row["split"], row["part"])
        images = row["split"] if row["part"] == "all" else f"{row['split']} {row['part']}"
        line = {"configuration": row["configuration"], "images": images, "n": row["n"]}
        lines.setdefault(key, line)[row["stage"]] = row
    return list(lines.values())


def _final_row(result: Mapping[str, Any], configuration: str) -> Mapping[str, Any] | None:
    """After fine-tuning, on TEST2's held-out part, else on its selection part."""
    found = {
        row["part"]: row
        for row in result["table"]
        if (row["configuration"], row["stage"], row["split"]) == (configuration, "after", "TEST2")
    }
    return found.get("held-out", next(iter(found.values()), None))


def _answer(result: Mapping[str, Any]) -> list[str]:
    """The run's question answered, in at most three lines."""
    names = {
        "winner": f"The winner, trial {result['winner']['number']},",
        "reference": "The reference configuration",
    }
    lines = []
    for configuration, name in names.items():
        row = _final_row(result, configuration)
        if row is not None:
            lines.append(
                f"{name} is right on {percent(row['accuracy'])} {interval(row['interval'])} of "
                f"{row['n']} TEST2 images ({row['label']}) after fine-tuning."
            )
    return [*lines, _comparison_line(result)]


def _comparison_line(result: Mapping[str, Any]) -> str:
    comparison = result["comparison"]
    if comparison is not None:
        low, high = comparison["interval"]
        reading = "the interval holds 0, so neither is shown to be better"
        if low > 0 or high < 0:
            reading = f"the {'winner' if low > 0 else 'reference configuration'} is better"
        return (
            f"Winner minus reference, paired on {comparison['n']} images of TEST2's "
            f"{comparison['part']} part: "
            f"{points(comparison['difference'], comparison['interval'])}; {reading}."
        )
    if result["winner"]["configuration"] != result["reference"]["configuration"]:
        return "The reference configuration could not be retrained: nothing to compare with."
    if result["search"]["asked"] == 1:
        return "Only the reference configuration was run: nothing to compare with."
    return "The winner is the reference configuration itself: no other did better when retrained."


def _configurations(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per hyperparameter its domain and its two values."""
    winner, reference = result["winner"]["configuration"], result["reference"]["configuration"]
    return [
        {
            "name": name,
            "space": result["space"][name],
            "reference": reference[name],
            "winner": winner[name],
        }
        for name in reference
    ]


def _confusions(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Per configuration its name and the two figures."""
    classes = result["dataset"]["classes"]
    return [
        {"name": name}
        | {
            when: confusion_matrix(
                matrices[when], classes, f"Confusion matrix of the {name}, {when} fine-tuning"
            )
            for when in _STAGES
        }
        for name, matrices in result["confusion"].items()
        if isinstance(matrices, Mapping)  # beside them stand split and part
    ]


def _value(value: object) -> str:
    """Four significant digits of a number; anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
