"""Honest numbers: how right something is on images that chose it, and on images that did not.

A configuration or a model that is the best of many on some images looks better there than it is.
The difference to images that chose nothing is its optimism.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.experiments.outcome.statistics import difference_of, wilson
from shiftsearch.experiments.wording import interval, percent, points


@dataclass(frozen=True)
class Share:
    """A share of images that are classified correctly.

    Attributes:
        n: number of images.
        accuracy: in 0..1; the mean over replicates if there are several.
        interval: 95 % interval over images, low and high.
    """

    n: int
    accuracy: float
    interval: Sequence[float]

    @classmethod
    def of(cls, correct: NDArray[Any]) -> Share:
        """From [n] correctness in 0..1, n >= 1."""
        accuracy = float(np.mean(correct))
        return cls(len(correct), accuracy, list(wilson(accuracy, len(correct))))


@dataclass(frozen=True)
class Judged:
    """A row of `numbers` in `result.json`: a configuration's or a model's accuracy on TEST2.

    Attributes:
        title: what is judged: "winner", "reference", "model", ...
        replicates: number of models that the accuracies are means over.
        selected_on: on the images that chose it.
        held_out: on the images that chose nothing; None if nothing is held out.
        all: on all images of TEST2.
        optimism: selected-on minus held-out accuracy, with its 95 % interval over images; None if
            nothing is held out.
    """

    title: str
    replicates: int
    selected_on: Share
    held_out: Share | None
    all: Share
    optimism: tuple[float, Sequence[float]] | None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; `optimism` has `value` and `interval`."""
        found = asdict(self)
        if self.optimism is not None:
            found["optimism"] = {"value": self.optimism[0], "interval": list(self.optimism[1])}
        return found


def judged(
    title: str, replicates: int, selection: NDArray[Any], held_out: NDArray[Any] | None
) -> Judged:
    """Judge by the correctness of each image, averaged over replicates.

    Args:
        title: what is judged.
        replicates: number of models that are averaged, at least 1.
        selection: [n] bool or floating in 0..1, on TEST2's selection part.
        held_out: the same on the held-out part; None if nothing is held out.
    """
    here = Share.of(selection)
    if held_out is None:
        return Judged(title, replicates, here, None, here, None)
    there = Share.of(held_out)
    every = Share.of(np.concatenate([selection, held_out]))
    return Judged(title, replicates, here, there, every, _difference(here, there))


def _difference(one: Share, other: Share) -> tuple[float, Sequence[float]]:
    """The difference of two shares of different images, and its 95 % interval."""
    value, low, high = difference_of(one.accuracy, one.interval, other.accuracy, other.interval)
    return value, [low, high]


def honest_lines(result: Mapping[str, Any]) -> list[str]:
    """`numbers` in sentences; empty for a run concluded by a version without it."""
    return [_line(row) for row in result.get("numbers", [])]


def _line(row: Mapping[str, Any]) -> str:
    count = row["replicates"]
    of = f" (mean of {count} replicates)" if count > 1 else ""
    if row["held_out"] is None:
        return f"{row['title']}{of} on TEST2: selected on {_share(row['selected_on'])}."
    optimism = row["optimism"]
    return (
        f"{row['title']}{of} on TEST2: selected on {_share(row['selected_on'])}, held out "
        f"{_share(row['held_out'])}, all {_share(row['all'])}; optimism "
        f"{points(optimism['value'], optimism['interval'])}."
    )


def _share(share: Mapping[str, Any]) -> str:
    return f"{percent(share['accuracy'])} {interval(share['interval'])} of {share['n']}"
