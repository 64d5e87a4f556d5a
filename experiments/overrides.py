"""Says whether a problem of an experiment comes from an override."""

from __future__ import annotations

from collections.abc import Mapping


def cause(problem: str, overrides: Mapping[str, str]) -> str | None:
    """What names the last override that a problem may come from, or None.

    Args:
        problem: a line `KEY: ...`.
        overrides: texts `KEY=VALUE`, and what names them; later ones win.
    """
    key = problem.partition(":")[0]
    names = [name for text, name in overrides.items() if _touches(text.partition("=")[0], key)]
    return names[-1] if names else None


def _touches(one: str, other: str) -> bool:
    """Whether a dotted key is the other, or lies in it, or the other way round."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
