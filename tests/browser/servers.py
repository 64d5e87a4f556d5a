"""TensorBoard and optuna-dashboard as a user starts them, and what they answer over HTTP."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

ANY_STATUS = ("STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING")

# No proxy of the environment stands between two processes of one machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def until(what: Callable[[], T], seconds: float = 30) -> T:
    """The first true answer; the last one when time is up."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


class Server:
    """A server process with its address; a context manager that ends it.

    Args:
        command: starts it.
        log: its output goes there.
        address: a pattern, found in the output once it serves; the whole match is the address.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, address: str) -> None:
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen([str(c) for c in command], stdout=file, stderr=file)
        deadline = time.monotonic() + 60
        while not (found := re.search(address, self.said())):
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"{command} does not serve:\n{self.said()}")
            time.sleep(0.1)
        self.url = found[0].rstrip("/")
        while not self._listens():  # optuna-dashboard says its address before
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _listens(self) -> bool:
        address = urllib.parse.urlsplit(self.url)
        with socket.socket() as probe:
            return probe.connect_ex((address.hostname, address.port)) == 0

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def said(self) -> str:
        """All it has printed."""
        return self._log.read_text()

    def get(self, path: str, **query: str) -> bytes:
        """The body of an answer.

        Raises:
            urllib.error.HTTPError: for a status of 400 or more.
        """
        return self._fetch(f"{self.url}{path}?{urllib.parse.urlencode(query)}", None)

    def json(self, path: str, body: Mapping[str, Any] | None = None, **query: str) -> Any:
        """A JSON answer, to a POST when there is a body."""
        sent = None if body is None else json.dumps(body).encode()
        return json.loads(self._fetch(f"{self.url}{path}?{urllib.parse.urlencode(query)}", sent))

    def _fetch(self, url: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with _open(request, timeout=30) as answer:
            return bytes(answer.read())


class TensorBoard(Server):
    """TensorBoard on a run's folder, which need not exist yet; it looks every second."""

    def __init__(self, folder: Path, log: Path) -> None:
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", "0"]
        command += ["--host", "localhost", "--reload_interval", "1"]
        super().__init__(command, log, r"http://localhost:\d+/")

    def experiment(self) -> dict[str, Any]:
        """The HParams tab's columns and metrics; empty while there are none."""
        try:
            return dict(self.json("/data/plugin/hparams/experiment", {"experimentName": ""}))
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            return {}

    def sessions(self, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The HParams tab's rows, by name, asked for as its page does."""
        body = {
            "experimentName": "",
            "allowedStatuses": list(ANY_STATUS),
            "colParams": [{"hparam": name} for name in columns],
            "startIndex": 0,
            "sliceSize": 1000,
        }
        answer = self.json("/data/plugin/hparams/session_groups", body)
        groups = answer.get("sessionGroups", [])
        assert len(groups) == answer.get("totalSize", 0)
        found = {group["name"]: group for group in groups}
        assert len(found) == len(groups), "two rows of one name"
        return found

    def tags(self, plugin: str) -> dict[str, set[str]]:
        """Run to its tags of scalars or of images."""
        return {run: set(tags) for run, tags in self.json(f"/data/plugin/{plugin}/tags").items()}

    def points(self, run: str, tag: str) -> list[tuple[float, int, float]]:
        """A curve's points: when it was written (Unix time), step, value."""
        return [tuple(p) for p in self.json("/data/plugin/scalars/scalars", run=run, tag=tag)]

    def images(self, run: str, tag: str) -> list[bytes]:
        """The first image of every step of a tag."""
        found = self.json("/data/plugin/images/images", run=run, tag=tag)
        keys = [urllib.parse.parse_qs(image["query"])["blob_key"][0] for image in found]
        return [self.get("/data/plugin/images/individualImage", blob_key=key) for key in keys]


class Dashboard(Server):
    """optuna-dashboard on a journal file."""

    def __init__(self, journal: Path, log: Path) -> None:
        with socket.socket() as probe:  # it cannot choose a port itself
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = Path(sys.executable).with_name("optuna-dashboard")
        arguments = [command, journal, "--host", "127.0.0.1", "--port", str(port)]
        super().__init__(arguments, log, r"http://127\.0\.0\.1:\d+/")
