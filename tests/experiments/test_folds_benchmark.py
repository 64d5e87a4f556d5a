"""The comparison of cross-fitting with the simple split: its rules, its table, its resumption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.benchmarks.folds import Outcome, Results, rows, searched, small_set

pytestmark = pytest.mark.unit

SIMPLE = (0.9, 0.8, 0.7, 0.95, 0.99, 1.0)
FOLDS = (0.6, 0.8, 0.7)


class Made:
    """A trainer with known outcomes; configuration 4 diverges."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, bool]] = []

    def train(self, number: int, replicate: int, *, folded: bool) -> Outcome | None:
        self.asked.append((number, replicate, folded))
        if number == 4:
            return None
        folds = FOLDS[number] if folded else None
        seconds = (2.0, 1.0, 3.0 if folded else 0.0)
        truth = SIMPLE[number] - 0.1
        return Outcome(5, number, replicate, SIMPLE[number], folds, truth, seconds)


def test_each_rule_chooses_by_its_own_number_within_its_time(tmp_path: Path) -> None:
    trainer: Any = Made()
    found = searched(Results(tmp_path / "r.jsonl"), trainer, 5, 3)
    # The folds took 15 s, in which the simple split trains five that do not diverge.
    assert {rule: o.number for rule, o in found.items()} == {
        "simple": 0,
        "simple, equal time": 5,
        "folds": 1,
    }
    assert [number for number, _, folded in trainer.asked if folded] == [0, 1, 2]
    again: Any = Made()
    assert searched(Results(tmp_path / "r.jsonl"), again, 5, 3) == found
    assert again.asked == []


def test_the_table_compares_with_the_simple_split_seed_by_seed() -> None:
    def outcome(simple: float, folds: float, truth: float) -> Outcome:
        return Outcome(0, 0, 0, simple, folds, truth, (1.0, 1.0, 1.0))

    chosen = {
        seed: {
            "simple": outcome(0.9, 0.8, 0.8),
            "simple, equal time": outcome(0.9, 0.8, 0.8),
            "folds": outcome(0.7, 0.8, 0.8 + gain),
        }
        for seed, gain in ((0, 0.01), (1, 0.03))
    }
    again = {seed: dict.fromkeys(found, 0.5) for seed, found in chosen.items()}
    _, _, simple, _, folds = rows(chosen, again)
    assert simple == (
        "| simple | 2 | 90.00% | 80.00% | - | +10.00 (+10.00 to +10.00) | 50.00% | - |"
    )
    # Gains of 1 and 3 points: 2 plus or minus t(0.975, 1) * sqrt(2) / sqrt(2) = 12.706.
    assert folds == (
        "| folds | 2 | 80.00% | 82.00% | +2.00 (-10.71 to +14.71) | -2.00 (-14.71 to +10.71)"
        " | 50.00% | - |"
    )


def test_test2_is_small_and_the_rest_is_the_drift_s() -> None:
    made = small_set(0, "light")
    assert {name: len(split) for name, split in made.splits.items()} == {
        "TRAIN": 540,
        "TEST": 360,
        "TEST2": 150,
    }
