"""Measure several sides in turns, and print the figures of a benchmark.

Other work on the machine changes within minutes. So each turn measures all sides one after the
other, and only ratios within a turn are compared.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TypeVar

from shiftsearch.model.latency import processor

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured, with its unit.
        value: the value with its spread.
        n: number of measurements.
        bound: the bound that the value must keep; empty if there is none.
        holds: whether the bound holds; True if there is none.
    """

    name: str
    value: str
    n: str
    bound: str = ""
    holds: bool = True


def in_turns(sides: Mapping[str, Callable[[int], T]], turns: int) -> dict[str, list[T]]:
    """Call every side once per turn, with the turn's number: A B A B ...

    Returns:
        The results of all turns, by side.
    """
    results: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(turns):
        for name, side in sides.items():
            results[name].append(side(turn))
    return results


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median and range, as text."""
    low, high = min(values), max(values)
    return f"{median(values):{form}} ({low:{form}} to {high:{form}})"


def print_figures(figures: Sequence[Figure]) -> int:
    """Print a Markdown table with date, command, machine and versions; returns the exit code."""
    print(f"\n{circumstances()}\n")
    print("| figure | value | n | bound | |")
    print("| --- | --- | --- | --- | --- |")
    for f in figures:
        verdict = ("holds" if f.holds else "**BROKEN**") if f.bound else ""
        print(f"| {f.name} | {f.value} | {f.n} | {f.bound} | {verdict} |")
    broken = [f for f in figures if not f.holds]
    for f in broken:
        print(f"broken: {f.name}: {f.value}, but must be {f.bound}", file=sys.stderr)
    return 1 if broken else 0


def circumstances() -> str:
    """Two lines of Markdown: date and command, then machine and versions."""
    command = " ".join(["python", *sys.argv])
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{command}`  \n{_machine()}; {_versions()}"


def _machine() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    facts = {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    fast = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{processor()}, {os.cpu_count()} cores ({' '.join(fast) or 'no AVX-512'}){load}"


def _versions() -> str:
    packages = ("torch", "ray", "optuna", "numpy")
    own = [f"Python {platform.python_version()}"]
    return ", ".join(own + [f"{name} {version(name)}" for name in packages])
