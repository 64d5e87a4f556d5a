"""Connects a `JobSource` with Ray's trials: which trial does which job, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from shiftsearch.model.limits import memory_kills
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.audience import Audience
from shiftsearch.search.executing.caution import Caution
from shiftsearch.search.executing.concurrency import Concurrency
from shiftsearch.search.executing.faults import Fault
from shiftsearch.search.executing.gpu_shares import Enlarged
from shiftsearch.search.executing.hanging import SILENT, Hanging, Process
from shiftsearch.search.executing.jobs import End, Job, JobSource, Listener
from shiftsearch.search.executing.places import Place
from shiftsearch.search.executing.ray_private import given_to_old_workers, process_of
from shiftsearch.search.executing.trainable import WorkerContext, encode
from shiftsearch.search.executing.watch import check_alive


class Bridge:
    """Gives jobs to the searcher and takes reports from the scheduler.

    Args:
        source: hands out jobs and takes in their results.
        listeners: told after the source.
        context: what the workers need.
        concurrency: the number of jobs at once.
        on_step: called while nothing runs and the bridge waits for the end of a pause.
        interrupted: returns whether a signal has come; then no more jobs are asked for.
        silent_seconds: seconds that a worker may always be silent, see `Hanging`.

    Attributes:
        environment: the fault of the machine that ends the search, or None.
        raised: the first exception of the source or of the bridge itself inside `tell`, or None.
        trials: Ray's trials by id; the scheduler adds them.
        controller: of Ray Tune; the scheduler sets it.
    """

    def __init__(
        self,
        source: JobSource,
        listeners: Sequence[Listener],
        context: WorkerContext,
        concurrency: Concurrency,
        on_step: Callable[[], None],
        interrupted: Callable[[], bool],
        silent_seconds: float = SILENT,
    ) -> None:
        self._source, self._audience = source, Audience(listeners)
        self._context, self._concurrency = context, concurrency
        self._enlarged = Enlarged(context.gpus)
        self._on_step, self._interrupted = on_step, interrupted
        self._hanging = Hanging(silent_seconds, find=self._process)
        self._begun: dict[str, float] = {}  # when a job was handed out, by the id of Ray's trial
        self._jobs: dict[str, Job] = {}  # by the id of Ray's trial, until Ray has ended the trial
        self._closed: set[str] = set()  # ids of trials whose job is closed already
        self.trials: dict[str, Trial] = {}
        self.controller: Any = None
        self.environment: Fault | None = None
        self.raised: Exception | None = None
        self._caution = Caution()
        self._memory_kills = memory_kills()

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        """The source's next job, encoded. Without one: None while a job runs, else FINISHED."""
        if self.raised is not None:
            return str(Searcher.FINISHED)
        self._sweep()
        jobs = list(self._jobs.values())
        most = self._caution.at_once(self._concurrency.number)
        if self._enlarged.has_room(jobs, most) and self._may_ask():
            job = self._enlarged.next() or self._source.ask()
            if job is not None:
                self._jobs[trial_id], self._begun[trial_id] = job, time.monotonic()
                self._enlarged.started(trial_id, job)
                self._audience.started(job)
                return encode(replace(self._context, gpus=self._enlarged.share(job)), job)
        # If no job runs, None would make Ray sleep for minutes and ignore signals.
        return None if self._jobs else str(Searcher.FINISHED)

    def _may_ask(self) -> bool:
        """Whether a job may be asked for now; waits for the end of a pause if no job runs."""
        while not (self.environment or self._interrupted()):
            left = self._caution.pause
            if left <= 0:
                return True
            if self._jobs:
                return False
            check_alive()
            self._on_step()
            time.sleep(min(left, 0.1))
        return False

    def tell(self, call: Callable[[], bool | None]) -> bool:
        """What a call returns; what it raises is kept in `raised`, and no later call is made.

        Ray wraps exceptions of its callbacks, and makes some calls again after one. The source
        must not write again then: what it wrote last may be half a line.
        """
        if self.raised is not None:
            return False
        try:
            return bool(call())
        except Exception as error:
            self.raised = error
            return False

    def hear(self, trial_id: str, *reports: Mapping[str, Any]) -> bool:
        """Take in reports in their order; returns whether the trial must stop."""
        stops = [self._hear(trial_id, report) for report in reports]
        return any(stops)

    def _hear(self, trial_id: str, report: Mapping[str, Any]) -> bool:
        self._hanging.hear(trial_id, report)
        job = self._jobs.get(trial_id)
        if job is None or trial_id in self._closed:
            return False
        match report.get("event"):
            case "placed":
                place = Place(report["node"], report.get("node_id", ""), report["device"])
                self._enlarged.begun(trial_id)
                self._source.placed(job, place)
                self._audience.placed(job, place)
            case "epoch":
                self._audience.epoch(job, report["stage"], report["row"])
            case "baseline":
                self._source.share(job)
            case "intermediate":
                epochs, value = report["epochs"], report["value"]
                if self._source.report(job, epochs, value):
                    detail = f"{value:.4f} after {epochs} baseline epochs"
                    self._end(trial_id, "pruned", detail, None)
                    return True
            case "result":
                result = ProtocolResult.from_json(report["result"])
                self._source.finish(job, result)
                self._end(trial_id, "complete", "", result)
                return True  # it would only say that it is done
            case "failed":
                memory = report.get("memory", "")
                self._judge(trial_id, Fault(report["kind"], report["reason"], memory))
        return False

    def look(self) -> None:
        """End workers that hang, and give their jobs back."""
        if self.controller is not None:
            given = given_to_old_workers(self.controller)
            self._hanging.given(i for i in given if i in self._jobs and i not in self._closed)
        for trial_id, reason in self._hanging.look():
            self._judge(trial_id, Fault("lost", reason))

    def _process(self, trial_id: str) -> Process | None:
        """The process of a trial's worker."""
        trial = self.trials.get(trial_id)
        found = None if trial is None else process_of(self.controller, trial)
        if found is None or self._context.joined:
            return found
        return "", found[1]

    def completed(self, trial_id: str) -> None:
        """Forget a trial that ended; its job is given back if it is still open."""
        self._judge(trial_id, Fault("lost", "the worker ended without a result"))
        self._forget(trial_id)

    def errored(self, trial_id: str, fault: Fault, *, worker_died: bool) -> None:
        """Forget a trial that ended with an error; the fault counts if its job is still open."""
        if worker_died and self._memory_kills < (kills := memory_kills()):
            self._memory_kills = kills
            reason = f"killed because memory ran out: {fault.reason}"
            fault = replace(fault, reason=reason, memory="node")
        self._judge(trial_id, fault)
        self._forget(trial_id)

    def _sweep(self) -> None:
        """Give back jobs whose Ray trial ended without a report (a failed reset of a worker)."""
        for trial_id, trial in list(self.trials.items()):
            if trial_id in self._jobs and trial.status in (Trial.ERROR, Trial.TERMINATED):
                self._judge(trial_id, Fault("lost", "the worker did not take up the trial"))
                self._forget(trial_id)

    def _judge(self, trial_id: str, fault: Fault) -> None:
        """By the fault's kind: fail the job, give it back, or end the search with it open.

        A job that ran out of its share of a GPU's memory is kept, for a larger share.
        """
        if trial_id not in self._jobs or trial_id in self._closed:
            return
        job = self._jobs[trial_id]
        if fault.memory == "gpu" and self._context.gpus:
            if self._enlarged.grow(job):
                share = f"tried again with {self._enlarged.share(job):g} of a GPU"
                self._close(trial_id, "lost", f"{fault.reason}; {share}", None)
                return
            fault = Fault("verdict", f"does not fit on a GPU: {fault.reason}")
        match fault.kind:
            case "verdict":
                self._source.fail(job, fault.reason)
                self._end(trial_id, "failed", fault.reason, None)
            case "lost":
                again = self._source.give_back(job, fault.reason)
                self._close(trial_id, "lost" if again else "failed", fault.reason, None)
                left = len(self._jobs.keys() - self._closed)
                self._caution.lost(fault.memory == "node", left)
            case "environment":
                self._closed.add(trial_id)  # only here; it stays open in the source
                self.environment = self.environment or fault

    def _end(self, trial_id: str, state: End, detail: str, result: ProtocolResult | None) -> None:
        """Close a job whose worker has said how it ended."""
        self._caution.ended(self._begun[trial_id])
        self._close(trial_id, state, detail, result)

    def _close(
        self, trial_id: str, state: End, detail: str, result: ProtocolResult | None
    ) -> None:
        self._closed.add(trial_id)
        self._audience.ended(self._jobs[trial_id], state, detail, result)

    def _forget(self, trial_id: str) -> None:
        self._enlarged.begun(trial_id)
        self._hanging.forget(trial_id)
        self._jobs.pop(trial_id, None)
        self._begun.pop(trial_id, None)
        self.trials.pop(trial_id, None)
        self._closed.discard(trial_id)
