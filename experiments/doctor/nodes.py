"""Asks every node of the connected cluster: an actor without CPUs on each."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from shiftsearch.experiments.doctor.facts import Facts, measure
from shiftsearch.experiments.doctor.shared import Look, look
from shiftsearch.experiments.doctor.stored import trouble
from shiftsearch.search.executing.ray_private import session_path

FIRST, OTHERS = 60.0, 12.0
"""Seconds to wait for the first node's answer, and then for all others. A worker starts in 2 to
4 s, on a busy machine in 20 s."""
_REACH = 2.0
_PINGS = 3
_MOST_TARGETS = 32

Address = tuple[str, int]


@dataclass(frozen=True)
class Member:
    """A node of the cluster as Ray lists it.

    Attributes:
        name: its host; with the start of its id if several nodes have the same one.
        node_id: Ray's id.
        resources: by Ray's names.
        ports: its addresses that other nodes connect to.
    """

    name: str
    node_id: str
    resources: Mapping[str, float]
    ports: tuple[Address, ...]


def members() -> list[Member]:
    """The nodes that are alive, in the order of their names."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    hosts = [node["NodeManagerHostname"] for node in alive]
    found = []
    for node, host in zip(alive, hosts, strict=True):
        name = host if hosts.count(host) == 1 else f"{host} ({node['NodeID'][:6]})"
        ports = (node["NodeManagerPort"], node["ObjectManagerPort"])
        addresses = tuple((node["NodeManagerAddress"], int(port)) for port in ports if port)
        found.append(Member(name, node["NodeID"], node["Resources"], addresses))
    return sorted(found, key=lambda member: member.name)


class Examiner:
    """What one node is asked; lives there as an actor."""

    def facts(self, folders: Mapping[str, str], salt: str) -> Facts:
        """Measure the node, with the disk of Ray's session."""
        return measure({**folders, "ray": session_path()}, salt, os.environ)

    def clock(self) -> float:
        """The node's time, in seconds since 1970."""
        return time.time()

    def reach(self, addresses: Mapping[str, Sequence[Address]]) -> list[str]:
        """The names of nodes that cannot be reached from here, each with the address and why."""
        targets = [(name, a) for name, several in addresses.items() for a in several]
        with ThreadPoolExecutor(_MOST_TARGETS) as pool:
            return [line for line in pool.map(lambda target: unreached(*target), targets) if line]

    def look(self, folder: str, word: str, name: str, pack: str) -> Look:
        """Look at the run's folder."""
        return look(folder, word, name, pack)

    def trouble(self, url: str) -> str:
        """Use the object store."""
        return trouble(url)


def unreached(name: str, address: Address) -> str:
    """Why no connection to an address can be made, in one line; empty if it can."""
    try:
        socket.create_connection(address, timeout=_REACH).close()
    except OSError as error:
        return f"{name} at {address[0]}:{address[1]} ({error.strerror or error})"
    return ""


def targets(nodes: Sequence[Member]) -> dict[str, Sequence[Address]]:
    """The addresses that each node must reach, of at most the first few nodes."""
    return {member.name: member.ports for member in nodes[:_MOST_TARGETS]}


class Panel:
    """One examiner on each node.

    Args:
        nodes: the nodes; those that do not answer are dropped from further questions.
    """

    def __init__(self, nodes: Sequence[Member]) -> None:
        remote = ray.remote(num_cpus=0)(Examiner)
        self._actors = {
            member.name: remote.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(member.node_id, soft=False)
            ).remote()
            for member in nodes
        }

    def ask(
        self, method: str, arguments: Callable[[str], Sequence[Any]]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Ask every node at once.

        Args:
            method: of `Examiner`.
            arguments: returns its arguments from the node's name.

        Returns:
            The answers, and why there is none, both by the node's name.
        """
        # Not at the top: torch and Ray Tune, which it imports, cost each node's worker seconds.
        from shiftsearch.search.executing.faults import fault_of

        asked = {
            getattr(actor, method).remote(*arguments(name)): name
            for name, actor in self._actors.items()
        }
        ray.wait(list(asked), num_returns=1, timeout=FIRST)
        ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=OTHERS)
        answers, problems = dict[str, Any](), dict[str, str]()
        for reference in ready:
            try:
                answers[asked[reference]] = ray.get(reference)
            except RayError as error:
                problems[asked[reference]] = fault_of(error).reason
        for reference in late:
            problems[asked[reference]] = f"no answer within {OTHERS:.0f} s of the first"
        for name in problems:
            del self._actors[name]
        return answers, problems

    def clocks(self) -> dict[str, float]:
        """Seconds by which each node's clock is ahead of this one, by the quickest of a few.

        One that does not answer any more is left out.
        """
        found = {}
        for name, actor in self._actors.items():
            with suppress(RayError):
                found[name] = _ahead(actor)
        return found


def _ahead(actor: Any) -> float:
    found = []
    for _ in range(_PINGS):
        begin = time.time()
        there = ray.get(actor.clock.remote(), timeout=OTHERS)
        end = time.time()
        found.append((end - begin, there - (begin + end) / 2))
    return float(min(found)[1])
