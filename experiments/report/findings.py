"""The findings of a finished run: sentences, and the table at the end of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from shiftsearch.experiments.outcome.honest import honest_lines
from shiftsearch.experiments.outcome.outlook import beyond_seeds, outlook_lines
from shiftsearch.experiments.outcome.result_rows import (
    TableRow,
    final_row,
    model_lines,
    rows_of,
    table_lines,
)
from shiftsearch.experiments.outcome.tradeoff import front_cells, front_titles
from shiftsearch.experiments.wording import counted, interval, percent, points
from shiftsearch.model.objective import ACCURACY, OBJECTIVES


def result_table(result: Mapping[str, Any]) -> Table:
    """A table of all accuracies before and after fine-tuning, for the terminal."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title="Accuracy, mean over replicates, and its 95 % interval over images",
        title_justify="left",
        caption=Text(
            "\n".join(
                [
                    comparison_line(result),
                    *honest_lines(result),
                    *outlook_lines(result),
                    *model_lines(result),
                ]
            )
        ),
        caption_justify="left",
    )
    table.add_column("configuration")
    for header in ("images", "before fine-tuning", "after fine-tuning"):
        table.add_column(header, no_wrap=True)
    above = ""
    for line in table_lines(rows_of(result)):
        cells = [
            Text("\n".join([f"{percent(row.accuracy)}  {row.label}", *_intervals(row)]))
            for row in (line.before, line.after)
        ]
        row = line.after
        name = row.configuration if row.configuration != above else ""
        above = row.configuration
        table.add_row(Text(name), Text(f"{row.images}\nn = {row.n}"), *cells)
    return table


def front_table(result: Mapping[str, Any]) -> Table:
    """The Pareto front of a run with several objectives, for the terminal."""
    front = result["front"]
    table = Table(
        *front_titles(front["objectives"]),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"Pareto front of {', '.join(front['objectives'])}",
        title_justify="left",
    )
    for point in front["points"]:
        table.add_row(*front_cells(point, front["objectives"]))
    return table


def _intervals(row: TableRow) -> list[str]:
    """The interval, then other scores; each begins with a line for its name, to save width."""
    others = [
        f"{OBJECTIVES[name].title}\n{percent(score['value'])} {interval(score['interval'])}"
        for name, score in row.scores.items()
    ]
    return [interval(row.interval), *others]


def answer(result: Mapping[str, Any]) -> list[str]:
    """The answer to the run's question, in at most three lines."""
    names = {
        "winner": f"The winner, trial {result['winner']['number']},",
        "reference": "The reference configuration",
    }
    lines = []
    for configuration, name in names.items():
        row = final_row(rows_of(result), configuration)
        if row is not None:
            count = len(row.replicates)
            of = f"mean of {count} replicates" if count > 1 else "one replicate"
            lines.append(
                f"{name} is right on {percent(row.accuracy)} {interval(row.interval)} of "
                f"{counted(row.n, 'TEST2 image')} ({row.label}; {of}) after fine-tuning"
                + "".join(f"; {words}" for words in row.beside())
                + "."
            )
    return [*lines, comparison_line(result)]


def exported_alone(result: Mapping[str, Any]) -> str:
    """Accuracy of the exported replicate alone; empty if it is unknown, or told of the model."""
    if "model" in result:
        return ""
    rows = rows_of(result)
    row = final_row(rows, "winner") or final_row(rows, "reference")
    winner = next(c for c in result["retrain"]["candidates"] if c["role"] == "winner")
    if row is None or winner["failed"]:
        return ""  # it is unknown to which replicate each value belongs
    value = row.replicates[result["exported"]["replicate"] - 1]
    return f"{percent(value)} of {counted(row.n, 'TEST2 image')} ({row.label})"


def comparison_line(result: Mapping[str, Any]) -> str:
    """Winner minus reference and its meaning, or why they are not compared."""
    comparison = result["comparison"]
    if comparison is not None:
        low, high = comparison["interval"]
        score = comparison.get("score", ACCURACY.name)
        measure = "" if score == ACCURACY.name else f" in {OBJECTIVES[score].title}"
        reading = "the interval contains 0, so neither is shown to be better"
        if low > 0 or high < 0:
            better = f"the {'winner' if low > 0 else 'reference configuration'} is better"
            reading = {
                True: f"{better}, by more than the noise between seeds",
                False: f"{better} on these images, but within the noise between seeds",
                None: f"{better} on these images; the noise between seeds is unknown",
            }[beyond_seeds(result)]
        return (
            f"Winner minus reference{measure}, paired on {comparison['n']} images of TEST2's "
            f"{comparison['part']} part: "
            f"{points(comparison['difference'], comparison['interval'])}; {reading}."
        )
    if result["winner"]["configuration"] != result["reference"]["configuration"]:
        return "The reference configuration could not be retrained: nothing to compare with."
    if result["search"]["asked"] == 1:
        return "Only the reference configuration was run: nothing to compare with."
    return "The winner is the reference configuration itself: no other did better when retrained."
