"""A person's own network in an experiment: named, found, checked, in the identity, in a bundle."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shiftsearch
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.definition import DefinitionError, build, dump, load
from shiftsearch.experiments.inputs import load_data
from shiftsearch.experiments.launch import resolve
from shiftsearch.experiments.own_network import load_with, prepare_own
from shiftsearch.model import own_network
from shiftsearch.model.bundle_format import BundleError
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.model.network import allocate
from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.search.study.stored_study import StudyMismatch
from shiftsearch.search.study.study import Study
from tests.conftest import REPOSITORY
from tests.experiments.test_inputs import dataset

pytestmark = pytest.mark.unit

EXAMPLES = REPOSITORY / "experiments" / "examples"
NAME = "small_network:build"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example in the current folder, and no function given before."""
    monkeypatch.setattr(own_network, "_GIVEN", {})
    folder = tmp_path / "here"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    monkeypatch.chdir(folder)
    return folder


def problems_of(raw: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(DefinitionError) as caught:
        build(raw, "file")
    return caught.value.problems


def test_the_example_is_found_checked_and_written_with_its_digest(here: Path) -> None:
    experiment, _ = resolve("own_network.yaml")
    assert experiment.network is not None
    assert experiment.network.startswith(f"{NAME}@")
    load_data(experiment)
    space = experiment.search_space()
    reference = Hyperparameters.from_flat(space.reference)
    assert reference == Hyperparameters()
    own = Hyperparameters.from_flat(space.complete({})).network.architecture
    assert own.layer_names == ("first", "second")
    (here / "written.yaml").write_text(dump(experiment))
    again, _ = resolve("written.yaml", overrides=["name=own_network"])
    assert again == experiment


@pytest.mark.parametrize("name", ["nets", "a b:c", "../x:y", "x:y@1", "1:30", "x:y:z", "", "x:"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    (line,) = problems_of({"network": name})
    assert line.startswith(f"file: network: {name!r}, but must be MODULE:FUNCTION")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"network": 5}, "network: 5, but input should be a valid string"),
        ({"network": ["a:b"]}, "network: ['a:b'], but input should be a valid string"),
        (
            {"space": {"network": {"name": "own"}}},
            "space.network.name: 'own', but the key network",
        ),
        (
            {"space": {"network.name": {"choices": ["three blocks", "own"]}}},
            "space.network.name: 'own', but the key network",
        ),
        ({"space": {"network": {"source": NAME}}}, "space.network.source: can never exist"),
        (
            {"network": NAME, "space": {"network": {"name": "own", "source": NAME}}},
            "space.network.source: is given twice",
        ),
        ({"network": NAME, "space": {"network": {"name": "blocks"}}}, "space.network.source: can"),
        ({"network": NAME, "space": {"network": {"depth": 2}}}, "space.network.depth: can never"),
        (
            {"protocol": {"fine_tune_on": "TRAIN+TEST"}, "space": {"network": {"depth": 2}}},
            "space.network.depth: can never",
        ),
    ],
)
def test_a_contradiction_is_one_line(raw: dict[str, Any], problem: str) -> None:
    (line,) = problems_of(raw)
    assert line.startswith(f"file: {problem}")


def test_it_may_be_searched_beside_another_network() -> None:
    raw = {"network": NAME, "space": {"network": {"name": {"choices": ["three blocks", "own"]}}}}
    space = build(raw, "file").search_space()
    own = space.complete({"network.name": "own"})
    assert own["network.source"] == NAME
    assert "network.source" not in space.complete({"network.name": "three blocks"})


def test_a_missing_module_is_refused_before_anything_is_done() -> None:
    with pytest.raises(OwnNetworkError, match="there is no module absent"):
        resolve("own_network.yaml", overrides=["network=absent:build"])
    experiment, _ = resolve("own_network.yaml", overrides=["network=small_network:WIDTH"])
    with pytest.raises(OwnNetworkError, match="WIDTH is int, but must be a function"):
        load_data(experiment)
    assert own_network._GIVEN == {}


def test_more_frozen_layers_than_it_has_are_refused() -> None:
    frozen = "space.fine_tune.frozen_layers={low: 0, high: 3}"
    experiment, _ = resolve("own_network.yaml", overrides=[frozen])
    with pytest.raises(ValueError, match="frozen_layers: 3, but must be at most 2"):
        load_data(experiment)


def test_a_changed_source_is_another_run(here: Path) -> None:
    experiment, _ = resolve("own_network.yaml")
    (here / "run.yaml").write_text(dump(experiment))
    journal = here / "study.journal"
    Study(journal, experiment.search_space(), experiment.settings(), experiment.identity("0"))
    file = here / "small_network.py"
    file.write_text(file.read_text().replace("WIDTH = 16", "WIDTH = 12"))
    with pytest.raises(OwnNetworkError, match="restore the source"):  # the run's own file
        resolve("run.yaml")
    changed, _ = resolve("own_network.yaml")
    with pytest.raises(StudyMismatch) as caught:
        Study(journal, changed.search_space(), changed.settings(), changed.identity("0"))
    (line,) = caught.value.problems
    assert "space.network.source" in line


def test_reading_a_run_needs_no_module(here: Path) -> None:
    experiment, _ = resolve("own_network.yaml")
    (here / "run.yaml").write_text(dump(experiment))
    (here / "small_network.py").unlink()
    assert "network.source" in load("run.yaml").search_space().fixed


def test_a_bundle_runs_no_code_unless_told(
    here: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = dataset((4, 4), (16, 16))
    experiment, _ = resolve("own_network.yaml")
    prepare_own(experiment, data)
    chosen = Hyperparameters.from_flat(experiment.search_space().complete({}))
    state = allocate(2, (16, 16), architecture=chosen.network.architecture).state_dict()
    folder = here / "best"
    save_bundle(
        folder, weights=state, baseline_weights=state, dataset=data, hyperparameters=chosen,
        protocol=experiment.protocol, metrics=[], versions={}, seed=0, number=0, replicate=0,
    )  # fmt: skip
    monkeypatch.setattr(own_network, "_GIVEN", {})
    (folder / "small_network.py").write_text("raise RuntimeError('was run')\n")
    monkeypatch.syspath_prepend(here)
    for load_it in (lambda: load_with(folder, None), lambda: shiftsearch.load(folder)):
        with pytest.raises(BundleError, match="--network small_network:build"):
            load_it()
    np.save(here / "image.npy", data.splits["TEST"].images[0])
    assert main(["predict", str(folder), "image.npy"]) == 2
    assert "--network small_network:build" in capsys.readouterr().err
    with caplog.at_level(logging.WARNING):
        assert main(["predict", str(folder), "image.npy", "--network", NAME]) == 0
    assert capsys.readouterr().out.startswith(("image.npy\ta\t", "image.npy\tb\t"))
    assert not caplog.records
    monkeypatch.setattr(own_network, "_GIVEN", {})
    assert main(["predict", str(folder), "image.npy", "--network", "small_network:WIDTH"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "WIDTH is int" in line
    file = here / "small_network.py"
    file.write_text(file.read_text() + "# a remark\n")
    with caplog.at_level(logging.WARNING):
        load_with(folder, NAME)
    assert "is not that of the training" in caplog.text
    file.write_text(file.read_text().replace("WIDTH = 16", "WIDTH = 12"))
    with pytest.raises(BundleError, match="but must be"):
        load_with(folder, NAME)
