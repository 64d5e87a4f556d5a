"""The comparison of options: its variants, its table, and that nothing is trained twice."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks.ablation import Results, compare, tables, variant
from shiftsearch.experiments.benchmarks.ablation_table import Trained, chosen, rows
from shiftsearch.experiments.benchmarks.imbalance import imbalanced
from shiftsearch.experiments.definition import DefinitionError
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule
from shiftsearch.model.objective import ACCURACY, BALANCED_ACCURACY
from tests.experiments.test_inputs import dataset

pytestmark = pytest.mark.unit

BASE = ["protocol.baseline.max_epochs=1", "protocol.fine_tune.max_epochs=1"]


def test_a_variant_is_the_base_with_the_options_values() -> None:
    found = variant(
        ["fine_tune.frozen_layers=1", "protocol.holdout=0.25"],
        ["fine_tune.learning_rate=1e-3", "protocol.fine_tune.patience=8"],
    )
    assert found.name == "fine_tune.learning_rate=1e-3, protocol.fine_tune.patience=8"
    values = {"fine_tune.frozen_layers": 1, "fine_tune.learning_rate": 1e-3}
    assert found.hyperparameters == Hyperparameters.from_flat(values)
    assert found.protocol == Protocol(holdout=0.25, fine_tune=Schedule(patience=8))
    assert variant([], []).hyperparameters == Hyperparameters()
    with pytest.raises(DefinitionError, match="intensity"):
        variant([], ["preprocessing.intensity=bright"])


def test_the_table_pairs_by_seed_and_leaves_out_what_diverged() -> None:
    variants = [variant([], []), variant([], ["fine_tune.frozen_layers=1"])]
    accuracies = {(0, 1): 0.80, (0, 2): 0.90, (0, 3): 0.70, (1, 1): 0.82, (1, 2): 0.94}
    trained = {key: Trained(value, 10.0 + key[0]) for key, value in accuracies.items()}
    _, _, base, other = rows(variants, trained)
    assert base == "| base | 3 | 80.00 % | 10.00 | - | 10.0 |"
    # Differences are 2 and 4 points: 3 plus or minus t(0.975, 1) * sqrt(2) / sqrt(2) = 12.706.
    assert other == (
        "| fine_tune.frozen_layers=1 | 2 | 88.00 % | 8.49 | +3.00 (-9.71 to +15.71) | 11.0 |"
    )
    assert rows(variants, {(0, 1): Trained(0.5, 1.0)})[-1].startswith(
        "| fine_tune.frozen_layers=1 | 0 |"
    )


def test_what_is_stored_is_read_and_only_new_options_are_trained(
    tmp_path: Path,
) -> None:
    images = dataset((4, 4), (16, 16))
    out = tmp_path / "store"
    out.mkdir()
    options = [variant(BASE, option) for option in ([], ["preprocessing.intensity=stretch"])]
    first = compare(options[:1], images, out, [1])
    found = compare(options, images, out, [1, 2])
    assert set(found) == {(0, 1), (1, 1), (0, 2), (1, 2)}
    assert found[0, 1] == first[0, 1]  # the seconds too, so it was read
    assert found == compare(options, images, out, [1, 2])
    lines = (out / "results.jsonl").read_text()
    assert len(lines.splitlines()) == 4
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "results.jsonl").write_text(lines)  # without what was trained
    assert found == compare(options, images, tmp_path / "copy", [1, 2])


def test_the_seconds_of_all_folds_count(tmp_path: Path) -> None:
    options = [variant(BASE, []), variant(BASE, ["protocol.folds=2", "protocol.holdout=0"])]
    found = compare(options, dataset((4, 4), (16, 16)), tmp_path, [1])
    lines = (tmp_path / "seconds.jsonl").read_text().splitlines()
    assert len(lines) == 3  # the baseline is shared
    assert set(found) == {(0, 1), (1, 1)}


def test_all_listed_options_are_valid_and_change_something() -> None:
    found = tables(Namespace(all=True))
    assert [title.split(": ")[1] for title in found] == ["reference", "good"]
    reference = found["Base: reference"]
    assert reference[0] == variant([], [])
    for base, *options in found.values():
        assert len(options) > 20
        changed = [(o.hyperparameters, o.protocol) for o in options]
        assert len(set(map(repr, changed))) == len(options)
        same = sum(pair == (base.hyperparameters, base.protocol) for pair in changed)
        assert same <= 1  # the good configuration freezes nothing already


def test_an_imbalanced_copy_keeps_the_first_images_of_each_class() -> None:
    whole = synthesize(size=16, counts={"TRAIN": 180, "TEST": 120, "TEST2": 60})
    thin = imbalanced(whole, 10)
    counts = {name: np.bincount(split.labels).tolist() for name, split in thin.splits.items()}
    assert counts["TRAIN"] == [round(30 * 10 ** (-k / 5)) for k in range(6)]
    assert counts["TEST2"] == [10, 6, 4, 3, 2, 2]  # two at least
    for name, split in thin.splits.items():
        for label in range(6):
            kept, all_of_it = (s.images[s.labels == label] for s in (split, whole.splits[name]))
            assert np.array_equal(kept, all_of_it[: len(kept)])
    assert imbalanced(whole, 10).digest == thin.digest
    assert imbalanced(whole, 1).digest == whole.digest
    with pytest.raises(ValueError, match=r"is 0\.5, but"):
        imbalanced(whole, 0.5)


def test_each_objective_chooses_by_its_own_mean() -> None:
    variants = [variant([], []), variant([], ["fine_tune.balance=weights"])]
    trained = {
        (0, 1): Trained(0.9, 1.0, 0.6),
        (0, 2): Trained(0.8, 1.0, 0.5),
        (1, 1): Trained(0.7, 1.0, 0.7),
        (1, 2): Trained(0.8, 1.0, 0.8),
    }
    assert chosen(variants, trained, ACCURACY) is variants[0]
    assert chosen(variants, trained, BALANCED_ACCURACY) is variants[1]
    *_, other = rows(variants, trained, BALANCED_ACCURACY)
    assert other.startswith("| fine_tune.balance=weights | 2 | 75.00 % | 7.07 | +20.00 ")


def test_results_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    file, one = tmp_path / "results.jsonl", variant([], [])
    Results(file, "digest").of(one, 1, lambda: Trained(0.5, 2.0, 0.25))
    key, *rest = json.loads(file.read_text())
    assert rest == [1, 0.5, 2.0, 0.25]
    file.write_text(json.dumps([key, 1, 0.5, 2.0]) + "\n" + json.dumps([key, 2, None, None]))
    known = Results(file, "digest")
    assert known.of(one, 1, lambda: None) == Trained(0.5, 2.0)
    assert known.of(one, 2, lambda: Trained(0.5, 1.0)) is None
    with pytest.raises(ValueError, match="earlier version"):
        rows([one], {(0, 1): Trained(0.5, 2.0)}, BALANCED_ACCURACY)
