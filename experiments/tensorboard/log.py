"""Curves, a row of the HParams table and confusion matrices of every job, for TensorBoard.

`tensorboard --logdir RUN/tensorboard` shows them within seconds. Each job has one folder, named by
the job and never by its parameters; `places` says where it lies. A worker that repeats a job
reports all its epochs again, so a job's folder is emptied when it starts, and no step appears
twice.

The root folder holds the experiment, written once. A trial's folder holds the start of its session
and its curves, written live, and a last file with status, metrics and confusion matrices, made
from the study's record. That file is written completely or not at all. So file names show which
trials a killed driver left without an end, and `mend` writes it. The matrices themselves are kept
in the run's store.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tensorboard.compat.proto.summary_pb2 import Summary

from shiftsearch.experiments.live.listeners import harmless
from shiftsearch.experiments.tensorboard import hparams
from shiftsearch.experiments.tensorboard.events import (
    EventFile,
    Values,
    empty,
    has_end,
    image,
    scalar,
    text,
    write_end,
)
from shiftsearch.experiments.tensorboard.pictures import confusion_matrix
from shiftsearch.experiments.tensorboard.places import REFERENCE, Places, can_win
from shiftsearch.experiments.wording import duration
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.report import stored_confusions
from shiftsearch.model.result import ProtocolResult
from shiftsearch.model.store import Store
from shiftsearch.search.executing.jobs import End, Job
from shiftsearch.search.executing.places import Place
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord

_CURVES = {
    "train_loss": "mean cross-entropy over the epoch, in nats, on {trained}",
    "train_accuracy": "over the epoch, 0 to 1, on {trained}",
    "validation_loss": "mean cross-entropy after the epoch, in nats, on {validated}",
    "validation_accuracy": "after the epoch, 0 to 1, on {validated}",
    "learning_rate": "of the epoch",
    "images_per_second": "in training, over the epoch",
}
_FIRST = "_accuracy"
"""End of the names of curves that are shown first: TensorBoard sorts by tag, and theirs begin with
`accuracy/`."""


class TensorBoardLog:
    """A `search.executing.jobs.Listener`; as a context manager, closes open files at the end.

    Contract: only the driver writes a run's folder. Call `mend` before the first job.

    Args:
        root: the run's TensorBoard folder.
        space: the searched space; its searched hyperparameters are the table's columns.
        classes: names of the classes, for confusion matrices.
        store: the run's store, which has the matrices.
        trial: returns the study's record of a trial by number; called when a trial has ended.
        protocol: the run's protocol.
        objective: what the trials are ranked by.
    """

    def __init__(
        self,
        root: Path,
        space: Space,
        classes: Sequence[str],
        store: Store,
        trial: Callable[[int], TrialRecord],
        protocol: Protocol = Protocol(),  # noqa: B008, immutable
        objective: Objective = ACCURACY,
    ) -> None:
        self._objective = objective
        self.root, self._space, self._classes = root, space, classes
        self.places = Places(root)
        self._store, self._trial, self._protocol = store, trial, protocol
        self._open: dict[str, EventFile] = {}

    def __enter__(self) -> Self:
        return self

    @harmless
    def __exit__(self, *error: object) -> None:
        while self._open:
            self._open.popitem()[1].close()

    @harmless
    def mend(self, trials: Sequence[TrialRecord]) -> None:
        """Write the experiment, and the end of every ended trial, if they are missing.

        Args:
            trials: the study's trials, by number.
        """
        if not has_end(self.root):
            write_end(self.root, {0: [hparams.experiment(self._space, self._objective)]})
        for trial in trials:
            if trial.role == REFERENCE:
                self.places.marks[REFERENCE] = trial.number
            if trial.has_ended and not has_end(self.places.of_trial(trial.number)):
                self._end(trial)
        self.places.arrange(can_win(trials))

    # ---- Listener

    @harmless
    def started(self, job: Job) -> None:
        """Empty the job's folder, open a file in it, and write the start of its session."""
        self._close(job)
        folder = self.places.of_job(job)
        empty(folder)
        self._open[job.name] = file = EventFile(folder)
        if job.phase == "search":
            self.places.arrange({})
            start = hparams.session_start(
                self._space, job.configuration, job.role, job.branch_of, time.time()
            )
            file.add([start, *self._metrics({"state": hparams.STATES["running"]})], step=0)

    @harmless
    def placed(self, job: Job, place: Place) -> None:
        """Write where the job runs."""
        if job.name in self._open:
            self._open[job.name].add([_where(place)], step=0)

    @harmless
    def epoch(self, job: Job, stage: str, row: Mapping[str, float]) -> None:
        """Write one point of every curve of the stage."""
        file = self._open.get(job.name)
        if file is None:  # it could not be opened, and that error was logged
            return
        epoch = int(row["epoch"])
        # TensorBoard uses only the first description, and every byte costs time.
        about = self._about(job, stage) if epoch == 1 else None
        points = [
            scalar(_tag(stage, name), row[name], what.format(**about) if about else None)
            for name, what in _CURVES.items()
        ]
        file.add(points, epoch)

    @harmless
    def ended(self, job: Job, state: End, detail: str, result: ProtocolResult | None) -> None:
        """Close the job's file, with the end of a trial or the final accuracies of a retraining.

        If the worker was lost, the trial is still open, unless it was lost too often and failed.
        """
        if job.phase == "retrain" and result is not None and job.name in self._open:
            self._open[job.name].add(
                self._metrics(hparams.accuracies(result, self._objective)), step=1
            )
        self._close(job)
        if job.phase == "search":
            trial = self._trial(job.number)
            if trial.has_ended:
                self._end(trial)
                self.places.arrange(can_win([trial]))

    def _about(self, job: Job, stage: str) -> dict[str, str]:
        """The images that train and validate a stage, in words."""
        if stage == "baseline":
            return {"trained": "TRAIN", "validated": "TEST"}
        values = Hyperparameters.from_flat(job.configuration).fine_tune
        trained = self._protocol.fine_tuned_on(values)
        return {"trained": trained, "validated": self._validated(stage)}

    def _validated(self, stage: str) -> str:
        """What validates a fine-tune; with folds, that of the model has no fold in its name."""
        fold = re.search(r"fold_(\d+)$", stage)
        return "TEST2's selection part" + (f" without fold {fold[1]}" if fold else "")

    # ---- files

    def _end(self, trial: TrialRecord) -> None:
        """Write the last file of a trial; it repeats the start, in case that is missing."""
        now = time.time()
        start = hparams.session_start(
            self._space,
            trial.configuration,
            trial.role,
            trial.branch_of,
            now - (trial.seconds or 0.0),
        )
        end = hparams.session_end(trial.state, now)
        where = [] if trial.place is None else [_where(trial.place)]
        values = [
            start,
            end,
            *where,
            *self._metrics(hparams.metrics(trial)),
            *self._confusions(trial),
        ]
        write_end(self.places.of_trial(trial.number), {1: values})

    def _confusions(self, trial: TrialRecord) -> Values:
        if trial.result is None:
            return []
        found = {
            "before": stored_confusions(self._store, trial.result.baseline),
            "after": stored_confusions(self._store, trial.result.fine_tune),
        }
        return [
            image(
                f"confusion/{split}_{when}",
                confusion_matrix(matrices[split], self._classes),
                f"images of {images}, {when} fine-tuning",
            )
            for split, images in (("test2", "TEST2's selection part"), ("test", "TEST"))
            for when, matrices in found.items()
            if matrices is not None
        ]

    def _close(self, job: Job) -> None:
        file = self._open.pop(job.name, None)
        if file is not None:
            file.close()

    def _metrics(self, values: Mapping[str, float]) -> Values:
        texts = hparams.descriptions(self._objective)
        return [scalar(tag, value, texts[tag]) for tag, value in values.items()]


def _where(place: Place) -> Summary.Value:
    node = f", node {place.node_id}" if place.node_id else ""
    busy = f", busy for {duration(place.seconds)}" if place.seconds else ""
    return text("place/node_and_device", f"{place.host}{node}, {place.device}{busy}")


def _tag(stage: str, name: str) -> str:
    """A curve's tag: `accuracy/fine_tune/validation`, `fine_tune/train_loss`."""
    if name.endswith(_FIRST):
        return f"accuracy/{stage}/{name.removesuffix(_FIRST)}"
    return f"{stage}/{name}"
