"""A disk or file server that fails is not reported as a wrong file, whoever reads."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from shiftsearch.data.cache import open_dataset
from shiftsearch.data.convert import import_images
from shiftsearch.data.dataset import SPLITS, DataError
from shiftsearch.data.image_file import read_image
from shiftsearch.experiments.mapping import MappingError, read_mapping

pytestmark = pytest.mark.unit

UNREADABLE = Path("/proc/self/mem")
"""Opens, and fails with EIO when it is read."""


def folder_of(path: Path, suffix: str) -> Path:
    """Two classes with one image each in every split; all images are `UNREADABLE`."""
    for split in SPLITS:
        for name in "ab":
            (path / split / name).mkdir(parents=True)
            (path / split / name / f"image{suffix}").symlink_to(UNREADABLE)
    return path


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        (".npy", lambda data: open_dataset(data)),
        (".png", lambda data: import_images(data, data.with_name("made"))),
        (".npy", lambda data: read_image(data / "TEST/a/image.npy", (16, 16))),
        (".png", lambda data: read_image(data / "TEST/a/image.png", (16, 16))),
        (".yaml", lambda data: read_mapping(data / "TEST/a/image.yaml")),
    ],
    ids=["a folder", "an import", "a file", "a picture", "an experiment"],
)
def test_a_failing_disk_is_the_machine_s_fault(
    tmp_path: Path, suffix: str, read: Callable[[Path], object]
) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
        read(folder_of(tmp_path / "data", suffix))
    assert caught.value.errno == errno.EIO
    assert str(caught.value.filename).endswith(f"image{suffix}")


def test_a_failing_file_server_is_the_machine_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(path: Path) -> NoReturn:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    data = folder_of(tmp_path / "data", ".npy")
    monkeypatch.setattr("os.scandir", stale)
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        open_dataset(data)


def test_a_file_that_is_not_there_is_the_user_s(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_image(tmp_path / "absent.npy", (16, 16))
    with pytest.raises(DataError):
        read_image(tmp_path / "absent.png", (16, 16))
    with pytest.raises(MappingError):
        read_mapping(tmp_path / "absent.yaml")
