"""The command `export`: the chosen model of a run or any complete trial's, and its formats."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from shiftsearch.data.cache import open_pack
from shiftsearch.data.dataset import DataError
from shiftsearch.experiments.definition import DefinitionError, load
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.live.status import trials_of
from shiftsearch.experiments.outcome.exported import export_bundle
from shiftsearch.experiments.outcome.kept import weights_kept
from shiftsearch.experiments.outcome.results import parts_of, score
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.own_network import load_with, prepare_own
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.wording import percent
from shiftsearch.model.bundle_format import RECORD, BundleError, is_replaceable
from shiftsearch.model.device import choose_device
from shiftsearch.model.formats import FORMATS, add_formats, raw_images, some_of_each_class
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.search.study.records import TrialRecord, stored_identity


class WrongOption(ValueError):  # noqa: N818, named by its cause
    """The trial has no model, or the folder is in use; the message says which."""


INPUT_ERRORS = (NotARun, DataError, DefinitionError, BundleError, OwnNetworkError, WrongOption)
"""Errors in the user's input; each has `problems` or a message of one line."""


def export(options: Namespace, console: Console) -> int:
    """`shiftsearch export`.

    A trial's model is scored on TEST and TEST2's selection part. The held-out part is left for
    `shiftsearch evaluate`, which counts the look. Of a cross-fitted trial, the model is that of
    the fold with the median best epoch.
    """
    folder, formats = options.folder, _wanted(options.formats)
    if folder is not None and folder.exists() and not options.force:
        raise WrongOption(f"--to {folder}: exists already; --force replaces a bundle there")
    if options.trial is not None:
        _export_trial(Run(options.source), options.trial, folder, console)
        source = folder
    else:
        source = options.source
        source = source if (source / RECORD).is_file() else Run(source).bundle
    # The data of the run that the model is of: the chosen model lies in the run's folder.
    run = Run(options.source if options.trial is not None else source.parent)
    if not formats and folder in (None, source):
        return DONE
    _write_formats(run, source, folder or source, formats, options.network, console)
    return DONE


def _wanted(text: str) -> list[str]:
    """The formats named by `--format`, all of which can be made here."""
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    offered = ", ".join([*FORMATS, "none"])
    for name in names:
        if name not in FORMATS:
            raise WrongOption(f"--format {name}: must be of {offered}")
    return list(dict.fromkeys(names))


def _write_formats(
    run: Run,
    source: Path,
    target: Path,
    formats: list[str],
    network: str | None,
    console: Console,
) -> None:
    if not is_replaceable(target):
        raise BundleError([f"{target}: is not a bundle, so it is not replaced"])
    bundle = load_with(source, network)  # checks it, and gives this process an own network
    dataset = open_pack(run.pack, bundle.record.dataset_digest)
    test = dataset.splits["TEST"]
    images = test.images[some_of_each_class(test.labels)]
    images = raw_images(images, bundle.record.preprocessing.scale)
    for outcome in add_formats(source, formats, images, target=target):
        console.print(outcome.line, soft_wrap=True, highlight=False)
    if target != source:
        console.print(f"model: {target}", soft_wrap=True, highlight=False)


def _export_trial(run: Run, number: int, folder: Path | None, console: Console) -> None:
    """Export a trial's model, without formats."""
    if folder is None:
        raise WrongOption(f"--trial {number}: needs a folder, --to DIR")
    trial = complete_trial(trials_of(run), number)
    experiment = load(str(run.definition))
    assert trial.result is not None
    if not weights_kept(run.store, trial.result, experiment.protocol):
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
        f"TEST2's selection part, {parts[-1].label('after')}; not scored on the held-out part)",
        soft_wrap=True,
        highlight=False,
    )


def complete_trial(trials: list[TrialRecord], number: int) -> TrialRecord:
    """The trial of this number, which has a result.

    Raises:
        WrongOption: there is no such trial, or it is not complete.
    """
    if not 0 <= number < len(trials):
        raise WrongOption(f"--trial {number}: must be from 0 to {len(trials) - 1}, the run's last")
    trial = trials[number]
    if trial.result is None:
        raise WrongOption(f"--trial {number}: is {trial.state}, but must be complete")
    return trial
