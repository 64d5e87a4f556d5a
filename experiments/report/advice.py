"""Recommendations based on the numbers of a run.

Each rule gives a sentence with its numbers, or nothing if they are not enough. No trial was run to
test the advice: a value that good trials have need not be the cause of their accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.report import (
    advice_on_result,
    advice_on_trials,
    advice_on_updates,
    freezing_range,
)
from shiftsearch.experiments.report.failures import nothing_works, signs
from shiftsearch.search.judging.importance import Importance
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord


def advice(
    result: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    space: Space,
    importance: Importance | None,
    analysis: Analysis | None,
) -> list[str]:
    """Which configuration to use, whether to go on, what to change, which images to look at.

    None if trials differ only by chance (`failures.nothing_works`). Beside other signs of failure
    none that a sign gives already, and none on single classes.

    Args:
        result: content of `result.json`.
        trials: the study's trials.
        space: the searched space.
        importance: importances of the hyperparameters; None if there are too few trials.
        analysis: analysis of the winner; None if the run's data or model is gone.

    Returns:
        Sentences, each with the numbers that it is based on.
    """
    found = signs(result, trials)
    if nothing_works(found):
        return []
    rules = (
        advice_on_result.which_to_use(result),
        advice_on_result.images_needed(result),
        advice_on_result.cheaper_alike(result, trials),
        advice_on_result.search_flattered(result),
        () if found else advice_on_result.more_trials(result),
        advice_on_trials.wider_domains(result, trials, space),
        advice_on_trials.fix(result, importance),
        advice_on_trials.freeze(result, trials, importance, analysis),
        freezing_range.search_range(trials, space, analysis),
        advice_on_trials.longer_stages(result, trials),
        () if found else advice_on_updates.few_updates(result, trials),
        advice_on_trials.lower_rates(trials, space),
        () if found else advice_on_result.weakest_class(result),
    )
    return [sentence for rule in rules for sentence in rule]
