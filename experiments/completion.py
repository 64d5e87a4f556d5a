"""`shiftsearch completion`: the script with which bash or zsh completes the command line.

The script is made by shtab from the parser, so it needs no Python when a key is pressed.
"""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from shiftsearch.experiments.definition import shipped
from shiftsearch.experiments.exits import DONE
from shiftsearch.experiments.parser import parser

FOLDERS = frozenset({"RUN", "RUN|BUNDLE", "BUNDLE", "DIR", "DATA"})
"""Metavariables that stand for a folder."""
FILES = frozenset({"PATH", "SOURCE", "FILE", "PAGE.html"})
"""Metavariables that stand for a file or a folder."""
EXPERIMENT = "NAME|FILE.yaml"


class MissingPackage(ImportError):  # noqa: N818, named by its cause
    """The package of an extra is not installed; the message names the extra."""


INPUT_ERRORS = (MissingPackage,)
"""Errors of the user; each has a message of one line."""


def completion(options: Namespace, console: Console) -> int:
    """`shiftsearch completion`."""
    print(script(options.shell))
    return DONE


def script(shell: str) -> str:
    """The script for `bash` or `zsh`.

    Raises:
        MissingPackage: shtab is not installed.
    """
    try:
        import shtab  # of the extra `completion`
    except ImportError:
        raise MissingPackage("completion: needs shtab; `pip install shtab` brings it") from None
    whole = parser()
    for action in arguments(whole):
        if action.metavar in FOLDERS:
            _complete(action, shtab.DIRECTORY)
        elif action.metavar in FILES:
            _complete(action, shtab.FILE)
        elif action.metavar == EXPERIMENT:
            _complete(action, _EXPERIMENTS)
    return shtab.complete(whole, shell, preamble=_preamble(shell))


def arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options and positionals of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from arguments(command)


_EXPERIMENTS = dict.fromkeys(("bash", "zsh"), "_shiftsearch_experiments")


def _preamble(shell: str) -> str:
    """Defines the shell's function that completes an experiment's name or file."""
    names = " ".join(shipped())
    if shell == "bash":
        body = f'compgen -W "{names}" -- "$1"; compgen -f -- "$1"'
    else:
        body = f"_alternative 'names:shipped experiment:({names})' 'files:file:_files'"
    return f"_shiftsearch_experiments() {{ {body}; }}"


def _complete(action: argparse.Action, how: Any) -> None:
    action.complete = how  # type: ignore[attr-defined]  # read by shtab
