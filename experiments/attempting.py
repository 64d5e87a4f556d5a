"""Work whose failure does not end the command: it is reported in one line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from shiftsearch.experiments.wording import in_one_line

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


def attempt(what: str, make: Callable[[], _T], tell: Callable[[str], None]) -> _T | None:
    """Call `make` and return its result; None if it fails, which is reported.

    Args:
        what: name of the thing that is made.
        make: the function.
        tell: called with one line that contains the name and the error.
    """
    try:
        return make()
    except Exception as error:
        _LOG.debug("%s failed", what, exc_info=True)
        tell(f"{what} failed; the next call tries again: {in_one_line(error)}")
        return None
