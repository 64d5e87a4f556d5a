"""What happens to a job by the kind of its fault, and when the next one is asked for."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing import bridge as module
from shiftsearch.search.executing import caution, hanging, tune
from shiftsearch.search.executing.bridge import Bridge
from shiftsearch.search.executing.caution import MEMORY_PAUSES, PAUSES
from shiftsearch.search.executing.concurrency import Concurrency
from shiftsearch.search.executing.faults import Fault
from shiftsearch.search.executing.hanging import Hanging
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.executing.resources import Resources
from shiftsearch.search.executing.trainable import WorkerContext, decode
from tests.made_results import made_result
from tests.search.fake_trainable import Recorder

pytestmark = pytest.mark.integration

CONTEXT = WorkerContext("/pack", "digest", "/store", "{}", 0, 1.0, 0.0, "float32")
LOST, FULL = Fault("lost", "worker lost"), Fault("environment", "/store: No space left on device")


class Endless:
    """Jobs 0, 1, ...; lost ones again."""

    def __init__(self) -> None:
        self.next, self.again = 0, list[int]()
        self.open: set[int] = set()
        self.ends: list[tuple[int, str]] = []

    finished = False

    def ask(self) -> Job:
        if self.again:
            number = self.again.pop(0)
        else:
            number, self.next = self.next, self.next + 1
        self.open.add(number)
        return Job("search", number, 0, {"baseline.dropout": 0.5})

    def report(self, job: Job, epochs: int, value: float) -> bool:
        self._end(job, "pruned")
        return True

    def placed(self, job: Job, place: Place) -> None:
        assert job.number in self.open

    def share(self, job: Job) -> None:
        pass

    def finish(self, job: Job, result: ProtocolResult) -> None:
        self._end(job, "complete")

    def fail(self, job: Job, reason: str) -> None:
        self._end(job, f"failed: {reason}")

    def give_back(self, job: Job, reason: str) -> bool:
        self._end(job, f"lost: {reason}")
        self.again.append(job.number)
        return True

    def _end(self, job: Job, how: str) -> None:
        self.open.remove(job.number)
        self.ends.append((job.number, how))


class Clock:
    """Replaces `time`; only sleeping makes it advance."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Driven:
    """A bridge over `Endless` with a simulated clock, and methods to drive it."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, concurrency: int, *more: Any, share: float = 0.0
    ) -> None:
        self.clock, self.source, self.heard = Clock(), Endless(), Recorder()
        self.steps, self.interrupted, self._ids = 0, False, 0
        self.concurrency = Concurrency(Resources(1.0, 0.0, concurrency, "tests"))
        for of in (module, caution):
            monkeypatch.setattr(of, "time", self.clock)
        self.bridge = Bridge(
            self.source,
            [*more, self.heard],
            replace(CONTEXT, gpus=share),
            self.concurrency,
            self._step,
            lambda: self.interrupted,
        )

    def _step(self) -> None:
        self.steps += 1

    def ask(self) -> tuple[str, Any]:
        """Ray's id of a trial, and the job's number, None or FINISHED."""
        self._ids += 1
        trial_id = f"t{self._ids}"
        given = self.bridge.suggest(trial_id)
        return trial_id, decode(given)[1].number if isinstance(given, dict) else given

    def ask_with_share(self) -> tuple[str, int, float]:
        """Ray's id, the job's number and its share of a GPU."""
        self._ids += 1
        given = self.bridge.suggest(f"t{self._ids}")
        assert isinstance(given, dict), given
        context, job = decode(given)
        return f"t{self._ids}", job.number, context.gpus

    def lose(self, trial_id: str) -> None:
        self.bridge.errored(trial_id, LOST, worker_died=True)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Driven:
    return Driven(monkeypatch, 1)


def report(kind: str, reason: str) -> dict[str, Any]:
    return {"event": "failed", "kind": kind, "reason": reason}


@pytest.mark.parametrize("told", ["by the worker", "by ray"])
@pytest.mark.parametrize(
    ("kind", "end"), [("verdict", "failed"), ("lost", "lost"), ("environment", None)]
)
def test_what_a_fault_s_kind_does_to_the_job(
    alone: Driven, kind: Any, end: str | None, told: str
) -> None:
    trial_id, number = alone.ask()
    if told == "by the worker":
        assert not alone.bridge.hear(trial_id, report(kind, "the reason"))
    # Ray tells of the exception in any case; the worker's word counts, and counts once.
    late = Fault("verdict" if told == "by the worker" else kind, "the reason")
    alone.bridge.errored(trial_id, late, worker_died=False)
    if end is None:
        assert alone.source.open == {number}
        assert alone.bridge.environment == Fault(kind, "the reason")
        assert alone.ask()[1] == Searcher.FINISHED
        assert alone.source.next == 1  # and nothing was asked of the source
    else:
        assert alone.source.ends == [(number, f"{end}: the reason")]
        assert alone.bridge.environment is None
        assert alone.ask()[1] == (number if end == "lost" else number + 1)
    ends = [what[0] for kind_of, what in alone.heard.of(number) if kind_of == "ended"]
    assert ends == ([] if end is None else [end])


@pytest.mark.parametrize(
    "last_word",
    [
        {"event": "result", "result": made_result(0.5).to_json()},
        {"event": "intermediate", "epochs": 1, "value": 0.5},
        {"event": "failed", "kind": "verdict", "reason": "diverged"},
    ],
)
def test_pauses_grow_while_losses_go_on_and_start_anew_when_a_job_ends(
    alone: Driven, last_word: dict[str, Any]
) -> None:
    def pause_after_a_loss() -> float:
        alone.lose(alone.ask()[0])
        begin = alone.clock.now
        trial_id, number = alone.ask()
        assert number == 0
        alone.bridge.hear(trial_id, {"event": "placed", "node": "here", "device": "cpu"})
        waited = alone.clock.now - begin
        alone.lose(trial_id)
        alone.clock.now += 1000  # what follows is measured from a loss of its own
        return waited

    assert pause_after_a_loss() == pytest.approx(PAUSES[0])
    assert pause_after_a_loss() == pytest.approx(PAUSES[2])
    for _ in range(3):
        longest = pause_after_a_loss()
    assert longest == pytest.approx(PAUSES[-1])
    assert alone.steps > 10  # requests to the driver are answered meanwhile
    trial_id, _ = alone.ask()
    alone.bridge.hear(trial_id, last_word)
    alone.bridge.completed(trial_id)
    alone.source.again.append(0)
    assert pause_after_a_loss() == pytest.approx(PAUSES[0])


def test_losses_of_one_event_make_one_pause_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driven = Driven(monkeypatch, 3)
    ids = [driven.ask()[0] for _ in range(3)]
    for trial_id in ids[:2]:
        driven.lose(trial_id)
    begin = driven.clock.now
    assert driven.ask()[1] is None  # not waited for: the third still runs
    assert driven.clock.now == begin
    driven.clock.now += PAUSES[0]
    assert driven.ask()[1] == 0


def test_after_memory_ran_out_fewer_run_at_once_until_jobs_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driven = Driven(monkeypatch, 4)
    ids = [driven.ask()[0] for _ in range(4)]
    killed = {"event": "failed", "kind": "lost", "reason": "out of memory", "memory": "node"}
    driven.bridge.hear(ids[3], killed)
    driven.bridge.errored(ids[2], Fault("lost", "out of memory", "node"), worker_died=False)
    driven.bridge.completed(ids[3])
    assert driven.bridge.controller is None
    driven.clock.now += MEMORY_PAUSES[0]
    assert driven.ask()[1] is None  # two were left
    running = ids[:2]

    def end() -> list[Any]:
        """The jobs that begin when the one that has run longest diverges."""
        trial_id = running.pop(0)
        driven.bridge.hear(trial_id, {"event": "failed", "kind": "verdict", "reason": "diverged"})
        driven.bridge.completed(trial_id)
        found = [driven.ask() for _ in range(2)]
        running.extend(trial_id for trial_id, number in found if number is not None)
        return [number for _, number in found]

    assert [end() for _ in range(2)] == [[3, None], [2, None]]  # those were from before
    assert [end() for _ in range(2)] == [[4, None], [5, 6]]  # two have ended well: three at once
    assert [end() for _ in range(3)] == [[7, None], [8, None], [9, 10]]


def test_pauses_are_longer_if_memory_ran_out(alone: Driven) -> None:
    """Every attempt of a job is lost after two minutes, not after seconds."""
    begin = alone.clock.now
    for _ in range(4):
        trial_id, _ = alone.ask()
        alone.bridge.errored(trial_id, Fault("lost", "", "node"), worker_died=True)
    assert alone.clock.now - begin == pytest.approx(sum(MEMORY_PAUSES), abs=0.5)


def test_a_pause_is_as_long_as_its_last_loss_of_memory_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driven = Driven(monkeypatch, 4)
    ids = [driven.ask()[0] for _ in range(4)]
    driven.lose(ids[0])
    driven.clock.now += 0.5
    driven.bridge.errored(ids[1], Fault("lost", "", "node"), worker_died=True)
    driven.lose(ids[2])  # the kernel has killed both, and counted once
    driven.clock.now += MEMORY_PAUSES[0] - 0.1
    assert driven.ask()[1] is None
    driven.clock.now += 0.1
    assert [driven.ask()[1], driven.ask()[1]] == [None, None]  # one was left
    driven.bridge.hear(ids[3], report("verdict", "diverged"))
    driven.bridge.completed(ids[3])
    assert [driven.ask()[1], driven.ask()[1]] == [0, None]


def test_a_job_that_is_not_handed_out_again_has_failed(
    alone: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone.source, "give_back", lambda job, reason: False)
    trial_id, number = alone.ask()
    alone.lose(trial_id)
    assert [what[0] for kind, what in alone.heard.of(number) if kind == "ended"] == ["failed"]
    assert alone.bridge._caution.pause > 0


def test_the_number_of_jobs_at_once_may_rise_and_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven(monkeypatch, 1)
    first, _ = driven.ask()
    assert driven.ask()[1] is None
    driven.concurrency.number = 2
    assert driven.ask()[1] == 1
    driven.concurrency.number = 1
    driven.bridge.hear(first, {"event": "failed", "kind": "verdict", "reason": "diverged"})
    driven.bridge.completed(first)
    assert driven.ask()[1] is None  # the second still runs


def test_reports_that_come_together_are_taken_in_order_and_the_result_stops_ray(
    alone: Driven,
) -> None:
    trial_id, _ = alone.ask()
    place = {"event": "placed", "node": "here", "node_id": "", "device": "cpu"}
    epochs = [{"event": "epoch", "stage": "baseline", "row": {"epoch": n}} for n in (1, 2)]
    assert not alone.bridge.hear(trial_id, place, *epochs)
    ending = {"event": "result", "result": made_result(0.5).to_json()}
    assert alone.bridge.hear(trial_id, epochs[0], ending, epochs[1])
    kinds = [kind for kind, _ in alone.heard.of(0)]
    assert kinds == ["started", "placed", "epoch", "epoch", "epoch", "ended"]
    assert alone.source.ends == [(0, "complete")]


def test_a_worker_without_a_word_is_ended_and_its_job_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What Ray tells of it later counts no more; a late report of it neither."""
    ended: list[tuple[str, int]] = []
    monkeypatch.setattr(hanging, "end_worker", lambda *worker: ended.append(worker))
    driven = Driven(monkeypatch, 1)
    clock = Clock()
    driven.bridge._hanging = Hanging(60.0, clock.monotonic)
    trial_id, number = driven.ask()
    driven.bridge.hear(trial_id, {"event": "begun", "node_id": "n1", "pid": 7})
    epoch = {"event": "epoch", "stage": "baseline", "row": {"epoch": 1, "seconds": 2.0}}
    driven.bridge.hear(trial_id, epoch)
    for _ in range(61):
        driven.bridge.look()
        assert ended == []
        clock.now += 1
    driven.bridge.look()
    assert ended == [("n1", 7)]
    assert driven.source.ends == [
        (0, "lost: no report for 61 s; the worker was ended (failures.silent_seconds is 60)")
    ]
    driven.bridge.hear(trial_id, {"event": "result", "result": made_result(0.5).to_json()})
    assert driven.ask()[1] is None  # Ray has not ended its trial
    driven.lose(trial_id)
    assert len(driven.source.ends) == 1
    assert driven.ask()[1] == number


