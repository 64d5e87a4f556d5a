"""The files that paths name: sorted, recursive, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shiftsearch.data.image_paths import image_paths

pytestmark = pytest.mark.unit


def test_a_folder_is_read_recursively_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.NPY", "a/z/9.tif", "a/5.jpeg", "c.bmp", "0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("notes.txt", "b/.hidden.png", "a/x.gif"):
        (tmp_path / name).touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.png").touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nothing")
    found, skipped, problems = image_paths([tmp_path])
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        *("0.jpg", "c.bmp", "a/5.jpeg", "a/gone.png", "a/z/9.tif", "b/1.NPY", "b/2.png"),
    ]
    assert (skipped, problems) == (5, [])


def test_folders_are_sorted_whatever_order_the_disk_has(tmp_path: Path) -> None:
    names = [f"{number * 37 % 40:02d}" for number in range(40)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    found, *_ = image_paths([tmp_path])
    assert [path.parent.name for path in found] == sorted(names)


def test_files_are_taken_as_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").touch()
    named = [tmp_path / "image.data", tmp_path / "folder", tmp_path / "none.npy"]
    named[0].touch()
    assert image_paths(named) == ([named[0], tmp_path / "folder" / "a.png", named[2]], 0, [])


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    found, _, problems = image_paths([tmp_path / "pipe.npy"])
    assert (found, len(problems)) == ([], 1)
    assert problems[0].startswith(f"{tmp_path / 'pipe.npy'}: ")
    (tmp_path / "link.npy").symlink_to(tmp_path / "pipe.npy")
    (tmp_path / "endless.npy").symlink_to("/dev/zero")
    found, skipped, _ = image_paths([tmp_path])
    assert (found, skipped) == ([], 3)
