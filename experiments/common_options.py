"""Arguments that several commands of `shiftsearch` share."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from shiftsearch.experiments.run_folder import user_path

# What `add_subparsers` returns has no public name.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_run(command: argparse.ArgumentParser) -> None:
    """Add the positional RUN."""
    command.add_argument(
        "run", metavar="RUN", type=user_path, help="the folder of a run, as in runs/demo"
    )


def add_bundle(command: argparse.ArgumentParser) -> None:
    """Add the positional BUNDLE."""
    command.add_argument(
        "bundle",
        metavar="BUNDLE",
        type=user_path,
        help="the folder of an exported model, as in runs/demo/best",
    )


def add_address(command: argparse.ArgumentParser) -> None:
    """Add the option --address."""
    command.add_argument("--address", metavar="ADDRESS", help="address of a Ray cluster to join")


def add_network(command: argparse.ArgumentParser) -> None:
    """Add the option --network."""
    command.add_argument(
        "--network",
        metavar="MODULE:FUNCTION",
        help="the function of your own network, if the model is one; this runs its code",
    )
