"""The options of `shiftsearch retrain`."""

from __future__ import annotations

from shiftsearch.experiments.common_options import Commands, add_address, add_run


def add_retrain(commands: Commands) -> None:
    """Add the command to those of `shiftsearch`."""
    retrain = commands.add_parser(
        "retrain", help="train any complete trial again with new seeds, to see how it varies"
    )
    add_run(retrain)
    retrain.add_argument(
        "--trial", type=int, required=True, metavar="N", help="the trial's number"
    )
    retrain.add_argument("--seeds", type=int, metavar="N", help="number of new seeds in all")
    retrain.add_argument(
        "--own-seed",
        action="store_true",
        help="train it with the search's seed too, and compare the weights with the stored ones",
    )
    retrain.add_argument(
        "--held-out",
        action="store_true",
        help="score the replicates on the held-out part; each look is counted",
    )
    add_address(retrain)
    retrain.set_defaults(run_command="retraining.retrain")
