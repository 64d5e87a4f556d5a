"""Errors that hold a line for each problem, and short lists of names."""

from __future__ import annotations

from collections.abc import Sequence

MAX_PROBLEMS = 20


class ProblemsError(ValueError):
    """The input is wrong.

    Attributes:
        found: every problem, one line each, with file or field, value and rule.
        problems: the lines to show: the first `MAX_PROBLEMS`, then "and N more" if there are more.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.found = tuple(problems)
        left_out = len(problems) - MAX_PROBLEMS
        last = [f"and {left_out} more"] if left_out > 0 else []
        self.problems = (*problems[:MAX_PROBLEMS], *last)
        super().__init__("\n".join(self.problems))


def named(names: Sequence[str], most: int = 3) -> str:
    """The first `most` names, and how many more there are: `a, b, c and 4 more`."""
    left_out = len(names) - most
    return ", ".join(names[:most]) + (f" and {left_out} more" if left_out > 0 else "")
