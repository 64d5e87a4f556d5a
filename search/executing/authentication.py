"""Whether this process and the Ray cluster that it joins show each other a token.

Both sides must do the same. A driver with a token, on a cluster without, is answered by nobody:
each of the cluster's workers ends when it calls the driver, because it has no token to show.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ray.exceptions import AuthenticationError, RayError

from shiftsearch.search.executing.ray_private import ask_head, has_token, read_token_settings
from shiftsearch.search.executing.resources import ResourceError

_MODE = "RAY_AUTH_MODE"
_SET = (_MODE, "RAY_AUTH_TOKEN")  # by us or by Ray, while a Ray is in use


@contextlib.contextmanager
def kept_authentication() -> Iterator[None]:
    """Afterwards, this process's variables of Ray's tokens are as before, for the next Ray."""
    before = {name: os.environ.get(name) for name in _SET}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        read_token_settings()


def agree_on_token(address: str, found: str) -> None:
    """Use this process's token if the cluster asks for one, and else not; sets RAY_AUTH_MODE.

    If RAY_AUTH_MODE is set already, the cluster must agree with it.

    Args:
        address: as the user named it, for messages.
        found: `HOST:PORT` of the cluster's head.

    Raises:
        ResourceError: the cluster asks for a token and does not take this process's; or it asks
            for none, and RAY_AUTH_MODE is token.
    """
    given = os.environ.get(_MODE)
    may = given is None or given.lower() == "token"
    if (asks := _refuses(found, "disabled")) is None:
        _set_mode(given)
        return  # joining will tell
    if not asks:
        if may and given is not None:
            raise ResourceError(
                f"--address {address}: {_MODE} is token, and the cluster asks for no token, so its"
                f" workers could not answer; unset {_MODE}, or start the cluster with"
                f" {_MODE}=token"
            )
        return
    if may and has_token() and not _refuses(found, "token"):
        return
    why = "the token of this process is another" if has_token() else "this process has no token"
    if has_token() and not may:
        why = f"{_MODE} does not let this process send its token"
    raise ResourceError(
        f"--address {address}: the cluster asks for a token, and {why}; set RAY_AUTH_TOKEN, or "
        "RAY_AUTH_TOKEN_PATH to a file, to the token of the cluster's head, which "
        "`ray get-auth-token` prints there"
    )


def _refuses(head: str, mode: str) -> bool | None:
    """Whether a cluster's head refuses this process in a mode, which stays set.

    None if nothing can be known.
    """
    _set_mode(mode)
    try:
        ask_head(head)
    except AuthenticationError:
        return True
    except (RayError, RuntimeError):
        return None
    return False


def _set_mode(mode: str | None) -> None:
    if mode is None:
        os.environ.pop(_MODE, None)
    else:
        os.environ[_MODE] = mode
    read_token_settings()
