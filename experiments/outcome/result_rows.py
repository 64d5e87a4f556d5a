"""Rows of the table in `result.json`, arranged for display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shiftsearch.experiments.run_folder import NotARun, read_json
from shiftsearch.experiments.wording import interval, percent, points
from shiftsearch.model.objective import OBJECTIVES

_KEYS: Mapping[str, type] = {
    "fingerprint": str,
    "winner": dict,
    "reference": dict,
    "table": list,
    "search": dict,
    "retrain": dict,
    "environment": dict,
}
"""Keys that every result has, with the types of their values."""


def read_result(path: Path) -> dict[str, Any]:
    """The content of `result.json`.

    Raises:
        experiments.run_folder.NotARun: the file is damaged, or is no result.
        OSError: it cannot be read.
    """
    result = read_json(path)
    if not isinstance(result, dict):
        raise NotARun(f"{path}: is damaged, it holds no result")
    for key, kind in _KEYS.items():
        if not isinstance(result.get(key), kind):
            raise NotARun(f"{path}: is damaged, it has no {key}")
    try:
        rows_of(result)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise NotARun(f"{path}: is damaged, its table has wrong rows") from None
    return result


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


def model_lines(result: Mapping[str, Any]) -> list[str]:
    """What the exported model is, and its numbers on TEST2; none in results without them."""
    model = result.get("model")
    if model is None:
        return []
    numbers = "; ".join(
        f"{row['label']} {percent(row['accuracy'])} {interval(row['interval'])}, n = {row['n']}"
        for row in model["test2"]
    )
    found = model["optimism"]
    if found is not None:
        numbers += f"; optimism {points(found['difference'], found['interval'])}"
    lines = [f"The exported model is {model_in_words(model)}. TEST2: {numbers}."]
    return [*lines, f"{model['reason'].capitalize()}."] if "reason" in model else lines


def model_in_words(model: Mapping[str, Any]) -> str:
    """What a model is made of, such as "trial 17, replicate 2"."""
    members = model["members"]
    if len(members) == 1:
        return _member(members[0])
    shares = ", ".join(f"{_member(m)} ({m['share']:.2g})" for m in members)
    return f"an ensemble of {len(members)} networks: {shares}"


def why_in_words(model: Mapping[str, Any]) -> str:
    """Why it is this model and not another kind; empty where there is nothing to tell."""
    if "reason" in model or model["kind"] not in ("ensemble", "soup", "interpolation"):
        return str(model.get("reason", ""))
    checked, passes = model["checked"], model["forward_passes"]
    return (
        f"on images that did not choose it, {percent(checked['rule'])} against"
        f" {percent(checked['single'])} for the best single training"
        + (f"; an image takes {passes} forward passes instead of one" if passes > 1 else "")
    )


def _member(member: Mapping[str, Any]) -> str:
    names = [
        f"trial {t['number']}"
        + (f", replicate {t['replicate']}" if t["replicate"] else ", as the search trained it")
        for t in member["trained"]
    ]
    words = names[0]
    if len(names) > 1:
        words = f"the mean of the weights of {len(names)} fine-tunes: {'; '.join(names)}"
    if "of_baseline" in member:
        words += f", with {member['of_baseline']:.2g} of its baseline's weights"
    if "batch_norm" in member:
        words += f", batch statistics {member['batch_norm']}"
    return words
