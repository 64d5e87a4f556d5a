"""Time as the tests want it."""

from __future__ import annotations

import pytest

from shiftsearch.experiments.live import board, progress


class Clock:
    """`time.monotonic` under the test's control, in seconds."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (board, progress):
        monkeypatch.setattr(module, "time", clock)
    return clock
