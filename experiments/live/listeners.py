"""A decorator for the listeners of a run: a listener that fails must not end the search."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from shiftsearch.search.executing.audience import note_failure

_P = ParamSpec("_P")
_Self = TypeVar("_Self")


def harmless(
    method: Callable[Concatenate[_Self, _P], None],
) -> Callable[Concatenate[_Self, _P], None]:
    """Log the exceptions of a listener's method instead of raising them, once per type."""

    @functools.wraps(method)
    def wrapper(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            note_failure(method.__qualname__, error)

    return wrapper
