"""Finds the hyperparameters that carry an image classifier from one domain to another.

    import shiftsearch

    run = shiftsearch.run_search("digits6", data="images/mine", run="runs/mine")
    run.trials()                        # a pandas DataFrame, one row per trial
    run.result                          # the content of result.json
    run.best.predict_proba(images)      # [N, H, W] images to [N, classes] probabilities

    model = shiftsearch.load("runs/mine/best")

Importing this module imports neither Ray nor torch. A model needs torch, a run needs Optuna and
pandas, and only a search needs Ray. Everything that this module defines is public; the packages
below it (`shiftsearch.data`, `.model`, `.search`, `.experiments`) may change with any version.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shiftsearch.experiments.callbacks.callback import Callback

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch.nn import Module

    from shiftsearch.model.bundle import Bundle

__all__ = ["Callback", "Model", "Run", "SearchEnded", "load", "run_search"]


def load(
    bundle: str | os.PathLike[str],
    network: Callable[[int, tuple[int, int]], Module] | None = None,
) -> Model:
    """Load an exported model.

    Args:
        bundle: its folder, such as `runs/mine/best`. Every file is checked; nothing is unpickled.
        network: if the model is your own network, the function that builds it from the number of
            classes and the images' (H, W). A bundle holds no code.

    Raises:
        ValueError: the folder is not a complete bundle; `problems` has a line for each fault.
    """
    from shiftsearch.experiments.run_folder import user_path
    from shiftsearch.model.loading import load_bundle

    return Model(load_bundle(user_path(os.fspath(bundle)), network))


class Model:
    """A trained classifier; make it with `load`."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return tuple(self._bundle.record.classes)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self._bundle.record.preprocessing.size

    @property
    def network(self) -> Module:
        """The model as a plain torch module on the CPU, a new one each time.

        It takes raw [N, H, W] images of `image_size`, uint8 in 0..255 or floating on the scale of
        the training images, and gives [N, classes] float32 probabilities. It is in evaluation
        mode, has gradients, and works with `torch.jit.trace` and `torch.export`. Values are not
        checked. `members[i](images)` gives the logits of a member; `members[i].network` is its
        network, from [N, 1, H, W] float32 in 0..1 after preprocessing to logits, whose `layers`
        hold the blocks.
        """
        return self._bundle.classifier()

    def predict_proba(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """The probability of each class for each image.

        Args:
            images: [N, H, W] of `image_size`: uint8 in 0..255, or floating on the scale of the
                training images (0..1, or 0..255).

        Returns:
            [N, classes] float32; each row is in 0..1 with sum 1.

        Raises:
            ValueError: the images have another shape, type or scale.
        """
        from shiftsearch.model.device import choose_device

        device = choose_device(gpus=None, dtype="float32")
        device.apply()
        return self._bundle.predict_proba(images, device)


class Run:
    """Reads the folder of a search, also while it runs. Nothing is locked or changed.

    Args:
        folder: the run's folder, such as `runs/mine`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        from shiftsearch.experiments.run_folder import Run as Folder
        from shiftsearch.experiments.run_folder import user_path

        self._paths = Folder(user_path(os.fspath(folder)))

    def trials(self) -> pd.DataFrame:
        """One row per trial, with the columns of `trials.csv`; missing values are `pandas.NA`.

        Raises:
            ValueError: the folder is not a run, or its study cannot be read.
        """
        from shiftsearch.experiments.live.status import trials_of
        from shiftsearch.experiments.outcome.trials_table import trials_frame

        return trials_frame(trials_of(self._paths))

    @property
    def result(self) -> Mapping[str, Any]:
        """The content of `result.json`, described in experiments/FORMATS.md.

        Raises:
            ValueError: there is no result yet, or it is damaged.
        """
        from shiftsearch.experiments.outcome.result_rows import read_result
        from shiftsearch.experiments.run_folder import NotARun

        path = self._paths.result
        if not path.exists():
            raise NotARun(f"{path}: does not exist; the search is not finished")
        return read_result(path)

    @property
    def best(self) -> Model:
        """The exported model.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        return load(self._paths.bundle)


class SearchEnded(RuntimeError):  # noqa: N818, named by its cause
    """A search ended without a result.

    Attributes:
        code: exit code of `shiftsearch search`: 3, too many trials failed; 75, interrupted, the
            same call continues it.
    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


def run_search(
    experiment: str | os.PathLike[str] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> Run:
    """Search, retrain the best, export the winner: what `shiftsearch search` does.

    If the folder holds this run already, the run is continued. The function is not called
    `search`, because that is the name of a package.

    Args:
        experiment: name of a shipped experiment (`demo`, `digits6`, `recommended`, `reference`,
            `full`) or path of a file; None: the experiment of the folder `run`, else the default.
        data: folder with TRAIN, TEST and TEST2.
        run: the run's folder; None: `runs/` and the experiment's name.
        settings: values by dotted key of the experiment file, as with `--set`.
        address: address of a Ray cluster to join; None starts a local one.
        quiet: print nothing.

    Raises:
        ValueError: the experiment, the data or the folder is wrong; nothing is written.
        RuntimeError: another process works on the run.
        SearchEnded: too many trials failed, or the search was interrupted.
    """
    from rich.console import Console

    from shiftsearch.experiments import run as runs
    from shiftsearch.experiments.call import Call
    from shiftsearch.experiments.exits import INTERRUPTED, Interrupted
    from shiftsearch.experiments.launch import resolve
    from shiftsearch.experiments.run_folder import user_path

    resolved, folder = resolve(
        None if experiment is None else os.fspath(experiment),
        data=None if data is None else os.fspath(data),
        run=None if run is None else user_path(os.fspath(run)),
        overrides=[
            f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in (settings or {}).items()
        ],
    )
    console = Console(quiet=quiet, markup=False)
    try:
        code = runs.search(resolved, folder, console, Call(address, "shiftsearch.run_search"))
    except Interrupted as error:
        raise SearchEnded(INTERRUPTED, str(error)) from error
    if code:
        why = "interrupted" if code == INTERRUPTED else "too many trials failed"
        raise SearchEnded(code, f"{folder}: {why}")
    return Run(folder)
