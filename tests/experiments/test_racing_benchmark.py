"""The simulation of retraining rules: every rule spends what it is given, and OCBA finds more."""

from __future__ import annotations

import pytest

from shiftsearch.experiments.benchmarks.racing import BUDGETS, RULES, SEEDS, compare

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("configurations", "budget"), BUDGETS)
def test_a_rule_spends_at_most_its_budget_and_finds_what_is_clearly_best(
    name: str, configurations: int, budget: int
) -> None:
    spent = 0

    def draw(i: int, n: int) -> list[float]:
        nonlocal spent
        spent += n
        return [10.0 * (i == 2) + 0.1 * (r % 2) for r in range(n)]

    assert RULES[name](draw, configurations, budget) == 2
    assert spent <= budget
    assert spent == budget or name not in ("ocba", "floored")


def test_the_product_s_rule_loses_less_than_the_same_number_for_each() -> None:
    found = compare(5, 25, 2.0, (SEEDS,), draws=120, seed=0)
    best = {name: rows[:, 0].mean() for name, rows in found.items()}
    lost = {name: rows[:, 1].mean() for name, rows in found.items()}
    assert 0.5 < best["fixed"] <= 1
    assert lost["ocba"] < lost["fixed"]
