"""Checks of several machines against each other: versions, clocks, tokens, data and ports."""

from __future__ import annotations

from collections.abc import Mapping

from shiftsearch.experiments.doctor.facts import Facts
from shiftsearch.experiments.doctor.finding import Finding, listed
from shiftsearch.experiments.wording import counted

APART = 2.0
"""Seconds by which clocks may differ; times of files and of status.json are then still useful."""
_MUST_BE_EQUAL = ("python", "ray", "shiftsearch")


def same_versions(driver: Facts, nodes: Mapping[str, Facts]) -> Finding:
    """Whether the nodes run what the driver runs.

    Another Python, Ray or shiftsearch fails. Another torch trains with other numbers. Optuna is
    used by the driver alone.
    """
    check, here = "versions", driver.versions
    failing = [
        f"{name}: {package} {facts.versions[package] or 'missing'}, here {here[package]}"
        for name, facts in nodes.items()
        for package in _MUST_BE_EQUAL
        if facts.versions[package] != here[package]
    ]
    failing += [f"{name}: torch missing" for name, f in nodes.items() if not f.versions["torch"]]
    failing += [
        f"{name}: another source of shiftsearch ({facts.code}, here {driver.code})"
        for name, facts in nodes.items()
        if facts.code != driver.code and facts.versions["shiftsearch"] == here["shiftsearch"]
    ]
    if failing:
        advice = "install the same versions everywhere, best as one container image"
        return Finding(check, "FAIL", listed(failing), advice)
    other = [
        f"{name}: torch {facts.versions['torch']}, here {here['torch']}"
        for name, facts in nodes.items()
        if facts.versions["torch"] != here["torch"]
    ]
    if other:
        advice = "numbers will differ from node to node; install the same torch everywhere"
        return Finding(check, "WARN", listed(other), advice)
    return Finding(check, "PASS", f"the same as here on {counted(len(nodes), 'node')}")


def same_token(driver: Facts, nodes: Mapping[str, Facts]) -> Finding:
    """Whether all nodes have the driver's token, and whether the cluster asks for it."""
    check = "token of nodes"
    of_nodes = {facts.token.mark for facts in nodes.values()}
    open_ones = [name for name, facts in nodes.items() if facts.token.mode != "token"]
    asked = len(open_ones) < len(nodes)
    if asked and (len(of_nodes) > 1 or driver.token.mark not in of_nodes):
        said = listed([f"{name}: {_origin(facts)}" for name, facts in nodes.items()])
        advice = "give all nodes the same RAY_AUTH_TOKEN or the same file"
        return Finding(check, "WARN", f"not the same everywhere: {said}", advice)
    if open_ones:
        where = f"off on {listed(open_ones)}" if asked else "off"
        said = f"{where}: whoever reaches the cluster's ports can run programs on it"
        return Finding(
            check, "WARN", said, "set RAY_AUTH_MODE=token on every node; see SECURITY.md"
        )
    return Finding(check, "PASS", f"on, the same on {counted(len(nodes), 'node')}")


def clocks(ahead: Mapping[str, float]) -> Finding:
    """Whether the clocks agree; `ahead` is in seconds."""
    far = {name: seconds for name, seconds in ahead.items() if abs(seconds) > APART}
    if far:
        said = listed([f"{name}: {seconds:+.1f} s" for name, seconds in far.items()])
        advice = "synchronise the clocks (NTP); times in logs, status and files will not agree"
        return Finding("clocks", "WARN", said, advice)
    most = max(map(abs, ahead.values()), default=0.0)
    return Finding("clocks", "PASS", f"at most {most:.2f} s apart")


def same_data(expected: str, seen: Mapping[str, tuple[str, str]]) -> Finding:
    """Whether all nodes read the driver's data.

    Args:
        expected: digest of the data.
        seen: digest and problem by node.
    """
    wrong = [
        f"{name}: {problem or f'digest {digest}, here {expected}'}"
        for name, (digest, problem) in seen.items()
        if problem or digest != expected
    ]
    if wrong:
        advice = "the nodes must see the run folder of this machine, with its content"
        return Finding("data", "FAIL", listed(wrong), advice)
    return Finding("data", "PASS", f"digest {expected} on {counted(len(seen), 'node')}")


def reached(missing: Mapping[str, list[str]]) -> Finding:
    """Whether each node reaches the ports of the others; `missing` has their lines."""
    lines = [f"from {name}: {line}" for name, several in missing.items() for line in several]
    if lines:
        advice = "open these ports between the nodes, or fix them with options of `ray start`"
        return Finding("ports of nodes", "FAIL", listed(lines), advice)
    return Finding("ports of nodes", "PASS", f"{counted(len(missing), 'node')} reach each other")


def gpus(nodes: Mapping[str, Facts], given: Mapping[str, float]) -> Finding:
    """Whether torch can use the GPUs that Ray gives; `given` is their number by node."""
    blind = [name for name, facts in nodes.items() if given.get(name) and not facts.cuda]
    if blind:
        said = f"{listed(blind)}: torch is built without CUDA"
        return Finding("gpus", "FAIL", said, "install a CUDA build of torch there")
    number = sum(given.values())
    return Finding("gpus", "PASS", f"{number:g}" if number else "none; trials run on CPUs")


def _origin(facts: Facts) -> str:
    return f"token from {facts.token.source}" if facts.token.source else "no token"
