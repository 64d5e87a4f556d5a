"""Rows of the table in `result.json`, arranged for display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from shiftsearch.experiments.wording import interval, percent
from shiftsearch.model.objective import OBJECTIVES


@dataclass(frozen=True)
class TableRow:
    """The accuracy of a configuration on some images, before or after fine-tuning.

    Attributes:
        configuration: title of the configuration: "winner", "reference", ...
        stage: "before" or "after".
        split: TEST or TEST2.
        part: "all", "selection" or "held-out".
        label: what the images were used for, see `experiments.outcome.results.Part.label`.
        n: number of images.
        accuracy: mean over replicates, in 0..1.
        interval: 95 % interval over images, low and high.
        replicates: accuracy of each replicate, by number.
        loss: mean over replicates, in nats.
        scores: other scores that are shown beside the accuracy, by name: `value` (mean over
            replicates), `interval` and `replicates`.
    """

    configuration: str
    stage: str
    split: str
    part: str
    label: str
    n: int
    accuracy: float
    interval: Sequence[float]
    replicates: Sequence[float]
    loss: float
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def images(self) -> str:
        """Split and part in words."""
        return self.split if self.part == "all" else f"{self.split} {self.part}"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, without `scores` if there are none."""
        return {k: v for k, v in asdict(self).items() if k != "scores" or v}

    def beside(self) -> list[str]:
        """The other scores with their intervals, in words."""
        return in_words(self.scores)


def in_words(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Each of a row's `scores` with its interval, in words."""
    return [
        f"{OBJECTIVES[name].title} {percent(found['value'])} {interval(found['interval'])}"
        for name, found in scores.items()
    ]


@dataclass(frozen=True)
class TableLine:
    """The rows of a configuration on the same images, before and after fine-tuning."""

    before: TableRow
    after: TableRow


def rows_of(result: Mapping[str, Any]) -> list[TableRow]:
    """The table of a `result.json`."""
    return [TableRow(**row) for row in result["table"]]


def table_lines(rows: Sequence[TableRow]) -> list[TableLine]:
    """One line per configuration and part, in the order of the rows."""
    found: dict[tuple[str, str], dict[str, TableRow]] = {}
    for row in rows:
        found.setdefault((row.configuration, row.images), {})[row.stage] = row
    return [TableLine(line["before"], line["after"]) for line in found.values()]


def final_row(rows: Sequence[TableRow], configuration: str) -> TableRow | None:
    """The row after fine-tuning on the held-out part of TEST2, else on its selection part."""
    wanted = (configuration, "after", "TEST2")
    found = {r.part: r for r in rows if (r.configuration, r.stage, r.split) == wanted}
    return found.get("held-out", next(iter(found.values()), None))
