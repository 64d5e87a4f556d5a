"""The protocol: two stages, honest parts, nothing computed twice."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shiftsearch.model.prepared
import shiftsearch.model.training
from shiftsearch.data.dataset import Dataset, Division, Split
from shiftsearch.model.device import Device
from shiftsearch.model.engine import EpochRow
from shiftsearch.model.evaluation import evaluate
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule, flatten
from shiftsearch.model.prepared import ProtocolData, division_of, prepare
from shiftsearch.model.protocol import OnReport, ProtocolRun, build, run_protocol
from shiftsearch.model.recipe import training_splits
from shiftsearch.model.report import ProtocolReport, StageReport, stored_confusions
from shiftsearch.model.result import StageSummary
from shiftsearch.model.stage import StageResult
from shiftsearch.model.store import Store, open_store

pytestmark = pytest.mark.unit

PROTOCOL = Protocol(
    baseline=Schedule(max_epochs=3, patience=2, reduce_after=1),
    fine_tune=Schedule(max_epochs=3, patience=2, reduce_after=1),
)
BOTH = Hyperparameters.from_flat({"fine_tune.train_on": "TRAIN+TEST"})
CONFIGURATION = Hyperparameters.from_flat(
    {"baseline.batch_size": 16, "fine_tune.batch_size": 16, "fine_tune.learning_rate": 1e-3}
)

Run = Callable[..., ProtocolReport]


@pytest.fixture
def run(small_dataset: Dataset, device: Device, store: Store) -> Run:
    """`run_protocol` on the small dataset; keyword arguments replace its own."""

    def run(
        rungs: Sequence[int] = (),
        on_report: OnReport | None = None,
        on_baseline: Callable[[StageResult], None] | None = None,
        **changes: Any,
    ) -> ProtocolReport:
        protocol = changes.get("protocol", PROTOCOL)
        dataset = changes.pop("dataset", small_dataset)
        arguments: dict[str, Any] = {
            "hyperparameters": CONFIGURATION,
            "data": prepare(dataset, protocol, device),
            "protocol": protocol,
            "store": store,
            "device": device,
            "seed": 3,
        }
        report_at = {f"rung_{epochs}": epochs for epochs in rungs}
        return run_protocol(ProtocolRun(**arguments | changes), report_at, on_report, on_baseline)

    return run


def everything(result: ProtocolReport) -> Any:
    """All that does not measure time: keys, decisions, evaluations, history, weights."""
    values = result.result.to_json()
    for stage in ("baseline", "fine_tune"):
        del values[stage]["seconds"]
    stages = [report.result for report in (result.baseline, result.fine_tune)]
    rows = [
        {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")}
        for stage in stages
        for row in stage.history
    ]
    return values, rows, [{k: t.numpy().tobytes() for k, t in s.weights.items()} for s in stages]


def poison(dataset: Dataset, places: np.ndarray, images: bool = True) -> Dataset:
    """The dataset with other labels, and other images, at `places` of TEST2."""
    test2 = dataset.splits["TEST2"]
    poisoned = Split(test2.images.copy(), test2.labels.copy())
    poisoned.labels[places] = (poisoned.labels[places] + 1) % 3
    if images:
        poisoned.images[places] = 255 - poisoned.images[places]
    return Dataset(dataset.classes, {**dataset.splits, "TEST2": poisoned})


def fix_division(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Division:
    """Let every dataset be divided as this one is."""
    division = division_of(dataset, PROTOCOL)
    monkeypatch.setattr(shiftsearch.model.prepared, "divide", lambda *_: division)
    return division


def test_nothing_depends_on_the_held_out_part(
    run: Run, small_dataset: Dataset, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    division = fix_division(small_dataset, monkeypatch)
    assert len(division.held_out) == len(division.selection) == 15
    clean = run()
    poisoned = run(
        dataset=poison(small_dataset, division.held_out), store=open_store(tmp_path / "poisoned")
    )
    assert everything(poisoned) == everything(clean)


def test_the_poison_works_where_it_should(
    run: Run, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin of the test above: one label of the selection part changes the result."""
    division = fix_division(small_dataset, monkeypatch)
    one = poison(small_dataset, division.selection[:1], images=False)
    clean, changed = run(), run(dataset=one)
    assert changed.baseline.result.key == clean.baseline.result.key
    assert changed.fine_tune.result.key != clean.fine_tune.result.key
    assert changed.fine_tune.test2.loss != clean.fine_tune.test2.loss


