"""The command `export`: the chosen model of a run or any complete trial's, and its formats."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from shiftsearch.data.cache import open_dataset, open_pack
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.data.reading import Reading
from shiftsearch.experiments.bundle_formats import WrongFormat, wanted_formats, write_formats
from shiftsearch.experiments.definition import DefinitionError, Experiment, load
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.live.status import trials_of
from shiftsearch.experiments.outcome.blends import Blend, Model, Predictor
from shiftsearch.experiments.outcome.choice import Choice
from shiftsearch.experiments.outcome.exported import export_model
from shiftsearch.experiments.outcome.judged import judge
from shiftsearch.experiments.outcome.kept import weights_kept
from shiftsearch.experiments.outcome.results import parts_of
from shiftsearch.experiments.outcome.trained import Trained
from shiftsearch.experiments.own_network import load_with, prepare_own
from shiftsearch.experiments.recovering import recovered
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.wording import percent
from shiftsearch.model.bundle import Bundle
from shiftsearch.model.bundle_format import RECORD, BundleError, is_replaceable
from shiftsearch.model.device import choose_device
from shiftsearch.model.formats import FORMATS
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.model.parity import Checks, made_images, real_images
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.resources import ResourceError
from shiftsearch.search.study.journal import RunLocked
from shiftsearch.search.study.records import TrialRecord, best_trials, stored_identity


class WrongOption(ValueError):  # noqa: N818, named by its cause
    """The trial has no model, or the folder is in use; the message says which."""


INPUT_ERRORS = (
    NotARun,
    DataError,
    DefinitionError,
    BundleError,
    OwnNetworkError,
    ResourceError,
    RunLocked,
    WrongOption,
    WrongFormat,
)
"""Errors in the user's input; each has `problems` or a message of one line."""


def export(options: Namespace, console: Console) -> int:
    """`shiftsearch export`.

    A trial's model is scored on TEST and TEST2's selection part. The held-out part is left for
    `shiftsearch evaluate`, which counts the look. Of a cross-fitted trial, the model is that of
    the fold with the median best epoch.
    """
    names = None if options.formats is None else wanted_formats(options.formats)
    if options.trial is not None:
        run, number = Run(options.source), options.trial
        folder = options.folder or run.exported(number)
        _refuse_existing(folder, options.force)
        with TemporaryDirectory() as made:  # so that it appears with its formats or not at all
            source = Path(made) / folder.name
            said = _export_trial(run, number, source, console)
            _add(source, folder, names, run, options, console)
        console.print(said.format(folder), soft_wrap=True, highlight=False)
        return DONE
    source = options.source
    if not (source / RECORD).is_file():
        source = _chosen(Run(source))
    folder = options.folder or source
    if folder != source:
        _refuse_existing(folder, options.force)
    _add(source, folder, names, Run(source.parent), options, console)
    if folder != source:
        console.print(f"model: {folder}", soft_wrap=True, highlight=False)
    return DONE


def _refuse_existing(folder: Path, force: bool) -> None:
    if folder.exists() and not force:
        raise WrongOption(f"--to {folder}: exists already; --force replaces a bundle there")
    if not is_replaceable(folder):
        raise BundleError([f"{folder}: is not a bundle, so it is not replaced"])


def _chosen(run: Run) -> Path:
    """The bundle of a finished run.

    Raises:
        WrongOption: the search is not finished.
    """
    trials = trials_of(run)
    if run.bundle.exists():
        return run.bundle
    best = next(iter(best_trials(trials)), None)
    hint = "" if best is None else f"; the best one so far is {best.number}"
    raise WrongOption(
        f"{run.bundle}: does not exist yet, but --trial N exports the model of a trial{hint}"
    )


def _add(
    source: Path,
    folder: Path,
    names: list[str] | None,
    run: Run,
    options: Namespace,
    console: Console,
) -> None:
    """Write the bundle to `folder` with formats; print a line for each."""
    bundle = load_with(source, options.network)  # checks it, and gives an own network
    checks = _checks(bundle, run, options.data)
    for line in write_formats(
        source,
        folder,
        bundle,
        list(FORMATS) if names is None else names,
        checks,
        strict=names is not None,
        again=options.force,
    ):
        console.print(line, soft_wrap=True, highlight=False)


def _checks(bundle: Bundle, run: Run, data: Path | None) -> Checks:
    """Images for the comparison: of the given data, of the run's, or made ones."""
    if data is not None:
        how = bundle.record.preprocessing
        reading = Reading(size=how.size, aspect=how.aspect, bits=how.bits)
        dataset, _ = open_dataset(data, splits=("TEST",), how=reading)
        bundle.check_fits(dataset)
    elif run.pack.is_dir():
        dataset = open_pack(run.pack, bundle.record.dataset_digest)
    else:
        return made_images(bundle)
    test = dataset.splits["TEST"]
    return real_images(test.images, test.labels, bundle.record.preprocessing.scale)


def _export_trial(run: Run, number: int, folder: Path, console: Console) -> str:
    """Export a trial's model, without formats; what to say, with a place for the folder."""
    trials = trials_of(run)
    result = complete_trial(trials, number).result
    experiment = load(str(run.definition))
    assert result is not None
    dataset = open_pack(run.pack, stored_identity(run.journal)["data"])
    prepare_own(experiment, dataset)
    if weights_kept(run.store, result, experiment.protocol):
        return _export_result(run, trials[number], result, folder, experiment, dataset)
    with recovered(run, experiment, dataset, trials, number, console) as result:
        return _export_result(run, trials[number], result, folder, experiment, dataset)


def _export_result(
    run: Run,
    trial: TrialRecord,
    result: ProtocolResult,
    folder: Path,
    experiment: Experiment,
    dataset: Dataset,
) -> str:
    """Export a trial's model from a result whose weights are kept."""
    device = choose_device()
    device.apply()
    parts = parts_of(dataset, experiment.protocol, device)
    parts = [part for part in parts if part.name != "held-out"]
    predictor = Predictor(run.store, dataset, parts, device, trial.objective)
    of = Trained(trial.number, 0, trial.configuration, result, trial.objective)
    judged = judge(Choice(Model("single", (Blend((of,)),)), "trial"), predictor)
    export_model(folder, judged, predictor, experiment)
    after = judged.evaluations["after", len(parts) - 1]
    return (
        f"model: {{}} (trial {trial.number}, {percent(after.accuracy)} of {after.n} images of "
        f"TEST2's selection part, {predictor.parts[-1].label('after')}; not scored on the "
        "held-out part)"
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
