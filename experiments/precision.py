"""Says when one run's trials are computed in more than one number format (dtype)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shiftsearch.experiments.live.listeners import harmless
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.study.formats import Formats, dtypes_of


class Precision:
    """A `search.executing.jobs.Listener` that warns of a change, once.

    Args:
        formats: of the study.
        warn: is given the line.
    """

    def __init__(self, formats: Formats, warn: Callable[[str], None]) -> None:
        self._formats, self._warn = formats, warn
        self._heard: list[tuple[str, str]] = []  # dtype and job, until the study is written to

    def recall(self) -> None:
        """At the start of every call: say whether the run is mixed already."""
        if len(self._formats.seen) > 1:
            self._say(f"were computed in {' and '.join(self._formats.seen)}")

    def chosen(self, dtype: str, by: str = "this machine") -> None:
        """Trials are computed in `dtype` from now on, or were by a worker; say it if that is new.

        Args:
            dtype: "bfloat16" or "float32".
            by: who chose it.
        """
        before = self._formats.seen
        if self._formats.note(dtype) and before:
            self._say(f"were computed in {' and '.join(before)}, now {by} computes in {dtype}")

    def settle(self) -> None:
        """Record and say what workers told since the last call; for every step of the driver.

        A listener may not write to the study itself: what it raises is let pass, and the driver
        would go on writing to a journal with half a line in it.

        Raises:
            OSError: the study's journal cannot be written.
        """
        while self._heard:
            self.chosen(*self._heard.pop(0))

    def _say(self, what: str) -> None:
        self._warn(
            f"dtype: trials of this run {what} (with dtype auto each machine "
            "chooses); such accuracies differ a little even where nothing else does"
        )

    # ---- Listener

    @harmless
    def started(self, job: Job) -> None:
        """Nothing yet."""

    @harmless
    def placed(self, job: Job, node: str, device: str) -> None:
        """Nothing yet."""

    @harmless
    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Nothing yet."""

    @harmless
    def ended(self, job: Job, state: str, detail: str, result: ProtocolResult | None) -> None:
        """Keep what the worker computed in for `settle`, if that is new."""
        for dtype in dtypes_of(result):
            if dtype not in self._formats.seen:
                self._heard.append((dtype, f"the worker of {job.name}"))
