"""Every option of a stage can be searched, and is off in the reference configuration."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.search.proposing.space import FIELDS, Space, SpaceError

pytestmark = pytest.mark.unit

STAGE: dict[str, Any] = {
    "learning_rate_schedule": {"choices": ["plateau", "cosine", "linear"]},
    "warm_up_epochs": {"low": 0, "high": 3},
    "optimiser": {"choices": ["adamw", "sgd"]},
    "momentum": {"low": 0.5, "high": 0.95},
    "balance": {"choices": ["none", "sampling", "weights"]},
    "ema_decay": {"choices": [0.0, 0.9, 0.99]},
    "swa_from": {"low": 0.2, "high": 1},
    "sample_weights": {"choices": ["none", "file", "density_ratio"]},
    "augmentation": {
        "outside": {"choices": ["zeros", "border", "reflection"]},
        "erasing": {"low": 0, "high": 0.5},
        "mixup": {"low": 0, "high": 0.4},
    },
}
FINE_TUNE: dict[str, Any] = {
    "freeze_from": {"choices": ["input", "head"]},
    "unfreezing": {"choices": ["none", "gradual", "linear probe"]},
    "batch_norm": {"choices": ["kept", "adapted", "training"]},
    "thaw_every": {"low": 1, "high": 3},
    "probe_epochs": {"low": 1, "high": 3},
    "layer_decay": {"low": 0.3, "high": 1},
    "l2_sp": {"choices": [0.0, 1.0, 10.0, 100.0]},
    "train_on": {"choices": ["TEST", "TRAIN+TEST"]},
    "train_share": {"low": 0, "high": 0.9},
}
NEEDS = {"momentum": ("optimiser", "sgd"), "thaw_every": ("unfreezing", "gradual")}
NEEDS |= {"swa_from": ("ema_decay", 0.0), "train_share": ("train_on", "TEST")}
NEEDS |= {"probe_epochs": ("unfreezing", "linear probe")}


@pytest.mark.parametrize(
    ("decay", "problem"),
    [
        (0.9, r"it needs fine_tune\.ema_decay: 0\.0, .* has 0\.9$"),
        (
            {"low": 0.0, "high": 0.99},
            r"it needs fine_tune\.ema_decay: 0\.0, .* 0 to 0\.99; .* range$",
        ),
        ({"choices": [0.9, 0.99]}, "it needs fine_tune.ema_decay"),
    ],
)
def test_two_averages_of_the_weights_are_refused(decay: Any, problem: str) -> None:
    for swa_from in (0.5, {"low": 0.5, "high": 1.0}):
        with pytest.raises(SpaceError, match=problem) as caught:
            Space.parse({"fine_tune": {"ema_decay": decay, "swa_from": swa_from}})
        assert len(caught.value.problems) == 1


def test_all_of_them_are_searched_together() -> None:
    space = Space.parse({"baseline": STAGE, "fine_tune": STAGE | FINE_TUNE})
    of_stages = {n for n in FIELDS.defaults if n.startswith(("baseline.", "fine_tune."))}
    assert space.distributions.keys() == of_stages - Hyperparameters().to_flat().keys()
    assert Hyperparameters.flat_content(space.reference) == Hyperparameters().to_flat()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [space.suggest(study.ask()) for _ in range(60)]
    for configuration in found:
        assert Hyperparameters.from_flat(configuration)
        for name in space.distributions:
            other, value = NEEDS.get(name.split(".")[-1], (None, None))
            sibling = f"{name.rpartition('.')[0]}.{other}"
            assert (name in configuration) == (other is None or configuration[sibling] == value)
    for name, distribution in space.distributions.items():
        drawn = {c[name] for c in found if name in c}
        choices = getattr(distribution, "choices", ())
        assert set(choices) <= drawn
        assert len(drawn) > 1
