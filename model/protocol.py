"""The protocol: baseline, then fine-tune, on the divided dataset.

No stage and no number that `run_protocol` returns depends on the held-out part of TEST2, which
`model.prepared` takes out of the dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from shiftsearch.model.architecture import REFERENCE, Architecture
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import EpochRow, TensorSplit
from shiftsearch.model.evaluation import Evaluation, evaluate
from shiftsearch.model.folds import cross_fitted
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.network import Network, allocate
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.recipe import training_splits
from shiftsearch.model.report import ProtocolReport, StageReport, course_record
from shiftsearch.model.stage import OnEpoch, StageResult
from shiftsearch.model.store import Entry, Store, content_key
from shiftsearch.model.training import run_stage

OnReport = Callable[[int, StageReport, StageReport], None]
"""Called with the baseline's epochs so far, the baseline, and the whole fine-tune from there."""


class ProtocolRun:
    """Puts one configuration through the protocol; stored stages are not computed again.

    Args:
        hyperparameters: the configuration.
        data: from `prepare` with the same protocol and device.
        protocol: settings that are fixed for the run.
        store: the run's store.
        device: the device; the caller has applied it to this process.
        seed: the study's seed.
        replicate: 0 in the search; 1, 2, ... in retraining.
        on_epoch: called with the stage's name and each epoch's row, once per epoch, in order.
        on_course: called with the key of each course before it is looked for in the store.

    Attributes:
        data: the data with the configuration's preprocessing.
        store: as given.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        data: ProtocolData,
        protocol: Protocol,
        store: Store,
        device: Device,
        *,
        seed: int,
        replicate: int = 0,
        on_epoch: OnEpoch | None = None,
        on_course: Callable[[str], None] | None = None,
    ) -> None:
        self._hyperparameters, self._protocol = hyperparameters, protocol
        how = hyperparameters.preprocessing
        self.data = data if how == data.preprocessing else data.preprocessed(how)
        self.store, self._device = store, device
        self._seeds = (seed, replicate)
        self._on_epoch, self._on_course = on_epoch, on_course
        self._told: Counter[str] = Counter()

    def baseline(self, until: int | None = None) -> StageResult:
        """Train on TRAIN, for at most `until` epochs; a longer call continues a shorter one."""
        return self._stage("baseline", self.data.test, "baseline", until=until)

    def fine_tune(
        self,
        baseline: StageResult,
        name: str = "fine_tune",
        validation: TensorSplit | None = None,
    ) -> StageResult:
        """Train the baseline's best weights further, to the end.

        Args:
            baseline: the trained baseline.
            name: the stage's name for `on_epoch`.
            validation: the images that validate it; None: the selection part of TEST2.
        """
        validation = self.data.selection if validation is None else validation
        return self._stage("fine_tune", validation, name, baseline)

    def fine_tuned(
        self, baseline: StageResult, name: str = "fine_tune", *, with_model: bool = False
    ) -> StageReport:
        """A whole fine-tune with its evaluations; with folds it is cross-fitted.

        Args:
            baseline: the trained baseline.
            name: the stage's name for `on_epoch`.
            with_model: see `model.folds.cross_fitted`; without folds there is always a model.
        """
        if self.data.folds:
            return cross_fitted(self, baseline, name, with_model=with_model)
        return self.report(self.fine_tune(baseline, name))

    def report(self, result: StageResult) -> StageReport:
        """Evaluate on TEST and on the selection part of TEST2, or read stored evaluations."""
        data = self.data
        splits = {"test": data.test, "test2": data.selection}
        name = "report-" + content_key([result.epochs, *(s.digest for s in splits.values())])
        stored = self.store.load(result.course, name)
        if stored is None:
            network = self.network(result)
            found = {k: evaluate(network, s.images, s.labels) for k, s in splits.items()}
            scores = {k: evaluation.to_json() for k, evaluation in found.items()}
            record = scores | course_record(result.history, result.weights)
            self.store.save(result.course, name, Entry({}, record))
        else:
            found = {k: Evaluation.from_json(stored.record[k]) for k in splits}
        return StageReport(result, found["test"], found["test2"], name)

    def network(self, result: StageResult) -> Network:
        """The network with a stage's weights, on the device, in evaluation mode."""
        data, architecture = self.data, self._hyperparameters.network.architecture
        return build(result.weights, data.classes, data.image_size, self._device, architecture)

    def _stage(
        self,
        stage: str,
        validation: TensorSplit,
        name: str,
        parent: StageResult | None = None,
        until: int | None = None,
    ) -> StageResult:
        values = getattr(self._hyperparameters, stage)
        splits = training_splits(stage, self._hyperparameters, self._protocol)
        train = self.data.training_set(splits, values.sample_weights)
        if stage == "fine_tune" and values.train_share:
            train = replace(train, from_train=len(self.data.train.labels))
        course = Course(
            stage,
            values,
            getattr(self._protocol, stage),
            train.digest,
            validation.digest,
            self.data.classes,
            self.data.image_size,
            *self._seeds,
            () if parent is None else (parent.key,),
            self._hyperparameters.network.architecture,
            self.data.selection.digest if values.sample_weights == "density_ratio" else "",
        )
        if self._on_course is not None:
            self._on_course(course.key)
        return run_stage(
            course,
            train,
            validation,
            self.store,
            self._device,
            start=None if parent is None else parent.weights,
            until=until,
            on_epoch=self._teller(name),
        )

    def _teller(self, name: str) -> OnEpoch:
        def tell(stage: str, row: EpochRow) -> None:
            del stage
            if self._on_epoch is not None and row["epoch"] > self._told[name]:
                self._told[name] = int(row["epoch"])
                self._on_epoch(name, row)

        return tell


