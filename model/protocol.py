"""The protocol: baseline, then fine-tune, on the divided dataset.

The held-out part of TEST2 is taken out of the dataset here, before anything is trained. No stage
and no number that `run_protocol` returns depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import torch
from torch import Tensor

from shiftsearch.data.dataset import Dataset, Division, Split, divide, joined
from shiftsearch.data.tensors import to_device
from shiftsearch.model.architecture import REFERENCE, Architecture
from shiftsearch.model.course import Course, preprocessed_digest
from shiftsearch.model.device import Device
from shiftsearch.model.engine import EpochRow, TensorSplit
from shiftsearch.model.evaluation import Evaluation, evaluate
from shiftsearch.model.hyperparameters import (
    Hyperparameters,
    PreprocessingHyperparameters,
    Protocol,
)
from shiftsearch.model.network import Network, allocate
from shiftsearch.model.recipe import training_splits
from shiftsearch.model.report import ProtocolReport, StageReport
from shiftsearch.model.sample_weights import sample_weights
from shiftsearch.model.stage import OnEpoch, StageResult
from shiftsearch.model.store import Entry, Store, content_key
from shiftsearch.model.training import run_stage

KEPT_BYTES = 2**28
"""Memory for preprocessed copies of the data on the device; one copy is kept even if larger."""


@dataclass(frozen=True)
class ProtocolData:
    """The images and labels that a trial may use, on its device, with one preprocessing.

    Attributes:
        classes: number of classes.
        image_size: (H, W) in pixels.
        train: TRAIN; the baseline is trained on it.
        test: TEST; validates the baseline, and the fine-tune is trained on it.
        selection: the part of TEST2 that validates the fine-tune and ranks trials.
        together: returns TRAIN and TEST as one set, which the fine-tune may be trained on; the set
            is made at the first call.
        weights: returns the weights of a training set, by its splits and their source, "file" or
            "density_ratio"; they are made at the first call.
        preprocessing: how the images were changed.
        preprocessed: returns the same data with another preprocessing, and keeps the last ones.
    """

    classes: int
    image_size: tuple[int, int]
    train: TensorSplit
    test: TensorSplit
    selection: TensorSplit
    together: Callable[[], TensorSplit]
    weights: Callable[[tuple[str, ...], str], Tensor]
    preprocessing: PreprocessingHyperparameters
    preprocessed: Callable[[PreprocessingHyperparameters], ProtocolData]

    def training_set(self, splits: tuple[str, ...], weights: str = "none") -> TensorSplit:
        """TRAIN, TEST, or both in this order, with weights from this source.

        Raises:
            ValueError: `weights` is "file", but none of the splits has a file of weights.
        """
        alone = {("TRAIN",): self.train, ("TEST",): self.test}
        train = alone[splits] if splits in alone else self.together()
        return (
            train if weights == "none" else replace(train, weights=self.weights(splits, weights))
        )


def division_of(dataset: Dataset, protocol: Protocol) -> Division:
    """The run's division of TEST2; always the same for the same data and protocol."""
    return divide(dataset.splits["TEST2"], protocol.holdout, protocol.division_seed)


