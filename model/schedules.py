"""Schedules of the learning rate: a schedule is a function and its entry.

A rate holds for a whole epoch. The horizon is the stage's `max_epochs`, also for a stage that
early stopping ends before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shiftsearch.model.course import Course

Curve = Callable[[float, float, float], float]
"""A function of the rate at the start, that rate after all reductions on plateau, and the fraction
of the horizon that is over, in [0, 1). It returns the epoch's rate, above 0."""


def plateau(start: float, reduced: float, progress: float) -> float:
    """Reduced when the validation loss does not fall, see `model.stopping`."""
    del start, progress
    return reduced


def cosine(start: float, reduced: float, progress: float) -> float:
    """Half a cosine, to zero at the horizon.

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5 without restarts.
    """
    del reduced
    return start * (1 + math.cos(math.pi * progress)) / 2


def linear(start: float, reduced: float, progress: float) -> float:
    """A straight line, to zero at the horizon. Source: Defazio et al. 2023, arXiv 2310.07831."""
    del reduced
    return start * (1 - progress)


SCHEDULES: Mapping[str, Curve] = {
    "plateau": plateau,
    "cosine": cosine,
    "linear": linear,
}
"""Schedules by name."""


def learning_rate(course: Course, epoch: int, reduced: float) -> float:
    """The learning rate of an epoch, above 0.

    In the w warm-up epochs it is 1 / (w + 1), 2 / (w + 1), ... of the schedule's first rate
    (gradual warm-up; Goyal et al. 2017, arXiv 1706.02677, section 2.2). The schedule begins after
    them.

    Args:
        course: the stage's course.
        epoch: counted from 1, at most the horizon.
        reduced: the stage's first learning rate after all reductions on plateau.
    """
    values, horizon = course.hyperparameters, course.schedule.max_epochs
    warm_up = values.warm_up_epochs
    curve = SCHEDULES[values.learning_rate_schedule]
    if epoch <= warm_up:
        return curve(values.learning_rate, reduced, 0.0) * epoch / (warm_up + 1)
    progress = (epoch - 1 - warm_up) / (horizon - warm_up)
    return curve(values.learning_rate, reduced, progress)
