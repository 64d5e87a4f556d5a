"""The options of the commands on image folders, and how these are read."""

from __future__ import annotations

import argparse

from shiftsearch.data.drifts import DEFAULT_DRIFT, DRIFTS
from shiftsearch.data.fitting import ASPECTS, DEFAULT_ASPECT, Size
from shiftsearch.data.reading import ROLES, Reading, parse_size
from shiftsearch.experiments.run_folder import user_path


def add_data_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `data check`, `synthesize` and `import` to the command line; see `experiments.cli`."""
    data = commands.add_parser("data", help="check, make or import image folders")
    kinds = data.add_subparsers(metavar="ACTION", required=True)
    check = kinds.add_parser("check", help="count the images of a folder, and warn of problems")
    check.add_argument("folder", metavar="DIR", type=user_path)
    add_names(check)
    add_sizes(check)
    check.set_defaults(run_command="commands.data_check")
    synthesize = kinds.add_parser("synthesize", help="write the synthetic set as a folder")
    synthesize.add_argument("folder", metavar="DIR", type=user_path)
    synthesize.add_argument("--seed", type=int, default=0)
    synthesize.add_argument("--size", type=int, default=28, help="height and width in pixels")
    synthesize.add_argument("--drift", default=DEFAULT_DRIFT, help=f"one of {', '.join(DRIFTS)}")
    synthesize.set_defaults(run_command="commands.data_synthesize")
    imports = kinds.add_parser(
        "import", help="make a data folder from PNG, JPEG, BMP, TIFF, IDX, NPZ or CSV files"
    )
    imports.add_argument(
        "source",
        metavar="SOURCE",
        type=user_path,
        help="folder of split/class/*.png; or with IDX files, as TRAIN-images*, TRAIN-labels*; or"
        " an .npz or .csv file, or a folder with one for each split",
    )
    imports.add_argument("folder", metavar="DIR", type=user_path)
    add_names(imports)
    add_sizes(imports)
    imports.add_argument(
        "--classes",
        metavar="NAME,NAME,...",
        default="",
        help="names of the classes, in the order of the labels, which count from 0",
    )
    imports.set_defaults(run_command="commands.data_import")


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
