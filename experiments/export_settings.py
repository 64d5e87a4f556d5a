"""The section `export` of an experiment file: which model is exported."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shiftsearch.experiments.sections import Section
from shiftsearch.model.frozen import OneOf

AUTO = "single"
"""The rule that `auto` stands for."""
MODELS = ("auto", "replicate", "single", "soup", "interpolation", "ensemble")
"""`replicate`: the winner's best one; the others are rules of `experiments.outcome.choice`."""


class Export(Section):
    """Which model is exported."""

    model: Annotated[str, OneOf(MODELS)] = "auto"
    max_members: Annotated[int, Field(ge=2, le=20)] = 5
    """Most networks of an ensemble, which is also how much slower than one it can be."""

    @property
    def rule(self) -> str:
        """The model's rule, with `auto` resolved."""
        return AUTO if self.model == "auto" else self.model
