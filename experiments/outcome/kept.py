"""What the store keeps of a result: weights, and out-of-fold probabilities."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from shiftsearch.model.folds import stored_out_of_fold
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.result import STAGES, ProtocolResult, Stage
from shiftsearch.model.store import Store


def weights_of(store: Store, result: ProtocolResult, stage: Stage) -> Mapping[str, Tensor]:
    """The final weights of a stage.

    Args:
        store: the run's store.
        result: a result of the protocol.
        stage: name of the stage.

    Raises:
        FileNotFoundError: the store no longer holds them.
    """
    trained = result.stage(stage)
    entry = store.load(trained.course, "final")
    if entry is None:
        raise FileNotFoundError(f"{store.address}: the weights of {trained.key} are missing")
    return entry.tensors


def out_of_fold(store: Store, result: ProtocolResult) -> Tensor:
    """The probabilities of the folds' fine-tunes, see `model.folds.stored_out_of_fold`.

    Raises:
        FileNotFoundError: the store no longer holds them.
    """
    found = stored_out_of_fold(store, result.fine_tune)
    if found is None:
        raise FileNotFoundError(
            f"{store.address}: the out-of-fold scores of {result.fine_tune.key} are missing"
        )
    return found


def weights_kept(store: Store, result: ProtocolResult, protocol: Protocol | None = None) -> bool:
    """Whether the store holds all that `score` reads of a result, undamaged.

    Args:
        store: the run's.
        result: a result of the protocol.
        protocol: the run's; None asks only for the weights.
    """
    if (
        protocol is not None
        and protocol.folds > 1
        and stored_out_of_fold(store, result.fine_tune) is None
    ):
        return False
    return all(store.load(result.stage(stage).course, "final") is not None for stage in STAGES)