def test_a_signal_ends_a_pause(alone: Driven) -> None:
    alone.lose(alone.ask()[0])
    alone.interrupted = True
    begin = alone.clock.now
    assert alone.ask()[1] == Searcher.FINISHED
    assert alone.clock.now == begin


def test_a_memory_kill_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the kernel's count of kills has grown when a worker dies, memory was the cause."""
    kills = [3]
    monkeypatch.setattr(module, "memory_kills", lambda: kills[0])
    driven = Driven(monkeypatch, 1)
    driven.lose(driven.ask()[0])
    kills[0] += 1
    driven.lose(driven.ask()[0])
    driven.lose(driven.ask()[0])
    reasons = [how for _, how in driven.source.ends]
    assert ["memory" in how for how in reasons] == [False, True, False]
    assert all("worker lost" in how for how in reasons)


@pytest.mark.parametrize(
    "event",
    [
        {"event": "baseline"},
        {"event": "intermediate", "epochs": 1, "value": 0.5},
        {"event": "result", "result": made_result(0.5).to_json()},
        {"event": "failed", "kind": "verdict", "reason": "diverged"},
        "completed",
        "errored",
    ],
    ids=lambda event: event if isinstance(event, str) else str(event["event"]),
)
def test_what_the_source_raises_is_kept_and_nothing_more_is_told(
    alone: Driven, monkeypatch: pytest.MonkeyPatch, event: dict[str, Any] | str
) -> None:
    """Whatever Ray calls afterwards; the error is raised in the next step, outside Ray."""
    trial_id, _ = alone.ask()
    calls, full = list[str](), OSError(errno.ENOSPC, "No space left on device")

    def broken(name: str) -> Callable[..., None]:
        def call(*given: Any) -> None:
            calls.append(name)
            raise full

        return call

    for name in ("ask", "report", "share", "finish", "fail", "give_back"):
        monkeypatch.setattr(alone.source, name, broken(name))
    monkeypatch.setattr(tune, "forget_ended", lambda controller: None)
    scheduler = tune._TellingScheduler(alone.bridge)
    trial: Any = SimpleNamespace(trial_id=trial_id, pickled_error_file=None)

    def tell(event: dict[str, Any] | str) -> None:
        if event == "completed":
            scheduler.on_trial_complete(None, trial, {})
        elif event == "errored":
            scheduler.on_trial_error(None, trial)
        else:
            said = {"report": json.dumps([event])}
            assert scheduler.on_trial_result(None, trial, said) == "CONTINUE"

    tell(event)
    tell({"event": "baseline"})
    tell("errored")
    assert alone.ask()[1] == Searcher.FINISHED
    assert len(calls) == 1
    steps = list[int]()
    with pytest.raises(OSError) as caught:
        tune._step(alone.bridge, lambda: steps.append(1))
    assert caught.value is full
    assert not steps  # which may write to the source


