"""The section `export` of an experiment file: which model is exported, in which formats."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from shiftsearch.experiments.sections import Section
from shiftsearch.model.frozen import OneOf

MAX_MODELS = 50
"""Most trainings that a combination is made from, the best ones."""

AUTO = "ensemble"
"""The rule that `auto` stands for, see `experiments.definition.Experiment.export_rule`."""
MODELS = ("auto", "replicate", "single", "soup", "interpolation", "ensemble")
"""`replicate`: the winner's best one; the others are rules of `experiments.outcome.choice`."""

FORMATS = ("onnx", "pt2")
"""Those of `model.formats`."""


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable text")
    return text


Licence = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]


def _all_or_number(value: object) -> object:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError("must be all, or a number of trials from 1")


Keep = Annotated[Annotated[int, Field(ge=1)] | Literal["all"], BeforeValidator(_all_or_number)]


class Export(Section):
    """Which model is exported, and in which formats besides that of shiftsearch."""

    model: Annotated[str, OneOf(MODELS)] = "auto"
    max_members: Annotated[int, Field(ge=2, le=20)] = 5
    """Most networks of an ensemble, which is also how much slower than one it can be."""

    formats: Annotated[tuple[Annotated[str, OneOf(FORMATS)], ...] | None, Field(strict=False)] = (
        None
    )
    """None: those whose packages are installed. One that is named and cannot be written is said in
    a line."""

    @property
    def choice(self) -> dict[str, Any]:
        """What decides which model it is; empty if that is the default."""
        found = self.model_dump(include={"model", "max_members"})
        return {} if found == Export().model_dump(include=set(found)) else found
