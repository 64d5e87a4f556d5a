"""The sections of an experiment file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shiftsearch.data.drifts import DEFAULT_DRIFT, DRIFTS
from shiftsearch.model.frozen import OneOf


class Section(BaseModel):
    """Base of the sections: immutable; refuses unknown keys, wrong types and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Synthetic(Section):
    """The built-in default data, see `data.synthetic`."""

    seed: Annotated[int, Field(ge=0)] = 0
    size: Annotated[int, Field(ge=16, le=256)] = 28
    drift: Annotated[str, OneOf(DRIFTS)] = DEFAULT_DRIFT
    """A name in `data.drifts`; each has its own number of images."""


class ResourceRequest(Section):
    """Resources of a trial; values that are left out are fitted to the machine."""

    cpus_per_trial: Annotated[float, Field(gt=0)] | None = None
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None


class Retrain(Section):
    """How many configurations are retrained after the search, with how many new replicates."""

    top_k: Annotated[int, Field(ge=1, le=100)] = 3
    replicates: Annotated[int, Field(ge=1, le=100)] = 3


class Failures(Section):
    """When failed trials end the search."""

    max_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_ended: Annotated[int, Field(ge=1)] = 5


class BudgetRequest(Section):
    """When to stop asking, besides the number of trials."""

    seconds: Annotated[float, Field(gt=0)] | None = None
    """Seconds of searching, summed over all calls on the run."""
    trainings: Annotated[float, Field(gt=0)] | None = None
    """Multiples of one whole protocol."""