class Broken(Recorder):
    """Raises whenever it is told of an epoch."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self._error = error

    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        raise self._error("no space left" if row["epoch"] < 50 else "none at all")


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_listener_that_always_fails_is_logged_once_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    """The traceback of a defect helps; of a full disk one line does."""
    from shiftsearch.search.executing.audience import say_failures

    say_failures()
    caplog.clear()
    driven = Driven(monkeypatch, 1, Broken(error))
    trial_id, _ = driven.ask()
    for epoch in range(1, 101):
        driven.bridge.hear(
            trial_id, {"event": "epoch", "stage": "baseline", "row": {"epoch": epoch}}
        )
    assert len([kind for kind, _ in driven.heard.of(0) if kind == "epoch"]) == 100
    with caplog.at_level(logging.WARNING):
        assert len(caplog.records) == 1
        assert "Broken.epoch" in caplog.text
        assert ("Traceback" in caplog.text) is (error is ValueError)
        assert "no space left" in caplog.text
        say_failures()
    assert len(caplog.records) == 2
    assert "100 times" in caplog.records[1].getMessage()
    say_failures()
    assert len(caplog.records) == 2


FULL_GPU = {"event": "failed", "kind": "lost", "reason": "CUDA out of memory", "memory": "gpu"}
PLACED = {"event": "placed", "node": "here", "device": "cuda 0"}


def test_a_job_that_fills_its_share_of_a_gpu_gets_a_larger_one_up_to_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no loss, so it stays open in the source; only on a whole GPU it is a verdict."""
    driven = Driven(monkeypatch, 1, share=0.2)
    shares = []
    for _ in range(3):
        trial_id, number, share = driven.ask_with_share()
        shares.append(share)
        assert number == 0
        driven.bridge.hear(trial_id, PLACED)
        driven.bridge.hear(trial_id, FULL_GPU)
        driven.bridge.errored(trial_id, Fault("verdict", "late"), worker_died=False)
    assert shares == [0.2, 0.5, 1.0]
    assert driven.source.ends == [(0, "failed: does not fit on a GPU: CUDA out of memory")]
    ends = [what[0] for kind, what in driven.heard.of(0) if kind == "ended"]
    assert ends == ["lost", "lost", "failed"]
    assert driven.ask_with_share()[1:] == (1, 0.2)


