"""Figures of choices of text, of switches, and of what only some trials have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shiftsearch.experiments.report.advice_on_trials import wider_domains
from shiftsearch.experiments.report.figures.coordinates import parallel_coordinates
from shiftsearch.experiments.report.figures.scales import (
    NOT_USED,
    Scale,
    number,
    scale_of,
    value_range,
)
from shiftsearch.experiments.report.figures.what_mattered import slices
from shiftsearch.experiments.report.page import _configurations
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import complete
from tests.experiments.report.test_figures import parse, texts
from tests.search.conditional import (
    AUGMENTED,
    ROTATION,
    SPACE,
    STANDARDISE,
    THAW_EVERY,
    UNFREEZING,
)

pytestmark = pytest.mark.unit


def trial(number: int, value: float, **values: str | float | bool) -> TrialRecord:
    return replace(complete(number, value), configuration=SPACE.complete(values))


GRADUAL = {UNFREEZING: "gradual", AUGMENTED: True}
TRIALS = [
    trial(0, 0.80),
    trial(1, 0.84, **GRADUAL, **{THAW_EVERY: 2, ROTATION: 5.0}),
    trial(2, 0.86, **GRADUAL, **{THAW_EVERY: 4, ROTATION: 19.9}),
    trial(3, 0.82, **{STANDARDISE: True}),
]


def test_values_are_named_as_they_are_written() -> None:
    assert [number(v) for v in (True, False, "gradual", 0.00012345, 32, 2048, None)] == [
        "true",
        "false",
        "gradual",
        "0.000123",
        "32",
        "2048",
        "not used",
    ]


def test_ranges_count_texts_and_what_is_not_used() -> None:
    assert value_range(UNFREEZING, TRIALS) == "none (2), gradual (2)"
    assert value_range(THAW_EVERY, TRIALS) == "2 to 4 (2), not used (2)"
    assert value_range(THAW_EVERY, TRIALS[1:3]) == "2 to 4"
    assert value_range(STANDARDISE, TRIALS) == "false (3), true (1)"
    assert value_range(THAW_EVERY, TRIALS[:1]) == "not used (1)"


def test_a_scale_has_a_place_for_what_is_not_used_if_anything_is() -> None:
    thaw = scale_of(THAW_EVERY, TRIALS, SPACE)
    places, named = thaw.ticks(6)
    assert named == ["not used", "1", "2", "3", "4"]
    assert places[0] == thaw.place(None) == thaw.spread(None, 3) == NOT_USED < places[1] == 0.0
    assert scale_of(THAW_EVERY, TRIALS[1:3], SPACE).ticks(6)[1][0] == "1"
    unfreezing = Scale(SPACE.distributions[UNFREEZING])
    assert unfreezing.ticks(6) == ([0.0, 1.0], ["none", "gradual"])
    assert Scale(SPACE.distributions[AUGMENTED]).ticks(6)[1] == ["true", "false"]


def test_slices_and_lines_show_trials_that_do_not_have_it() -> None:
    names = [UNFREEZING, THAW_EVERY, STANDARDISE]
    for figure in (slices, parallel_coordinates):
        root = parse(figure(TRIALS, SPACE, names, 0))
        assert "fine_tune.thaw_every 4" in (root.get("aria-label") or "")
        assert {"not used", "none", "gradual", "true", "false"} <= set(texts(root))
    alt = parse(slices(TRIALS, SPACE, [THAW_EVERY], 0)).get("aria-label") or ""
    assert alt.endswith("fine_tune.thaw_every 4, the winner not used.")


def test_the_table_of_configurations_names_what_is_not_used() -> None:
    result = {
        "space": SPACE.describe(),
        "reference": {"configuration": SPACE.reference},
        "winner": {"configuration": TRIALS[2].configuration},
    }
    lines = {line["name"]: line for line in _configurations(result, SPACE)["compared"]}
    assert lines[THAW_EVERY]["reference"] == "not used"
    assert lines[THAW_EVERY]["winner"] == 4
    assert lines[UNFREEZING]["reference"] == "none"


def test_advice_counts_only_trials_that_have_it() -> None:
    best = [
        trial(n, 0.9, **GRADUAL, **{THAW_EVERY: 2, ROTATION: 19.9 - n / 100}) for n in range(12)
    ]
    others = [trial(n, 0.8) for n in range(12, 30)]
    result = {"winner": {"configuration": best[0].configuration}}
    (advice,) = wider_domains(result, [*best, *others, trial(30, 0.7)], SPACE)
    assert advice.startswith(f"Widen {ROTATION} to")
    result = {"winner": {"configuration": others[0].configuration}}
    assert not any(ROTATION in line for line in wider_domains(result, [*best, *others], SPACE))
