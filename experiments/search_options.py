"""The options of the command `search`."""

from __future__ import annotations

from shiftsearch.experiments.common_options import Commands, add_address
from shiftsearch.experiments.run_folder import user_path


def add_search(commands: Commands) -> None:
    """Add `search` to the command line."""
    search = commands.add_parser(
        "search", help="check the data, search, retrain the best, export the winner, report"
    )
    search.add_argument(
        "experiment",
        nargs="?",
        metavar="NAME|FILE.yaml",
        help="a file, as `init` writes it, or a shipped experiment: recommended (for your own "
        "images, with --data), demo, digits6, full or reference; default: the run's, else digits6 "
        "with --data and demo without",
    )
    search.add_argument("--data", metavar="DIR", help="folder with TRAIN, TEST and TEST2")
    search.add_argument(
        "--run", metavar="DIR", type=user_path, help="run folder; default runs/NAME"
    )
    search.add_argument("--trials", type=int, metavar="N", help="number of complete trials")
    search.add_argument("--seconds", type=float, metavar="S", help="most seconds of searching")
    search.add_argument(
        "--trainings", type=float, metavar="X", help="most training, in whole protocols"
    )
    search.add_argument(
        "--until-converged",
        action="store_true",
        help="stop when more trials would gain less than the noise between seeds",
    )
    search.add_argument(
        "--retry-failed",
        nargs="?",
        const="",
        metavar="all|N,N,...",
        help="try the run's failed trials again; without a value all but those that diverged, as "
        "in search --run DIR --retry-failed",
    )
    search.add_argument(
        "--storage",
        metavar="URL",
        help="keep the run also below s3://, gs:// or file:///, as in s3://bucket/folder",
    )
    add_address(search)
    search.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="a key of the experiment file and its value, as in --set protocol.holdout=0",
    )
    search.add_argument(
        "--print-config", action="store_true", help="print the whole experiment and train nothing"
    )
    search.add_argument("--quiet", action="store_true", help="print only problems")
    search.add_argument(
        "--verbose",
        action="store_true",
        help="show messages of Ray, its workers and Optuna; plain lines instead of the live view",
    )
    search.set_defaults(run_command="commands.search")
