"""The progress of a search: a live view in a terminal, plain lines elsewhere.

The live view redraws one screen in place. Only the beginning and end of phases, with their
failures, are printed above it. In a pipe or a log file there is one line per event, without
control characters.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.listeners import harmless
from shiftsearch.experiments.live.view import View, best_line, counts_line, left
from shiftsearch.experiments.wording import duration, percent
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import End, Job
from shiftsearch.search.executing.places import Place


class Progress:
    """A `search.executing.jobs.Listener` and a context manager around the phases.

    It passes each event to the board, and then shows the board's state.

    Args:
        console: where to write; a live view if it is a terminal.
        board: the run's board.
    """

    def __init__(self, console: Console, board: Board) -> None:
        self._console, self._board = console, board
        self._phase, self._began = "", 0.0
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(
                console=console,
                get_renderable=lambda: View(board.snapshot()),
                refresh_per_second=1,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    @harmless
    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
        self._close_phase()

    @harmless
    def phase(self, name: Literal["search", "retrain"], total: int, done: int) -> None:
        """A phase begins.

        Args:
            name: name of the phase.
            total: number of jobs to complete in it.
            done: number of these jobs that are complete already.
        """
        self._close_phase()
        self._board.enter(name, total, done)
        self._phase, self._began = name, time.monotonic()
        snapshot = self._board.snapshot()
        self._say(
            f"{name}: {counts_line(snapshot)}; {snapshot['concurrency']} at once", stays=True
        )

    # ---- Listener

    @harmless
    def started(self, job: Job) -> None:
        """Tell the board."""
        self._board.started(job)

    @harmless
    def placed(self, job: Job, place: Place) -> None:
        """Tell the board."""
        self._board.placed(job, place)

    @harmless
    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Tell the board."""
        self._board.epoch(job, stage, row)

    @harmless
    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """Tell the board, and say how the job ended."""
        self._board.ended(job, state, detail, result)
        snapshot = self._board.snapshot(running=False)
        about = left(snapshot)
        about = f", {about}" if about else ""
        self._say(f"{_became(self._board.latest)}; {counts_line(snapshot)}{about}", stays=False)

    # ---- text

    def _say(self, line: str, *, stays: bool) -> None:
        """Print a line; in a terminal only if it `stays` above the live view."""
        if self._live is None or stays:
            self._console.print(Text(line), soft_wrap=True)

    def _close_phase(self) -> None:
        if not self._phase:
            return
        snapshot, took = self._board.snapshot(), duration(time.monotonic() - self._began)
        best = ""
        if self._phase == "search" and snapshot["best"] is not None:
            best = f"; best: {best_line(snapshot)}"
        self._say(f"{self._phase} ended after {took}: {counts_line(snapshot)}{best}", stays=True)
        if self._live is not None:  # in a pipe they have been printed already
            for failure in snapshot["failures"]:
                if failure["phase"] == self._phase:
                    self._say(f"  {_became(failure)}", stays=True)
        self._phase = ""


def _became(job: Mapping[str, Any]) -> str:
    """How a job ended, in one line.

    Args:
        job: a job in the form of the board's `latest`.
    """
    took = duration(job["seconds"])
    match job["state"]:
        case "pruned":
            return f"{job['name']} stopped after {took}: {job['reason']}"
        case "failed" | "lost" as state:
            return f"{job['name']} {state} after {took}: {job['reason']}"
    return (
        f"{job['name']} complete in {took}: TEST2, selection part, {percent(job['before'])} -> "
        f"{percent(job['after'])}" + (", the best so far" if job["best"] else "")
    )
