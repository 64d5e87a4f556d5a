"""A driver shows its token to a cluster that asks for one, and to no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray.exceptions import AuthenticationError, RayError

from shiftsearch.search.executing import authentication
from shiftsearch.search.executing.authentication import agree_on_token, kept_authentication
from shiftsearch.search.executing.resources import ResourceError
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.integration

MODE = "RAY_AUTH_MODE"


class Head:
    """Stands for a cluster's head and this process's token."""

    def __init__(self, asks: bool | None, has: bool = True, right: bool = True) -> None:
        self.asks, self.has, self.right = asks, has, right

    def ask(self, _: str) -> None:
        if self.asks is None:
            raise RayError("unreachable")
        if self.asks and not (os.environ[MODE] == "token" and self.right):
            raise AuthenticationError("InvalidAuthToken")


def agreed(patch: pytest.MonkeyPatch, head: Head, given: str | None) -> str | None:
    """The mode that is agreed on; the user's is `given`. Ray's settings are not touched."""
    patch.setattr(authentication, "ask_head", head.ask)
    patch.setattr(authentication, "has_token", lambda: head.has)
    patch.setattr(authentication, "read_token_settings", lambda: None)
    patch.delenv(MODE, raising=False)
    if given is not None:
        patch.setenv(MODE, given)
    with kept_authentication():
        agree_on_token("auto", "host:1")
        mode = os.environ.get(MODE)
    assert os.environ.get(MODE) == given
    return mode


@pytest.mark.parametrize(
    ("head", "given", "mode"),
    [
        (Head(asks=False), None, "disabled"),
        (Head(asks=False), "disabled", "disabled"),
        (Head(asks=False, has=False), None, "disabled"),
        (Head(asks=True), None, "token"),
        (Head(asks=True), "Token", "token"),
        (Head(asks=None), None, None),
        (Head(asks=None), "token", "token"),
    ],
)
def test_the_cluster_says_whether_tokens_are_used(
    monkeypatch: pytest.MonkeyPatch, head: Head, given: str | None, mode: str | None
) -> None:
    assert agreed(monkeypatch, head, given) == mode


@pytest.mark.parametrize(
    ("head", "given", "why"),
    [
        (Head(asks=True, has=False), None, "this process has no token"),
        (Head(asks=True, has=False), "token", "this process has no token"),
        (Head(asks=True, right=False), None, "token of this process is another"),
        (Head(asks=True), "disabled", "does not let this process send"),
        (Head(asks=False), "token", "the cluster asks for no token"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, head: Head, given: str | None, why: str
) -> None:
    with pytest.raises(ResourceError, match=why) as caught:
        agreed(monkeypatch, head, given)
    assert "\n" not in str(caught.value)
    assert os.environ.get(MODE) == given


def test_a_driver_without_the_token_of_a_real_cluster_is_refused(
    local_ray: Path, tmp_path: Path
) -> None:
    """That a real cluster without tokens is joined is tested in `test_driver`, on two nodes."""
    address = ray.get_runtime_context().gcs_address
    code = f"""
from shiftsearch.search.executing.joined import check_address, ResourceError
from shiftsearch.search.executing.ray_private import listen_on_loopback
listen_on_loopback()  # where the tests' Ray listens
try:
    check_address("{address}")
except ResourceError as error:
    print(error)
"""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**ours, "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
    )
    assert not done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"--address {address}: the cluster asks for a token, and this process")
