"""A stage killed with SIGKILL anywhere and started again ends with an undisturbed one's bits."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.model.store import open_store

pytestmark = pytest.mark.campaign

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("dying_stages.py")
EPOCHS = 5
WRITES = EPOCHS + 1  # a state after each epoch, then the result
POINTS = [
    *(f"epoch-{n}" for n in range(1, EPOCHS + 1)),
    *(f"{name}-{n}" for name in ("half", "synced", "published") for n in range(1, WRITES + 1)),
]


# The attempts leave 0, 1, 2 and 3 epochs stored.
CHAIN = ["synced-1", "epoch-2", "published-1", "half-2"]


def run(root: Path, dtype: str, stage: str, lives: list[list[str]]) -> list[Any]:
    """Run a stage on one store for each list of points; all of the results that is not time."""
    stores = [root / stage / f"{number}" for number in range(len(lives))]
    runs = [f"{stage}:{s}:{','.join(p)}".rstrip(":") for s, p in zip(stores, lives, strict=True)]
    subprocess.run(
        [sys.executable, SCRIPT, dtype, *runs],
        check=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    return [result_in(store) for store in stores]


def result_in(store: Path) -> Any:
    stage = open_store(store)
    ((course, name),) = stage.entries()
    assert name == "final"
    entry = stage.load(course, name)
    assert entry is not None
    rows = [
        {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")}
        for row in entry.record["history"]
    ]
    assert len(rows) == EPOCHS
    weights = {name: tensor.numpy().tobytes() for name, tensor in entry.tensors.items()}
    return course, entry.record["decisions"], rows, weights


@pytest.mark.parametrize("stage", ["baseline", "fine_tune"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_killed_stages_end_with_the_same_bits(
    tmp_path: Path, full_campaign: bool, dtype: str, stage: str
) -> None:
    """In short form four kills in a row of one stage; in full each kill alone as well."""
    lives = [[], CHAIN, *([[point] for point in POINTS] if full_campaign else [])]
    undisturbed, *killed = run(tmp_path, dtype, stage, lives)
    for points, result in zip(lives[1:], killed, strict=True):
        assert result == undisturbed, points


def test_stages_killed_at_random_times_end_with_the_same_bits(
    tmp_path: Path, full_campaign: bool
) -> None:
    draws = random.Random(0)
    lives: list[list[str]] = [[]]
    for _ in range(20 if full_campaign else 3):
        lives.append([f"random-{draws.randrange(10**6)}" for _ in range(4)])
    undisturbed, *killed = run(tmp_path, "float32", "fine_tune", lives)
    for points, result in zip(lives[1:], killed, strict=True):
        assert result == undisturbed, points
