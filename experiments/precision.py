"""Warns if the trials of one run are computed in more than one number format (dtype)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shiftsearch.experiments.live.listeners import harmless
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.jobs import End, Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.study.formats import Formats, dtypes_of


class Precision:
    """A `search.executing.jobs.Listener` that warns once of each change of dtype.

    Args:
        formats: the dtypes that the study has recorded.
        warn: called with the line.
    """

    def __init__(self, formats: Formats, warn: Callable[[str], None]) -> None:
        self._formats, self._warn = formats, warn
        self._heard: list[tuple[str, str]] = []  # dtype and job, until they are recorded

    def recall(self) -> None:
        """Warn if the run is mixed already; at the start of every call."""
        if len(self._formats.seen) > 1:
            self._say(f"were computed in {' and '.join(self._formats.seen)}")

    def chosen(self, dtype: str, by: str = "this machine") -> None:
        """Record a dtype that is used from now on or was used by a worker; warn if it is new.

        Args:
            dtype: "bfloat16" or "float32".
            by: what uses it, in words.
        """
        before = self._formats.seen
        if self._formats.note(dtype) and before:
            self._say(f"were computed in {' and '.join(before)}, now {by} computes in {dtype}")

    def settle(self) -> None:
        """Record the dtypes of workers since the last call; called in every step of the driver.

        A listener must not write to the study itself. Its exceptions are ignored, so after a
        failed write the driver would append to a journal that ends with half a line.

        Raises:
            OSError: the study's journal cannot be written.
        """
        while self._heard:
            self.chosen(*self._heard.pop(0))

    def _say(self, what: str) -> None:
        self._warn(
            f"dtype: trials of this run {what} (with dtype auto each machine chooses its own); "
            "accuracies differ a little between dtypes"
        )

    # ---- Listener

    @harmless
    def started(self, job: Job) -> None:
        """Do nothing."""

    @harmless
    def placed(self, job: Job, place: Place) -> None:
        """Do nothing."""

    @harmless
    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Do nothing."""

    @harmless
    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """Keep the worker's dtype for `settle` if it is new."""
        for dtype in dtypes_of(result):
            if dtype not in self._formats.seen:
                self._heard.append((dtype, f"the worker of {job.name}"))
