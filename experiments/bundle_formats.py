"""The formats of a bundle: which are wanted, and how they get into it with the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.attempting import attempt
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.outcome.card import card
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.bundle import Bundle
from shiftsearch.model.bundle_facts import facts_of
from shiftsearch.model.export import rewrite
from shiftsearch.model.formats import FORMATS, missing_packages
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.parity import Checks, made_formats, real_images, written


class WrongFormat(ValueError):  # noqa: N818, named by its cause
    """Formats that were asked for cannot be written; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def wanted_formats(text: str) -> list[str]:
    """The formats named by `--format`.

    Raises:
        WrongFormat: one is unknown.
    """
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name not in FORMATS]:
        offered = ", ".join([*FORMATS, "none"])
        raise WrongFormat([f"--format {name}: must be of {offered}" for name in wrong])
    return list(dict.fromkeys(names))


def write_formats(
    source: Path,
    folder: Path,
    bundle: Bundle,
    names: Sequence[str],
    checks: Checks,
    *,
    strict: bool = False,
    again: bool = False,
) -> list[str]:
    """Write a bundle with further formats and its card, whole or not at all.

    Args:
        source: the bundle's folder.
        folder: where it is written; may be `source`, which then stays as it is if there is
            nothing to add.
        bundle: the bundle in `source`.
        names: the formats.
        checks: images for the comparison with the PyTorch model.
        strict: whether nothing is written if one of the formats cannot be.
        again: whether formats that the bundle has already are made again.

    Returns:
        A line for each format.

    Raises:
        WrongFormat: in the strict case, a line for each format that cannot be written.
        model.bundle_format.BundleError: `folder` holds something else.
    """
    facts_of(bundle.record)  # which the card needs
    has = [] if again else [name for name in names if _has(bundle, name)]
    outcomes = made_formats(bundle, [name for name in names if name not in has], checks)
    if strict and (wrong := [one.line for one in outcomes if one.parity is None]):
        raise WrongFormat(wrong)
    files, parities = written(outcomes)
    if files or folder != source:
        known = {
            name: parity.model_dump() for name, parity in facts_of(bundle.record).formats.items()
        }
        rewrite(source, folder, files, {"formats": {**known, **parities}}, card)
    kept = [
        f"{FORMATS[name].file}: is in the bundle already; --force makes it again" for name in has
    ]
    return [*kept, *(one.line for one in outcomes)]


def finish_bundle(
    experiment: Experiment,
    run: Run,
    dataset: Dataset,
    console: Console,
    warn: Callable[[str], None],
) -> None:
    """Bring the bundle of a finished run up to date with its experiment: formats and licence.

    Args:
        experiment: the run's experiment.
        run: the run's folder, with a bundle.
        dataset: the run's dataset.
        console: gets a line for each format that was made, or cannot be.
        warn: called with one line if it fails.
    """

    def finish() -> None:
        for line in _finish(experiment, run, dataset):
            console.print(line, soft_wrap=True, highlight=False, markup=False)

    attempt("formats of the model", finish, warn)


def _finish(experiment: Experiment, run: Run, dataset: Dataset) -> list[str]:
    bundle = load_bundle(run.bundle)
    names = [name for name in _wanted(experiment, bundle) if not _has(bundle, name)]
    lines = []
    if names:
        test = dataset.splits["TEST"]
        checks = real_images(test.images, test.labels, bundle.record.preprocessing.scale)
        lines = write_formats(run.bundle, run.bundle, bundle, names, checks)
    if facts_of(bundle.record).licence != experiment.licence:
        rewrite(run.bundle, run.bundle, {}, {"licence": experiment.licence}, card)
    return lines


def _wanted(experiment: Experiment, bundle: Bundle) -> Sequence[str]:
    """The formats that a bundle is to have; one of an earlier version stays as it is."""
    asked = experiment.export.formats
    if asked is not None or "licence" not in bundle.record.model:
        return asked or ()
    return [name for name in FORMATS if not missing_packages(name)]


def _has(bundle: Bundle, name: str) -> bool:
    return FORMATS[name].file in bundle.record.checksums
