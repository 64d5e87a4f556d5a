"""A board's snapshot as one screen, for the live view and for `shiftsearch status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shiftsearch.experiments.outcome.result_rows import in_words
from shiftsearch.experiments.outcome.whereabouts import host_names
from shiftsearch.experiments.wording import counted, duration, interval, percent
from shiftsearch.model.objective import ACCURACY, OBJECTIVES

_MOST_ENDED, _MOST_FAILURES, _LEAST_RUNNING = 4, 3, 2
_RUNNING = {"running": 10, "stage": 9, "epoch": 8, "validation": 10, "for": 8, "baseline of": 0}
_ENDED = {"ended": 10, "TEST2, selection part": 21, "in": 8, "": 0}
"""Columns and their least widths, in characters."""

_WIDE = 70
"""Least width in characters for a bar beside the text."""

_UNLIMITED = 1000
"""Number of lines if the output is not a terminal."""


class View:
    """A snapshot, or a document of `experiments.live.status`, that rich can print.

    It has no more lines than the terminal. Running jobs that do not fit are counted; older ended
    and failed jobs are left out. No line is wrapped, and in a pipe only tables cut lines.
    """

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        snapshot = self._snapshot
        height = console.height - 1 if console.is_terminal else _UNLIMITED
        bar = console.is_terminal and options.max_width >= _WIDE
        head: list[RenderableType] = [_headline(snapshot, bar=bar)]
        cut = _cut if console.is_terminal else _whole
        head += [cut(line) for line in _head(snapshot)]
        if "driver" in snapshot:
            said = Text(snapshot["driver"]["text"], style="dim")
            told = said.wrap(console, options.max_width) if console.is_terminal else [_whole(said)]
            head = [cut(Text(snapshot["run"])), *told, *head]
            head += [_whole(Text(line, style="red")) for line in snapshot["damage"]]
        tail = [_whole(Text(line)) for line in result_lines(snapshot)]  # whole, to copy the paths
        running, ended = snapshot["running"], snapshot["ended"][::-1]
        failures = snapshot["failures"][::-1]
        room = height - len(head) - len(tail) - sum(map(bool, (running, ended, failures)))
        most = _MOST_FAILURES if console.is_terminal else len(failures)
        failures = failures[: min(most, max(0, room - _LEAST_RUNNING))]
        room -= len(failures)
        ended = ended[: min(_MOST_ENDED, max(0, room - min(len(running), _LEAST_RUNNING)))]
        room -= len(ended)
        yield from head
        best = (snapshot["best"] or {}).get("name")
        yield from _block(_RUNNING, _running_rows(running, max(1, room)))
        yield from _block(_ENDED, [_ended_row(job, job["name"] == best) for job in ended])
        if failures:
            yield Text("failures", style="bold")
            yield from (cut(_failure(job)) for job in failures)
        yield from tail


def _cut(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _whole(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ignore"
    return line


def _block(headers: Mapping[str, int], rows: Sequence[Sequence[Text]]) -> Iterator[Table]:
    """A table, or nothing without rows; least widths keep the columns in place."""
    if rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for header, width in headers.items():
            # If there is too little room, only a column that may be wrapped becomes narrower.
            table.add_column(header, no_wrap=width > 0, min_width=width)
        for row in rows:
            table.add_row(*map(_cut, row))
        yield table


# ---- lines above the tables


def _headline(snapshot: Mapping[str, Any], *, bar: bool) -> RenderableType:
    counts, phase = current_counts(snapshot), snapshot["phase"]
    words = {"concluding": "scoring, exporting, reporting", "ended": snapshot["outcome"]}
    row: list[RenderableType] = [Text(words.get(phase) or phase, style="bold")]
    grid = Table.grid(padding=(0, 2, 0, 0))
    if phase != "concluding":
        row += [ProgressBar(max(1, counts["wanted"]), counts["done"], width=24)] * bar
        row.append(Text(f"{counts['done']} of {counts['wanted']} done"))
    about = left(snapshot)
    if phase == "ended" and snapshot["seconds"] is not None:
        about = f"in {duration(snapshot['seconds'])}"
    for cell in row:  # if there is too little room, only the last column becomes narrower
        width = len(cell) if isinstance(cell, Text) else None
        grid.add_column(no_wrap=True, overflow="ellipsis", min_width=width)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(*row, Text(about, style="dim"))
    return grid


def _head(snapshot: Mapping[str, Any]) -> Iterator[Text]:
    counts = current_counts(snapshot)
    pruned = [f"{counts['pruned']} stopped early"] if counts["pruned"] else []
    trouble = [*pruned, *troubles(counts)]
    if trouble:
        yield Text(", ".join(trouble), style="yellow")
    if _open(snapshot["counts"]):
        yield Text(_places(snapshot), style="dim")
    if did := _did(snapshot):
        yield Text(did, style="dim")
    if snapshot["retrain"] is not None and snapshot["outcome"] not in (None, "complete"):
        retrain = snapshot["retrain"]
        yield Text(f"retraining: {retrain['done']} of {retrain['wanted']} done")
    if snapshot["stop_reason"]:
        yield Text(f"no more trials are asked for: {snapshot['stop_reason']}")
    if snapshot["message"]:
        yield Text(snapshot["message"], style="red")
    if snapshot["best"] is not None:
        best = "best of the search" if snapshot["outcome"] == "complete" else "best so far"
        yield Text(f"{best}: {best_line(snapshot)}", style="green")


def best_line(snapshot: Mapping[str, Any]) -> str:
    """The best trial of a snapshot that has one: its objective before and after fine-tuning."""
    best, name = snapshot["best"], snapshot.get("objective", ACCURACY.name)
    what = "" if name == ACCURACY.name else f"{OBJECTIVES[name].title} "
    return (
        f"{best['name']}, {what}{percent(best['before'])} -> {percent(best['after'])} on TEST2, "
        "selection part"
    )


def current_counts(snapshot: Mapping[str, Any]) -> Mapping[str, int]:
    """Counts of retraining during that phase, else of the search."""
    counts = snapshot["retrain"] if snapshot["phase"] == "retrain" else None
    found: Mapping[str, int] = counts or snapshot["counts"]
    return found


def troubles(counts: Mapping[str, int]) -> list[str]:
    """The numbers of failed, lost and refused jobs, in words."""
    words = {"failed": "failed", "lost": "lost and handed out again", "refused": "refused"}
    # Drivers of earlier versions counted no refused ones.
    return [f"{counts[key]} {said}" for key, said in words.items() if counts.get(key)]


def _open(counts: Mapping[str, int]) -> int:
    """Jobs that run or wait; drivers of earlier versions counted no waiting ones."""
    return counts["running"] + counts.get("waiting", 0)


def left(snapshot: Mapping[str, Any]) -> str:
    """The time left in the phase, in words; empty if unknown."""
    seconds = snapshot["seconds_left"]
    if snapshot["stop_reason"] and snapshot["phase"] == "search":
        return f"stopping, {_open(snapshot['counts'])} still running"
    if seconds is None:
        return ""
    return f"about {duration(seconds)} left" if seconds >= 5 else "a few seconds left"


def counts_line(snapshot: Mapping[str, Any]) -> str:
    """How many jobs are done, failed, lost and refused."""
    counts = current_counts(snapshot)
    return ", ".join([f"{counts['done']} of {counts['wanted']} done", *troubles(counts)])


def _places(snapshot: Mapping[str, Any]) -> str:
    """Workers and devices in use."""
    if snapshot["concurrency"] is None:  # the snapshot was made from the study
        return f"open trials: {snapshot['counts']['running']}"
    places = [f"{place['jobs']} on {name}" for name, place in _named(snapshot, "workers")]
    counts = snapshot["counts"]
    workers = f"{counts['running']} of {snapshot['concurrency']} workers busy"
    if waiting := counts.get("waiting", 0):
        workers += f", {counted(waiting, 'trial')} waiting for one"
    return f"{workers}: {', '.join(places)}" if places else workers


def _named(snapshot: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The places under a key, each with its name, which is the same under all keys."""
    names = host_names(
        _node(place) for k in ("workers", "places") for place in snapshot.get(k, ())
    )
    found = snapshot.get(key, ())  # drivers of earlier versions wrote no `places`
    return [(f"{names[_node(place)]} ({place['device']})", place) for place in found]


