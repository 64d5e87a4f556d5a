"""A file of the run folder that somebody damaged is named, whoever reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shiftsearch.experiments.outcome.looks import looks_so_far, note_looks
from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.experiments.run_folder import NotARun, read_json
from shiftsearch.experiments.sections import Retrain
from shiftsearch.model.hyperparameters import Protocol
from tests.experiments.protocol_results import finished_run

pytestmark = pytest.mark.unit


def retrain(path: Path) -> None:
    Retraining(finished_run()[1], Retrain(), Protocol(), None, path, lambda _: True)


@pytest.mark.parametrize("content", ["", '{"a": [1,', "\x80"])
@pytest.mark.parametrize(
    "read", [read_json, looks_so_far, lambda path: note_looks(path, []), retrain]
)
def test_a_damaged_file_is_named_and_left_as_it_is(
    tmp_path: Path, content: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "of the run.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(NotARun, match=f"^{re.escape(str(path))}: "):
        read(path)
    assert path.read_bytes() == content.encode("latin-1")
