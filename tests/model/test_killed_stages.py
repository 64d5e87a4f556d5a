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


Case = tuple[str, str, tuple[str, ...]]
"""A stage's dtype and name, and the points at which its attempts die."""
DTYPES, STAGES = ("float32", "bfloat16"), ("baseline", "fine_tune")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, full_campaign: bool) -> dict[Case, Any]:
    """All of the results that is not time, of stages undisturbed and killed.

    In short form four kills in a row, and four at random times; in full more, and each alone.
    """
    draws = random.Random(0)
    lives: list[tuple[str, ...]] = [(), tuple(CHAIN)]
    lives += [(point,) for point in POINTS] if full_campaign else []
    cases = [(d, s, points) for d in DTYPES for s in STAGES for points in lives]
    for _ in range(20 if full_campaign else 1):
        at_random = tuple(f"random-{draws.randrange(10**6)}" for _ in range(4))
        cases.append(("float32", "fine_tune", at_random))
    root = tmp_path_factory.mktemp("stages")
    stores = {case: root / str(number) for number, case in enumerate(cases)}
    runs = [f"{d}:{s}:{at}:{','.join(p)}".rstrip(":") for (d, s, p), at in stores.items()]
    subprocess.run(
        [sys.executable, SCRIPT, *runs],
        check=True,
        timeout=2400,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    return {case: result_in(store) for case, store in stores.items()}


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


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_killed_stages_end_with_the_same_bits(
    results: dict[Case, Any], dtype: str, stage: str
) -> None:
    """Wherever they were killed; of one stage also at random times."""
    found = {points: result for (*of, points), result in results.items() if of == [dtype, stage]}
    undisturbed = found.pop(())
    assert tuple(CHAIN) in found
    for points, result in found.items():
        assert result == undisturbed, points
