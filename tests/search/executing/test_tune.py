"""The adapters on a real Ray with a fake trainable: whatever goes wrong, the search goes on.

Numbers such as 2.5 name known defects of Ray Tune with OptunaSearch that must not occur here.
Jobs shorter than the start of a worker run one after another; where it matters they last longer.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray._private import worker
from ray.air.execution._internal.event_manager import RayEventManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RuntimeEnvSetupError

from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing import hanging, tune
from shiftsearch.search.executing.faults import EnvironmentFault
from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.executing.local_ray import lost_process
from shiftsearch.search.executing.places import Place
from shiftsearch.search.executing.ray_private import forget_ended
from shiftsearch.search.executing.watch import Watch
from shiftsearch.search.judging.racing import Retrain
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.budget import FailurePolicy
from shiftsearch.search.study.records import best_trials
from shiftsearch.search.study.study import Study
from tests.search.fake_study import drive, open_study, result_of, summary
from tests.search.fake_trainable import EPOCHS, Recorder, attempts, is_dead, run_fake_jobs

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("fake_jobs")]


@dataclass
class Search:
    """A finished search: its folder, study and what a listener heard."""

    folder: Path
    study: Study
    heard: Recorder

    def trial(self, number: int) -> Any:
        return self.study.trials()[number]


class Spy(Recorder):
    """Also looks at what Ray writes while the search runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.files: set[str] = set()

    def ended(self, job: Job, state: str, detail: str, result: ProtocolResult | None) -> None:
        super().ended(job, state, detail, result)
        for leg in self.folder.glob("leg-*"):
            self.files |= {str(p.relative_to(leg)) for p in leg.rglob("*")}


TROUBLE: dict[str, dict[str, Any]] = {
    "search-1-0": {"do": "bare"},
    "search-2-0": {"do": "raise"},
    "search-3-0": {"do": "nan"},
    "search-4-0": {"do": "silent"},
    "search-5-0": {"do": "kill", "times": 1},
    "search-6-0": {"do": "fail"},
    "search-7-0": {"do": "kill", "times": 99},
}
FAILED = (2, 3, 4, 6, 7)


