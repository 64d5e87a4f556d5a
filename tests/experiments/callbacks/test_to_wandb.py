"""W&B's offline files hold what a search sent to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("wandb", reason="the extra `wandb` is not installed")

from shiftsearch.experiments.callbacks.to_wandb import WandB
from tests.experiments.callbacks.heard import search

BLOCK = 32_768
"""Bytes of a block of W&B's file, which has the form of LevelDB's log."""

pytestmark = [pytest.mark.unit, pytest.mark.slow(reason="starts W&B's own process, 3 s")]


def test_a_run_for_each_training_and_one_for_the_result_with_report_and_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder, warned = tmp_path / "run", list[str]()
    search(WandB(), folder, warned.append)
    assert warned == []
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 3
    texts = {
        *(b"trial-0000", b"fine_tune.frozen_layers", b"baseline/validation_accuracy"),
        *(b"test2_accuracy_after", b"loss is nan", b"winner/after/TEST2/held-out"),
        *(b"mine-report", b"mine-model", b"weights.safetensors"),
    }
    until = time.monotonic() + 15  # another process writes them
    while missing := _missing(texts, files):
        assert time.monotonic() < until, missing
        time.sleep(0.1)


def _missing(texts: set[bytes], files: list[Path]) -> set[bytes]:
    written = b"".join(_records(file.read_bytes()) for file in files)
    return {text for text in texts if text not in written}


def _records(content: bytes) -> bytes:
    """The file without the 7 bytes at the head of each block, which may stand within a text."""
    blocks = (content[start : start + BLOCK] for start in range(0, len(content), BLOCK))
    return b"".join(block[7:] for block in blocks)
