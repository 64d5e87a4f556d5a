"""A search as callbacks hear it, made without training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shiftsearch.experiments.callbacks.callback import Callback
from shiftsearch.experiments.callbacks.hearing import Hearing
from shiftsearch.search.executing.places import Place
from tests.experiments.protocol_results import EPOCH, job, protocol_result

EXPERIMENT = {"name": "mine", "data": "synthetic", "trials": 2, "sampler": "tpe", "seed": 0}
EXPERIMENT |= {"objective": "accuracy"}
ROW = {"configuration": "winner", "stage": "after", "split": "TEST2", "part": "held-out"}
RESULT: dict[str, Any] = {"table": [ROW | {"accuracy": 0.9}]}


def search(callback: Callback, folder: Path, warn: Callable[[str], None]) -> None:
    """Two trials, the first complete after two epochs, the second failed; then the result."""
    (folder / "best").mkdir(parents=True, exist_ok=True)
    (folder / "best" / "weights.safetensors").write_bytes(b"weights")
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "result.json").write_text(json.dumps(RESULT))
    with Hearing([("mine", callback)], warn) as hearing:
        hearing.begun(folder, EXPERIMENT)
        for number in (0, 1):
            hearing.started(job(number))
            hearing.placed(job(number), Place("node", "", "cpu"))
        for epoch in (1, 2):
            hearing.epoch(job(0), "baseline", {**EPOCH, "epoch": epoch})
        hearing.ended(job(0), "complete", "", protocol_result(0.2, 0.8))
        hearing.ended(job(1), "failed", "loss is nan", None)
        hearing.concluded(folder, RESULT)
