"""Thin Ray Tune adapters: Ray executes what a `JobSource` hands out.

Nothing about a job lives in Ray alone. Ray is given no metric, no checkpoints, no retries and no
logger; the Searcher only asks; the scheduler alone hears every report and error, in order, and
tells the source. Starting again means a new Ray Tune experiment over the same source, never
`Tuner.restore`, which loses scheduler state and cannot add trials.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.cluster import Resources, first_line
from search.jobs import Job, JobSource, Listener
from search.trainable import REPORT, WorkerContext, encode, run_job


def _nothing() -> None:
    """What the adapters unpickle to: Ray pickles them once, and never needs them back."""


def run_jobs(
    source: JobSource,
    listeners: Sequence[Listener],
    context: WorkerContext,
    resources: Resources,
    folder: Path,
    on_step: Callable[[], None] = _nothing,
) -> None:
    """Run the source's jobs on the connected cluster until it is finished or a signal comes.

    SIGINT and SIGTERM both end it calmly; the caller sees `source.finished` False then. Jobs that
    were running stay open in the source.

    Args:
        source: hands out jobs, takes in results.
        listeners: told afterwards.
        context: for the workers.
        resources: from `fit_resources`.
        folder: for what Ray writes; nothing in it is needed afterwards.
        on_step: called in every step of Ray's loop, about ten times a second. What it raises
            ends this call, as what the source raises does.
    """
    bridge = _Bridge(source, listeners, context, resources.concurrency)
    leg = f"leg-{time.time_ns()}"
    tuner = tune.Tuner(
        tune.with_resources(
            run_job, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
        ),
        tune_config=tune.TuneConfig(
            search_alg=_AskingSearcher(bridge),
            scheduler=_TellingScheduler(bridge),
            num_samples=-1,
            max_concurrent_trials=resources.concurrency,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=leg,
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[_Stepper(on_step)],
        ),
    )
    with _sigterm_as_interrupt():
        tuner.fit()
    shutil.rmtree(folder / leg, ignore_errors=True)


class _Bridge:
    """What both adapters share: which Ray trial does which job."""

    def __init__(
        self,
        source: JobSource,
        listeners: Sequence[Listener],
        context: WorkerContext,
        concurrency: int,
    ) -> None:
        self.source, self.listeners = source, listeners
        self.context, self.concurrency = context, concurrency
        self.jobs: dict[str, Job] = {}  # Ray's trial id to the job it does; until Ray lets go
        self.closed: set[str] = set()  # those of them whose job is closed already
        self.trials: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        """The source's next job, encoded; None while something is live, else FINISHED."""
        self._sweep()
        if len(self.jobs) < self.concurrency:
            job = self.source.ask()
            if job is not None:
                self.jobs[trial_id] = job
                for listener in self.listeners:
                    listener.started(job)
                return encode(self.context, job)
        # With nothing live, None would make Ray sleep for minutes, deaf to signals.
        return None if self.jobs else str(Searcher.FINISHED)

    def hear(self, trial_id: str, report: Mapping[str, Any]) -> bool:
        """Take in a report; True when the trial is to be stopped."""
        job = self.jobs.get(trial_id)
        if job is None or trial_id in self.closed:
            return False
        match report.get("event"):
            case "placed":
                for listener in self.listeners:
                    listener.placed(job, report["node"], report["device"])
            case "epoch":
                for listener in self.listeners:
                    listener.epoch(job, report["stage"], report["row"])
            case "baseline":
                self.source.share(job)
            case "rung":
                epochs, value = report["epochs"], report["value"]
                if self.source.reach(job, epochs, value):
                    detail = f"{value:.4f} after {epochs} baseline epochs"
                    self._close(trial_id, "pruned", detail, None)
                    return True
            case "result":
                self.source.finish(job, report["result"])
                self._close(trial_id, "complete", "", report["result"])
            case "failed":
                self.source.fail(job, report["reason"])
                self._close(trial_id, "failed", report["reason"], None)
        return False

    def completed(self, trial_id: str) -> None:
        """Let go of a trial that ended; its job is given back when it is not closed."""
        self._lost(trial_id, "the worker ended without a result")

    def errored(self, trial: Trial) -> None:
        """Fail the job with the trial's exception; give it back when only its worker was lost."""
        trial_id = trial.trial_id
        if trial_id not in self.jobs:
            return
        error = _error_of(trial)
        if error is None or isinstance(error, RayActorError):
            reason = "worker lost" if error is None else f"worker lost: {first_line(error)}"
            self._lost(trial_id, reason)
            return
        reason = f"{type(error).__name__}: {first_line(error)}"
        if trial_id not in self.closed:
            self.source.fail(self.jobs[trial_id], reason)
            self._close(trial_id, "failed", reason, None)
        self._forget(trial_id)

    def _sweep(self) -> None:
        """Give back jobs whose Ray trial ended without a word (a failed reset of a worker)."""
        for trial_id, trial in list(self.trials.items()):
            if trial_id in self.jobs and trial.status in (Trial.ERROR, Trial.TERMINATED):
                self._lost(trial_id, "the worker did not take up the trial")

    def _lost(self, trial_id: str, reason: str) -> None:
        if trial_id in self.jobs and trial_id not in self.closed:
            self.source.give_back(self.jobs[trial_id], reason)
            self._close(trial_id, "lost", reason, None)
        self._forget(trial_id)

    def _close(
        self, trial_id: str, state: str, detail: str, result: Mapping[str, Any] | None
    ) -> None:
        self.closed.add(trial_id)
        for listener in self.listeners:
            listener.ended(self.jobs[trial_id], state, detail, result)

    def _forget(self, trial_id: str) -> None:
        self.jobs.pop(trial_id, None)
        self.trials.pop(trial_id, None)
        self.closed.discard(trial_id)


