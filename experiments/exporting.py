"""The command `export`: the model of any complete trial, as the search trained it."""

from __future__ import annotations

from argparse import Namespace

from rich.console import Console

from shiftsearch.data.cache import open_pack
from shiftsearch.data.dataset import DataError
from shiftsearch.experiments.definition import DefinitionError, load
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.live.status import trials_of
from shiftsearch.experiments.outcome.exported import export_bundle
from shiftsearch.experiments.outcome.results import parts_of, score, weights_kept
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.own_network import prepare_own
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.wording import percent
from shiftsearch.model.bundle_format import BundleError
from shiftsearch.model.device import choose_device
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.search.study.records import TrialRecord, stored_identity


class WrongOption(ValueError):  # noqa: N818, named by its cause
    """The trial has no model, or the folder is in use; the message says which."""


INPUT_ERRORS = (NotARun, DataError, DefinitionError, BundleError, OwnNetworkError, WrongOption)
"""Errors in the user's input; each has `problems` or a message of one line."""


def export(options: Namespace, console: Console) -> int:
    """`shiftsearch export`.

    The model is scored on TEST and TEST2's selection part. The held-out part is left for
    `shiftsearch evaluate`, which counts the look.
    """
    run, folder = Run(options.run), options.folder
    trial = _complete(trials_of(run), options.trial)
    if folder.exists() and not options.force:
        raise WrongOption(f"--to {folder}: exists already; --force replaces a bundle there")
    experiment = load(str(run.definition))
    assert trial.result is not None
    if not weights_kept(run.store, trial.result):
        raise WrongOption(
            f"--trial {trial.number}: its weights are not in {run.store.address}; to train it "
            "again, start a new run that has its configuration in `points`"
        )
    dataset = open_pack(run.pack, stored_identity(run.journal)["data"])
    prepare_own(experiment, dataset)
    device = choose_device()
    device.apply()
    parts = parts_of(dataset, experiment.protocol, device)
    parts = [part for part in parts if part.name != "held-out"]
    fine_tune = Hyperparameters.from_flat(trial.configuration).fine_tune
    candidate = Candidate(
        trial.number,
        trial.configuration,
        trial.value,
        experiment.protocol.fine_tuned_on(fine_tune),
        {0: trial.result},
        {},
        objective=trial.objective,
    )
    scored = score(f"trial {trial.number}", candidate, parts, run.store, dataset, device)
    export_bundle(folder, scored, 0, parts, run.store, dataset, experiment)
    after = scored.evaluations["after", len(parts) - 1, 0]
    console.print(
        f"model: {folder} (trial {trial.number}, {percent(after.accuracy)} of {after.n} images of "
        "TEST2's selection part, selected on; not scored on the held-out part)",
        soft_wrap=True,
        highlight=False,
    )
    return DONE


def _complete(trials: list[TrialRecord], number: int) -> TrialRecord:
    if not 0 <= number < len(trials):
        raise WrongOption(f"--trial {number}: must be from 0 to {len(trials) - 1}, the run's last")
    trial = trials[number]
    if trial.result is None:
        raise WrongOption(f"--trial {number}: is {trial.state}, but must be complete")
    return trial
