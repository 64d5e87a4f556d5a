"""The first signal ends a search in order, and further ones change nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from shiftsearch.search.executing.signals import ended_calmly, ignored

pytestmark = pytest.mark.unit

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGUSR1)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_is_passed_to_ray_and_noted_however_often_it_comes(number: int) -> None:
    heard: list[int] = []
    before = signal.getsignal(number)
    with ended_calmly() as came:
        signal.raise_signal(signal.SIGUSR1)  # until Ray listens, it would end the process
        assert not came.is_set()
        signal.signal(signal.SIGUSR1, lambda n, frame: heard.append(n))  # as Ray does
        for _ in range(5):
            signal.raise_signal(number)
        assert came.is_set()
    assert heard == [signal.SIGUSR1] * 5
    assert signal.getsignal(number) is before


def test_in_the_background_sigint_counts_and_under_nohup_sighup_does_not() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    with ended_calmly() as came:
        signal.raise_signal(signal.SIGHUP)
        assert not came.is_set()
        signal.raise_signal(signal.SIGINT)
        assert came.is_set()


def test_what_must_be_finished_is_not_interrupted() -> None:
    with ignored():
        for number in ENDING:
            signal.raise_signal(number)
