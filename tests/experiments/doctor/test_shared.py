"""A folder that is not shared, cannot be written, is slow or has no locks is found as such."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.doctor import shared
from shiftsearch.experiments.doctor.shared import Look, look, meeting, pack_of

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LATE", 0.1)


def test_a_folder_that_all_use_passes_and_is_left_as_it_was(
    tmp_path: Path, tiny_dataset: Dataset
) -> None:
    run = tmp_path / "runs" / "new"
    with meeting(run) as met:
        met.lay(tiny_dataset)
        seen = look(str(met.folder), met.word, "node-0", str(pack_of(met.folder)))
        assert met.judge("node-0", seen).state == "PASS"
        assert seen.digest == tiny_dataset.digest
        assert met.folder.parent == tmp_path  # the nearest that exists
    assert not list(tmp_path.iterdir())
    run.mkdir(parents=True)
    with meeting(run) as met:
        assert met.folder.parent == run
    assert not list(run.iterdir())


def test_a_folder_that_a_node_does_not_see(tmp_path: Path) -> None:
    with meeting(tmp_path) as met:
        for folder in ("/absent/x", str(tmp_path / "other" / "x")):
            found = met.judge("node-0", look(folder, met.word, "node-0", ""))
            assert found.state == "FAIL"
            assert f"{Path(folder).parent}: is not seen" in found.said
        elsewhere = look(str(met.folder), "another word", "node-0", "")
        assert "is another folder" in met.judge("node-0", elsewhere).said


def test_a_folder_that_a_node_cannot_write(tmp_path: Path) -> None:
    with meeting(tmp_path) as met:
        (met.folder / "node-0").mkdir()  # stands in the way
        found = met.judge("node-0", look(str(met.folder), met.word, "node-0", ""))
        assert (found.state, found.check) == ("FAIL", "run folder")
        assert "cannot be written" in found.said


def test_a_file_that_never_arrives(tmp_path: Path) -> None:
    with meeting(tmp_path) as met:
        assert met.judge("node-0", Look("", "lost", True)).state == "FAIL"
        (met.folder / "node-0").write_text("another text")
        assert met.judge("node-0", Look("", "lost", True)).state == "FAIL"


def test_a_slow_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SLOW", -1.0)
    with meeting(tmp_path) as met:
        found = met.judge("node-0", look(str(met.folder), met.word, "node-0", ""))
    assert (found.state, "after" in found.said) == ("WARN", True)


def test_locks_that_another_machine_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with meeting(tmp_path) as met:
        seen = look(str(met.folder), met.word, "node-0", "")
        assert seen.locked is True
        met.close()
        seen = look(str(met.folder), met.word, "node-0", "")
        assert seen.locked is False
        assert met.judge("node-0", seen).state == "WARN"

        def without(*arguments: Any) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", without)
        assert look(str(met.folder), met.word, "node-0", "").locked is None
    with pytest.raises(OSError, match="No locks"), meeting(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_data_that_is_damaged_there(tmp_path: Path, tiny_dataset: Dataset) -> None:
    with meeting(tmp_path) as met:
        met.lay(tiny_dataset)
        pack = pack_of(met.folder)
        images = pack / "TRAIN.images.npy"
        content = bytearray(images.read_bytes())
        content[-1] ^= 1
        images.write_bytes(content)
        assert look(str(met.folder), met.word, "n", str(pack)).digest != tiny_dataset.digest
        images.unlink()
        seen = look(str(met.folder), met.word, "n", str(pack))
        assert (seen.problem, seen.digest) == ("", "")
        assert "not a complete pack" in seen.data_problem
