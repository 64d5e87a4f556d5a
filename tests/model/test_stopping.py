"""Early stopping and the reduction on plateau, against a table made by hand."""

from __future__ import annotations

import json

import pytest

from shiftsearch.model.hyperparameters import Schedule
from shiftsearch.model.stopping import Decisions

pytestmark = pytest.mark.unit

SCHEDULE = Schedule(max_epochs=20, patience=4, reduce_after=2, reduce_factor=0.5)

# validation loss; then: is it the best, the next learning rate, is the stage over
TABLE = [
    (1.00, True, 1.0, False),
    (0.80, True, 1.0, False),
    (0.90, False, 1.0, False),
    (0.85, False, 0.5, False),  # two epochs after the best
    (0.70, True, 0.5, False),
    (0.70, False, 0.5, False),  # equal is not lower
    (0.75, False, 0.25, False),
    (0.72, False, 0.25, False),  # one epoch after the reduction
    (0.71, False, 0.125, True),  # four epochs after the best
]


def test_the_table_made_by_hand() -> None:
    decisions = Decisions(SCHEDULE, learning_rate=1.0)
    assert not decisions.finished
    for loss, *expected in TABLE:
        best = decisions.update(loss)
        assert [best, decisions.learning_rate, decisions.finished] == expected
    assert (decisions.best_epoch, decisions.best_loss) == (5, 0.70)


@pytest.mark.parametrize("epoch", range(1, len(TABLE)))
def test_restored_anywhere_they_go_on_as_if_undisturbed(epoch: int) -> None:
    decisions, undisturbed = (Decisions(SCHEDULE, learning_rate=1.0) for _ in range(2))
    for number, (loss, *_) in enumerate(TABLE, start=1):
        decisions.update(loss)
        undisturbed.update(loss)
        if number == epoch:
            state = json.loads(json.dumps(decisions.state(), allow_nan=False))
            decisions = Decisions.restore(SCHEDULE, state)
        assert decisions == undisturbed


def test_the_horizon_ends_a_stage_that_still_improves() -> None:
    decisions = Decisions(Schedule(max_epochs=3, patience=1), learning_rate=1.0)
    ends = []
    for loss in (3.0, 2.0, 1.0):
        decisions.update(loss)
        ends.append(decisions.finished)
    assert ends == [False, False, True]
