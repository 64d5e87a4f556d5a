"""Learning rates of each epoch, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from shiftsearch.model.course import Course
from shiftsearch.model.engine import ComputedEpoch, EpochRequest
from shiftsearch.model.hyperparameters import Schedule, StageHyperparameters
from shiftsearch.model.schedules import learning_rate
from shiftsearch.model.stage import drive, stage_steps
from shiftsearch.model.store import Store

pytestmark = pytest.mark.unit


def course(epochs: int = 4, **values: Any) -> Course:
    schedule = Schedule(max_epochs=epochs, patience=epochs, reduce_after=1)
    given = StageHyperparameters(learning_rate=0.8, **values)
    return Course("baseline", given, schedule, "", "", 2, (8, 8), 0, 0)


def rates_of(course: Course) -> list[float]:
    return [learning_rate(course, e, 0.8) for e in range(1, course.schedule.max_epochs + 1)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [0.8, 0.8, 0.8, 0.8]),
        ({"learning_rate_schedule": "linear"}, [0.8, 0.6, 0.4, 0.2]),
        # (1 + cos 45 degrees) / 2 = 0.853553
        ({"learning_rate_schedule": "cosine"}, [0.8, 0.6828427, 0.4, 0.1171573]),
        ({"warm_up_epochs": 1}, [0.4, 0.8, 0.8, 0.8]),
        ({"warm_up_epochs": 3}, [0.2, 0.4, 0.6, 0.8]),
        ({"warm_up_epochs": 9}, [0.08, 0.16, 0.24, 0.32]),
        ({"warm_up_epochs": 2, "learning_rate_schedule": "linear"}, [0.8 / 3, 1.6 / 3, 0.8, 0.4]),
    ],
)
def test_rates_are_those_worked_out_by_hand(values: dict[str, Any], expected: list[float]) -> None:
    assert rates_of(course(**values)) == pytest.approx(expected)


def test_the_last_rate_is_above_zero_because_zero_would_freeze() -> None:
    for name in ("linear", "cosine"):
        assert learning_rate(course(10_000, learning_rate_schedule=name), 10_000, 0.8) > 0


def test_reductions_on_plateau_are_taken_as_they_are_and_only_there() -> None:
    for name, expected in (("plateau", 0.1), ("linear", 0.6)):
        made = course(learning_rate_schedule=name)
        assert learning_rate(made, 2, 0.1) == pytest.approx(expected)
    assert learning_rate(course(warm_up_epochs=1), 1, 0.1) == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["plateau", "linear"])
@pytest.mark.parametrize("until", [None, 1, 3])
def test_a_stage_is_asked_for_the_schedule_s_rates(
    store: Store, name: str, until: int | None
) -> None:
    """The loss never falls: on plateau, the rate is halved after each epoch but the first."""
    asked: list[float] = []

    def engine(request: EpochRequest) -> ComputedEpoch:
        asked.append(request.learning_rate)
        return ComputedEpoch(1.0, 0.5, 1.0, 0.5, 1.0, 1.0, 1, {}, dict, dict)

    made = course(learning_rate_schedule=name)
    if until is not None:
        drive(stage_steps(made, store, until=until), lambda: engine)
    result = drive(stage_steps(made, store), lambda: engine)
    expected = {"plateau": [0.8, 0.8, 0.4, 0.2], "linear": [0.8, 0.6, 0.4, 0.2]}[name]
    assert asked == pytest.approx(expected)
    assert [row["learning_rate"] for row in result.history] == asked


def test_only_a_schedule_that_is_used_changes_the_key() -> None:
    assert course().key == course(learning_rate_schedule="plateau", warm_up_epochs=0).key
    keys = {c.key for c in (course(), course(warm_up_epochs=1))}
    assert len(keys | {course(learning_rate_schedule="cosine").key}) == 3