def run_protocol(
    run: ProtocolRun,
    report_at: Mapping[str, int] | None = None,
    on_report: OnReport | None = None,
    on_baseline: Callable[[StageResult], None] | None = None,
    *,
    with_model: bool = False,
) -> ProtocolReport:
    """Put a configuration through the protocol, with intermediate reports.

    Args:
        run: the configuration's run.
        report_at: rising baseline epochs after which a whole fine-tune is trained and reported, by
            the name of that fine-tune. Epochs that the baseline does not reach, or at which it
            ends, are skipped.
        on_report: called with each report; raises an exception to stop the trial.
        on_baseline: called when the baseline is trained to the end and stored.
        with_model: whether a cross-fitted fine-tune must have a model, see `model.folds`.

    Raises:
        TrialDiverged: a loss is not finite.
    """
    for name, epochs in (report_at or {}).items():
        first = run.baseline(until=epochs)
        if first.finished:
            break
        second = run.fine_tuned(first, name)
        if on_report is not None:
            on_report(epochs, run.report(first), second)
    first = run.baseline()
    if on_baseline is not None:
        on_baseline(first)
    second = run.fine_tuned(first, with_model=with_model)
    return ProtocolReport(run.report(first), second)


def build(
    weights: Mapping[str, Tensor],
    classes: int,
    image_size: tuple[int, int],
    device: Device,
    architecture: Architecture = REFERENCE,
    dropout: float = 0.5,
) -> Network:
    """The network with these weights, on the device, in evaluation mode.

    It runs the fused kernels where the device does. They are for our own evaluations: they have no
    gradients, and other programs cannot trace or export them. `plain` has none.
    """
    network = plain(weights, classes, image_size, architecture, dropout)
    network.to(device.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.fuses:
        network.fuse()
    return network


def plain(
    weights: Mapping[str, Tensor],
    classes: int,
    image_size: tuple[int, int],
    architecture: Architecture,
    dropout: float,
) -> Network:
    """The network with these weights as torch knows it, on the CPU, in evaluation mode."""
    network = allocate(classes, image_size, dropout, architecture)
    network.load_state_dict(dict(weights))
    network.eval()
    return network
