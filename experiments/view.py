"""One screen about a search, drawn from a board's snapshot: while it runs and from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.wording import duration, interval, percent

_MOST_ENDED, _MOST_FAILURES, _LEAST_RUNNING = 4, 3, 2
_UNLIMITED = 1000
"""Lines of what is no terminal."""


class View:
    """A snapshot, or the document of `experiments.status`, for rich.

    No more lines than the terminal has: of the jobs that run, end or fail, the others are counted
    or left out. No line is wrapped.
    """

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        snapshot = self._snapshot
        height = console.height - 1 if console.is_terminal else _UNLIMITED
        head: list[RenderableType] = [_headline(snapshot)]
        head += [_cut(line) for line in _head(snapshot)]
        if "driver" in snapshot:
            said = Text(snapshot["driver"]["text"], style="dim")
            head = [_cut(Text(snapshot["run"])), *said.wrap(console, options.max_width), *head]
        tail = [_cut(Text(line)) for line in result_lines(snapshot)]
        running, ended = snapshot["running"], snapshot["ended"][::-1]
        failures = snapshot["failures"][::-1]
        room = height - len(head) - len(tail) - sum(map(bool, (running, ended, failures)))
        failures = failures[: min(_MOST_FAILURES, max(0, room - _LEAST_RUNNING))]
        room -= len(failures)
        ended = ended[: min(_MOST_ENDED, max(0, room - min(len(running), _LEAST_RUNNING)))]
        room -= len(ended)
        yield from head
        yield from _block("running", _running_rows(running, max(1, room)))
        yield from _block("ended", [_ended_row(job) for job in ended])
        yield from _block("failures", [_failure_row(job) for job in failures])
        yield from tail


def _cut(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _block(title: str, rows: Sequence[Sequence[Text]]) -> Iterator[RenderableType]:
    if not rows:
        return
    yield Text(title, style="bold")
    table = Table.grid(padding=(0, 2, 0, 0))
    widths = len(rows[0])
    for index in range(widths + 1):
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1 if index == widths else None)
    for row in rows:
        table.add_row("", *row)
    yield table


# ---- above


def _headline(snapshot: Mapping[str, Any]) -> RenderableType:
    counts, phase = snapshot["counts"], snapshot["phase"]
    words = {"concluding": "scoring, exporting, reporting", "ended": snapshot["outcome"]}
    row: list[RenderableType] = [Text(words.get(phase) or phase, style="bold")]
    grid = Table.grid(padding=(0, 2, 0, 0))
    if phase != "concluding":
        row += [
            ProgressBar(max(1, counts["wanted"]), counts["done"], width=24),
            Text(f"{counts['done']} of {counts['wanted']} done"),
        ]
    row.append(Text(left(snapshot), style="dim"))
    for _ in row:
        grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(*row)
    return grid


def _head(snapshot: Mapping[str, Any]) -> Iterator[Text]:
    counts = snapshot["counts"]
    pruned = [f"{counts['pruned']} stopped at a rung"] if counts["pruned"] else []
    trouble = [*pruned, *troubles(counts)]
    if trouble:
        yield Text(", ".join(trouble), style="yellow")
    if counts["running"]:
        yield Text(_places(snapshot), style="dim")
    if snapshot["stop_reason"]:
        yield Text(f"no more trials are asked for: {snapshot['stop_reason']}")
    if snapshot["message"]:
        yield Text(snapshot["message"], style="red")
    if snapshot["best"] is not None:
        best = "best of the search" if snapshot["outcome"] == "complete" else "best so far"
        yield Text(f"{best}: {best_line(snapshot['best'])}", style="green")


def best_line(best: Mapping[str, Any]) -> str:
    """The best trial: accuracies before and after fine-tuning."""
    return (
        f"{best['name']}, {percent(best['before'])} -> {percent(best['after'])} on TEST2, "
        "selection part"
    )


def troubles(counts: Mapping[str, int]) -> list[str]:
    """What went wrong so far, in words."""
    lost = [f"{counts['lost']} lost and handed out again"] if counts["lost"] else []
    return [*([f"{counts['failed']} failed"] if counts["failed"] else []), *lost]


def left(snapshot: Mapping[str, Any]) -> str:
    """How long it still takes, in words; empty where unknown."""
    seconds = snapshot["seconds_left"]
    return "" if seconds is None else f"about {duration(seconds)} left"


def counts_line(snapshot: Mapping[str, Any]) -> str:
    """How many jobs are done, and what went wrong."""
    counts = snapshot["counts"]
    return ", ".join([f"{counts['done']} of {counts['wanted']} done", *troubles(counts)])


def _places(snapshot: Mapping[str, Any]) -> str:
    """Workers and devices in use."""
    if snapshot["concurrency"] is None:  # all that the study knows
        return f"open trials: {snapshot['counts']['running']}"
    places = [
        f"{place['jobs']} on {place['node']} ({place['device']})" for place in snapshot["workers"]
    ]
    workers = f"{snapshot['counts']['running']} of {snapshot['concurrency']} workers busy"
    return f"{workers}: {', '.join(places)}" if places else workers


# ---- rows


def _running_rows(running: Sequence[Mapping[str, Any]], most: int) -> list[list[Text]]:
    """Those that fit, the longest under way first, and how many do not."""
    shown = running if len(running) <= most else running[: most - 1]
    rows = []
    places = len({(job["node"], job["device"]) for job in running}) > 1
    for job in shown:
        stage, epoch = job["stage"], ""
        if stage:
            rung = stage.removeprefix("rung_")
            stage = stage if rung == stage else f"fine_tune, rung {rung}"
            epoch = f"epoch {job['epoch']}"
            epoch += f" of {job['max_epochs']}" if job["max_epochs"] else ""
        accuracy = job["validation_accuracy"]
        rows.append(
            [
                Text(job["name"]),
                Text(stage or "starting", style="" if stage else "dim"),
                Text(epoch),
                Text("" if accuracy is None else percent(accuracy)),
                Text(duration(job["seconds"]), style="dim"),
                Text(_origin(job), style="dim"),
                *([Text(f"{job['node']} {job['device']}", style="dim")] if places else []),
            ]
        )
    if len(shown) < len(running):
        cells = len(rows[0]) if rows else 1
        more = Text(f"and {len(running) - len(shown)} more", style="dim")
        rows.append([more, *([Text()] * (cells - 1))])
    return rows


def _origin(job: Mapping[str, Any]) -> str:
    return "" if job["branch_of"] is None else f"branch of {job['branch_of']}"


def _ended_row(job: Mapping[str, Any]) -> list[Text]:
    what = f"{percent(job['before'])} -> {percent(job['after'])}"
    if job["state"] == "pruned":
        what = job["reason"]
    return [
        Text(job["name"]),
        Text(what),
        Text(duration(job["seconds"]), style="dim"),
        Text("best so far" if job["best"] else "", style="green"),
    ]


def _failure_row(job: Mapping[str, Any]) -> list[Text]:
    state = "lost its worker" if job["state"] == "lost" else job["state"]
    return [Text(job["name"]), Text(f"{state}: {job['reason']}", style="yellow")]


# ---- below: what `experiments.status` adds


def result_lines(document: Mapping[str, Any]) -> list[str]:
    """What came out, and where it lies; nothing while it runs."""
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
            )
    places = (("report", result["report"]), ("model", result["bundle"]))
    return lines + [f"{name}: {path}" for name, path in places if path]