def test_evaluations_are_those_of_the_returned_weights(
    run: Run, small_data: ProtocolData, device: Device
) -> None:
    result = run()
    assert result.result.test2_accuracy == result.fine_tune.test2.accuracy
    for report in (result.baseline, result.fine_tune):
        network = build(report.result.weights, 3, (16, 16), device)
        for found, split in ((report.test, small_data.test), (report.test2, small_data.selection)):
            assert found == evaluate(network, split.images, split.labels)
    assert (result.baseline.test.n, result.baseline.test2.n) == (30, 15)
    values = result.result.to_json()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["fine_tune"]["test"]["accuracy"] == result.fine_tune.test.accuracy


def test_what_grows_with_the_classes_is_in_the_store_alone(run: Run, store: Store) -> None:
    """The study's journal keeps the result of every trial; the matrices are found beside it."""
    result = run()
    for report in (result.baseline, result.fine_tune):
        values = report.summary.to_json()
        lists = [name for name, value in flatten(values).items() if isinstance(value, list)]
        assert lists == []
        matrices = {"test": report.test.confusion, "test2": report.test2.confusion}
        found = stored_confusions(store, report.summary)
        assert found is not None
        assert {k: tuple(map(tuple, m)) for k, m in found.items()} == matrices
        old = {k: v for k, v in values.items() if k != "report"}
        old |= {"test": report.test.to_json(), "test2": report.test2.to_json()}
        elsewhere = open_store(f"{store.address}-none")
        assert stored_confusions(elsewhere, StageSummary.from_json(old)) == {
            k: [list(row) for row in m] for k, m in matrices.items()
        }
        assert stored_confusions(elsewhere, report.summary) is None


