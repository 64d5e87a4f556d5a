"""A trainable without training: it waits, reports epochs, and gives a made-up result.

It imports neither torch nor this package's training, so that many workers fit on one machine.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from shiftsearch.search.executing.reports import Reports

_STAGES = ("baseline", "fine_tune")
_ROW = {
    "train_loss": 0.5,
    "train_accuracy": 0.8,
    "validation_loss": 0.6,
    "validation_accuracy": 0.75,
    "learning_rate": 1e-3,
    "images_per_second": 2900.0,
}


def wait_instead(config: Mapping[str, str]) -> None:
    """Ray Tune's trainable, in place of `search.executing.trainable.run_job`.

    Args:
        config: from `search.executing.trainable.encode`. The context's `protocol` is JSON with
            `seconds` of a trial, `epochs` of each stage, the `result` that is reported, and the
            `gate`, a file without which no trial begins.
    """
    context, job = json.loads(config["context"]), json.loads(config["job"])
    work = json.loads(context["protocol"])
    reports = Reports()
    reports.wait({"event": "begun", "node_id": "", "pid": os.getpid()})
    reports.send({"event": "placed", "node": "fake", "node_id": "", "device": "cpu"})
    while not Path(work["gate"]).exists():
        time.sleep(0.1)
    begin, epochs = time.monotonic(), work["epochs"]
    for done in range(2 * epochs):
        due = begin + work["seconds"] * (done + 1) / (2 * epochs)
        time.sleep(max(0.0, due - time.monotonic()))
        row = {**_ROW, "epoch": done % epochs + 1}
        reports.later({"event": "epoch", "stage": _STAGES[done // epochs], "row": row})
        if done + 1 == epochs:
            reports.send({"event": "baseline", "epochs": epochs})
    value = 0.5 + job["number"] * 7919 % 4999 / 10_000
    result = work["result"]
    result["fine_tune"]["test2"]["accuracy"] = value
    reports.send({"event": "result", "result": result})
