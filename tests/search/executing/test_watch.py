"""The driver leaves Ray Tune's loop if Ray is lost, and is ended if it hangs or is told twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from shiftsearch.search.executing import watch as module
from shiftsearch.search.executing.signals import ENDING
from shiftsearch.search.executing.watch import RayLost, Watch, check_alive, watched

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short patience, and handlers that note nothing, as the driver's leave a blocking call."""
    monkeypatch.setattr(module, "EVERY", 0.01)
    monkeypatch.setattr(module, "SAME", 0.2)
    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, lambda *_: None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Ended:
    """Instead of the end of the process."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.came = threading.Event()

    def __call__(self, why: str) -> None:
        self.reasons.append(why)
        self.came.set()


def nothing() -> str:
    return ""


def test_a_lost_ray_ends_the_loop_and_a_call_that_does_not_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE_LOST", 0.1)
    ended, reasons = Ended(), [""]
    with watched(lambda: reasons[0], ended):
        check_alive()
        reasons[0] = "the raylet has ended"
        with pytest.raises(RayLost, match="raylet"):
            check_alive()
        assert not issubclass(RayLost, Exception)  # Ray Tune catches those, and waits
        assert ended.came.wait(5)
    assert ended.reasons == ["the raylet has ended"]
    check_alive()  # and afterwards nothing is watched


@pytest.mark.parametrize("last", ENDING)
def test_a_second_signal_ends_at_once_but_not_one_that_belongs_to_the_first(last: int) -> None:
    ended = Ended()
    with Watch(nothing, ended):
        for number in (signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert not ended.came.wait(0.3)
        os.kill(os.getpid(), last)
        assert ended.came.wait(5)
    assert len(ended.reasons) == 1


def test_after_a_signal_the_main_thread_has_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SIGNAL", 0.1)
    ended = Ended()
    with Watch(nothing, ended):
        assert not ended.came.wait(0.3)
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.came.wait(5)
    assert len(ended.reasons) == 1


def test_ray_s_end_on_purpose_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_LOST", 0.0)
    ended, reasons = Ended(), [""]
    with Watch(lambda: reasons[0], ended) as watch:
        watch.ray_ends()
        reasons[0] = "the raylet has ended"
        assert not ended.came.wait(0.2)


@pytest.mark.parametrize("end", [None, Ended()], ids=["another's process", "own process"])
def test_the_process_s_own_wakeup_descriptor_comes_back(end: Callable[[str], None] | None) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)
    try:
        with Watch(nothing, end):
            time.sleep(0.02)
        assert signal.set_wakeup_fd(before) == write
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)
