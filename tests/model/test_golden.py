"""Keys and seeds that stored runs lie under; another value here orphans what people have."""

from __future__ import annotations

import pytest

from shiftsearch.model.course import Course
from shiftsearch.model.hyperparameters import Hyperparameters, Schedule

pytestmark = pytest.mark.unit

TRAIN, VALIDATION = "0123456789abcdef" * 2, "fedcba9876543210" * 2
RICH = Hyperparameters.from_flat(
    {
        "baseline.learning_rate": 3e-3,
        "baseline.weight_decay": 0.01,
        "baseline.batch_size": 32,
        "baseline.label_smoothing": 0.1,
        "baseline.dropout": 0.3,
        "baseline.augmentation.rotation": 10.0,
        "baseline.augmentation.noise": 0.02,
        "fine_tune.learning_rate": 2e-4,
        "fine_tune.dropout": 0.2,
        "fine_tune.frozen_layers": 3,
        "fine_tune.augmentation.translation": 2.0,
        "fine_tune.augmentation.contrast": 0.25,
    }
)
SCHEDULE = Schedule(max_epochs=9, patience=3, reduce_after=1, reduce_factor=0.3)


def courses(
    configuration: Hyperparameters, schedule: Schedule, seed: int, replicate: int
) -> tuple[Course, Course]:
    """Both stages of a configuration; the fine-tune starts from seven epochs of the baseline."""
    data, seeds = (TRAIN, VALIDATION, 3, (28, 28)), (seed, replicate)
    baseline = Course("baseline", configuration.baseline, schedule, *data, *seeds)
    parents = (f"{baseline.key}-0007",)
    return baseline, Course("fine_tune", configuration.fine_tune, schedule, *data, *seeds, parents)


REFERENCE_COURSES = courses(Hyperparameters(), Schedule(), 0, 0)
RICH_COURSES = courses(RICH, SCHEDULE, 7, 2)


def test_the_keys_of_stored_stages_stay() -> None:
    assert [course.key for course in (*REFERENCE_COURSES, *RICH_COURSES)] == [
        "5facded1ed4915dd58226181ad95dfdc",
        "07b5ddf6ff9102b383e2c491d41af65d",
        "c14bb977ea008d918d56ef303aaeb438",
        "b3b36fa368b54be4256ac7cbab986ef1",
    ]


SEEDS = {
    "order": [
        3785745477225340023,
        3311226516757873079,
        5338378845503243301,
        2476082375057948637,
        1937455714692632707,
        6240584673974106720,
        6793658213169187541,
        2006615939666421173,
    ],
    "weights": [
        2093670797712313567,
        4727345345924541743,
        8887849140507386832,
        3790757639110589925,
        3367885371626271279,
        1516178620591895747,
        7921792191781343777,
        5791167379006193824,
    ],
    "dropout": [
        5785270897641769571,
        4975072026609236276,
        3239631285849410493,
        3851194081564640974,
        816326014495829025,
        895860557032979667,
        5540693312058383820,
        4037516875903506242,
    ],
    "augmentation": [
        1714971612220736767,
        5553142196031276618,
        3142948902670619745,
        5712484611590325868,
        6222889825164953419,
        2399017860724318843,
        3514149273119006177,
        1234063417451919581,
    ],
}


@pytest.mark.parametrize("purpose", SEEDS)
def test_the_draws_of_stored_stages_stay(purpose: str) -> None:
    found = [
        course.seed_for(purpose, epoch)
        for course in (*REFERENCE_COURSES, *RICH_COURSES)
        for epoch in (1, 2)
    ]
    assert found == SEEDS[purpose]
