"""Every field of the network can be searched, and belongs to the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import FIELDS, Space, SpaceError
from shiftsearch.search.study.records import stage_values
from tests.search.fake_study import drive, open_study

pytestmark = pytest.mark.unit

NETWORK: dict[str, Any] = {
    "name": {"choices": ["three blocks", "blocks"]},
    "depth": {"low": 2, "high": 4},
    "width": {"low": 0.25, "high": 2, "log": True},
    "residual": {"choices": [False, True]},
    "attention": {"choices": ["none", "squeeze_excitation"]},
    "first_kernel": {"low": 3, "high": 7, "step": 2},
}


def test_all_of_them_are_searched_together() -> None:
    space = Space.parse({"network": NETWORK})
    of_network = {name for name in FIELDS.defaults if name.startswith("network.")}
    assert space.distributions.keys() == of_network - {"network.source"}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [space.suggest(study.ask()) for _ in range(40)]
    for configuration in found:
        network = Hyperparameters.from_flat(configuration).network
        names = {name for name in configuration if name.startswith("network.")}
        assert len(names) == (1 if network.name == "three blocks" else 6)
    for name, distribution in space.distributions.items():
        drawn = {c[name] for c in found if name in c}
        assert set(getattr(distribution, "choices", ())) <= drawn
        assert len(drawn) > 1
    assert {c["network.first_kernel"] for c in found if "network.depth" in c} == {3, 5, 7}


def test_the_reference_stays_what_it_is_in_a_space_without_it() -> None:
    space = Space.parse({"network": {**NETWORK, "name": "blocks"}})
    assert space.reference == Hyperparameters().to_flat()
    inside = space.nearest_inside(space.reference)
    assert {name.partition(".")[2]: value for name, value in inside.items()} == {
        "depth": 3,
        "width": 1.0,
        "residual": False,
        "attention": "none",
        "first_kernel": 3,
    }


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        (
            {"depth": 4},
            "depth: can never exist: it needs network.name: 'blocks', but "
            "the space has 'three blocks'",
        ),
        ({"name": "blocks", "depth": {"low": 2, "high": 5}}, "depth: 5: input should be less"),
        ({"name": "blocks", "first_kernel": {"low": 3, "high": 7}}, "first_kernel: 4: input"),
        (
            {"name": {"choices": ["own", "three blocks"]}, "depth": 4},
            "depth: can never exist: it "
            "needs network.name: 'blocks', but the space has one of 'own', 'three blocks'",
        ),
        ({"name": "blocks", "residual": 1}, "residual: 1 is not true or false"),
        ({"name": "blocks", "heads": 1}, "heads: is not a hyperparameter"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(network: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpaceError) as caught:
        Space.parse({"network": network})
    (line,) = caught.value.problems
    assert line.startswith(f"space.network.{problem}")


def test_fine_tunes_of_one_baseline_have_its_network(tmp_path: Path) -> None:
    """A branch has the network that its baseline was trained with, the reference's too."""
    frozen = {"fine_tune": {"frozen_layers": {"low": 0, "high": 4}}}
    space = Space.parse({"network": {**NETWORK, "name": "blocks"}, **frozen})
    policy = Policy(branches=3, first_baselines=2, rungs=())
    study = open_study(tmp_path / "journal", 12, policy=policy, space=space)
    drive(study)
    trials = study.trials()
    of_roots = {t.number: stage_values(t.configuration, "baseline") for t in trials}
    branches = [t for t in trials if t.branch_of is not None]
    assert len({t.branch_of for t in branches}) >= 2
    assert all(stage_values(t.configuration, "baseline") == of_roots[t.root] for t in branches)
    networks = {str(Hyperparameters.from_flat(t.configuration).network) for t in trials}
    assert len(networks) > 2
