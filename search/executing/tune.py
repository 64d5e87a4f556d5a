"""Thin Ray Tune adapters: Ray executes what a `JobSource` hands out.

Nothing about a job is kept in Ray alone. Ray is given no metric, no checkpoints, no retries and
no logger. The Searcher only asks; the scheduler hears every report and error in order and passes
it on. To start again is to make a new Ray Tune experiment over the same source:
`Tuner.restore` loses the scheduler's state and cannot add trials.
"""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from shiftsearch.search.executing.audience import say_failures
from shiftsearch.search.executing.bridge import Bridge
from shiftsearch.search.executing.faults import EnvironmentFault, Fault, fault_of
from shiftsearch.search.executing.jobs import JobSource, Listener
from shiftsearch.search.executing.local_ray import check_alive
from shiftsearch.search.executing.resources import Resources
from shiftsearch.search.executing.signals import ended_calmly
from shiftsearch.search.executing.trainable import REPORT, WorkerContext, run_job


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

    SIGINT, SIGTERM and SIGHUP end it calmly; the caller sees `source.finished` False then. Jobs
    that were running stay open in the source.

    Args:
        source: hands out jobs, takes in results.
        listeners: told afterwards; what one raises harms nothing.
        context: for the workers.
        resources: from `fit_resources`.
        folder: for what Ray writes; nothing in it is needed afterwards.
        on_step: called in every step of Ray's loop, about ten times a second. What it raises
            ends this call, as what the source raises does.

    Raises:
        EnvironmentFault: no job can be done as the machine is now; those that ran stay open.
    """
    leg = f"leg-{time.time_ns()}"
    with ended_calmly() as signalled:
        bridge = Bridge(
            source, listeners, context, resources.concurrency, on_step, signalled.is_set
        )
        try:
            _tuner(bridge, resources, folder, leg, on_step).fit()
            _check_environment(bridge)
        finally:
            shutil.rmtree(folder / leg, ignore_errors=True)
            say_failures()


def _tuner(
    bridge: Bridge, resources: Resources, folder: Path, leg: str, on_step: Callable[[], None]
) -> tune.Tuner:
    """Ray Tune over the bridge's jobs; it writes to `folder / leg`."""

    def step() -> None:
        _check_environment(bridge)
        check_alive()
        on_step()

    return tune.Tuner(
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
            callbacks=[_Stepper(step)],
        ),
    )


def _check_environment(bridge: Bridge) -> None:
    if bridge.environment is not None:
        raise EnvironmentFault(bridge.environment.reason)


class _AskingSearcher(Searcher):  # type: ignore[misc]
    """Only asks; results reach the source through the scheduler."""

    def __init__(self, bridge: Bridge) -> None:
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

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Remember the trial: the bridge looks for those that ended without a word."""
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
        """Pass on what kind of fault it was; without a readable exception, a lost worker."""
        error = _error_of(trial)
        fault = Fault("lost", "worker lost") if error is None else fault_of(error)
        died = isinstance(error, RayError) and not isinstance(error, RayTaskError)
        self._bridge.errored(trial.trial_id, fault, worker_died=died or error is None)


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
    except Exception:  # an exception that cannot be read here is known by the worker's report
        return None
    return error if isinstance(error, BaseException) else None
