"""Launch, continue and extend a search in a run folder.

The study's journal, the store and `retrain.json` in the folder say what is done, so starting and
continuing use the same code.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from shiftsearch.data.cache import keep_pack
from shiftsearch.data.dataset import Dataset
from shiftsearch.data.os_errors import in_words
from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.attempting import attempt
from shiftsearch.experiments.bundle_formats import finish_bundle
from shiftsearch.experiments.call import Call
from shiftsearch.experiments.callbacks.hearing import Hearing
from shiftsearch.experiments.callbacks.named import made
from shiftsearch.experiments.collector import Collector
from shiftsearch.experiments.conclusion import Conclusion
from shiftsearch.experiments.continuing import (
    keep_as_begun,
    refuse_new,
    retraining_of,
    take_up,
)
from shiftsearch.experiments.costing import meter_for
from shiftsearch.experiments.definition import Experiment, dump
from shiftsearch.experiments.doctor.preflight import preflight
from shiftsearch.experiments.exits import DONE, INTERRUPTED, TOO_MANY_FAILURES, Interrupted
from shiftsearch.experiments.gpu_share import with_share
from shiftsearch.experiments.inputs import fit, load_data
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
from shiftsearch.experiments.storage.holding import Holding, has_begun, held
from shiftsearch.experiments.storage.place import place_of, placed
from shiftsearch.experiments.tensorboard.log import TensorBoardLog
from shiftsearch.experiments.workers import context_of
from shiftsearch.model.costs import Meter
from shiftsearch.model.device import choose_device
from shiftsearch.model.result import STAGES
from shiftsearch.search.executing.cluster import cluster, cluster_nodes
from shiftsearch.search.executing.concurrency import Concurrency
from shiftsearch.search.executing.faults import EnvironmentFault
from shiftsearch.search.executing.jobs import Listener, Phase
from shiftsearch.search.executing.joined import check_address
from shiftsearch.search.executing.resources import Resources, this_machine
from shiftsearch.search.executing.tune import run_jobs
from shiftsearch.search.study.journal import readable
from shiftsearch.search.study.records import stored_identity
from shiftsearch.search.study.stored_study import refuse_other
from shiftsearch.search.study.study import Study


def search(
    experiment: Experiment,
    folder: Path,
    console: Console,
    call: Call,
) -> int:
    """The whole job: check the data, search, retrain, choose, export, report.

    A run that the folder holds already is continued, or extended if more trials are asked for.

    Args:
        experiment: the experiment, with absolute `data`.
        folder: the run's folder, absolute.
        console: for progress and the table.
        call: what is not part of the experiment.

    Returns:
        The exit code.

    Raises:
        data.dataset.DataError: the data is wrong or does not fit; nothing is written.
        model.own_network.OwnNetworkError: the own network cannot be used; nothing is written.
        StudyMismatch, StudyDamaged: another identity; a journal that cannot be read.
        search.executing.resources.ResourceError: not even one trial fits, or no cluster answers.
        search.study.journal.RunLocked: another process is using the run.
        experiments.definition.DefinitionError: its storage refuses, or is not that of the run.
        experiments.run_folder.NotARun: the folder holds something else.
        experiments.exits.Interrupted: the machine cannot do it now; the command continues the run.
    """
    run = Run(folder)
    run.refuse_other_content()
    place = placed(experiment, run)
    if place is not None:
        experiment = experiment.model_copy(update={"storage": place.storage})
    begun = has_begun(run, place)
    refuse_new(call, run, begun)
    if call.address is None:  # the resources of a cluster are known only once it is joined
        fit(experiment, [this_machine()])
    else:
        check_address(call.address)
    first = preflight(folder, call.address)
    callbacks = made(experiment.callbacks)
    dataset, said = load_data(experiment)
    meter = meter_for(experiment, dataset, begun=begun)

    def is_this_run(journal: Path) -> None:
        stored = None
        with readable(journal), contextlib.suppress(LookupError):  # holds no study yet
            stored = stored_identity(journal)
        if stored is not None:
            refuse_other(stored, {"name": experiment.name, **experiment.identity(dataset.digest)})

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    with held(run, "a search", place, is_this_run, tell) as holding:
        experiment = keep_as_begun(experiment, run)
        try:
            found = _Search(experiment, run, dataset, meter, console, call, first + said, holding)
            with Hearing(callbacks, found.warn, found.study.settings.objective) as hearing:
                return found(hearing)
        except OSError as error:
            raise Interrupted(in_words(error)) from error


class _Search:
    """One call of `search` on a locked run folder."""

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
        run, study, warn = self.run, self.study, warner(self.console)
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
        if not self.phases.finished:
            self._execute(log)
        self.steering.close("the search is over")
        if stopped := self.phases.stopped:
            self.board.stopping(stopped)
            self.console.print(f"no more trials were asked for: {stopped}", soft_wrap=True)
        attempt("trials.csv", lambda: write_trials_csv(study.trials(), run.trials), warn)
        if study.finished and study.gave_up:
            say_why(self.console, study, self.experiment.failures.max_share)
            if study.ending.gave_up_for_losses:
                raise EnvironmentFault("trials failed because their workers were lost")
            return TOO_MANY_FAILURES
        if not self.phases.finished:
            self.console.print("interrupted; the same command continues this run")
            return INTERRUPTED
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
