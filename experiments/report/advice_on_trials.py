"""Recommendations from the trials: what to widen, fix, freeze, lengthen or lower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution
from scipy.stats import binom, fisher_exact

from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.report.explanations import ALIKE, ENOUGH, FROZEN, frozen_from_input
from shiftsearch.experiments.report.figures.scales import best_quarter, number
from shiftsearch.experiments.wording import interval, percent
from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.result import STAGES
from shiftsearch.search.judging.importance import LEAST, Importance
from shiftsearch.search.proposing.domains import domain_values, to_unit, value_at
from shiftsearch.search.proposing.space import Space, SpaceError
from shiftsearch.search.study.records import TrialRecord, objective_of

_EDGE = 0.05
_LEVEL = 0.01
"""Largest probability that chance alone causes a piece of advice. It is small because many
hyperparameters are tested, at both ends."""
_FEW = 3
_LISTED = 6


def wider_domains(
    result: Mapping[str, Any], trials: Sequence[TrialRecord], space: Space
) -> Iterator[str]:
    """Domains with the winner and at least half of the best trials at the same end.

    The end is the outer 5 % of a range (of its logarithm if it is logarithmic), or the last step.
    For hyperparameters of the baseline, each baseline counts once.
    """
    chosen = result["winner"]["configuration"]
    for name, domain in space.distributions.items():
        if not isinstance(domain, FloatDistribution | IntDistribution) or domain.single():
            continue
        if name not in chosen:
            continue
        best = _best_apart([t for t in trials if name in t.configuration], name)
        if len(best) < _FEW:
            continue
        steps = domain_values(domain)
        expected = _EDGE if steps is None else 1 / len(steps)
        for end in (0.0, 1.0):
            width = _EDGE if steps is None else 1e-9
            at_end = [t for t in best if _at(domain, t.configuration[name], end, width)]
            if not _at(domain, chosen[name], end, width) or 2 * len(at_end) < len(best):
                continue
            if binom.sf(len(at_end) - 1, len(best), expected) > _LEVEL:
                continue
            counts = f"{len(at_end)} of {_the_best(name, best)}"
            yield from _widened(name, domain, end, chosen[name], counts)


def _best_apart(trials: Sequence[TrialRecord], name: str) -> list[TrialRecord]:
    """The best quarter of trials; for the baseline's hyperparameters one trial per baseline."""
    complete = sorted(
        (t for t in trials if t.value is not None), key=lambda t: (-(t.value or 0.0), t.number)
    )
    if not name.startswith("fine_tune."):
        first: dict[int, TrialRecord] = {}
        for trial in complete:
            first.setdefault(trial.root, trial)
        complete = list(first.values())
    return best_quarter(complete)


def _the_best(name: str, best: Sequence[TrialRecord]) -> str:
    """A name for the result of `_best_apart`, such as `the best 6 baselines`."""
    return f"the best {len(best)} {'trials' if name.startswith('fine_tune.') else 'baselines'}"


def _at(
    domain: FloatDistribution | IntDistribution, value: Value, end: float, width: float
) -> bool:
    return abs(to_unit(domain, value) - end) <= width


def _widened(
    name: str,
    domain: FloatDistribution | IntDistribution,
    end: float,
    winner: Value,
    counts: str,
) -> Iterator[str]:
    """Advice to widen a domain: by a factor of three, by two steps, or by a quarter of the range.

    If that is not valid, by half of it; if that is not valid either, nothing.
    """
    low, high = domain.low, domain.high
    side, bound = ("high", high) if end else ("low", low)
    if domain.log:
        wanted = high * 3 if end else low / 3
    else:
        step = 2 * domain.step if domain.step is not None else (high - low) / 4
        wanted = bound + step if end else bound - step
    allowed = [v for v in (wanted, (wanted + bound) / 2) if _is_valid(name, v)]
    if not allowed:
        return
    new = number(allowed[0])
    yield (
        f"Widen {name} to {new} in a new run, with --set space.{name}.{side}={new}: the winner's "
        f"{number(winner)} and {counts} lie at the end of its range, {number(bound)}."
    )


def _is_valid(name: str, value: float) -> bool:
    try:
        Space.parse({name: value})
    except SpaceError:
        return False
    return True


def fix(result: Mapping[str, Any], importance: Importance | None) -> Iterator[str]:
    """Hyperparameters whose importance is small even at the upper end of its interval."""
    if importance is None or not any(s.stands_out for s in importance.parameters):
        return
    equal = 1 / len(importance.parameters)
    small = [
        s
        for s in importance.parameters
        if not s.stands_out and s.interval[1] < equal and s.independent >= LEAST
    ]
    chosen = result["winner"]["configuration"]
    small = [s for s in small if s.name in chosen]
    if not small:
        return
    named = [
        f"{s.name} at {number(chosen[s.name])} (importance {percent(s.importance)} "
        f"{interval(s.interval)}, n = {s.independent})"
        for s in small
    ]
    more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
    yield (
        f"To make the space smaller, fix these hyperparameters of small importance at the "
        f"winner's values: {'; '.join(named[:_LISTED])}{more}. Each interval ends below "
        f"{percent(equal)}, the importance that each would have if all were equally important."
    )


