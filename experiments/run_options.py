"""The options of the commands on a run: look at it, steer it, report it, replay it."""

from __future__ import annotations

from shiftsearch.experiments.common_options import Commands, add_address, add_network, add_run
from shiftsearch.experiments.run_folder import user_path


def add_inspection(commands: Commands) -> None:
    """Add `status` and `trials`."""
    status = commands.add_parser("status", help="the state of a run, running or not")
    add_run(status)
    shown = status.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="one JSON document")
    shown.add_argument("--watch", action="store_true", help="repeat until the run ends or Ctrl+C")
    status.set_defaults(run_command="live.inspection.status")

    trials = commands.add_parser("trials", help="the trials of a run, running or not")
    add_run(trials)
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


def add_steering(commands: Commands) -> None:
    """Add `enqueue`, `extend` and `stop`."""
    enqueue = commands.add_parser("enqueue", help="let a running search try a configuration next")
    add_run(enqueue)
    enqueue.add_argument(
        "values",
        nargs="+",
        metavar="KEY=VALUE",
        help="a hyperparameter and its value, as in fine_tune.frozen_layers=1",
    )
    enqueue.add_argument(
        "--from",
        type=int,
        dest="trial",
        metavar="TRIAL",
        help="missing values are this trial's; default: the reference configuration's",
    )
    enqueue.set_defaults(run_command="live.steer.enqueue")

    extend = commands.add_parser(
        "extend", help="continue a search, running or not, to more trials"
    )
    add_run(extend)
    extend.add_argument("--trials", type=int, required=True, metavar="N", help="trials in total")
    add_address(extend)
    extend.set_defaults(run_command="extending.extend")

    stop = commands.add_parser(
        "stop", help="start no more trials: running trials end, the best are retrained"
    )
    add_run(stop)
    stop.add_argument(
        "--now", action="store_true", help="interrupt it; the same command continues the run"
    )
    stop.set_defaults(run_command="live.steer.stop")


def add_report_and_replay(commands: Commands) -> None:
    """Add `report`, `compare` and `replay`."""
    report = commands.add_parser("report", help="write report.html and trials.csv of a run again")
    add_run(report)
    add_network(report)
    report.set_defaults(run_command="reporting.report")

    compare = commands.add_parser(
        "compare", help="runs side by side: settings, winners, accuracies, time and trials"
    )
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", type=user_path, help="folders of at least two runs"
    )
    compare.add_argument("--json", action="store_true", help="one JSON document")
    compare.add_argument(
        "--to",
        type=user_path,
        dest="page",
        metavar="PAGE.html",
        help="also write a page, which replaces an earlier one",
    )
    compare.set_defaults(run_command="comparing.compare")

    replay = commands.add_parser(
        "replay", help="simulate searches with other settings on recorded trials"
    )
    replay.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        type=user_path,
        help="folders of runs with the same data, space and protocol",
    )
    replay.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="KEY=VALUE,...",
        help="settings to try: branches, first_baselines, rungs (1+3), keep, sampler, start_up",
    )
    replay.add_argument(
        "--seeds", type=int, default=100, help="simulated searches per setting; default: 100"
    )
    replay.add_argument("--workers", type=int, default=2, help="trials at once; default: 2")
    replay.add_argument(
        "--trials", type=int, metavar="N", help="trials of a search; default: the run's"
    )
    replay.add_argument(
        "--target",
        type=float,
        metavar="ACCURACY",
        help="accuracy on TEST2's selection part, 0..1; default: one that 5 trials reached",
    )
    replay.set_defaults(run_command="replaying.replay")
