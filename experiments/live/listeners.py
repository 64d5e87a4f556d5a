"""What the listeners of a run share: one that fails must not end the search."""

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
    """Have a listener's method raise nothing: its errors are logged, once of each kind."""

    @functools.wraps(method)
    def wrapper(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            note_failure(method.__qualname__, error)

    return wrapper
