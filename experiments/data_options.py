"""The options of the commands `data check`, `data synthesize` and `data import`."""

from __future__ import annotations

from shiftsearch.data.drifts import DEFAULT_DRIFT, DRIFTS
from shiftsearch.experiments.common_options import Commands
from shiftsearch.experiments.reading_options import add_names, add_sizes
from shiftsearch.experiments.run_folder import user_path


def add_data_commands(commands: Commands) -> None:
    """Add `data check`, `synthesize` and `import` to the command line."""
    data = commands.add_parser("data", help="check, make or import image folders")
    kinds = data.add_subparsers(metavar="ACTION", required=True, help="what to do")
    check = kinds.add_parser("check", help="count the images of a folder, and warn of problems")
    check.add_argument(
        "folder", metavar="DIR", type=user_path, help="folder with TRAIN, TEST and TEST2"
    )
    add_names(check)
    add_sizes(check)
    check.set_defaults(run_command="commands.data_check")
    synthesize = kinds.add_parser("synthesize", help="write the synthetic set as a folder")
    synthesize.add_argument("folder", metavar="DIR", type=user_path, help="a new or empty folder")
    synthesize.add_argument("--seed", type=int, default=0, help="another seed, other images")
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
    imports.add_argument(
        "folder", metavar="DIR", type=user_path, help="a new or empty folder for the data"
    )
    add_names(imports)
    add_sizes(imports)
    imports.add_argument(
        "--classes",
        metavar="NAME,NAME,...",
        default="",
        help="names of the classes, in the order of the labels, which count from 0",
    )
    imports.set_defaults(run_command="commands.data_import")
