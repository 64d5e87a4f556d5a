"""What each node and device did: trials, retrainings, and how long it was busy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from shiftsearch.search.executing.places import Place
from shiftsearch.search.study.records import TrialRecord

_SHORT = 6
"""Least number of characters of a node's id that are shown."""

Spot = tuple[str, str, str]
"""Host, node id and device."""


def spot_of(place: Place) -> Spot:
    """The place without its seconds."""
    return place.host, place.node_id, place.device


def uses_of(trials: Sequence[TrialRecord], retrained: Iterable[Place]) -> list[dict[str, Any]]:
    """One JSON object for each device of each node, as the key `places` of `result.json`.

    Args:
        trials: the study's trials; those whose place is unknown are left out.
        retrained: the places of retrainings.
    """
    found: dict[Spot, dict[str, Any]] = {}

    def use(place: Place) -> dict[str, Any]:
        spot = {k: v for k, v in asdict(place).items() if k != "seconds"}
        new = {**spot, "trials": [], "retrainings": 0, "seconds": 0.0}
        row = found.setdefault(spot_of(place), new)
        row["seconds"] = round(row["seconds"] + place.seconds, 3)
        return row

    for trial in trials:
        if trial.place is not None:
            use(trial.place)["trials"].append(trial.number)
    for place in retrained:
        use(place)["retrainings"] += 1
    return [found[spot] for spot in sorted(found)]


def host_names(nodes: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
    """A name for each node: its host, with as much of its id as tells it apart from others.

    Args:
        nodes: host and node id.
    """
    by_host: dict[str, set[str]] = {}
    for host, node_id in nodes:
        by_host.setdefault(host, set()).add(node_id)
    names = {}
    for host, ids in by_host.items():
        length = _SHORT
        while len({node_id[:length] for node_id in ids}) < len(ids):
            length += 1
        for node_id in ids:
            short = node_id[:length] if len(ids) > 1 else ""
            names[host, node_id] = f"{host}/{short}" if short else host
    return names


def place_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `places` of a result, each with the `name` of its node; none in earlier versions."""
    rows = result.get("places", [])
    names = host_names((row["host"], row["node_id"]) for row in rows)
    return [{**row, "name": names[row["host"], row["node_id"]]} for row in rows]