def freeze(
    result: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    importance: Importance | None,
    analysis: Analysis | None,
) -> Iterator[str]:
    """The best number of frozen layers, and layers that could be frozen as they hardly changed."""
    values: dict[int, list[float]] = {}
    for trial in trials:
        frozen = frozen_from_input(trial)
        if trial.value is not None and frozen is not None:
            values.setdefault(frozen, []).append(trial.value)
    medians = {frozen: median(v) for frozen, v in sorted(values.items()) if len(v) >= _FEW}
    if len(medians) < 2:
        return
    found = [] if importance is None else importance.parameters
    if any(s.name == FROZEN and s.stands_out for s in found):
        best = max(medians, key=lambda f: (medians[f], f))
        others = [
            f"{percent(m)} with {_layers(f)} (n = {len(values[f])})"
            for f, m in medians.items()
            if f != best
        ]
        rare = [f"{_layers(f)} (n = {len(v)})" for f, v in sorted(values.items()) if len(v) < _FEW]
        yield (
            f"Freeze {_layers(best)}: the {len(values[best])} complete trials that did so had the "
            f"highest median {objective_of(trials).title}, {percent(medians[best])}, against "
            + ", ".join(others)
            + (f"; too few to compare: {', '.join(rare)}" if rare else "")
            + ". The trials differ in other hyperparameters, too."
        )
    yield from _freeze_what_stayed(result, values, medians, analysis)


def _freeze_what_stayed(
    result: Mapping[str, Any],
    values: Mapping[int, Sequence[float]],
    medians: Mapping[int, float],
    analysis: Analysis | None,
) -> Iterator[str]:
    """Advice to freeze the first layers if they hardly changed in training and trials agree."""
    noise = result.get("outlook", {}).get("noise")
    if analysis is None or noise is None or analysis.cka_images < ENOUGH:
        return
    if result["winner"]["configuration"].get("fine_tune.freeze_from", "input") != "input":
        return
    alike = []
    for layer in analysis.layers[:-1]:  # without the head
        if layer.cka is None or layer.cka < ALIKE:
            break
        alike.append(layer)
    now, stayed = sum(layer.frozen for layer in analysis.layers), len(alike)
    if stayed <= now or not {now, stayed} <= medians.keys():
        return
    if medians[stayed] < medians[now] - noise["sd"]:
        return
    least = min(layer.cka or 0.0 for layer in alike)
    yield (
        f"Try freezing {_layers(stayed)} instead of {now}: although more were trained, the first "
        f"{stayed} of the exported model have a CKA of {least:.3f} or more on "
        f"{analysis.cka_images} images. The {len(values[stayed])} trials that froze {stayed} had "
        f"a median of {percent(medians[stayed])}, against {percent(medians[now])} with "
        f"{now} (n = {len(values[now])}); the noise between seeds is {100 * noise['sd']:.2f} "
        "points."
    )


def _layers(count: int) -> str:
    return f"{count} layer{'' if count == 1 else 's'}" if count else "no layer"


def longer_stages(result: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Stages that were still improving in their last epochs, in most of the best trials."""
    for stage in STAGES:
        most = result["protocol"][stage]["max_epochs"]
        # A shared baseline counts once. A stage of fewer than three epochs always ends this way.
        best = [t for t in _best_apart(trials, f"{stage}.") if t.result is not None]
        if len(best) < _FEW or most < 3:
            continue
        ended = [t.result.stage(stage) for t in best if t.result is not None]
        late = sum(s.epochs == most and s.best_epoch >= most - 1 for s in ended)
        if 2 * late <= len(best):
            continue
        yield (
            f"Raise protocol.{stage}.max_epochs above {most} in a new run: in {late} of "
            f"{_the_best(f'{stage}.', best)} the lowest validation loss was in the last two of "
            f"{most} epochs, so the stage was stopped too early."
        )


def lower_rates(trials: Sequence[TrialRecord], space: Space) -> Iterator[str]:
    """Learning rates with more failed trials in the upper third of the domain than below.

    Trials that failed because their workers were lost do not count. For the baseline's learning
    rate, only the trial that trained a shared baseline counts, because the rate was drawn once.
    """
    for name, domain in space.distributions.items():
        if not name.endswith(".learning_rate") or not isinstance(domain, FloatDistribution):
            continue
        if domain.single():
            continue
        ended = [t for t in trials if t.has_ended and name in t.configuration]
        ended = [t for t in ended if not t.lost]
        if not name.startswith("fine_tune."):
            ended = [t for t in ended if t.branch_of is None]
        high = [t for t in ended if to_unit(domain, t.configuration[name]) > 2 / 3]
        rest = [t for t in ended if to_unit(domain, t.configuration[name]) <= 2 / 3]
        failed, others = (sum(t.state == "failed" for t in group) for group in (high, rest))
        counts = [[failed, len(high) - failed], [others, len(rest) - others]]
        if failed < _FEW or fisher_exact(counts, alternative="greater").pvalue > _LEVEL:
            continue
        cut = value_at(domain, 2 / 3)
        yield (
            f"Lower the upper end of {name}, {number(domain.high)}, in a new run: above "
            f"{number(cut)}, {failed} of {len(high)} trials failed; below it, {others} of "
            f"{len(rest)}."
        )