def _node(place: Mapping[str, Any]) -> tuple[str, str]:
    return place["node"], place.get("node_id", "")  # drivers of earlier versions wrote no ids


def _did(snapshot: Mapping[str, Any]) -> str:
    """What each place has done; empty unless there are several."""
    places = _named(snapshot, "places")
    if len(places) < 2:
        return ""
    return "so far: " + ", ".join(
        f"{place['jobs']} on {name} in {duration(place['seconds'])}" for name, place in places
    )


# ---- rows


def _running_rows(running: Sequence[Mapping[str, Any]], most: int) -> list[list[Text]]:
    """Rows for the jobs that fit, the longest running first, and a count of the others."""
    shown = running if len(running) <= most else running[: most - 1]
    rows = [
        [
            Text(job["name"]),
            Text(_stage(job), style="" if job["stage"] else "dim"),
            Text(_epoch(job)),
            Text(percent(job["validation_accuracy"]) if job["stage"] else ""),
            Text(duration(job["seconds"]), style="dim"),
            Text(_origin(job), style="dim"),
        ]
        for job in shown
    ]
    if len(shown) < len(running):
        rows.append([Text(f"and {len(running) - len(shown)} more", style="dim")])
    return rows


def _stage(job: Mapping[str, Any]) -> str:
    stage: str = job["stage"]
    if not stage:  # drivers of earlier versions wrote no state
        return "waiting" if job.get("state") == "waiting" else "starting"
    if stage in ("baseline", "fine_tune"):
        return stage
    return f"fine_tune, {stage.replace('_', ' ')}"  # at a rung


