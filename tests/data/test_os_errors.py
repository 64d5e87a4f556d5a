"""A device that fails is no wrong file: the fault is raised, and names the file."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shiftsearch.data.convert import import_images, write_folder
from shiftsearch.data.dataset import DataError
from shiftsearch.data.image_file import deepest_value, read_image
from shiftsearch.data.image_folder import read_folder
from shiftsearch.data.npy_image import read_file
from shiftsearch.data.os_errors import fault_in, in_words, is_machine
from shiftsearch.data.publishing import save_array
from shiftsearch.data.scan import IMPORT_RECORD, scan_folder

pytestmark = pytest.mark.unit

FAILING = Path("/proc/self/mem")
"""Opens, and fails to be read at its beginning, as a broken disk does."""


@pytest.mark.skipif(not FAILING.exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("x.npy", lambda path: read_file(str(path))),
        ("x.npy", lambda path: read_image(path, (28, 28))),
        ("x.png", lambda path: read_image(path, (28, 28))),
        ("x.jpg", lambda path: read_image(path, (28, 28))),
        ("x.png", deepest_value),
    ],
)
def test_an_image_on_a_failing_disk_is_not_called_wrong(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / name
    path.symlink_to(FAILING)
    with pytest.raises(OSError) as caught:
        read(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))


@pytest.mark.skipif(not FAILING.exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", ["TRAIN/dog/x.npy", IMPORT_RECORD])
def test_a_dataset_on_a_failing_disk_is_not_called_wrong(folder: Path, name: str) -> None:
    (folder / name).symlink_to(FAILING)
    with pytest.raises(OSError) as caught:
        read_folder(folder)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(folder / name))


@pytest.mark.skipif(not FAILING.exists(), reason="needs Linux's /proc")
def test_an_import_from_a_failing_disk_writes_nothing(tmp_path: Path) -> None:
    for split in ("TRAIN", "TEST", "TEST2"):
        for name in ("cat", "dog"):
            (tmp_path / "source" / split / name).mkdir(parents=True)
            Image.new("L", (28, 28)).save(tmp_path / "source" / split / name / "a.png")
    (tmp_path / "source/TEST/dog/x.png").symlink_to(FAILING)
    with pytest.raises(OSError) as caught:
        import_images(tmp_path / "source", tmp_path / "target")
    assert caught.value.errno == errno.EIO
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, OSError), (errno.ESTALE, OSError), (errno.EACCES, DataError)]
)
def test_a_folder_that_cannot_be_listed_is_judged_by_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    original = os.scandir

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if path == folder / "TEST":
            raise OSError(number, os.strerror(number), str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(kind, match=f"TEST.*{os.strerror(number)}|{os.strerror(number)}.*TEST"):
        read_folder(folder)
    assert issubclass(kind, OSError) or scan_folder(folder).problems


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """No file may grow beyond 4 KiB: as a full disk, it ends a write in the middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files_only")
def test_an_array_that_does_not_fit_is_a_fault_with_number_and_name(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with pytest.raises(OSError) as caught:
        save_array(path, np.zeros((80, 80), np.uint8))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))


def test_a_folder_that_cannot_be_written_names_the_folder_and_the_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, _ = read_folder(folder)

    def full(*_: object, **__: object) -> None:
        raise OSError("784 requested and 0 written")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"/copy: cannot be written: 784 requested"):
        write_folder(dataset, tmp_path / "copy")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(16 * 17, dtype=np.uint8).reshape(16, 17, 1),
        np.linspace(0, 1, 300_000, dtype=np.float32),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.zeros((0, 2), np.int64),
    ],
)
def test_an_array_is_saved_as_numpy_saves_it(tmp_path: Path, array: np.ndarray) -> None:
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "theirs.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EIO, "Input/output error", "/a"), "/a: Input/output error"),
        (OSError(errno.EIO, "Input/output error", b"/a"), "/a: Input/output error"),
        (OSError(errno.EIO, "Input/output error", 3), "Input/output error"),
        (OSError("\n 7 requested and 0 written\nmore"), "7 requested and 0 written"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_fault_is_said_in_one_line(error: OSError, line: str) -> None:
    assert in_words(error) == line


def test_only_what_the_machine_does_is_raised() -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    assert fault_in("/a", denied) == "Permission denied"
    assert is_machine(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(TimeoutError) as caught:
        fault_in("/a", TimeoutError("no answer"))
    assert in_words(caught.value) == "no answer"
