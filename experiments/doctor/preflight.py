"""The part of `doctor` that each search runs before its first trial: cheap, and on this machine.

Nothing is started and nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from shiftsearch.experiments.doctor.facts import Facts, measure
from shiftsearch.experiments.doctor.finding import Finding
from shiftsearch.experiments.doctor.machine import CHECKS, token
from shiftsearch.experiments.exits import Interrupted
from shiftsearch.search.executing.session_folder import SessionFolder, session_folder


def local_findings(
    folder: Path, address: str | None, environment: Mapping[str, str] = os.environ, salt: str = ""
) -> list[Finding]:
    """What the checks of this machine find.

    Args:
        folder: the run's folder, which may not exist.
        address: of the cluster that will be joined; None: a local Ray will be started.
        environment: of this process.
        salt: for the mark of the token.
    """
    session = session_folder(environment)
    return judge(measured(folder, session, environment, salt), session, address)


def measured(
    folder: Path, session: SessionFolder, environment: Mapping[str, str], salt: str
) -> Facts:
    """Measure this machine, with the disks of the run's folder and of Ray's session."""
    folders = {"run": str(folder)}
    if session.path is not None:
        folders["ray"] = str(session.path)
    return measure(folders, salt, environment)


def judge(facts: Facts, session: SessionFolder, address: str | None) -> list[Finding]:
    """The findings from what was measured here."""
    found = [check(facts) for check in CHECKS]
    found.append(token(facts, joins=address is not None))
    return found if address else [*found, sockets(session)]


def sockets(session: SessionFolder) -> Finding:
    """Whether the paths of a local Ray's sockets are short enough for the system."""
    if session.path is None:
        return Finding("socket paths", "FAIL", *_halves(session.problem))
    if session.problem:
        advice = "set RAY_TMPDIR to a short path to choose another folder"
        return Finding("socket paths", "WARN", session.problem, advice)
    return Finding("socket paths", "PASS", f"short enough in {session.path}")


def preflight(folder: Path, address: str | None) -> list[str]:
    """A line for each warning about this machine; empty if all is well.

    Raises:
        experiments.exits.Interrupted: a search would not run here.
    """
    findings = local_findings(folder, address)
    if failed := [str(f) for f in findings if f.state == "FAIL"]:
        raise Interrupted("; ".join(failed))
    return [str(f) for f in findings if f.state == "WARN"]


def _halves(problem: str) -> tuple[str, str]:
    said, _, advice = problem.partition("; ")
    return said, advice
