"""A Ray cluster that is joined, not started: joining it, and noticing that it is gone."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from shiftsearch.search.executing.faults import first_line
from shiftsearch.search.executing.resources import ResourceError

SILENCE = 35.0
"""Seconds without an answer after which the cluster counts as lost. Ray itself aborts the driver
after 60 s without its head."""
_EVERY, _TIMEOUT = 5.0, 2.0


def join(address: str, options: Mapping[str, Any]) -> None:
    """Connect to the cluster at `address`.

    Raises:
        ResourceError: there is no cluster.
    """
    try:
        ray.init(**options, address=address)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        raise ResourceError(f"--address {address}: no Ray cluster ({first_line(error)})") from None


def check_address(address: str) -> None:
    """Check that something answers at `HOST:PORT`; without it, Ray prints and waits for minutes.

    Raises:
        ResourceError: nothing answers there.
    """
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ResourceError(f"--address {address}: nothing answers there ({error})") from None


class Silence:
    """Notices that the head of the joined cluster, or Ray on this machine, answers no more.

    Args:
        find: returns the addresses to connect to, by what answers there; none before Ray is
            connected.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        find: Callable[[], Mapping[str, tuple[str, int]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find, self._clock = find, clock
        self._addresses: Mapping[str, tuple[str, int]] = {}
        self._looked, self._answered = float("-inf"), dict[str, float]()

    def __call__(self) -> str:
        """What has not answered for `SILENCE` seconds, in one line; else empty."""
        now = self._clock()
        if now < self._looked + _EVERY:
            return ""
        self._looked = now
        self._addresses = self._addresses or self._find()
        for name, address in self._addresses.items():
            since = self._answered.setdefault(name, now)
            try:
                socket.create_connection(address, timeout=_TIMEOUT).close()
                self._answered[name] = now
            except OSError as error:
                if now - since >= SILENCE:
                    host, port = address
                    return f"{name} at {host}:{port} does not answer any more ({error})"
        return ""


def cluster_addresses() -> dict[str, tuple[str, int]]:
    """Where the cluster's head and this machine's Ray listen; empty if Ray is not connected."""
    if not ray.is_initialized() or ray.util.client.ray.is_connected():
        return {}
    context = ray.get_runtime_context()
    found = {"the head of the Ray cluster": _split(context.gcs_address)}
    for node in ray.nodes():
        if node["NodeID"] == context.get_node_id():
            own = node["NodeManagerAddress"], int(node["NodeManagerPort"])
            found["Ray on this machine"] = own
    return found


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
