"""The parser of the command line: every command and its options."""

from __future__ import annotations

import argparse
from importlib.metadata import version

from shiftsearch.experiments.bundle_options import add_bundle_commands
from shiftsearch.experiments.common_options import Commands
from shiftsearch.experiments.data_options import add_data_commands
from shiftsearch.experiments.doctor_options import add_doctor
from shiftsearch.experiments.retrain_options import add_retrain
from shiftsearch.experiments.run_options import (
    add_inspection,
    add_report_and_replay,
    add_steering,
)
from shiftsearch.experiments.search_options import add_search


def parser() -> argparse.ArgumentParser:
    """The parser; its result's `run_command` names a module of this floor and a function in it."""
    parser = argparse.ArgumentParser(
        prog="shiftsearch",
        description="Find the hyperparameters that adapt an image classifier to another domain.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {version('shiftsearch')}"
    )
    parser.set_defaults(verbose=False, quiet=False)
    commands = parser.add_subparsers(
        metavar="COMMAND", help="`shiftsearch COMMAND --help` has its options"
    )
    add_search(commands)
    add_doctor(commands)
    add_inspection(commands)
    add_steering(commands)
    add_report_and_replay(commands)
    add_retrain(commands)
    add_bundle_commands(commands)
    add_data_commands(commands)
    _add_for_tools(commands)
    return parser


def _add_for_tools(commands: Commands) -> None:
    schema = commands.add_parser(
        "schema", help="print the JSON schema of experiment files, for editors"
    )
    schema.set_defaults(run_command="commands.schema")

    completion = commands.add_parser(
        "completion", help="print a script with which a shell completes this command"
    )
    completion.add_argument("shell", choices=["bash", "zsh"], help="the shell")
    completion.set_defaults(run_command="completion.completion")