@pytest.fixture(scope="module")
def troubled(fake_jobs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    """Six trials wanted; of the first eight, five go wrong for good."""
    folder = tmp_path_factory.mktemp("troubled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(
            "shiftsearch.search.study.study.MAX_LOSSES", 1
        )  # each loss costs the start of a worker
        patch.setattr("shiftsearch.search.executing.caution.PAUSES", (0.1,))
        spy = Spy(folder)
        patient = FailurePolicy(min_ended=100)
        study = open_study(folder / "study.journal", trials=6, failures=patient)
        run_fake_jobs(study, [spy], folder, TROUBLE)
        yield Search(folder, study, spy)


def test_the_search_goes_on_to_the_asked_number(troubled: Search) -> None:
    """2.4, 2.5, 2.21a: failed trials are counted apart, none is left running."""
    states = {t.number: t.state for t in troubled.study.trials()}
    assert len(states) == 6 + len(FAILED)
    assert {n for n, state in states.items() if state == "failed"} == set(FAILED)
    assert set(states.values()) == {"complete", "failed"}
    assert troubled.study.finished
    assert troubled.study.trials()[0].role == "reference"
    assert len({json.dumps(dict(t.configuration)) for t in troubled.study.trials()}) == 11


def test_an_exception_fails_the_trial_with_its_reason(troubled: Search) -> None:
    assert troubled.trial(2).reason == "RuntimeError: no such layer"
    assert len(attempts(troubled.folder, 2)) == 1  # and is not tried again


def test_a_diverged_trial_fails_with_its_reason(troubled: Search) -> None:
    assert troubled.trial(6).reason == "baseline epoch 2: training loss nan"


def test_2_3_nan_fails_the_trial_and_is_not_written(troubled: Search) -> None:
    assert troubled.trial(3).reason.startswith("ValueError: Out of range float values")
    text = (troubled.folder / "study.journal").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_2_1_a_trial_without_a_result_is_never_complete(troubled: Search) -> None:
    """2.1: epochs were reported, but their values do not become the trial's value."""
    assert troubled.trial(4).state == "failed"
    assert troubled.trial(4).value is None
    reason = "lost its worker 2 times; last: the worker ended without a result"
    assert troubled.trial(4).reason == reason


def test_a_killed_worker_s_trial_resumes_under_its_number(troubled: Search) -> None:
    """2.16, 2.17: the same number and configuration, and the undisturbed result."""
    trial, tries = troubled.trial(5), attempts(troubled.folder, 5)
    assert trial.state == "complete"
    assert trial.value == result_of(trial.configuration).test2_accuracy
    assert len(tries) == 2
    assert all(t["configuration"] == dict(trial.configuration) for t in tries)
    assert len({t["pid"] for t in tries}) == 2


def test_a_trial_that_kills_every_worker_fails_in_the_end(troubled: Search) -> None:
    assert troubled.trial(7).reason.startswith("lost its worker 2 times; last: worker lost: ")
    assert len(attempts(troubled.folder, 7)) == 2


def test_a_stopped_worker_is_ended_and_its_trial_begins_again(tmp_path: Path) -> None:
    """A process that stands still keeps its connections, so Ray alone waits for it for ever."""
    study, heard = open_study(tmp_path / "study.journal", trials=2), Recorder()
    plan = {"search-1-0": {"do": "hang", "times": 1}}
    run_fake_jobs(study, [heard], tmp_path, plan, silent_seconds=1.0)
    assert [t.state for t in study.trials()] == ["complete"] * 2
    assert study.trials()[1].value == result_of(study.trials()[1].configuration).test2_accuracy
    first, second = attempts(tmp_path, 1)
    assert first["pid"] != second["pid"]
    assert is_dead(first["pid"])
    ends = [what for kind, what in heard.of(1) if kind == "ended"]
    assert [end[0] for end in ends] == ["lost", "complete"]
    assert "no report for" in ends[0][1]
    assert len(attempts(tmp_path, 0)) == 1


def test_2_6_a_report_without_our_key_kills_nothing(troubled: Search) -> None:
    assert troubled.trial(1).state == "complete"


def test_2_18d_the_objective_is_the_result_s_not_an_epoch_s(troubled: Search) -> None:
    """2.18d, 2.19a: epochs reported better and worse values, earlier and last."""
    for trial in troubled.study.trials():
        if trial.state == "complete":
            assert trial.value == result_of(trial.configuration).test2_accuracy
            assert trial.result == result_of(trial.configuration)
    best = max(
        result_of(t.configuration).test2_accuracy
        for t in troubled.study.trials()
        if t.state == "complete"
    )
    assert best_trials(troubled.study.trials())[0].value == best


def test_2_2_every_report_is_heard_in_order(troubled: Search) -> None:
    """2.2, 2.12: the last report is included, under the study's number."""
    epochs = [("epoch", ("baseline", n)) for n in range(1, EPOCHS + 1)]
    heard = troubled.heard.of(0)
    assert heard[0][0] == "started"
    assert heard[1] == ("placed", ("here", "none"))
    assert heard[2:-1] == epochs
    assert heard[-1] == ("ended", ("complete", "", result_of(troubled.trial(0).configuration)))
    of_killed = [kind if kind != "ended" else what[0] for kind, what in troubled.heard.of(5)]
    lost = ["started", "placed", "epoch", "epoch", "lost"]
    assert of_killed == [*lost, "started", "placed", *["epoch"] * EPOCHS, "complete"]


def test_every_start_is_ended_exactly_once(troubled: Search) -> None:
    for number in range(11):
        kinds = [kind for kind, _ in troubled.heard.of(number) if kind != "epoch"]
        assert kinds == ["started", "placed", "ended"] * (len(kinds) // 3)
    ends = {n: what[0] for kind, n, what in troubled.heard.heard if kind == "ended"}
    assert {n for n, state in ends.items() if state == "failed"} | {4, 7} == set(FAILED)


def test_2_20f_what_ray_writes_is_small_and_goes_away(troubled: Search) -> None:
    """2.19b, 2.19c, 2.20f: no checkpoint, no logger, no parameters in names; then nothing."""
    assert isinstance(troubled.heard, Spy)
    files = troubled.heard.files
    assert files
    assert max(len(part) for name in files for part in Path(name).parts) < 50
    assert not [f for f in files if "checkpoint_" in f or "tfevents" in f or f.endswith(".csv")]
    assert not [f for f in files if "dropout" in f or "rate" in f or "=" in f]
    left = {p.name for p in troubled.folder.iterdir() if "attempt" not in p.name}
    assert left == {"study.journal", "plan.json"}


def test_2_21h_jobs_do_not_stand_in_the_trial_s_folder(troubled: Search, local_ray: Path) -> None:
    tries = attempts(troubled.folder)
    assert {t["cwd"] for t in tries} == {str(local_ray)}
    assert all(not t["cwd"].startswith(t["trial_folder"]) for t in tries)


def test_2_21e_workers_wait_for_the_former_job_s_thread(troubled: Search) -> None:
    """2.21e: 30 s, not Ray's 2, before a reused worker is given up."""
    assert {t["timeout"] for t in attempts(troubled.folder)} == {"30"}


def test_2_13_2_21e_jobs_run_at_once_on_few_workers(tmp_path: Path) -> None:
    """2.13: the asked concurrency from the start, never more; workers are used again."""
    study = open_study(tmp_path / "study.journal", trials=4)
    plan = {f"search-{n}-0": {"until_begun": [f"search-{n ^ 1}-0"]} for n in range(4)}  # in pairs
    run_fake_jobs(study, [], tmp_path, plan, concurrency=2)
    tries = attempts(tmp_path)
    at_once = [sum(other["begin"] <= t["begin"] < other["end"] for other in tries) for t in tries]
    assert max(at_once) == 2
    assert at_once.count(2) >= 2
    assert len({t["pid"] for t in tries}) == 2
    assert study.finished


def test_2_14_at_concurrency_1_ray_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study that Ray drove equals the one driven by hand; Ray keeps no trial that ended."""
    kept: list[int] = []

    def forget(controller: Any) -> None:
        forget_ended(controller)
        states = controller._stopped_trials, controller._failed_trials, controller._trial_metadata
        said = [c._completed_trials for c in controller._callbacks._callbacks]
        kept.append(max(len(found) for found in (controller._trials, *states, *said)))

    monkeypatch.setattr(tune, "forget_ended", forget)
    drive(alone := open_study(tmp_path / "alone.journal", trials=14))
    study = open_study(tmp_path / "study.journal", trials=14)
    run_fake_jobs(study, [], tmp_path, {}, concurrency=1)
    assert summary(study) == summary(alone)
    assert len(kept) == 14
    assert max(kept) <= 3  # the one that runs, the next, and the last


def test_2_21e_a_worker_that_cannot_be_reset_loses_no_trial(tmp_path: Path) -> None:
    """The thread of the last job does not end; Ray drops the next trial without a report."""
    study = open_study(tmp_path / "study.journal", trials=3)
    heard = Recorder()
    run_fake_jobs(study, [heard], tmp_path, {"search-0-0": {"do": "stay"}}, concurrency=1)
    assert study.finished
    assert [t.state for t in study.trials()] == ["complete"] * 3
    assert "lost" in [what[0] for kind, what in heard.of(1) if kind == "ended"]  # it did happen
    first, *others = attempts(tmp_path)
    assert first["pid"] not in {t["pid"] for t in others}


def test_a_job_stopped_at_a_rung_ends_pruned_and_its_worker_goes_on(tmp_path: Path) -> None:
    """2.1, 2.18c: a stopped job does nothing more, and nothing else is lost."""
    policy = Policy(branches=1, rungs=(1, 2), keep=0.5, min_population=2)
    study = open_study(tmp_path / "study.journal", trials=4, policy=policy)
    heard = Recorder()
    values = [(0.6, 0.7), (0.1, 0.99), (0.9, 0.95), (0.8, 0.1)]
    plan = {f"search-{n}-0": {"rungs": {1: one, 2: two}} for n, (one, two) in enumerate(values)}
    run_fake_jobs(study, [heard], tmp_path, plan, concurrency=1)
    assert study.finished
    assert [t.state for t in study.trials()] == ["complete", "pruned", "complete", "pruned"]
    assert [dict(t.intermediate) for t in study.trials()] == [
        {1: 0.6, 2: 0.7},
        {1: 0.1},
        {1: 0.9, 2: 0.95},
        {1: 0.8, 2: 0.1},
    ]
    tries = attempts(tmp_path)
    assert [t["number"] for t in tries] == [0, 1, 2, 3]  # none twice
    assert len({t["pid"] for t in tries}) == 1
    assert ["end" in t for t in tries] == [True, False, True, False]
    ends = [(n, what) for kind, n, what in heard.heard if kind == "ended"]
    assert [n for n, _ in ends] == [0, 1, 2, 3]
    assert ends[1][1] == ("pruned", "0.1000 after 1 baseline epochs", None)
    assert ends[3][1] == ("pruned", "0.1000 after 2 baseline epochs", None)
    assert ends[2][1] == ("complete", "", result_of(study.trials()[2].configuration))


def test_a_job_waits_for_the_baseline_that_another_trains(tmp_path: Path) -> None:
    """A free slot stays free until then, and no longer."""
    space = Space.parse({"fine_tune": {"frozen_layers": {"low": 0, "high": 4}}})
    study = open_study(tmp_path / "study.journal", 3, policy=Policy(branches=1), space=space)
    heard, plan = Recorder(), {"search-0-0": {"until_begun": ["search-1-0"]}}
    run_fake_jobs(study, [heard], tmp_path, plan, concurrency=2)
    assert study.finished
    assert [(t.state, t.branch_of) for t in study.trials()] == [
        ("complete", None),
        ("complete", 0),
        ("complete", 0),
    ]
    of_both = [(kind, n) for kind, n, _ in heard.heard if n < 2]
    asked, baseline = of_both.index(("started", 1)), of_both.index(("epoch", 0))
    assert baseline + EPOCHS <= asked < of_both.index(("ended", 0))


def retraining_of(study: Study, folder: Path) -> Retraining:
    settings = Retrain(top_k=1, replicates=2)
    path = folder / "retrain.json"
    return Retraining(study.trials(), settings, Protocol(), None, path, lambda _: True)


@pytest.mark.parametrize("phase", ["search", "retrain"])
def test_a_fault_of_the_machine_ends_the_search_and_no_job(tmp_path: Path, phase: str) -> None:
    """The second start finds the same jobs open, and finishes them."""
    path, plan = tmp_path / "study.journal", {f"{phase}-0-{phase == 'retrain':d}": {"do": "full"}}

    def opened() -> Study | Retraining:
        study = open_study(path, trials=2)
        if phase == "retrain":
            drive(study)
            return retraining_of(study, tmp_path)
        return study

    heard, source = Recorder(), opened()
    with pytest.raises(EnvironmentFault, match="/mnt/store: No space left on device"):
        run_fake_jobs(source, [heard], tmp_path, plan, concurrency=1)
    assert [kind for kind, _ in heard.of(0) if kind in ("started", "ended")] == ["started"]
    assert len(attempts(tmp_path)) == 1  # and no other job was begun
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("leg-")]
    again = opened()
    assert not again.finished
    run_fake_jobs(again, [], tmp_path, {}, concurrency=1)
    assert again.finished
    trials = open_study(path, trials=2).trials()
    assert [(t.state, t.reason) for t in trials] == [("complete", "")] * 2
    if phase == "retrain":
        reference = retraining_of(open_study(path, trials=2), tmp_path).candidates()[0]
        assert not reference.failures
        assert sorted(reference.results) == [1, 2]


class TwoWaves:
    """Jobs 0 and 1, and when both are done 2 and 3; lost ones again."""

    def __init__(self) -> None:
        self.waiting, self.next_wave = [0, 1], [2, 3]
        self.open: set[int] = set()
        self.ends: list[tuple[int, str]] = []

    @property
    def finished(self) -> bool:
        return not (self.open or self.waiting or self.next_wave)

    def ask(self) -> Job | None:
        if not self.waiting and not self.open:
            self.waiting, self.next_wave = self.next_wave, []
        if not self.waiting:
            return None
        self.open.add(number := self.waiting.pop(0))
        return Job("search", number, 0, open_space())

    def placed(self, job: Job, place: Place) -> None:
        assert job.number in self.open

    def share(self, job: Job) -> None:
        assert job.number in self.open

    def finish(self, job: Job, result: ProtocolResult) -> None:
        del result
        self._end(job, "complete")

    def fail(self, job: Job, reason: str) -> None:
        self._end(job, reason)

    def give_back(self, job: Job, reason: str) -> bool:
        self._end(job, f"lost: {reason}")
        self.waiting.append(job.number)
        return True

    def _end(self, job: Job, how: str) -> None:
        self.open.remove(job.number)
        self.ends.append((job.number, how))


def open_space() -> dict[str, Any]:
    return {"baseline.dropout": 0.5, "fine_tune.frozen_layers": 2}


def with_a_full_disk(source: Any, method: str) -> list[str]:
    """Let a source write nothing from the call of a method on; names what is called then."""
    called: list[str] = []

    def full(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            if name == method or called:
                called.append(name)
                raise OSError(errno.ENOSPC, "No space left on device", "/run/study.journal")
            return write(*given)

        return call

    for name in ("ask", "placed", "share", "finish", "fail", "give_back"):
        setattr(source, name, full(name, getattr(source, name)))
    return called


@pytest.mark.parametrize(("method", "do"), [("share", ""), ("give_back", "silent")])
def test_what_cannot_be_written_ends_the_search_and_is_not_tried_again(
    tmp_path: Path, method: str, do: str
) -> None:
    """A second attempt might append to half a line. Ray would raise a TuneError instead."""
    called = with_a_full_disk(source := TwoWaves(), method)
    with pytest.raises(OSError, match="No space left on device"):
        run_fake_jobs(source, [], tmp_path, {"search-0-0": {"do": do}}, concurrency=1)
    assert called == [method]
    assert source.open == {0}


def test_an_idle_worker_that_dies_loses_no_trial(tmp_path: Path) -> None:
    """The worker dies while it waits for a job; Ray gives it the next trial nevertheless."""
    source = TwoWaves()
    plan = {"search-0-0": {"do": "die idle"}, "search-1-0": {"until_dead": ["search-0-0"]}}
    run_fake_jobs(source, [], tmp_path, plan, concurrency=2)
    assert source.finished
    assert sorted(n for n, how in source.ends if how == "complete") == [0, 1, 2, 3]
    assert [n for n, how in source.ends if how.startswith("lost: worker lost")]  # it did happen
    dead = attempts(tmp_path, 0)[0]["pid"]
    assert dead not in {t["pid"] for n in (2, 3) for t in attempts(tmp_path, n)}


def test_an_idle_worker_that_stands_still_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray gives it the next trial, and would wait for its answer for ever."""
    monkeypatch.setattr(hanging, "_SHORTEST", 0.0)
    monkeypatch.setattr(hanging, "_TAKING_OVER", 3.0)
    source = TwoWaves()
    plan = {"search-0-0": {"do": "hang idle"}, "search-1-0": {"until_stopped": ["search-0-0"]}}
    run_fake_jobs(source, [], tmp_path, plan, concurrency=2, silent_seconds=3.0)
    assert source.finished
    assert sorted(n for n, how in source.ends if how == "complete") == [0, 1, 2, 3]
    assert [n for n, how in source.ends if how.startswith("lost: no report for")]
    stopped = attempts(tmp_path, 0)[0]["pid"]
    assert is_dead(stopped)
    assert stopped not in {t["pid"] for n in (2, 3) for t in attempts(tmp_path, n)}


def test_ray_listens_on_loopback_only(local_ray: Path) -> None:
    """Every socket of every process that this one started; gcs_server and raylet among them."""
    import psutil  # Ray brings it

    names, listening = set(), []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that just ends
            names.add(child.name())
            sockets = child.net_connections(kind="inet")
            listening += [s.laddr for s in sockets if s.status == psutil.CONN_LISTEN]
    assert {"gcs_server", "raylet"} <= names
    assert len(listening) >= 4
    addresses = {address.ip.removeprefix("::ffff:") for address in listening}
    assert addresses <= {"127.0.0.1", "::1"}
    del local_ray


def test_no_dashboard_runs_unless_its_extra_is_installed(local_ray: Path) -> None:
    """The `cluster` extra brings aiohttp_cors with ray[default]; without it no page is served."""
    import psutil

    dashboards = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            dashboards += [child.cmdline()] * ("dashboard/dashboard.py" in str(child.cmdline()))
    installed = importlib.util.find_spec("aiohttp_cors") is not None
    assert all(("--disable-frontend" in c) is not installed for c in dashboards)
    assert len(dashboards) == 1
    del local_ray


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("Task was killed due to the node running low on memory"),
        RuntimeEnvSetupError("no space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_ray_about_one_worker_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RayError
) -> None:
    """The worker dies; Ray tells of it with an error that Ray Tune does not know."""
    track = RayEventManager.track_future

    def tracked(self: RayEventManager, future: Any, on_result: Any, on_error: Any) -> None:
        def on_another(found: Exception) -> None:
            on_error(error if isinstance(found, RayActorError) else found)

        track(self, future, on_result, on_another)

    monkeypatch.setattr(RayEventManager, "track_future", tracked)
    monkeypatch.setattr("shiftsearch.search.executing.caution.MEMORY_PAUSES", (0.1,))
    study, heard = open_study(tmp_path / "study.journal", trials=2), Recorder()
    lost = isinstance(error, OutOfMemoryError)
    plan = {
        # After memory ran out, none begins beside the one that was left.
        "search-0-0": {"until_dead" if lost else "until_again": ["search-1-0"]},
        "search-1-0": {"do": "kill", "times": 1},
    }
    with contextlib.nullcontext() if lost else pytest.raises(EnvironmentFault) as caught:
        run_fake_jobs(study, [heard], tmp_path, plan, concurrency=2)
    ends = [how[0] for kind, how in heard.of(1) if kind == "ended"]
    assert not list(tmp_path.glob("leg-*"))
    if lost:
        assert len(attempts(tmp_path, 0)) == 1
        assert [t.state for t in study.trials()] == ["complete"] * 2
        assert ends == ["lost", "complete"]
    else:
        assert "no space left on device" in str(caught.value)
        assert not ends
        assert [t.state for t in study.trials()] == ["running"] * 2


@pytest.mark.parametrize(
    ("name", "ends"), [("raylet", True), ("gcs_server", True), ("dashboard", False)]
)
def test_a_dead_ray_ends_the_search_where_it_would_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ends: bool
) -> None:
    """The trials stay open, and another start does them. Last here, as Ray then seems dead."""
    node, dead = worker._global_node, SimpleNamespace(returncode=-signal.SIGKILL)
    assert name in node.all_processes
    monkeypatch.setattr(node, "dead_processes", lambda: [(name, dead)])
    # The tests' Ray has one watch, which does not forget.
    monkeypatch.setattr("shiftsearch.search.executing.watch._current", [Watch(lost_process)])
    study = open_study(tmp_path / "study.journal", trials=1)
    with pytest.raises(EnvironmentFault) if ends else contextlib.nullcontext() as caught:
        run_fake_jobs(study, [], tmp_path, {}, concurrency=1)
    assert study.finished is not ends
    if caught is not None:
        assert name in str(caught.value)
        assert "SIGKILL" in str(caught.value)
        assert str(caught.value).endswith("logs")
