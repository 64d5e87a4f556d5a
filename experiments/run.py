"""Launch, continue and extend a search in a run folder.

The study's journal, the store and `retrain.json` in the folder say what is done, so starting and
continuing use the same code.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from rich.console import Console

from shiftsearch.data.os_errors import in_words
from shiftsearch.experiments.call import Call
from shiftsearch.experiments.callbacks.hearing import Hearing
from shiftsearch.experiments.callbacks.named import made
from shiftsearch.experiments.continuing import keep_as_begun, refuse_new
from shiftsearch.experiments.costing import meter_for
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.doctor.preflight import preflight
from shiftsearch.experiments.exits import Interrupted
from shiftsearch.experiments.inputs import fit, load_data
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.searching import Searching
from shiftsearch.experiments.storage.holding import has_begun, held
from shiftsearch.experiments.storage.place import placed
from shiftsearch.search.executing.joined import check_address
from shiftsearch.search.executing.resources import this_machine
from shiftsearch.search.study.journal import readable
from shiftsearch.search.study.records import stored_identity
from shiftsearch.search.study.stored_study import refuse_other


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
            found = Searching(
                experiment, run, dataset, meter, console, call, first + said, holding
            )
            with Hearing(callbacks, found.warn, found.study.settings.objective) as hearing:
                return found(hearing)
        except OSError as error:
            raise Interrupted(in_words(error)) from error