def test_while_a_larger_share_waits_nothing_small_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driven = Driven(monkeypatch, 4, share=0.25)
    ids = [driven.ask()[0] for _ in range(4)]
    driven.bridge.hear(ids[0], FULL_GPU)
    assert driven.ask()[1] is None  # Ray has not ended its trial
    driven.bridge.completed(ids[0])
    assert driven.ask()[1] is None  # three quarters are taken, and a half is wanted
    driven.bridge.hear(ids[1], report("verdict", "diverged"))
    driven.bridge.completed(ids[1])
    again, number, share = driven.ask_with_share()
    assert (number, share) == (0, 0.5)
    driven.bridge.errored(ids[0], LOST, worker_died=False)  # late, and of the first attempt
    driven.bridge.hear(ids[2], report("verdict", "diverged"))
    driven.bridge.completed(ids[2])
    assert driven.ask()[1] is None  # the larger one has no GPU yet, which may be split
    driven.bridge.hear(again, PLACED)
    assert driven.ask_with_share()[1:] == (4, 0.25)
    assert driven.ask()[1] is None  # a half and two quarters
    driven.bridge.hear(again, {"event": "result", "result": made_result(0.5).to_json()})
    driven.bridge.completed(again)
    assert [driven.ask()[1], driven.ask()[1], driven.ask()[1]] == [5, 6, None]


def test_a_larger_share_is_kept_when_its_worker_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven(monkeypatch, 2, share=0.5)
    trial_id, _, _ = driven.ask_with_share()
    driven.bridge.hear(trial_id, FULL_GPU)
    driven.bridge.completed(trial_id)
    trial_id, number, share = driven.ask_with_share()
    assert (number, share) == (0, 1.0)
    driven.lose(trial_id)
    assert driven.ask_with_share()[1:] == (0, 1.0)


def test_without_gpus_the_word_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven(monkeypatch, 1)
    trial_id, _ = driven.ask()
    driven.bridge.hear(trial_id, FULL_GPU)
    assert driven.source.ends == [(0, "lost: CUDA out of memory")]
