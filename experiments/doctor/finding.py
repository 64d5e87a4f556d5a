"""What a check of `doctor` found, and how the findings of several machines become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["PASS", "WARN", "FAIL"]
_SEVERITY: Mapping[State, int] = {"PASS": 0, "WARN": 1, "FAIL": 2}
_MOST = 4  # machines named in one line


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: the check's name.
        state: PASS; WARN: a search may run, but worse; FAIL: a search would not run.
        said: what was measured, in one line.
        advice: what to do, in one line; empty with PASS.
    """

    check: str
    state: State
    said: str
    advice: str = ""

    def __str__(self) -> str:
        """The finding in one line, without its state."""
        return f"{self.check}: {self.said}" + (f"; {self.advice}" if self.advice else "")


def worst(findings: Sequence[Finding]) -> State:
    """The worst state; PASS without a finding."""
    return max((f.state for f in findings), key=_SEVERITY.__getitem__, default="PASS")


def of_all(findings: Mapping[str, Finding]) -> Finding:
    """One finding for what the same check found on several machines.

    It has the worst state, and names the machines in that state only.

    Args:
        findings: by the machine's name, at least one.
    """
    state = worst(list(findings.values()))
    chosen = {name: f for name, f in findings.items() if f.state == state}
    first = next(iter(chosen.values()))
    said = [f"{name}: {f.said}" if len(findings) > 1 else f.said for name, f in chosen.items()]
    return Finding(first.check, state, listed(said), first.advice)


def listed(texts: Sequence[str]) -> str:
    """The first few texts in one line, and how many more there are."""
    more = len(texts) - _MOST
    return "; ".join([*texts[:_MOST], *([f"and {more} more"] if more > 0 else [])])
