"""Errors that name every problem on a line of its own, and lists that stay short."""

from __future__ import annotations

from collections.abc import Sequence

MAX_PROBLEMS = 20


class ProblemsError(ValueError):
    """Something is wrong with what was given.

    Attributes:
        found: every problem, one line each, naming file or field, value and rule.
        problems: the lines to show: of more than `MAX_PROBLEMS` the first, and "and N more".
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
