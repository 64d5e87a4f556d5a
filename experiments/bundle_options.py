"""The options of the commands on an exported model: export, evaluate, predict."""

from __future__ import annotations

from shiftsearch.experiments.common_options import Commands, add_bundle, add_network
from shiftsearch.experiments.reading_options import add_names
from shiftsearch.experiments.run_folder import user_path


def add_bundle_commands(commands: Commands) -> None:
    """Add `export`, `evaluate` and `predict`."""
    export = commands.add_parser(
        "export", help="write a model in other formats, or the model of any complete trial"
    )
    export.add_argument(
        "source",
        metavar="RUN|BUNDLE",
        type=user_path,
        help="the folder of a run, or of an exported model",
    )
    export.add_argument(
        "--trial", type=int, metavar="N", help="the trial's number; default: the chosen model"
    )
    export.add_argument(
        "--to",
        type=user_path,
        metavar="DIR",
        dest="folder",
        help="a new folder; default: in place, and RUN/trial-N of a trial",
    )
    export.add_argument(
        "--force",
        action="store_true",
        help="replace a bundle in DIR, and make formats again that are there",
    )
    export.add_argument(
        "--format",
        dest="formats",
        metavar="NAME,...",
        help="onnx, pt2; none for none; default: those that can be made",
    )
    export.add_argument(
        "--data",
        type=user_path,
        metavar="DATA",
        help="a folder whose split TEST the formats are checked on; default: the run's data",
    )
    add_network(export)
    export.set_defaults(run_command="exporting.export")

    evaluate = commands.add_parser("evaluate", help="score an exported model on a data folder")
    add_bundle(evaluate)
    evaluate.add_argument(
        "data", metavar="DATA", type=user_path, help="folder with TRAIN, TEST and TEST2"
    )
    evaluate.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="SPLIT",
        help="evaluate only this split (repeatable); the folder may then lack the others",
    )
    add_names(evaluate)
    evaluate.add_argument("--json", action="store_true", help="one JSON document")
    add_network(evaluate)
    evaluate.set_defaults(run_command="evaluating.evaluate")

    predict = commands.add_parser("predict", help="class and probability of images")
    add_bundle(predict)
    predict.add_argument(
        "files",
        nargs="+",
        metavar="PATH",
        help=".npy, PNG, JPEG, BMP or TIFF files, or folders of them (read recursively)",
    )
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document")
    form.add_argument("--csv", action="store_true", help="a header and a line for each file")
    predict.add_argument("--all", action="store_true", help="the probability of every class")
    add_network(predict)
    predict.set_defaults(run_command="predictions.predict")
