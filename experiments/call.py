"""How a search is called: what is not part of its experiment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One call of `experiments.run.search`.

    Attributes:
        address: address of a Ray cluster to join; None starts a local one.
        command: the command line, which `result.json` keeps.
        own_process: whether this process may be ended, at a second signal or if Ray hangs.
        retry: which failed trials are tried again, see `search.study.failures.to_retry`; None for
            none.
    """

    address: str | None = None
    command: str = ""
    own_process: bool = False
    retry: str | None = None
