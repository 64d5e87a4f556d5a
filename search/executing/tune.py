"""Thin Ray Tune adapters: Ray executes the jobs of a `JobSource`.

Nothing about a job is kept only in Ray. Ray is given no metric, no checkpoints, no retries and no
logger. The searcher only asks; the scheduler receives every report and error in order and passes
it on. A restart makes a new Ray Tune experiment over the same source, because `Tuner.restore`
loses the scheduler's state and cannot add trials.
"""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from shiftsearch.search.executing.audience import say_failures
from shiftsearch.search.executing.bridge import Bridge
from shiftsearch.search.executing.concurrency import Concurrency
from shiftsearch.search.executing.faults import EnvironmentFault, Fault, fault_of
from shiftsearch.search.executing.hanging import SILENT
from shiftsearch.search.executing.jobs import JobSource, Listener
from shiftsearch.search.executing.ray_private import (
    error_file,
    errors_cost_one_worker,
    forget_ended,
)
from shiftsearch.search.executing.reports import REPORT
from shiftsearch.search.executing.request import request_of
from shiftsearch.search.executing.resources import Resources
from shiftsearch.search.executing.signals import ended_calmly
from shiftsearch.search.executing.trainable import WorkerContext, run_job
from shiftsearch.search.executing.watch import RayLost, check_alive

Trainable = Callable[[Mapping[str, str]], None]

_MOST_STARTING = 64


def _nothing() -> None:
    """The adapters unpickle to this: Ray pickles them once, and never uses the copy."""


def run_jobs(
    source: JobSource,
    listeners: Sequence[Listener],
    context: WorkerContext,
    resources: Resources,
    folder: Path,
    on_step: Callable[[], None] = _nothing,
    concurrency: Concurrency | None = None,
    silent_seconds: float = SILENT,
    trainable: Trainable | None = None,
) -> None:
    """Run the source's jobs on the connected cluster until it is finished or a signal comes.

    After SIGINT, SIGTERM or SIGHUP this function returns while `source.finished` is False. Jobs
    that were running stay open in the source.

    Args:
        source: hands out jobs, takes in results.
        listeners: told after the source; their exceptions are logged.
        context: what the workers need; its CPUs and GPUs are those of `resources`.
        resources: from `fit_resources`.
        folder: for Ray's files, which are not needed afterwards.
        on_step: called in every step of Ray's loop, about ten times a second. An exception in it
            or in the source ends this call.
        concurrency: the number of jobs at once; None: as in `resources`, and fixed.
        silent_seconds: seconds that a worker may always be silent before it is ended.
        trainable: does a job on a worker, and reports as `run_job` does; None: `run_job`.

    Raises:
        EnvironmentFault: the machine cannot do any job now; running jobs stay open.
    """
    with ended_calmly() as signalled:
        at_once = concurrency or Concurrency(resources)
        cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
        context = replace(context, cpus=cpus, gpus=gpus)
        given = source, listeners, context, at_once, on_step, signalled.is_set
        bridge = Bridge(*given, silent_seconds)
        # Ray starts at most so many jobs at a time; the bridge decides how many there are.
        starting = at_once.number if at_once.fixed else _MOST_STARTING
        try:
            step = partial(_step, bridge, on_step)
            tuner = partial(_tuner, bridge, trainable or run_job, starting, step)
            with errors_cost_one_worker():
                _fit(tuner, folder)
            _check(bridge)
        except RayLost as lost:
            raise EnvironmentFault(str(lost)) from None
        finally:
            say_failures()


def _fit(tuner: Callable[[Path], tune.Tuner], folder: Path) -> None:
    """Run a Ray Tune experiment in a new folder, which is removed afterwards."""
    leg = folder / f"leg-{time.time_ns()}"
    try:
        tuner(leg).fit()
    finally:
        shutil.rmtree(leg, ignore_errors=True)


def _step(bridge: Bridge, on_step: Callable[[], None]) -> None:
    _check(bridge)
    check_alive()
    bridge.look()
    on_step()


def _tuner(
    bridge: Bridge, trainable: Trainable, starting: int, step: Callable[[], None], leg: Path
) -> tune.Tuner:
    """A Ray Tune experiment over the bridge's jobs; it writes to `leg`."""
    return tune.Tuner(
        tune.with_resources(trainable, request_of),
        tune_config=tune.TuneConfig(
            search_alg=_AskingSearcher(bridge),
            scheduler=_TellingScheduler(bridge),
            num_samples=-1,
            max_concurrent_trials=starting,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=leg.name,
            storage_path=str(leg.parent),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            stop=_Stepper(step),
        ),
    )


def _check(bridge: Bridge) -> None:
    """Raise, outside Ray's callbacks, what ends the search."""
    if bridge.raised is not None:
        raise bridge.raised
    if bridge.environment is not None:
        raise EnvironmentFault(bridge.environment.reason)


class _AskingSearcher(Searcher):  # type: ignore[misc]
    """Only asks for jobs; results reach the source through the scheduler."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Keep the limit here, because Ray's own limiter loses slots when a reset fails."""
        del max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        """A job as a configuration, FINISHED, or None while a job runs."""
        return self._bridge.suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the scheduler has passed it on already."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the source keeps its own state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a restart makes a new Ray Tune experiment."""


class _TellingScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes on every report and error, in order, and lets Ray forget what has ended.

    It raises nothing that comes from the source; see `Bridge.tell`.
    """

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Keep the trial, so that the bridge can find trials that ended without a report."""
        self._bridge.controller = tune_controller
        self._bridge.trials[trial.trial_id] = trial

    def on_trial_result(
        self, tune_controller: object, trial: Trial, result: Mapping[str, Any]
    ) -> str:
        """Tell the source; stop the trial if the source says so."""
        bridge, said = self._bridge, result.get(REPORT)
        if said is not None and bridge.tell(
            lambda: bridge.hear(trial.trial_id, *json.loads(said))
        ):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]
    ) -> None:
        """Free the slot; a job without a result is given back."""
        self._bridge.tell(lambda: self._bridge.completed(trial.trial_id))
        forget_ended(tune_controller)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Pass on the kind of fault; without a readable exception it is a lost worker."""
        error = _error_of(trial)
        fault = Fault("lost", "worker lost") if error is None else fault_of(error)
        died = isinstance(error, RayError) and not isinstance(error, RayTaskError)
        died = died or error is None
        self._bridge.tell(lambda: self._bridge.errored(trial.trial_id, fault, worker_died=died))
        forget_ended(tune_controller)


class _Stepper(tune.Stopper):  # type: ignore[misc]
    """Calls a function in every step of Ray's loop, and never stops anything.

    Not a `tune.Callback`: with one, Ray imports MLflow and Weights & Biases where they are
    installed, which takes seconds.
    """

    def __init__(self, on_step: Callable[[], None]) -> None:
        self._on_step = on_step

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Do not stop this trial: that is the scheduler's decision."""
        return False

    def stop_all(self) -> bool:
        """Call the function."""
        self._on_step()
        return False


def _error_of(trial: Trial) -> BaseException | None:
    """The exception of a failed Ray trial; None if there is none or it cannot be read."""
    path = error_file(trial)
    try:
        error = pickle.loads(Path(path).read_bytes()) if path else None
    except Exception:  # if it cannot be read here, the worker has reported it
        return None
    return error if isinstance(error, BaseException) else None
