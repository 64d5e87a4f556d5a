"""What the listeners of a run share: one that stumbles must not end the search."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

_LOG = logging.getLogger(__name__)
_P = ParamSpec("_P")
_Self = TypeVar("_Self")


def harmless(
    method: Callable[Concatenate[_Self, _P], None],
) -> Callable[Concatenate[_Self, _P], None]:
    """Of a listener's method: what it raises is logged, and the search goes on."""

    @functools.wraps(method)
    def wrapper(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:
            _LOG.warning("%s failed; the search goes on", method.__qualname__, exc_info=True)

    return wrapper
