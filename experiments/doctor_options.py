"""The options of the command `doctor`."""

from __future__ import annotations

from shiftsearch.experiments.common_options import Commands, add_address
from shiftsearch.experiments.run_folder import user_path


def add_doctor(commands: Commands) -> None:
    """Add `doctor` to the command line; see `experiments.cli`."""
    doctor = commands.add_parser(
        "doctor", help="check this machine, or a cluster, before a search"
    )
    doctor.add_argument(
        "experiment",
        nargs="?",
        metavar="NAME|FILE.yaml",
        help="the experiment of the search, for its resources, data and storage; default: the "
        "run's, else one trial for each CPU or GPU",
    )
    add_address(doctor)
    doctor.add_argument(
        "--data", metavar="DIR", type=user_path, help="folder with TRAIN, TEST and TEST2"
    )
    doctor.add_argument(
        "--run", metavar="DIR", type=user_path, help="run folder that all nodes must share"
    )
    doctor.add_argument(
        "--storage", metavar="URL", help="object store below which the run will lie besides"
    )
    doctor.add_argument("--json", action="store_true", help="one JSON document")
    doctor.set_defaults(run_command="doctor.command.doctor")