def _epoch(job: Mapping[str, Any]) -> str:
    if not job["stage"]:
        return ""
    return f"{job['epoch']}" + (f" of {job['max_epochs']}" if job["max_epochs"] else "")


def _origin(job: Mapping[str, Any]) -> str:
    return "" if job["branch_of"] is None else f"trial {job['branch_of']}"


def _ended_row(job: Mapping[str, Any], best: bool) -> list[Text]:
    what = f"{percent(job['before'])} -> {percent(job['after'])}"
    if job["state"] == "pruned":
        what = job["reason"]
    return [
        Text(job["name"]),
        Text(what),
        Text(duration(job["seconds"]), style="dim"),
        Text("best" if best else "", style="green"),
    ]


def _failure(job: Mapping[str, Any]) -> Text:
    return Text.assemble(f"{job['name']}  ", (f"{job['state']}: {job['reason']}", "yellow"))


# ---- lines below the tables, which only `experiments.live.status` has


def result_lines(document: Mapping[str, Any]) -> list[str]:
    """The final accuracies and the paths of report and model; empty while the run goes on."""
    result = document.get("result")
    if result is None:
        return []
    lines = []
    for name in ("winner", "reference"):
        row = result[name]
        if row is not None:
            lines.append(
                f"{name}: trial {row['number']}, {percent(row['accuracy'])} "
                f"{interval(row['interval'])} on TEST2 ({row['label']}, n = {row['n']})"
                + "".join(f"; {words}" for words in in_words(row.get("scores", {})))
            )
    places = (("report", result["report"]), ("model", result["bundle"]))
    return lines + [f"{name}: {path}" for name, path in places if path]