def prepare(dataset: Dataset, protocol: Protocol, device: Device) -> ProtocolData:
    """Divide TEST2, and move the images and labels that a trial may use to the device, as stored.

    A preprocessing is computed once, when it is first asked for, so the trials that share it in
    this process pay for it once. `KEPT_BYTES` bounds the copies that are kept.
    """
    train, test = dataset.splits["TRAIN"], dataset.splits["TEST"]
    selection = dataset.splits["TEST2"].take(division_of(dataset, protocol).selection)
    height, width = dataset.image_size
    # float32, and TRAIN and TEST once more for `together`
    copy = 4 * height * width * (2 * len(train) + 2 * len(test) + len(selection))

    @lru_cache(maxsize=1 + max(1, KEPT_BYTES // copy))
    def preprocessed(how: PreprocessingHyperparameters) -> ProtocolData:
        """The data with this preprocessing, computed once while it is kept."""

        def on_device(split: Split) -> TensorSplit:
            changed = replace(split, images=how.apply(split.images))
            return TensorSplit(
                *to_device(changed, device.torch_device), preprocessed_digest(split, how)
            )

        @cache
        def together() -> TensorSplit:
            return on_device(joined([train, test]))

        @cache
        def weights(splits: tuple[str, ...], source: str) -> Tensor:
            own = joined([dataset.splits[name] for name in splits])
            own = replace(own, images=how.apply(own.images))
            found = sample_weights(source, own, how.apply(selection.images))
            return torch.from_numpy(found).float().to(device.torch_device)

        return ProtocolData(
            len(dataset.classes),
            dataset.image_size,
            train=on_device(train),
            test=on_device(test),
            selection=on_device(selection),
            together=together,
            weights=weights,
            preprocessing=how,
            preprocessed=preprocessed,
        )

    return preprocessed(PreprocessingHyperparameters())


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
    ) -> None:
        self._hyperparameters, self._protocol = hyperparameters, protocol
        how = hyperparameters.preprocessing
        self._data = data if how == data.preprocessing else data.preprocessed(how)
        self._store, self._device = store, device
        self._seeds = (seed, replicate)
        self._on_epoch = on_epoch
        self._told: Counter[str] = Counter()

    def baseline(self, until: int | None = None) -> StageResult:
        """Train on TRAIN, for at most `until` epochs; a longer call continues a shorter one."""
        return self._stage("baseline", self._data.test, "baseline", until=until)

    def fine_tune(self, baseline: StageResult, name: str = "fine_tune") -> StageResult:
        """Train the baseline's best weights further, to the end.

        Args:
            baseline: the trained baseline.
            name: the stage's name for `on_epoch`.
        """
        return self._stage("fine_tune", self._data.selection, name, baseline)

    def report(self, result: StageResult) -> StageReport:
        """Evaluate on TEST and on the selection part of TEST2, or read stored evaluations."""
        data = self._data
        splits = {"test": data.test, "test2": data.selection}
        name = "report-" + content_key([result.epochs, *(s.digest for s in splits.values())])
        stored = self._store.load(result.course, name)
        if stored is None:
            architecture = self._hyperparameters.network.architecture
            network = build(
                result.weights, data.classes, data.image_size, self._device, architecture
            )
            found = {k: evaluate(network, s.images, s.labels) for k, s in splits.items()}
            record = {k: evaluation.to_json() for k, evaluation in found.items()}
            self._store.save(result.course, name, Entry({}, record))
        else:
            found = {k: Evaluation.from_json(stored.record[k]) for k in splits}
        return StageReport(result, found["test"], found["test2"], name)

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
        train = self._data.training_set(splits, values.sample_weights)
        if stage == "fine_tune" and values.train_share:
            train = replace(train, from_train=len(self._data.train.labels))
        course = Course(
            stage,
            values,
            getattr(self._protocol, stage),
            train.digest,
            validation.digest,
            self._data.classes,
            self._data.image_size,
            *self._seeds,
            () if parent is None else (parent.key,),
            self._hyperparameters.network.architecture,
            self._data.selection.digest if values.sample_weights == "density_ratio" else "",
        )
        return run_stage(
            course,
            train,
            validation,
            self._store,
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
) -> ProtocolReport:
    """Put a configuration through the protocol, with intermediate reports.

    Args:
        run: the configuration's run.
        report_at: rising baseline epochs after which a whole fine-tune is trained and reported, by
            the name of that fine-tune. Epochs that the baseline does not reach, or at which it
            ends, are skipped.
        on_report: called with each report; raises an exception to stop the trial.
        on_baseline: called when the baseline is trained to the end and stored.

    Raises:
        TrialDiverged: a loss is not finite.
    """
    for name, epochs in (report_at or {}).items():
        first = run.baseline(until=epochs)
        if first.finished:
            break
        second = run.fine_tune(first, name)
        if on_report is not None:
            on_report(epochs, run.report(first), run.report(second))
    first = run.baseline()
    if on_baseline is not None:
        on_baseline(first)
    second = run.fine_tune(first)
    return ProtocolReport(run.report(first), run.report(second))


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
