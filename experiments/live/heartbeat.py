"""`RUN/status.json`, written by the driver while it runs.

A thread of its own writes the `Board`'s snapshot, every two seconds while anything changes, and
otherwise every ten seconds as a sign of life. Read by `experiments.live.signs`.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from shiftsearch.data.os_errors import said
from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.exits import end_at_once
from shiftsearch.experiments.live.board import Board
from shiftsearch.experiments.live.signs import this_process

_LOG = logging.getLogger(__name__)

EVERY, AT_LEAST_EVERY = 2.0, 10.0
"""Seconds between two writes while anything changes, and while nothing changes."""


class Heartbeat:
    """A context manager around the driver's work: writes `status.json` until the work ends.

    If a write fails (a full disk), this is logged once and the search goes on. An exception in the
    work closes the board: KeyboardInterrupt as interrupted, any other as an error.
    """

    def __init__(self, path: Path, board: Board) -> None:
        self._path, self._board = path, board
        self._process, self._beat, self._complained = this_process(), 0, False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status.json", daemon=True)

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._board.close("interrupted")
        elif error is not None:
            self._board.close("error", f"{type(error).__name__}: {error}")
        self._over.set()
        self._thread.join(timeout=AT_LEAST_EVERY)
        if not self._thread.is_alive():  # otherwise the file system hangs, and a write would too
            self._write()

    def end_at_once(self, why: str) -> NoReturn:
        """End the process, see `experiments.exits.end_at_once`; the status says why."""
        end_at_once(self._interrupt, why)

    def _interrupt(self, why: str) -> None:
        self._board.close("interrupted", why)
        self._write()

    def _run(self) -> None:
        version, written = self._board.version, time.monotonic()
        while not self._over.wait(EVERY):
            now = time.monotonic()
            if self._board.version != version or now - written > AT_LEAST_EVERY - EVERY:
                version, written = self._board.version, now
                self._write()

    def _write(self) -> None:
        try:
            if not self._path.parent.is_dir():  # otherwise the write would make the folder again
                raise FileNotFoundError(errno.ENOENT, "the run folder is gone")
            self._beat += 1
            content = {
                **self._board.snapshot(),
                "written": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "beat": self._beat,
                "process": self._process,
            }
            write_atomically(self._path, json.dumps(content, indent=1, allow_nan=False).encode())
        except Exception as error:
            if not self._complained:
                why = said(error) if isinstance(error, OSError) else error
                _LOG.warning("%s cannot be written (%s); the search goes on", self._path, why)
            self._complained = True
        else:
            self._complained = False
