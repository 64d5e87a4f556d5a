"""The command `evaluate`: the accuracy of a bundle's networks on a dataset."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.reading import Reading
from shiftsearch.experiments.commands import INPUT_ERRORS as INPUT_ERRORS
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.outcome.looks import note_looks
from shiftsearch.experiments.outcome.results import STAGES, counts_of
from shiftsearch.experiments.outcome.statistics import score_interval, wilson
from shiftsearch.experiments.own_network import load_with
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.wording import interval, percent
from shiftsearch.model.bundle_facts import facts_of
from shiftsearch.model.device import choose_device
from shiftsearch.model.objective import OBJECTIVES, Objective, beside_accuracy


def evaluate(options: Namespace, console: Console) -> int:
    """`shiftsearch evaluate`."""
    bundle = load_with(options.bundle, options.network)
    if wrong := [name for name in options.split if name not in SPLITS]:
        raise DataError([f"--split {name}: must be {', '.join(SPLITS)}" for name in wrong])
    splits = tuple(name for name in SPLITS if name in options.split)
    how = bundle.record.preprocessing
    names = (options.train, options.tune, options.target)
    reading = Reading(*names, how.size, how.aspect, how.bits)
    dataset, warnings = open_dataset(options.data, splits=splits or SPLITS, how=reading)
    for warning in warnings:  # not on standard output, where --json prints its document
        print(f"warning: {warning}", file=sys.stderr)
    device = choose_device(gpus=None)
    device.apply()
    record, run = bundle.record, Run(options.bundle.parent)
    looked = any(part == "held-out" for _, part, *_ in bundle.parts(dataset, "after", splits))
    if looked and run.looks.exists():
        of = {"configuration": f"trial {record.study.number}", "replicate": record.study.replicate}
        note_looks(run.looks, [{**of, "stage": s, "purpose": "evaluate"} for s in STAGES])
    rows = bundle.evaluate(dataset, device, splits)
    beside = beside_accuracy(OBJECTIVES[facts_of(record).objective], counts_of(dataset))
    for row in rows if beside else ():
        row["scores"] = {score.name: _scored(score, row["confusion"]) for score in beside}
    if options.json:
        print(json.dumps(rows, indent=1, allow_nan=False))
        return DONE
    header = ("fine-tuning", "split", "part", "n", "accuracy", "95 % interval", "reads as")
    table = Table(*header, *(score.title for score in beside))
    for row in rows:
        bounds = interval(wilson(row["accuracy"], row["n"]))
        cells = (str(row["n"]), percent(row["accuracy"]), bounds, row["label"])
        scores = row.get("scores", {}).values()
        more = (f"{percent(s['value'])} {interval(s['interval'])}" for s in scores)
        table.add_row(row["stage"], row["split"], row["part"], *cells, *more)
    console.print(table)
    if looked:
        console.print("this was one more look at the held-out part of TEST2")
    return DONE


def _scored(score: Objective, confusion: Sequence[Sequence[int]]) -> dict[str, Any]:
    """A score of a confusion matrix, with its 95 % interval."""
    matrix = np.array(confusion)
    return {
        "value": score.of_confusion(matrix),
        "interval": list(score_interval(score.score, matrix)),
    }
