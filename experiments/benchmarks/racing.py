"""How often each rule for giving out replicates finds the best configuration, simulated.

Every draw has configurations with normal true means and normal noise between seeds. All rules
spend the same number of trainings, and choose the best mean. `ocba` is the product's own rule,
`search.judging.racing`, in rounds of two; `floored` gives the first configuration three replicates
at first, as the reference gets. `rejects` is successive rejects (Audibert and Bubeck, COLT 2010),
`halving` is sequential halving (Karnin, Koren and Somekh, ICML 2013).

    python -m shiftsearch.experiments.benchmarks.racing [--draws 1000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shiftsearch.experiments.benchmarks.turns import circumstances
from shiftsearch.search.judging.racing import LEAST_ROUND, Retrain, next_replicates

Draw = Callable[[int, int], list[float]]
"""Values of a configuration: its index and their number."""

SEEDS = 1.6
"""Standard deviation between seeds in points: that of replicates on digits6."""

UNEQUAL = (0.8, 1.6, 3.0)
"""Standard deviations between seeds, one drawn for each configuration."""

SPREADS = (0.5, 1.0, 2.0)
"""Standard deviations of the true means, in points."""

BUDGETS = ((4, 8), (4, 12), (5, 15), (5, 25))
"""Numbers of configurations and of trainings."""


def fixed(draw: Draw, configurations: int, budget: int) -> int:
    """The same number for each."""
    return _best([draw(i, budget // configurations) for i in range(configurations)])


def ocba(draw: Draw, configurations: int, budget: int, floor: int = 0) -> int:
    """The product's rule; the first configuration has at least `floor` replicates."""
    first = Retrain().first(configurations)
    values = [draw(i, max(first, floor) if i == 0 else first) for i in range(configurations)]
    while (left := budget - sum(map(len, values))) > 0:
        for pick in next_replicates(values, min(left, LEAST_ROUND)):
            values[pick] = values[pick] + draw(pick, 1)
    return _best(values)


def floored(draw: Draw, configurations: int, budget: int) -> int:
    """The product's rule with the reference's three replicates."""
    return ocba(draw, configurations, budget, floor=min(3, budget - 2 * (configurations - 1)))


def rejects(draw: Draw, configurations: int, budget: int) -> int:
    """After each phase the worst one is dropped."""
    scale = 0.5 + sum(1 / i for i in range(2, configurations + 1))
    alive, values = list(range(configurations)), [list[float]() for _ in range(configurations)]
    for phase in range(1, configurations):
        wanted = int(np.ceil((budget - configurations) / scale / (configurations + 1 - phase)))
        for i in alive:
            values[i] = values[i] + draw(i, wanted - len(values[i]))
        alive.remove(min(alive, key=lambda i: float(np.mean(values[i]))))
    return alive[0]


def halving(draw: Draw, configurations: int, budget: int) -> int:
    """After each phase the worse half is dropped."""
    alive, values = list(range(configurations)), [list[float]() for _ in range(configurations)]
    phases = int(np.ceil(np.log2(configurations)))
    for _ in range(phases):
        for i in alive:
            values[i] = values[i] + draw(i, max(1, budget // (len(alive) * phases)))
        alive.sort(key=lambda i: -float(np.mean(values[i])))
        alive = alive[: max(1, len(alive) // 2)]
    return alive[0]


RULES: Mapping[str, Callable[[Draw, int, int], int]] = {
    "fixed": fixed,
    "ocba": ocba,
    "floored": floored,
    "rejects": rejects,
    "halving": halving,
}


def compare(
    configurations: int, budget: int, spread: float, noise: Sequence[float], draws: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """[draws, 2] for each rule: whether it found the best configuration, and the points it lost.

    Args:
        configurations: number of configurations.
        budget: number of trainings.
        spread: standard deviation of the true means, in points.
        noise: standard deviations between seeds, of which each configuration has one.
        draws: number of draws.
        seed: seed of all draws.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
    for _ in range(draws):
        means = rng.normal(0, spread, configurations)
        sds = rng.choice(noise, configurations)

        def draw(
            i: int, n: int, means: NDArray[np.float64] = means, sds: NDArray[np.float64] = sds
        ) -> list[float]:
            return list(rng.normal(means[i], sds[i], n))

        for name, rule in RULES.items():
            lost = float(means.max() - means[rule(draw, configurations, budget)])
            found[name].append((float(lost == 0), lost))
    return {name: np.array(rows) for name, rows in found.items()}


def _best(values: Sequence[Sequence[float]]) -> int:
    return int(np.argmax([np.mean(group) for group in values]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"\n{circumstances()}\n\nbest found in %, points lost on average; n = {options.draws}\n")
    print(f"| configurations, trainings | sd of means | sd of seeds | {' | '.join(RULES)} |")
    print("| --- " * (3 + len(RULES)) + "|")
    for configurations, budget in BUDGETS:
        for noise in ((SEEDS,), UNEQUAL):
            for spread in SPREADS:
                found = compare(configurations, budget, spread, noise, options.draws, options.seed)
                cells = [
                    f"{100 * m[:, 0].mean():.1f}, {m[:, 1].mean():.3f}" for m in found.values()
                ]
                named = " or ".join(map(str, noise))
                print(f"| {configurations}, {budget} | {spread} | {named} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
