"""The points that a study tries first: spread evenly, and preprocessing covered by design."""

from __future__ import annotations

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from shiftsearch.search.proposing.sobol import sobol_point

pytestmark = pytest.mark.unit

INTENSITY, POLARITY = "preprocessing.intensity", "preprocessing.polarity"
OTHERS: dict[str, BaseDistribution] = {
    "baseline.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "fine_tune.frozen_layers": IntDistribution(0, 4),
    "fine_tune.batch_size": CategoricalDistribution([32, 64]),
}


@pytest.mark.parametrize("seed", range(8))
def test_trials_0_to_3_try_each_of_four_preprocessings_the_references_first(seed: int) -> None:
    intensities = ["standardise", "none", "stretch", "equalise"]
    space = {
        **OTHERS,
        INTENSITY: CategoricalDistribution(intensities),
        POLARITY: CategoricalDistribution(["none", "bright_on_dark"]),
    }
    points = [sobol_point(space, seed, number) for number in range(4)]
    assert points[0][INTENSITY] == points[0][POLARITY] == "none"
    assert {p[INTENSITY] for p in points} == set(intensities)
    assert [p[POLARITY] for p in points].count("none") == 2


@pytest.mark.parametrize("seed", range(4))
def test_choices_that_lack_the_references_value_and_other_hyperparameters_are_not_rotated(
    seed: int,
) -> None:
    without = {**OTHERS, INTENSITY: CategoricalDistribution(["stretch", "equalise"])}
    with_neutral = {**OTHERS, INTENSITY: CategoricalDistribution(["none", "equalise"])}
    for number in range(6):
        plain, rotated = (sobol_point(s, seed, number) for s in (without, with_neutral))
        assert {k: plain[k] for k in OTHERS} == {k: rotated[k] for k in OTHERS}
    assert {sobol_point(without, s, 0)[INTENSITY] for s in range(20)} == {"stretch", "equalise"}


def test_the_points_of_recorded_searches_stay_as_they_were() -> None:
    points = [tuple(sobol_point(OTHERS, 3, number).values()) for number in (0, 1, 2, 77)]
    assert points == [
        (pytest.approx(0.00022742272567765853, rel=1e-12), 1, 64),
        (pytest.approx(0.003976627750703127, rel=1e-12), 4, 32),
        (pytest.approx(0.0016215238956219752, rel=1e-12), 2, 64),
        (pytest.approx(0.0010514108930800535, rel=1e-12), 3, 64),
    ]
