"""Hyperparameters with choices of text, a switch and conditions, which the product does not have.

For the tests of all floors: `SPACE` is over a choice of text, two switches (one of them shared by
both stages) and two hyperparameters that exist only when others have a value: `thaw_every`
because its class says so, `rotation` because the space does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from shiftsearch.model.frozen import When
from shiftsearch.model.hyperparameters import FineTuneHyperparameters, Hyperparameters
from shiftsearch.search.proposing.fields import Fields
from shiftsearch.search.proposing.space import Space

STANDARDISE = "standardise"
UNFREEZING, THAW_EVERY = "fine_tune.unfreezing", "fine_tune.thaw_every"
AUGMENTED, ROTATION = "fine_tune.augmented", "fine_tune.augmentation.rotation"
DROPOUT = "baseline.dropout"


class ConditionalFineTune(FineTuneHyperparameters):
    unfreezing: Literal["none", "gradual", "surgical"] = "none"
    thaw_every: Annotated[int, Field(ge=1, le=8), When("unfreezing", ("gradual",))] = 1
    augmented: bool = False


class Conditional(Hyperparameters):
    fine_tune: ConditionalFineTune = ConditionalFineTune()
    standardise: bool = False


FIELDS = Fields(Conditional)
RAW: dict[str, Any] = {
    STANDARDISE: {"choices": [False, True]},
    "baseline": {"dropout": {"low": 0, "high": 0.6, "step": 0.1}},
    "fine_tune": {
        "unfreezing": {"choices": ["none", "gradual"]},
        "thaw_every": {"low": 1, "high": 4, "when": {"unfreezing": "gradual"}},
        "augmented": {"choices": [True, False]},
        "augmentation": {"rotation": {"low": 0, "high": 20, "when": {AUGMENTED: True}}},
    },
}
SPACE = Space.parse(RAW, fields=FIELDS)
