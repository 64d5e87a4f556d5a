"""The command `shiftsearch`: one line per problem, and exit codes."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from shiftsearch.data.os_errors import in_words, is_machine, lacks_memory
from shiftsearch.experiments.exits import (
    DONE,
    INTERRUPTED,
    WRONG_INPUT,
    Interrupted,
    escaped,
    interruption,
)
from shiftsearch.experiments.parser import parser
from shiftsearch.experiments.terminal import lost_output, own_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit code.

    0 done; 2 the input is wrong (nothing is written); 3 too many trials failed; 4 some files could
    not be read and the others were predicted; 75 interrupted, or stopped by a fault of the
    machine: run the same command to continue.
    """
    own_streams()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        print(interruption(), file=sys.stderr)
        code = INTERRUPTED
    except Interrupted as error:
        code = _interrupted(str(error))
    except OSError as error:
        code = _interrupted(in_words(error)) if is_machine(error) else _refused([in_words(error)])
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        code = _interrupted("out of memory")
    sys.stdout.flush()
    lost = lost_output()
    if lost is None or isinstance(lost, BrokenPipeError):  # `| head` has seen enough
        return code
    print(f"standard output: {in_words(lost)}; not all of it was written", file=sys.stderr)
    return code or INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    try:
        Path.cwd()
    except OSError:  # torch and Ray need a current folder
        return _refused(["the current folder does not exist any more; go to another one first"])
    try:
        options = parser().parse_args(arguments)
    except SystemExit as error:  # after --help or argparse's message about wrong options
        return error.code if isinstance(error.code, int) else WRONG_INPUT
    if not hasattr(options, "run_command"):
        parser().print_help()
        return DONE
    # At INFO, `search.executing.cluster` also shows the messages of Ray and Optuna.
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s"
    )
    if not options.verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, for programmers; ours are logged
    # Job stop, Slurm and Kubernetes send SIGTERM, a terminal that is closed SIGHUP: they interrupt
    # like Ctrl+C. Under nohup, SIGHUP stays ignored.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    _ensure_home()
    # For files in UTF-8; an argument may hold other bytes.
    command = shlex.join(["shiftsearch", *arguments])
    options.command = command.encode(errors="backslashreplace").decode()
    # Imported late, because torch and Ray take seconds; `--help` and wrong options answer at once.
    module, _, function = options.run_command.rpartition(".")
    commands = importlib.import_module(f"shiftsearch.experiments.{module}")
    # Without markup, so that a path with brackets is printed as it is. With --verbose, messages of
    # libraries would break a live view, so plain lines are printed.
    console = Console(
        soft_wrap=not sys.stdout.isatty(),
        markup=False,
        force_terminal=False if options.verbose else None,
        quiet=options.quiet,
    )
    try:
        code: int = getattr(commands, function)(options, console)
    except commands.INPUT_ERRORS as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and is_machine(cause):  # such as a full disk
            return _interrupted(str(error))
        return _refused(getattr(error, "problems", None) or [str(error)])
    return code


def _interrupt(number: int, frame: object) -> None:
    """Interrupt like Ctrl+C, also if a shell made this background process ignore Ctrl+C."""
    raise KeyboardInterrupt


def _ensure_home() -> None:
    """Use / as the home directory if there is none, as containers do, because Ray needs one.

    There is none without HOME for a user who is not in the system's list.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def _refused(problems: Sequence[str]) -> int:
    for problem in problems:
        print(escaped(problem), file=sys.stderr)
    return WRONG_INPUT


def _interrupted(why: str) -> int:
    print(interruption(why), file=sys.stderr)
    return INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
