"""The options that say how a folder of images is read."""

from __future__ import annotations

import argparse

from shiftsearch.data.fitting import ASPECTS, DEFAULT_ASPECT, Size
from shiftsearch.data.reading import ROLES, Reading, parse_size


def add_names(command: argparse.ArgumentParser) -> None:
    """Add the options that name the folders of the splits."""
    for role, split in ROLES.items():
        command.add_argument(
            f"--{role}",
            metavar="NAME",
            default="",
            help=f"the folder that is {split}; default: recognised, as in train, val, test",
        )


def add_sizes(command: argparse.ArgumentParser) -> None:
    """Add the options that say in which size pictures are read."""
    command.add_argument(
        "--size",
        type=_size,
        metavar="N|HxW",
        help="height and width of pictures in pixels; default: that of the files, if it is one",
    )
    command.add_argument(
        "--aspect",
        choices=ASPECTS,
        default=DEFAULT_ASPECT,
        help="pictures of another aspect ratio: continue their border, cut them, or distort them; "
        f"default: {DEFAULT_ASPECT}",
    )


def _size(text: str) -> Size:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def reading_of(options: argparse.Namespace) -> Reading:
    """What `add_names` and `add_sizes` were given."""
    return Reading(options.train, options.tune, options.target, options.size, options.aspect)