def count_epochs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Epochs computed from now on, by stage."""
    counts: Counter[str] = Counter()
    original = shiftsearch.model.training.NetworkEngine.epoch

    def counted(self: Any, *args: Any) -> Any:
        counts[self.recipe.course.stage] += 1
        return original(self, *args)

    monkeypatch.setattr(shiftsearch.model.training.NetworkEngine, "epoch", counted)
    return counts


def test_equal_baselines_are_trained_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_epochs(monkeypatch)
    first = run()
    trained = Counter(counts)
    assert trained.keys() == {"baseline", "fine_tune"}
    assert everything(run()) == everything(first)
    assert counts == trained
    other = run(
        hyperparameters=Hyperparameters.from_flat(
            CONFIGURATION.to_flat() | {"fine_tune.frozen_layers": 4}
        )
    )
    assert counts["baseline"] == trained["baseline"]
    assert counts["fine_tune"] > trained["fine_tune"]
    assert other.baseline.result.key == first.baseline.result.key
    assert other.fine_tune.result.key != first.fine_tune.result.key


@pytest.mark.parametrize(
    "changes",
    [
        {"hyperparameters": Hyperparameters.from_flat({"baseline.dropout": 0.4})},
        {"seed": 4},
        {"replicate": 1},
        {"protocol": PROTOCOL.model_copy(update={"baseline": Schedule(max_epochs=2)})},
    ],
    ids=["baseline", "seed", "replicate", "schedule"],
)
def test_another_baseline_gives_another_fine_tune(run: Run, changes: dict[str, Any]) -> None:
    first, other = run(), run(**changes)
    assert first.baseline.result.key != other.baseline.result.key
    assert first.fine_tune.result.key != other.fine_tune.result.key


@pytest.mark.parametrize(
    ("change", "baseline_changes"),
    [
        ({"holdout": 0.0}, False),
        ({"division_seed": 1}, False),
        ({"fine_tune_on": "TRAIN+TEST"}, False),
        ({"fine_tune": Schedule(max_epochs=2)}, False),
        ({"baseline": Schedule(max_epochs=2)}, True),
    ],
)
def test_the_protocol_reaches_the_stages_it_concerns(
    run: Run, change: dict[str, Any], baseline_changes: bool
) -> None:
    protocol = Protocol(**dict(PROTOCOL) | change)
    first, other = run(), run(protocol=protocol)
    assert (first.baseline.result.key != other.baseline.result.key) == baseline_changes
    assert first.fine_tune.result.key != other.fine_tune.result.key


def test_nothing_held_out_is_the_published_protocol(
    small_dataset: Dataset, device: Device, run: Run
) -> None:
    protocol = PROTOCOL.model_copy(update={"holdout": 0.0})
    assert len(division_of(small_dataset, protocol).held_out) == 0
    data = prepare(small_dataset, protocol, device)
    assert data.selection.digest == small_dataset.splits["TEST2"].digest()
    assert run(protocol=protocol).fine_tune.test2.n == 30


def test_fine_tuning_on_both_sets_trains_on_all_their_images(
    small_dataset: Dataset, device: Device
) -> None:
    data = prepare(small_dataset, Protocol(), device)
    alone, both = (
        data.training_set(training_splits("fine_tune", values, Protocol()))
        for values in (Hyperparameters(), BOTH)
    )
    assert len(both.labels) == 41 + 30
    for part, rows in ((data.train, slice(41)), (data.test, slice(41, None))):
        assert part.images.equal(both.images[rows])
        assert part.labels.equal(both.labels[rows])
    splits = [small_dataset.splits[name] for name in ("TRAIN", "TEST")]
    joined = Split(
        *(np.concatenate([getattr(s, f) for s in splits]) for f in ("images", "labels"))
    )
    assert both.digest == joined.digest()
    # Nothing lies on the device twice.
    assert alone is data.test
    assert data.training_set(("TRAIN", "TEST")) is both
    assert data.training_set(training_splits("baseline", BOTH, Protocol())) is data.train


def test_the_fine_tune_starts_from_the_baselines_best_weights(run: Run) -> None:
    frozen = CONFIGURATION.to_flat() | {"fine_tune.frozen_layers": 4}
    result = run(hyperparameters=Hyperparameters.from_flat(frozen))
    before, after = (r.result.weights for r in (result.baseline, result.fine_tune))
    equal = {name for name in before if before[name].equal(after[name])}
    assert equal == {name for name in before if name.startswith("layers.")}


def test_each_stage_tells_its_epochs(run: Run) -> None:
    seen: list[tuple[str, float]] = []
    result = run(on_epoch=lambda stage, row: seen.append((stage, row["epoch"])))
    assert seen == [
        *(("baseline", n) for n in range(1, result.baseline.result.epochs + 1)),
        *(("fine_tune", n) for n in range(1, result.fine_tune.result.epochs + 1)),
    ]


class Listener:
    """What a run with rungs tells, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, float]] = []
        self.rungs: dict[int, tuple[StageReport, StageReport]] = {}

    def on_epoch(self, stage: str, row: EpochRow) -> None:
        self.heard.append((stage, row["epoch"]))

    def on_report(self, epochs: int, baseline: StageReport, fine_tune: StageReport) -> None:
        self.heard.append(("rung", epochs))
        self.rungs[epochs] = baseline, fine_tune

    def on_baseline(self, baseline: StageResult) -> None:
        self.heard.append(("baseline trained", baseline.epochs))

    def hooks(self) -> dict[str, Any]:
        names = ("on_epoch", "on_report", "on_baseline")
        return {name: getattr(self, name) for name in names}


def test_rungs_change_no_bit_of_the_result(run: Run, tmp_path: Path) -> None:
    without = run(store=open_store(tmp_path / "without"))
    listener = Listener()
    assert everything(run((1,), **listener.hooks())) == everything(without)
    assert listener.rungs.keys() == {1}


