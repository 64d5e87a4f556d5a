"""The options of the command `init`."""

from __future__ import annotations

from shiftsearch.experiments.common_options import Commands
from shiftsearch.experiments.reading_options import add_names, add_sizes
from shiftsearch.experiments.run_folder import user_path


def add_init(commands: Commands) -> None:
    """Add `init` to the command line."""
    init = commands.add_parser(
        "init", help="look at a folder of images, and write an experiment file that fits them"
    )
    init.add_argument(
        "folder",
        metavar="DIR",
        type=user_path,
        help="folder of split/class/* with PNG, JPEG, BMP, TIFF or .npy files",
    )
    init.add_argument(
        "--to",
        metavar="FILE",
        type=user_path,
        help="the file to write; default: the folder's name with .yaml, here",
    )
    add_names(init)
    add_sizes(init)
    init.set_defaults(run_command="starting.command.init")
