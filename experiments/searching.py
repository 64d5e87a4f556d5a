"""A search, from the study's first question to the report, on a run that this process holds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from shiftsearch.data.cache import keep_pack
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.os_errors import in_words
from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.attempting import attempt
from shiftsearch.experiments.bundle_formats import finish_bundle
from shiftsearch.experiments.call import Call
from shiftsearch.experiments.callbacks.hearing import Hearing
from shiftsearch.experiments.collector import Collector
from shiftsearch.experiments.conclusion import Conclusion
from shiftsearch.experiments.continuing import (
    retraining_of,
    take_up,
)
from shiftsearch.experiments.definition import Experiment, dump
from shiftsearch.experiments.exits import DONE, INTERRUPTED, TOO_MANY_FAILURES, Interrupted
from shiftsearch.experiments.gpu_share import with_share
from shiftsearch.experiments.inputs import fit
from shiftsearch.experiments.last_words import say_of_data, say_result, say_why, warner
from shiftsearch.experiments.live.board import OUTCOMES, Board
from shiftsearch.experiments.live.heartbeat import Heartbeat
from shiftsearch.experiments.live.listeners import harmless
from shiftsearch.experiments.live.progress import Progress
from shiftsearch.experiments.live.steering import Steering
from shiftsearch.experiments.outcome.trials_table import write_trials_csv
from shiftsearch.experiments.own_network import found
from shiftsearch.experiments.phases import Phases
from shiftsearch.experiments.precision import Precision
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.soundness import mend
from shiftsearch.experiments.storage.holding import Holding
from shiftsearch.experiments.storage.place import place_of
from shiftsearch.experiments.tensorboard.log import TensorBoardLog
from shiftsearch.experiments.workers import context_of
from shiftsearch.model.costs import Meter
from shiftsearch.model.device import choose_device
from shiftsearch.model.result import STAGES
from shiftsearch.search.executing.cluster import cluster, cluster_nodes
from shiftsearch.search.executing.concurrency import Concurrency
from shiftsearch.search.executing.faults import EnvironmentFault
from shiftsearch.search.executing.jobs import Listener, Phase
from shiftsearch.search.executing.resources import Resources
from shiftsearch.search.executing.tune import run_jobs
from shiftsearch.search.study.study import Study


class Searching:
    """One call of `search` on a locked run folder: call it to do the work.

    Args:
        experiment: the experiment, with absolute `data`.
        run: the run, which this process holds.
        dataset: its dataset.
        meter: measures configurations, if their costs matter.
        console: for progress and the table.
        call: what is not part of the experiment.
        warnings: what was found before, for `result.json`.
        holding: the right to write to the run.

    Attributes:
        study: the run's study.
    """

    def __init__(
        self,
        experiment: Experiment,
        run: Run,
        dataset: Dataset,
        meter: Meter,
        console: Console,
        call: Call,
        warnings: Sequence[str],
        holding: Holding,
    ) -> None:
        self.holding = holding
        self.experiment, self.run, self.dataset = experiment, run, dataset
        self.console, self.call = console, call
        self.reasons, self.warnings = list[str](), list(warnings)
        settings, identity = experiment.settings(), experiment.identity(dataset.digest)
        self.study = Study(run.journal, experiment.search_space(), settings, identity, meter=meter)
        mend(run, self.warnings.append)
        for line in take_up(call, run, self.study):
            console.print(line, soft_wrap=True)
        self.precision = Precision(self.study.formats, self.warn)
        until = experiment.until_converged
        make = retraining_of(experiment, run, lambda: self.board.concurrency)
        self.phases = Phases(self.study, make, experiment.retrain, until_converged=until)
        self.collector = None
        if experiment.keep != "all":
            self.collector = Collector(run.store, self.study, experiment.keep, run.retrained)
        self._as_steered()
        self.board = Board(
            experiment.name,
            self.experiment.trials,
            {s: getattr(experiment.protocol, s).max_epochs for s in STAGES},
            self.study.trials(),
            self.study.settings.objective,
        )
        # Made before the heartbeat starts: requests that arrive while Ray starts must be kept.
        self.steering = Steering(run.commands, self.phases, self.study.space, self._say_steered)

    def __call__(self, hearing: Hearing) -> int:
        """Do the work, or what is left of it; returns the exit code.

        Raises:
            Interrupted: the machine cannot do it now.
        """
        self.hearing = hearing
        with Heartbeat(self.run.status, self.board) as heartbeat:
            self._end = heartbeat.end_at_once if self.call.own_process else None
            try:
                code = self._work()
            except (EnvironmentFault, OSError) as error:
                if isinstance(error, BrokenPipeError):  # the terminal is gone
                    raise
                fault = in_words(error) if isinstance(error, OSError) else str(error)
                with contextlib.suppress(OSError):
                    self.steering.close(fault)
                self.board.close("interrupted", fault)
                raise Interrupted(fault) from error
            self.board.close(OUTCOMES[code])
        return code

    def _work(self) -> int:
        begin = time.monotonic()
        log = self._begin()
        if not self.phases.finished:
            self._execute(log)
        self.steering.close("the search is over")
        if stopped := self.phases.stopped:
            self.board.stopping(stopped)
            self.console.print(f"no more trials were asked for: {stopped}", soft_wrap=True)
        trials, warn = self.study.trials(), warner(self.console)
        attempt("trials.csv", lambda: write_trials_csv(trials, self.run.trials), warn)
        if self.study.finished and self.study.gave_up:
            say_why(self.console, self.study, self.experiment.failures.max_share)
            if self.study.ending.gave_up_for_losses:
                raise EnvironmentFault("trials failed because their workers were lost")
            return TOO_MANY_FAILURES
        if not self.phases.finished:
            self.console.print("interrupted; the same command continues this run")
            return INTERRUPTED
        return self._conclude(begin, warn)

    def _begin(self) -> TensorBoardLog:
        """Say what begins, and write what a run has before its first job."""
        run, study = self.run, self.study
        say_of_data(self.console, self.experiment, self.dataset, self.warnings)
        self.console.print(f"run folder: {run.folder}")
        if (place := place_of(run)) is not None:
            self.console.print(f"storage: {place.url}", soft_wrap=True, highlight=False)
        self._write_definition()
        self.precision.recall()
        run.tidy()
        keep_pack(self.dataset, run.pack)
        self.hearing.begun(run.folder, self.experiment.model_dump(mode="json"))
        if self.experiment.network is not None:
            found(self.experiment.network).keep(run.network)
        classes, protocol = self.dataset.classes, self.experiment.protocol
        log = TensorBoardLog(
            *(run.tensorboard, study.space, classes, run.store, study.trial, protocol),
            study.settings.objective,
        )
        log.mend(study.trials())
        return log

    def _conclude(self, begin: float, warn: Callable[[str], None]) -> int:
        """Choose, export and report; returns the exit code."""
        run, study = self.run, self.study
        self.board.enter("concluding")
        retraining = self.phases.retrain()
        if retraining.lost:  # else the machine would decide which configuration wins
            raise EnvironmentFault("replicates failed because their workers were lost")
        circumstances = {
            "command": self.call.command,
            "reasons": self.reasons,
            "warnings": self.warnings,
            "seconds": time.monotonic() - begin,
            "stopped": self.phases.stopped,
        }
        result = Conclusion(
            self.experiment, run, self.dataset, study, retraining, circumstances
        ).conclude()
        study.ending.resume()
        if result is None:
            self.console.print("every retrained configuration failed; no model", style="red")
            return TOO_MANY_FAILURES
        finish_bundle(self.experiment, run, self.dataset, self.console, warn)
        from shiftsearch.experiments.adornments import adorn  # with Matplotlib, only needed here

        adorn(run, result, study.trials(), study.space, warn)
        if self.collector is not None:
            attempt("removing weights from the store", self.collector.finish, warn)
        say_result(self.console, self.experiment, run, result, study.trials())
        self.hearing.concluded(run.folder, result)
        return DONE

    def _execute(self, log: TensorBoardLog) -> None:
        """Run the missing jobs on Ray."""
        experiment, address = self.experiment, self.call.address
        self.holding.copy()  # the dataset, for nodes that do not see the run's folder
        with cluster(address, self.run.ray, self._end):
            nodes = cluster_nodes()
            context = context_of(
                *(experiment, self.run, self.dataset.digest, fit(experiment, nodes), address),
                notes=self.collector is not None,
            )
            self.asked = with_share(
                experiment.resources, self.study.space, self.dataset, nodes, context, self._explain
            )
            resources = self._fit()
            self._say_choices(resources)
            self.board.concurrency = resources.concurrency
            fixed = address is None or experiment.resources.concurrency is not None
            self.concurrency = Concurrency(resources, None if fixed else self._fit, self._follow)
            progress = Progress(self.console, self.board)
            self.phases.on_phase = tell = self._phase_teller(progress)
            with progress, log:
                if self.study.finished:
                    retraining = self.phases.retrain()
                    tell("retrain", retraining.total, retraining.done)
                else:
                    done = experiment.trials - self.study.missing
                    progress.phase("search", experiment.trials, done)
                heard: list[Listener] = [progress, log, self.precision, self.hearing]
                if self.collector is not None:
                    attempt("removing weights from the store", self.collector.begin, self.warn)
                    heard.append(self.collector)
                heard += self.holding.listeners
                how = resources, self.run.ray, self._step, self.concurrency
                silent = experiment.failures.silent_seconds
                run_jobs(self.phases, heard, context, *how, silent)
                self.precision.settle()

    def _step(self) -> None:
        """Called in every step of the driver; may write to the study."""
        self.steering.poll()
        self.precision.settle()
        self.board.refusals(self.study.refused)
        self.concurrency.look()
        if self.holding.fault:
            raise EnvironmentFault(self.holding.fault)

    def _fit(self) -> Resources:
        return fit(self.experiment, cluster_nodes(), self.asked)

    @harmless
    def _follow(self, resources: Resources) -> None:
        """The cluster has more or fewer nodes now."""
        self.board.concurrency = resources.concurrency
        self.console.print(f"now {resources.reason}", soft_wrap=True)

    def _phase_teller(self, progress: Progress) -> Callable[[Phase, int, int], None]:
        def tell(name: Phase, total: int, done: int) -> None:
            self.board.stopping(self.phases.stopped)
            progress.phase(name, total, done)

        return tell

    def _as_steered(self) -> None:
        """Add to the experiment what was asked for during the search: more trials and points."""
        points = [t.configuration for t in self.study.trials() if t.role == "point"]
        self.experiment = self.experiment.steered(self.study.ending.wanted, points)

    def _write_definition(self) -> None:
        write_atomically(self.run.definition, dump(self.experiment).encode())

    @harmless
    def _say_steered(self, line: str) -> None:
        """Print the answer to a request, and update the experiment and the board."""
        self.console.print(f"request: {line}", soft_wrap=True)
        if self.phases.searching:
            self._as_steered()
            self._write_definition()
            self.board.want(self.experiment.trials)
            self.board.stopping(self.study.ending.reason)

    def warn(self, warning: str) -> None:
        """Print a warning now, and keep it for `result.json`."""
        self.warnings.append(warning)
        warner(self.console)(warning)

    def _explain(self, line: str) -> None:
        """Print what is chosen, and why, and keep it for `result.json`."""
        self.reasons.append(line)
        self.console.print(line, soft_wrap=True)

    def _say_choices(self, resources: Resources) -> None:
        """Print every automatic choice once, with its reason."""
        self._explain(resources.reason)
        cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
        if self.call.address is None and not gpus:
            device = choose_device(cpus, gpus, self.experiment.dtype)
            self._explain(device.reason)
            self.precision.chosen(device.dtype)
        else:  # this process has no GPU, and must not use one
            where = self.call.address or f"{gpus:g} GPU a trial"
            self._explain(f"{where}: each worker chooses its device and dtype")
        keep = self.experiment.keep
        if keep != "all" and keep < self.experiment.trials:
            self._explain(
                f"keep: {keep}: weights of other than the {keep} best trials are removed from the "
                "store, and trained again when they are asked for"
            )
