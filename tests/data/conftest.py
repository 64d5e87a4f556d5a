"""Small datasets on disk and in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.dataset import SPLITS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """TRAIN, TEST, TEST2 with classes cat (3 images) and dog (4): random uint8 (16, 17, 1)."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for name, count in (("cat", 3), ("dog", 4)):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for index in range(count):
                image = rng.integers(0, 256, (16, 17, 1), dtype=np.uint8)
                np.save(tmp_path / "set" / split / name / f"{index:04d}.npy", image)
    return tmp_path / "set"
