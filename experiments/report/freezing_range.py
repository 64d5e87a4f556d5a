"""The number of layers to freeze that the features suggest, beside what the search found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from optuna.distributions import IntDistribution
from scipy.stats import ttest_ind

from shiftsearch.experiments.analysis.probes import LEAST, Probes
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.report.explanations import FROZEN, frozen_from_input, listed
from shiftsearch.experiments.report.figures.scales import best_quarter
from shiftsearch.experiments.wording import counted, percent
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord

_FEW = 3
_LEVEL = 0.01
"""Largest probability that chance alone makes one number of frozen layers look worse."""


def pasted(bounds: tuple[int, int]) -> str:
    """The range as the value of `frozen_layers` in an experiment file."""
    low, high = bounds
    return f"{{low: {low}, high: {high}}}" if low < high else str(low)


def by_frozen(trials: Sequence[TrialRecord]) -> dict[int, list[float]]:
    """Accuracies of the complete trials for each number of layers frozen from the input."""
    values: dict[int, list[float]] = {}
    for trial in trials:
        frozen = frozen_from_input(trial)
        if trial.value is not None and frozen is not None:
            values.setdefault(frozen, []).append(trial.value)
    return dict(sorted(values.items()))


def agrees(bounds: tuple[int, int], values: Mapping[int, Sequence[float]]) -> bool | None:
    """Whether the trials support the range.

    They do if the number with the highest mean lies in it, and no number in it has a mean that is
    clearly lower (Welch's t-test). Numbers with fewer than three complete trials do not count.

    Returns:
        None if fewer than two numbers count, or none of them lies in the range.
    """
    known = {frozen: v for frozen, v in values.items() if len(v) >= _FEW}
    inside = [frozen for frozen in known if bounds[0] <= frozen <= bounds[1]]
    if len(known) < 2 or not inside:
        return None
    best = max(known, key=lambda frozen: fmean(known[frozen]))
    return best in inside and not any(_is_lower(known[f], known[best]) for f in inside)


def _is_lower(values: Sequence[float], best: Sequence[float]) -> bool:
    if len({*values, *best}) < 2 or fmean(values) >= fmean(best):
        return False
    if len({*values}) == len({*best}) == 1:  # no spread at all, which the test cannot take
        return True
    return bool(ttest_ind(values, best, equal_var=False, alternative="less").pvalue < _LEVEL)


def range_lines(probes: Probes, trials: Sequence[TrialRecord]) -> list[str]:
    """The suggested range, what the trials found, and whether both agree."""
    bounds = probes.suggested
    if bounds is None:
        return [f"With {counted(probes.n, 'image')}, no range is suggested; {LEAST} are needed."]
    low, high = bounds
    better = [layer.name for layer in probes.layers if layer.is_improved]
    reason = (
        f"fine-tuning made the features of {listed(better)} clearly better"
        if better
        else "fine-tuning made the features of no layer clearly better"
    )
    lines = [f"Suggested: frozen_layers {low} to {high}, because {reason}."]
    values = by_frozen(trials)
    means = {frozen: fmean(v) for frozen, v in values.items() if len(v) >= _FEW}
    if len(means) < 2:
        return [*lines, f"{_paste(bounds)} The search tried too few numbers to compare."]
    top = max(means, key=lambda frozen: means[frozen])
    others = ", ".join(f"{percent(m)} with {f}" for f, m in means.items() if f != top)
    best = [frozen_from_input(t) for t in best_quarter(_ranked(trials))]
    within = sum(low <= frozen <= high for frozen in best if frozen is not None)
    verdict = {
        True: "The search agrees.",
        False: "The search does not agree.",
        None: "The search cannot tell: it tried no number in this range three times.",
    }[agrees(bounds, values)]
    return [
        *lines,
        f"In the search the mean accuracy was highest with {top} frozen layers, "
        f"{percent(means[top])}, against {others}; {within} of the best "
        f"{counted(len(best), 'trial')} are in the suggested range. {verdict}",
        _paste(bounds),
    ]


def search_range(
    trials: Sequence[TrialRecord], space: Space, analysis: Analysis | None
) -> Iterator[str]:
    """Advice to search fewer numbers of frozen layers, if features and trials agree."""
    domain = space.distributions.get(FROZEN)
    bounds = analysis.probes.suggested if analysis is not None else None
    if bounds is None or not isinstance(domain, IntDistribution):
        return
    narrower = max(bounds[0], domain.low), min(bounds[1], domain.high)
    if narrower[0] > narrower[1] or narrower == (domain.low, domain.high):
        return
    if not agrees(bounds, by_frozen(trials)):
        return
    yield (
        f"Search {FROZEN} only from {narrower[0]} to {narrower[1]} in a new run, with "
        f"--set 'space.{FROZEN}={pasted(narrower)}': the features of the exported model suggest "
        "it, and the trials agree (see the layers that may be frozen)."
    )


def _ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    known = [t for t in trials if t.value is not None and frozen_from_input(t) is not None]
    return sorted(known, key=lambda t: (-(t.value or 0.0), t.number))


def _paste(bounds: tuple[int, int]) -> str:
    return f"To search this range: space.fine_tune.frozen_layers: {pasted(bounds)}."
