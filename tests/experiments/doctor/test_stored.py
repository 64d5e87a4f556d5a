"""An object store that cannot be written, read, listed or deleted from is found as such."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.doctor.stored import finding, trouble
from shiftsearch.model.remote import RemoteFolder

pytestmark = pytest.mark.unit


def test_a_folder_that_can_be_used_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    assert trouble(f"file://{tmp_path}/there") == ""
    assert trouble(f"file://{tmp_path}/new/one") == ""
    assert [p.name for p in tmp_path.rglob("*")] == ["there", "file"]


def refusing(*_: Any) -> None:
    raise PermissionError(13, "Permission denied", "/x")


@pytest.mark.parametrize(
    ("method", "fault", "said"),
    [
        ("write", refusing, "nothing can be written (/x: Permission denied)"),
        ("write", lambda *_: None, "reads back changed"),
        ("read", refusing, "nothing can be read"),
        ("read", lambda *_: b"", "reads back changed"),
        ("files", refusing, "nothing can be listed"),
        ("files", lambda _: {}, "is not listed"),
        ("delete", refusing, "nothing can be deleted"),
    ],
)
def test_what_cannot_be_done_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    fault: Callable[..., Any],
    said: str,
) -> None:
    monkeypatch.setattr(RemoteFolder, method, fault)
    assert said in trouble(f"file://{tmp_path}")


def test_what_is_deleted_must_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("delete", "remove"):
        monkeypatch.setattr(RemoteFolder, method, lambda *_: None)
    assert "still there" in trouble(f"file://{tmp_path}")


def test_one_machine_with_trouble_fails_the_finding() -> None:
    url = "s3://bucket/x?endpoint_override=host:1"
    assert finding(url, {"a": "", "b": ""}).state == "PASS"
    found = finding(url, {"a": "", "b": "nothing can be read (x)"})
    assert found.state == "FAIL"
    assert found.said == "s3://bucket/x: b: nothing can be read (x)"
