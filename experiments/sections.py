"""The sections of an experiment file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shiftsearch.data.drifts import DEFAULT_DRIFT, DRIFTS
from shiftsearch.data.fitting import DEFAULT_ASPECT, Aspect
from shiftsearch.data.reading import Reading, parse_size
from shiftsearch.model.frozen import OneOf

AUTO = "auto"


class Section(BaseModel):
    """Base of the sections: immutable; refuses unknown keys, wrong types and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class Synthetic(Section):
    """The built-in default data, see `data.synthetic`."""

    seed: Annotated[int, Field(ge=0)] = 0
    size: Annotated[int, Field(ge=16, le=256)] = 28
    drift: Annotated[str, OneOf(DRIFTS)] = DEFAULT_DRIFT
    """A name in `data.drifts`; each has its own number of images."""


class Images(Section):
    """How the folder `data` is read, see `data.reading`; usual names and sizes need none of it."""

    train: str = ""
    """Name of the folder that is TRAIN; left out, it is recognised."""
    tune: str = ""
    """Name of the folder that is TEST."""
    target: str = ""
    """Name of the folder that is TEST2."""
    size: int | str | None = None
    """Size of pictures in pixels, `28` or `28x40` (height by width); left out: that of the files,
    which must then be equal."""
    aspect: Aspect = DEFAULT_ASPECT
    """What happens to pictures of another aspect ratio than `size`: a key of `data.fitting`."""

    @field_validator("size")
    @classmethod
    def _is_size(cls, size: int | str | None) -> int | str | None:
        if size is not None:
            parse_size(str(size))
        return size

    @property
    def reading(self) -> Reading:
        """The same as `data` takes it."""
        size = None if self.size is None else parse_size(str(self.size))
        return Reading(self.train, self.tune, self.target, size, self.aspect)


class ResourceRequest(Section):
    """Resources of a trial; values that are left out are fitted to the machine."""

    cpus_per_trial: Annotated[float, Field(gt=0)] | None = None
    gpus_per_trial: Annotated[float, Field(ge=0)] | Literal["auto"] | None = None
    """`auto`: a share of a GPU, by the memory that one trial takes; left out: a whole GPU."""
    concurrency: Annotated[int, Field(ge=1)] | None = None

    @field_validator("gpus_per_trial", mode="before")
    @classmethod
    def _is_share(cls, given: object) -> object:
        """Refuse in one line; Ray gives shares of one GPU, or whole GPUs."""
        if given is None or given == AUTO:
            return given
        if isinstance(given, float) and (0 <= given <= 1 or (given > 1 and given.is_integer())):
            return given
        raise ValueError("must be from 0 to 1, a whole number above, or auto")


class Failures(Section):
    """When failed trials end the search, and when a worker counts as lost."""

    max_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_ended: Annotated[int, Field(ge=1)] = 5
    silent_seconds: Annotated[float, Field(ge=1)] = 600.0
    """A worker without a report for so long, and for ten times the longest epoch, is ended."""


class BudgetRequest(Section):
    """When to stop asking, besides the number of trials."""

    seconds: Annotated[float, Field(gt=0)] | None = None
    """Seconds of searching, summed over all calls on the run."""
    trainings: Annotated[float, Field(gt=0)] | None = None
    """Multiples of one whole protocol."""
