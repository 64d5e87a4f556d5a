"""The command `shiftsearch`: its options, one line per problem, and exit codes."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from shiftsearch.data.os_errors import in_words, is_machine
from shiftsearch.experiments.data_options import add_data_commands
from shiftsearch.experiments.exits import (
    DONE,
    INTERRUPTED,
    WRONG_INPUT,
    Interrupted,
    escaped,
    interruption,
)
from shiftsearch.experiments.retrain_options import add_retrain
from shiftsearch.experiments.run_folder import user_path
from shiftsearch.experiments.search_options import add_search
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
        options = _parser().parse_args(arguments)
    except SystemExit as error:  # after --help or argparse's message about wrong options
        return error.code if isinstance(error.code, int) else WRONG_INPUT
    if not hasattr(options, "run_command"):
        _parser().print_help()
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


def _parser() -> argparse.ArgumentParser:
    """The parser of the command line; `run_command` is a module of this floor and its function."""
    parser = argparse.ArgumentParser(
        prog="shiftsearch",
        description="Find the hyperparameters that adapt an image classifier to another domain.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {version('shiftsearch')}"
    )
    parser.set_defaults(verbose=False, quiet=False)
    commands = parser.add_subparsers(metavar="COMMAND")
    add_search(commands)
    _add_inspection(commands)
    _add_steering(commands)
    _add_report_and_replay(commands)
    _add_bundle_commands(commands)
    add_data_commands(commands)
    return parser


_Commands = argparse._SubParsersAction  # what add_subparsers returns has no public name


def _add_inspection(commands: _Commands[argparse.ArgumentParser]) -> None:
    status = commands.add_parser("status", help="the state of a run, running or not")
    status.add_argument("run", metavar="RUN", type=user_path)
    shown = status.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="one JSON document")
    shown.add_argument("--watch", action="store_true", help="repeat until the run ends or Ctrl+C")
    status.set_defaults(run_command="live.inspection.status")

    trials = commands.add_parser("trials", help="the trials of a run, running or not")
    trials.add_argument("run", metavar="RUN", type=user_path)
    trials.add_argument(
        "--sort",
        metavar="COLUMN",
        help="any column of trials.csv, or the end of its name; accuracies best first, others "
        "ascending, missing last; default: number, or test2_accuracy with --top",
    )
    trials.add_argument("--top", type=int, metavar="N", help="only the first N rows")
    trials.add_argument("--pareto", action="store_true", help="only the Pareto front's trials")
    trials.add_argument("--csv", action="store_true", help="all columns, as in trials.csv")
    trials.set_defaults(run_command="live.trials_view.trials")


def _add_steering(commands: _Commands[argparse.ArgumentParser]) -> None:
    enqueue = commands.add_parser("enqueue", help="let a running search try a configuration next")
    enqueue.add_argument("run", metavar="RUN", type=user_path)
    enqueue.add_argument("values", nargs="+", metavar="KEY=VALUE")
    enqueue.add_argument(
        "--from",
        type=int,
        dest="trial",
        metavar="TRIAL",
        help="missing values are this trial's; default: the reference configuration's",
    )
    enqueue.set_defaults(run_command="live.steer.enqueue")

    extend = commands.add_parser("extend", help="let a running search continue to more trials")
    extend.add_argument("run", metavar="RUN", type=user_path)
    extend.add_argument("--trials", type=int, required=True, metavar="N", help="trials in total")
    extend.set_defaults(run_command="live.steer.extend")

    stop = commands.add_parser(
        "stop", help="start no more trials: running trials end, the best are retrained"
    )
    stop.add_argument("run", metavar="RUN", type=user_path)
    stop.add_argument(
        "--now", action="store_true", help="interrupt it; the same command continues the run"
    )
    stop.set_defaults(run_command="live.steer.stop")


def _add_report_and_replay(commands: _Commands[argparse.ArgumentParser]) -> None:
    report = commands.add_parser("report", help="write report.html and trials.csv of a run again")
    report.add_argument("run", metavar="RUN", type=user_path)
    _add_network(report)
    report.set_defaults(run_command="commands.report")
    add_retrain(commands)

    schema = commands.add_parser(
        "schema", help="print the JSON schema of experiment files, for editors"
    )
    schema.set_defaults(run_command="commands.schema")

    replay = commands.add_parser(
        "replay", help="simulate searches with other settings on recorded trials"
    )
    replay.add_argument("runs", nargs="+", metavar="RUN", type=user_path)
    replay.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="KEY=VALUE,...",
        help="settings to try: branches, first_baselines, rungs (1+3), keep, sampler, start_up",
    )
    replay.add_argument("--seeds", type=int, default=100, help="simulated searches per setting")
    replay.add_argument("--workers", type=int, default=2)
    replay.add_argument("--trials", type=int, metavar="N", help="default: the run's")
    replay.add_argument("--target", type=float, help="TEST2 accuracy, selection part, 0..1")
    replay.set_defaults(run_command="commands.replay")


def _add_bundle_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    export = commands.add_parser(
        "export", help="write a model in other formats, or the model of any complete trial"
    )
    export.add_argument("source", metavar="RUN|BUNDLE", type=user_path)
    export.add_argument(
        "--trial", type=int, metavar="N", help="the trial's number; default: the chosen model"
    )
    export.add_argument(
        "--to",
        type=user_path,
        metavar="DIR",
        dest="folder",
        help="a new folder; default: in place",
    )
    export.add_argument("--force", action="store_true", help="replace a bundle in DIR")
    export.add_argument(
        "--format",
        default="onnx,pt2",
        dest="formats",
        metavar="NAME,...",
        help="onnx, pt2; none for none; default: both",
    )
    _add_network(export)
    export.set_defaults(run_command="exporting.export")

    evaluate = commands.add_parser("evaluate", help="score an exported model on a data folder")
    evaluate.add_argument("bundle", metavar="BUNDLE", type=user_path)
    evaluate.add_argument(
        "data", metavar="DATA", type=user_path, help="folder with TRAIN, TEST and TEST2"
    )
    evaluate.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="SPLIT",
        help="evaluate only this split (repeatable); the folder may then lack the others",
    )
    evaluate.add_argument("--json", action="store_true", help="one JSON document")
    _add_network(evaluate)
    evaluate.set_defaults(run_command="commands.evaluate")

    predict = commands.add_parser("predict", help="class and probability of images")
    predict.add_argument("bundle", metavar="BUNDLE", type=user_path)
    predict.add_argument(
        "files",
        nargs="+",
        metavar="PATH",
        help=".npy, PNG, JPEG, BMP or TIFF files, or folders of them (read recursively)",
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document")
    form.add_argument("--csv", action="store_true", help="a header and a line for each file")
    predict.add_argument("--all", action="store_true", help="the probability of every class")
    _add_network(predict)
    predict.set_defaults(run_command="predictions.predict")


def _add_network(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--network",
        metavar="MODULE:FUNCTION",
        help="the function of your own network, if the model is one; this runs its code",
    )


if __name__ == "__main__":
    raise SystemExit(main())