class _AskingSearcher(Searcher):  # type: ignore[misc]
    """Only asks; results reach the source through the scheduler."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Say that the limit is kept here: Ray's own limiter leaks slots of failed resets."""
        del max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        """A job as configuration, FINISHED, or None while something is live."""
        return self._bridge.suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the scheduler has heard it first."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the source keeps its own state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a new start is a new Ray Tune experiment."""


class _TellingScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes on every report and error, in order."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Remember the trial, for `_Bridge._sweep`."""
        self._bridge.trials[trial.trial_id] = trial

    def on_trial_result(
        self, tune_controller: object, trial: Trial, result: Mapping[str, Any]
    ) -> str:
        """Tell the source; stop when it says so."""
        if REPORT in result and self._bridge.hear(trial.trial_id, json.loads(result[REPORT])):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(
        self, tune_controller: object, trial: Trial, result: Mapping[str, Any]
    ) -> None:
        """Free the slot; a job without a result is given back."""
        self._bridge.completed(trial.trial_id)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Fail the job, or give it back when only its worker was lost."""
        self._bridge.errored(trial)


class _Stepper(tune.Callback):  # type: ignore[misc]
    """Calls a function in every step of Ray's loop."""

    def __init__(self, on_step: Callable[[], None]) -> None:
        self._on_step = on_step

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Pass it on."""
        self._on_step()


def _error_of(trial: Trial) -> BaseException | None:
    """The exception of an errored Ray trial; None when there is none or it cannot be read."""
    # get_pickled_error() reads storage that is not synchronised yet; the local file is there.
    path = trial.pickled_error_file
    try:
        error = pickle.loads(Path(path).read_bytes()) if path else None
    except Exception:  # the worker's own exception class may not load here
        return RuntimeError("its exception could not be read")
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM (job stop, Slurm, Kubernetes) end Ray Tune as calmly as SIGINT."""

    def forward(number: int, frame: object) -> None:
        del number, frame
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
