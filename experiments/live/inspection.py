"""The command `status`: shows the state of a run, once or until it ends."""

from __future__ import annotations

import contextlib
import json
import time
from argparse import Namespace
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from shiftsearch.experiments.live.status import status_of
from shiftsearch.experiments.live.view import View, counts_line
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.terminal import lost_output

INPUT_ERRORS = (NotARun,)
"""Errors in the user's input; the message is one line."""

_EVERY = 1.0
"""Seconds between two updates of --watch."""


def status(options: Namespace, console: Console) -> int:
    """`shiftsearch status`."""
    run = Run(options.run)
    document = status_of(run)
    if options.json:
        print(json.dumps(document, indent=1, allow_nan=False))
    elif options.watch and not _over(document):
        _watch(run, document, console)
    else:
        console.print(View(document), crop=False)
    return 0


def _watch(run: Run, document: dict[str, Any], console: Console) -> None:
    """Show the state until the run ends or the reader has gone; in a pipe, a line per change."""
    first, said = document["beat"], ""
    live = Live(console=console, auto_refresh=False, transient=True)
    try:
        with live if console.is_terminal else contextlib.nullcontext():
            while not _over(document) and lost_output() is None:
                line = f"{document['phase']}: {counts_line(document)}"
                if console.is_terminal:
                    live.update(View(document), refresh=True)
                elif line != said:
                    console.print(Text(line), soft_wrap=True)
                    said = line
                time.sleep(_EVERY)
                document = status_of(run, watched=first)
    except KeyboardInterrupt:
        return
    console.print(View(document), crop=False)


def _over(document: dict[str, Any]) -> bool:
    return document["outcome"] is not None or document["driver"]["alive"] is False
