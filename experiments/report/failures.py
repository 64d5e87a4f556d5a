"""Signs that a search failed, most important first, each with what to change.

A failed search leaves a model and a report like any other. These signs are said before both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shiftsearch.experiments.outcome.result_rows import TableRow, final_row, rows_of
from shiftsearch.experiments.outcome.statistics import wilson
from shiftsearch.experiments.report.advice_on_updates import FEW_UPDATES, short_stages
from shiftsearch.experiments.report.remedies import (
    ENOUGH,
    options,
    rates_and_epochs,
    wider,
    without_points,
)
from shiftsearch.experiments.wording import counted, interval, percent, points
from shiftsearch.search.study.records import TrialRecord

LEARNT = 0.1
"""Share of the way from chance to 1 below which nothing counts as learnt; a convention."""
MAINLY = 2 / 3
"""Share of a shift that must be brightness and contrast. Measured from TRAIN and from TEST to
TEST2: 0.86 and 0.90 with the synthetic drift `light`, 0.52 and 0.37 with `camera`, whose figures
turn, 0.24 and 0.07 with real handwriting."""
BRIGHTER, CONTRAST = 0.1, 1.25
"""The difference of brightness, or the ratio of contrast, that makes a shift worth a sign."""
FEWEST_ERRORS = 4
"""With fewer errors of the reference not even a perfect winner could be told apart from it: a
resample has none of 3 errors with a probability of e^-3, above 2.5 %."""
MORE = 40
"""Trials to search where fewer than `ENOUGH` are complete."""

_INTENSITY = "preprocessing.intensity"


@dataclass(frozen=True)
class Sign:
    """A sign that a search failed.

    Attributes:
        key: `at_chance`, `nothing_learnt`, `few_updates`, `no_better` or `brightness`.
        sentence: what was found, with its figures.
        change: what to change, in a sentence.
        settings: the change, as `KEY=VALUE` of the experiment file.
    """

    key: str
    sentence: str
    change: str
    settings: tuple[str, ...]

    @property
    def line(self) -> str:
        """The change as options of `shiftsearch search`, quoted for a shell."""
        return options(self.settings)


def signs(result: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[Sign]:
    """The signs that a search failed, most important first; empty for a good result.

    Short stages and a shift of brightness are only told of beside one of the other signs: they may
    be why it failed, but a good result shows that they did no harm.

    Args:
        result: content of `result.json`, of this or an earlier version.
        trials: the study's trials.
    """
    wrong = [*_at_chance(result), *_nothing_learnt(result)]
    worse = list(_no_better(result))
    if not wrong and not worse:
        return []
    found = [*wrong, *_few_updates(result, trials), *worse, *_brightness(result)]
    has_points = any(trial.role == "point" for trial in trials)
    return (
        [replace(s, settings=without_points(s.settings)) for s in found] if has_points else found
    )


def nothing_works(found: Sequence[Sign]) -> bool:
    """Whether the signs say that the trials differ only by chance, so that advice is worthless."""
    return any(sign.key in ("at_chance", "nothing_learnt") for sign in found)


def _at_chance(result: Mapping[str, Any]) -> Iterator[Sign]:
    """The final accuracy, or balanced accuracy where classes differ in size, is that of chance."""
    title, row = _final(result)
    if row is None:
        return
    chance, value, bounds, what = _chance(result, "TEST2"), row.accuracy, row.interval, "accuracy"
    if (score := row.scores.get("balanced_accuracy")) is not None:
        chance, what = 1 / len(result["dataset"]["classes"]), "balanced accuracy"
        value, bounds = score["value"], score["interval"]
    if bounds[0] > chance:
        return
    after = _row(result, title, "after", "TEST")
    is_fitted = after is not None and after.interval[0] > _learnt(_chance(result, "TEST"))
    yield Sign(
        "at_chance",
        f"The {title} is no better than chance on TEST2: its {what} is {percent(value)} "
        f"{interval(bounds)} on {counted(row.n, 'image')} ({row.label}), and chance is "
        f"{percent(chance)}.",
        "Check that the classes mean the same in all three splits. Then let the fine-tune change "
        "more, with stronger augmentation."
        if is_fitted
        else "Check that the folders of the classes are right. Then train with higher learning "
        "rates, and longer.",
        wider(result, "fine_tune.") if is_fitted else rates_and_epochs(result, "fine_tune"),
    )


def _nothing_learnt(result: Mapping[str, Any]) -> Iterator[Sign]:
    """The baseline is at chance on what it was trained on and on what validates it."""
    title, _ = _final(result)
    fitted = result.get("fit", {}).get(title, {}).get("baseline", {})
    train, test = fitted.get("train_accuracy"), _row(result, title, "before", "TEST")
    if train is None or test is None:
        return
    n = sum(result["dataset"]["counts"]["TRAIN"])
    bounds = wilson(train, n)
    chances = [_chance(result, split) for split in ("TRAIN", "TEST")]
    if bounds[0] > _learnt(chances[0]) or test.interval[0] > _learnt(chances[1]):
        return
    yield Sign(
        "nothing_learnt",
        f"The {title}'s baseline has learnt nothing: it is right on {percent(train)} "
        f"{interval(bounds)} of {counted(n, 'image')} of TRAIN and on {percent(test.accuracy)} "
        f"{interval(test.interval)} of {test.n} of TEST, and chance is {percent(chances[0])} and "
        f"{percent(chances[1])}.",
        "Train the baseline with another learning rate, and longer.",
        rates_and_epochs(result, "baseline"),
    )


def _few_updates(result: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Iterator[Sign]:
    """Stages that ended after too few optimiser steps."""
    for found in short_stages(result, trials):
        if not found.settings:
            continue
        name = found.stage.replace("_", "-")
        yield Sign(
            "few_updates",
            f"{found.short} of {found.ended} {name}s ended after fewer than {FEW_UPDATES} "
            f"optimiser steps (median {found.updates:g}); an epoch has {found.steps:g}.",
            f"Train the {name} for at least {FEW_UPDATES} steps.",
            found.settings,
        )


def _no_better(result: Mapping[str, Any]) -> Iterator[Sign]:
    """The search found nothing that is better than the reference configuration.

    No sign if only the reference was run, or if it makes too few errors for anything to be better.
    """
    row, search = final_row(rows_of(result), "reference"), result["search"]
    if row is None or search["asked"] == 1 or row.n * (1 - row.accuracy) < FEWEST_ERRORS:
        return
    found = result["comparison"]
    if found is not None and found["interval"][0] > 0:
        return
    if found is not None:
        how = "is worse than" if found["interval"][1] < 0 else "cannot be told apart from"
        what = (
            f"The winner, trial {result['winner']['number']}, {how} the reference configuration: "
            f"{points(found['difference'], found['interval'])} on "
            f"{counted(found['n'], 'image')} of TEST2."
        )
    elif result["winner"]["configuration"] == result["reference"]["configuration"]:
        what = (
            "The winner is the reference configuration: none of the "
            f"{counted(search['complete'], 'complete trial')} did better when retrained."
        )
    else:
        return
    if search["complete"] < ENOUGH:
        yield Sign("no_better", what, f"Search {MORE} trials.", (f"trials={MORE}",))
    else:
        change = "Search hyperparameters that the space fixes."
        yield Sign("no_better", what, change, wider(result, ""))


def _brightness(result: Mapping[str, Any]) -> Iterator[Sign]:
    """The shift is mainly one of brightness and contrast, which nothing in the space meets."""
    found = result["dataset"].get("appearance")
    if found is None or _meets_brightness(result["space"]):
        return
    for shift in found["shifts"]:
        one, two = (found["splits"][shift[name]] for name in ("first", "second"))
        contrasts = sorted((one["contrast"], two["contrast"]))
        is_large = abs(one["brightness"] - two["brightness"]) > BRIGHTER
        is_large = is_large or contrasts[1] > CONTRAST * contrasts[0]
        share = 1 - shift["rest"] / shift["distance"] if shift["distance"] else 0.0
        if not is_large or share < MAINLY:
            continue
        yield Sign(
            "brightness",
            f"{round(100 * share)} % of the shift from {shift['first']} to {shift['second']} is "
            f"brightness and contrast (brightness {one['brightness']:.2f} and "
            f"{two['brightness']:.2f}, contrast {one['contrast']:.2f} and {two['contrast']:.2f}), "
            "and the space has nothing against it.",
            "Let the search choose whether images are standardised.",
            (f"space.{_INTENSITY}={{choices: [none, standardise]}}",),
        )
        return


def _meets_brightness(space: Mapping[str, str]) -> bool:
    """Whether something that is searched, or fixed to another value than off, changes both."""
    names = [
        f"{s}.augmentation.{n}"
        for s in ("baseline", "fine_tune")
        for n in ("brightness", "contrast")
    ]
    return any(space.get(name, "0.0") != "0.0" for name in names) or _INTENSITY in space


def _final(result: Mapping[str, Any]) -> tuple[str, TableRow | None]:
    """The winner's title in the table, and its last row."""
    rows = rows_of(result)
    title = "winner" if final_row(rows, "winner") else "reference"
    return title, final_row(rows, title)


def _row(result: Mapping[str, Any], title: str, stage: str, split: str) -> TableRow | None:
    wanted = (title, stage, split)
    rows = [r for r in rows_of(result) if (r.configuration, r.stage, r.split) == wanted]
    return next(iter(rows), None)


def _chance(result: Mapping[str, Any], split: str) -> float:
    """The accuracy of always naming the split's largest class."""
    counts = result["dataset"]["counts"][split]
    return float(max(counts) / sum(counts))


def _learnt(chance: float) -> float:
    return chance + LEARNT * (1 - chance)