def test_a_rung_is_told_with_a_whole_fine_tune(run: Run) -> None:
    """That of the baseline so far, whose evaluation a shorter schedule confirms."""
    listener = Listener()
    run((2,), **listener.hooks())
    baseline, fine_tune = listener.rungs[2]
    assert baseline.result.epochs == 2
    assert not baseline.result.finished
    assert fine_tune.result.finished
    assert fine_tune.result.epochs == 3
    short = run(
        protocol=PROTOCOL.model_copy(update={"baseline": Schedule(max_epochs=2, reduce_after=1)})
    )
    assert baseline.test2 == short.baseline.test2
    weights = short.baseline.result.weights
    assert all(tensor.equal(weights[name]) for name, tensor in baseline.result.weights.items())
    assert fine_tune.test2 != baseline.test2


def test_with_rungs_each_epoch_is_told_once_and_in_order(run: Run) -> None:
    """A longer budget continues a shorter one, and must not tell it again."""

    def stage(name: str, first: int, last: int) -> list[tuple[str, float]]:
        return [(name, n) for n in range(first, last + 1)]

    expected = [
        *(*stage("baseline", 1, 1), *stage("rung_1", 1, 3), ("rung", 1)),
        *(*stage("baseline", 2, 2), *stage("rung_2", 1, 3), ("rung", 2)),
        *(*stage("baseline", 3, 3), ("baseline trained", 3), *stage("fine_tune", 1, 3)),
    ]
    for _ in ("computed", "found in the store"):
        listener = Listener()
        run((1, 2), **listener.hooks())
        assert listener.heard == expected


def test_a_baseline_that_ends_before_a_rung_skips_it(run: Run) -> None:
    listener = Listener()
    result = run((2, 3, 4), **listener.hooks())
    assert result.baseline.result.epochs == 3
    assert listener.rungs.keys() == {2}


def test_a_trial_stopped_at_a_rung_goes_on_from_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    def stop(epochs: int, baseline: StageReport, fine_tune: StageReport) -> None:
        raise StoppedError

    undisturbed = run(store=open_store(tmp_path / "undisturbed"))
    counts = count_epochs(monkeypatch)
    with pytest.raises(StoppedError):
        run((1, 2), stop)
    assert counts == {"baseline": 1, "fine_tune": 3}
    counts.clear()
    listener = Listener()
    assert everything(run((1,), **listener.hooks())) == everything(undisturbed)
    assert counts == {"baseline": 2, "fine_tune": 3}


def test_fine_tuning_carries_the_network_to_the_other_domain(
    run: Run, small_dataset: Dataset
) -> None:
    """TEST is inverted as TEST2 is: hopeless for the baseline, learnt by the fine-tune."""
    test = small_dataset.splits["TEST"]
    inverted = Split(255 - test.images, test.labels)
    result = run(
        dataset=Dataset(small_dataset.classes, {**small_dataset.splits, "TEST": inverted}),
        protocol=Protocol(baseline=Schedule(max_epochs=5), fine_tune=Schedule(max_epochs=8)),
    )
    assert result.baseline.result.history[-1]["train_accuracy"] > 0.9
    assert result.baseline.test.accuracy < 0.5
    assert result.fine_tune.test.accuracy > 0.9
    assert result.fine_tune.test2.accuracy > 0.9


def test_a_shared_baseline_is_scored_once_and_scores_the_same(
    small_data: ProtocolData, device: Device, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored beside the stage, under what it was scored on: another division is another score."""
    run = ProtocolRun(Hyperparameters(), small_data, PROTOCOL, store, device, seed=3)
    baseline = run.baseline()
    first = run.report(baseline)
    monkeypatch.setattr("shiftsearch.model.protocol.evaluate", _not_again)
    assert run.report(baseline) == first
    other = dataclasses.replace(small_data, selection=small_data.test)
    with pytest.raises(RuntimeError, match="scored again"):
        ProtocolRun(Hyperparameters(), other, PROTOCOL, store, device, seed=3).report(baseline)


def _not_again(*arguments: object) -> None:
    raise RuntimeError("scored again")


def test_a_configuration_may_choose_what_its_fine_tune_is_trained_on(run: Run) -> None:
    reference = Hyperparameters()
    alone, chosen = (run(hyperparameters=h).fine_tune.result.key for h in (reference, BOTH))
    protocol = PROTOCOL.model_copy(update={"fine_tune_on": "TRAIN+TEST"})
    decided = run(hyperparameters=reference, protocol=protocol).fine_tune.result.key
    assert alone != chosen == decided
