"""A node that does not see the run's folder copies what it needs, once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.cache import open_pack, save_pack
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.model.remote import RemoteFolder
from shiftsearch.search.executing.fetching import on_this_node

pytestmark = pytest.mark.unit


@pytest.fixture
def there(tiny_dataset: Dataset, tmp_path: Path) -> RemoteFolder:
    save_pack(tiny_dataset, tmp_path / "dataset")
    return RemoteFolder((tmp_path / "dataset").as_uri())


def test_workers_of_a_node_share_one_copy(
    there: RemoteFolder, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    barrier, found = threading.Barrier(3), list[Path]()
    (tmp_path / "session").mkdir()

    def work() -> None:
        barrier.wait()
        found.append(on_this_node(there, str(tmp_path / "session"), "one"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert list((tmp_path / "session").iterdir()) == [found[0]]
    here = open_pack(found[0], tiny_dataset.digest)
    for name, split in tiny_dataset.splits.items():
        assert np.array_equal(here.splits[name].images, split.images)
    (tmp_path / "dataset").rename(tmp_path / "gone")
    assert on_this_node(there, str(tmp_path / "session"), "one") == found[0]


def test_other_content_under_the_same_url_is_another_copy(
    there: RemoteFolder, tmp_path: Path
) -> None:
    session, name = str(tmp_path / "session"), "TRAIN.labels.npy"
    first = on_this_node(there, session, "one")
    before = (first / name).read_bytes()
    there.write(name, b"other")
    second = on_this_node(there, session, "two")
    assert (second / name).read_bytes() == b"other"
    assert (first / name).read_bytes() == before


def test_a_copy_that_breaks_off_leaves_none(
    there: RemoteFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(RemoteFolder, "read", lost)
    with pytest.raises(OSError, match="no network"):
        on_this_node(there, str(tmp_path / "session"), "one")
    assert list((tmp_path / "session").iterdir()) == []
    monkeypatch.undo()
    assert on_this_node(there, str(tmp_path / "session"), "one").is_dir()


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: is not there, and this node does not see"):
        on_this_node(RemoteFolder((tmp_path / "none").as_uri()), str(tmp_path / "session"), "one")


def test_a_name_does_not_escape_the_copy(
    there: RemoteFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RemoteFolder, "files", lambda _: {"../evil": None})
    with pytest.raises(DataError, match="outside"):
        on_this_node(there, str(tmp_path / "session"), "one")
    assert not (tmp_path / "evil").exists()
