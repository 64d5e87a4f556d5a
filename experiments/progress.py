"""What a person sees while a search runs: a live view in a terminal, plain lines elsewhere.

The live view redraws a few lines in place; phases, failures and lost workers are printed above
it and stay. In a pipe or a log file there is one line per event and no control character.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.listeners import harmless
from experiments.wording import duration, one_line, percent
from search.jobs import Job
from search.records import TrialRecord

_SHOWN = 8
"""Running jobs that the live view lists; the rest are counted."""


@dataclass
class _Running:
    """A job under way, by the driver's monotonic clock."""

    since: float
    stage: str = ""
    epoch: int = 0
    accuracy: float | None = None


@dataclass(frozen=True)
class _Best:
    """The incumbent: accuracies on the selection part before and after fine-tuning."""

    name: str
    before: float
    after: float

    def __str__(self) -> str:
        return (
            f"{self.name}, {percent(self.before)} -> {percent(self.after)} on TEST2, "
            "selection part"
        )


class Progress:
    """A `search.jobs.Listener` and a context manager around everything it is told.

    Contract: one thread tells it; the live view's thread only reads, under the lock.

    Args:
        console: where to write; a live view if it is a terminal.
        concurrency: how many jobs run at once, for the time left.
        trials: known when the run is continued: their best, times and failures count.
    """

    def __init__(
        self, console: Console, concurrency: int, trials: Sequence[TrialRecord] = ()
    ) -> None:
        self._console, self._concurrency = console, concurrency
        self._lock = threading.Lock()
        self._phase, self._total, self._done = "", 0, 0
        self._failed = self._lost = 0
        self._began = time.monotonic()
        self._running: dict[str, _Running] = {}
        self._seconds: list[float] = []
        self._best: _Best | None = None
        for trial in trials:
            if trial.result is not None:
                self._seconds.append(trial.seconds or 0.0)
                self._note_best(Job("search", trial.number, 0, {}), trial.result)
        self._failed_before = sum(trial.state == "fail" for trial in trials)
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(
                console=console,
                get_renderable=self._view,
                refresh_per_second=4,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    @harmless
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._close_phase()

    @harmless
    def phase(self, name: Literal["search", "retrain"], total: int, done: int) -> None:
        """A phase begins.

        Args:
            name: of the jobs' phase.
            total: jobs that are to be complete at its end.
            done: of these, complete already.
        """
        self._close_phase()
        with self._lock:
            self._phase, self._total, self._done = name, total, done
            self._failed = self._failed_before if name == "search" else 0
            self._lost = 0
            self._running.clear()
            self._began = time.monotonic()
        counts = f"{done} of {total} done" + self._troubles()
        self._say(f"{name}: {counts}; {self._concurrency} at once", stays=True)

    # ---- Listener

    @harmless
    def started(self, job: Job) -> None:
        """Show it among the running."""
        with self._lock:
            self._running[job.name] = _Running(time.monotonic())

    @harmless
    def placed(self, job: Job, node: str, device: str) -> None:
        """Nothing yet."""

    @harmless
    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Show how far it is."""
        with self._lock:
            running = self._running[job.name]
            running.stage, running.epoch = stage, int(row["epoch"])
            running.accuracy = row["validation_accuracy"]

    @harmless
    def ended(self, job: Job, state: str, detail: str, result: Mapping[str, Any] | None) -> None:
        """Count it, and say what became of it."""
        with self._lock:
            seconds = time.monotonic() - self._running.pop(job.name).since
            what = self._count(job, state, one_line(detail), result, seconds)
        counts = f"{self._done} of {self._total} done" + self._troubles() + self._left()
        self._say(f"{job.name} {what}; {counts}", stays=state not in ("complete", "pruned"))

    def _count(
        self,
        job: Job,
        state: str,
        reason: str,
        result: Mapping[str, Any] | None,
        seconds: float,
    ) -> str:
        own = job.phase == self._phase  # not a repeat in the middle of the search
        if state == "lost":
            self._lost += 1
            return f"lost its worker after {duration(seconds)} ({reason})"
        if state == "pruned":
            self._done += own
            self._seconds += [seconds] * own
            return f"stopped after {duration(seconds)}: {reason}"
        if result is None:
            self._failed += own
            return f"failed after {duration(seconds)}: {reason}"
        self._done += own
        self._seconds += [seconds] * own
        before, after = _accuracies(result)
        best = job.phase == "search" and self._note_best(job, result)
        return (
            f"complete in {duration(seconds)}: TEST2, selection part, {percent(before)} -> "
            f"{percent(after)}" + (", the best so far" if best else "")
        )

    def _note_best(self, job: Job, result: Mapping[str, Any]) -> bool:
        before, after = _accuracies(result)
        if self._best is not None and after <= self._best.after:
            return False
        self._best = _Best(job.name, before, after)
        return True

    # ---- words

    def _say(self, line: str, *, stays: bool) -> None:
        """A plain line; in a terminal only what `stays`, above the live view."""
        if self._live is None or stays:
            self._console.print(Text(line), soft_wrap=True)

    def _close_phase(self) -> None:
        if self._phase:
            took = duration(time.monotonic() - self._began)
            best = f"; best: {self._best}" if self._best and self._phase == "search" else ""
            ended = f"{self._done} of {self._total} done" + self._troubles()
            self._say(f"{self._phase} ended after {took}: {ended}{best}", stays=True)
        self._phase = ""

    def _troubles(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return failed + (f", {self._lost} lost and handed out again" if self._lost else "")

    def _left(self) -> str:
        seconds = self._seconds_left()
        return "" if seconds is None else f", about {duration(seconds)} left"

    def _seconds_left(self) -> float | None:
        """From the median time of a job; None before the first has ended or when none is left."""
        # A failed trial of the search is made up for by another one, a failed replicate is not.
        closed = self._done + (self._failed if self._phase == "retrain" else 0)
        jobs = self._total - closed
        if not self._seconds or jobs <= 0:
            return None
        each, now = statistics.median(self._seconds), time.monotonic()
        behind = sum(min(each, now - running.since) for running in self._running.values())
        return max(0.0, each * jobs - behind) / min(jobs, self._concurrency)

    # ---- the live view

    def _view(self) -> RenderableType:
        with self._lock:
            head = Table.grid(padding=(0, 2))
            head.add_row(
                Text(self._phase or "starting", style="bold"),
                ProgressBar(max(1, self._total), self._done, width=30),
                Text(f"{self._done} of {self._total} done"),
                Text(self._troubles().removeprefix(", "), style="yellow"),
                Text(self._left().removeprefix(", "), style="dim"),
            )
            jobs = Table.grid(padding=(0, 2), pad_edge=True)
            for name, running in list(self._running.items())[:_SHOWN]:
                jobs.add_row(Text(name), *_state(running))
            more = len(self._running) - _SHOWN
            if more > 0:
                jobs.add_row(Text(f"and {more} more", style="dim"))
            shown: list[RenderableType] = [head]
            if self._running:
                shown.append(jobs)
            if self._best is not None:
                shown.append(Text(f"best so far: {self._best}", style="green"))
        return Group(*shown)


def _state(running: _Running) -> tuple[Text, Text, Text]:
    if not running.stage:
        return Text("starting", style="dim"), Text(), Text()
    validation = f"validation {percent(running.accuracy)}"
    rung = running.stage.removeprefix("rung_")
    stage = running.stage if rung == running.stage else f"fine_tune, rung {rung}"
    return Text(stage), Text(f"epoch {running.epoch}"), Text(validation, style="dim")


def _accuracies(result: Mapping[str, Any]) -> tuple[float, float]:
    """On TEST2 before and after fine-tuning, in 0..1."""
    return result["baseline"]["test2"]["accuracy"], result["test2_accuracy"]
