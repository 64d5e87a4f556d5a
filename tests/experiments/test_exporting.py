"""The model of any complete trial, exported from the store of a run."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shiftsearch.data.cache import keep_pack
from shiftsearch.data.convert import write_folder
from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments import exporting
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.outcome.exported import export_model
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.bundle_facts import facts_of
from shiftsearch.model.formats import Format
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.parity import PER_CLASS
from shiftsearch.search.study.journal import RunLock, RunLocked
from shiftsearch.search.study.records import stored_trials
from tests.experiments.stored_networks import always, keep_two
from tests.experiments.stored_runs import stored_run

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(reason="scores a model on all images of a small dataset"),
    pytest.mark.usefixtures("gpu_of_others"),
]

SIZE, CLASSES = (28, 28), 6


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Format]:
    """Instead of the formats, one that is made at once, and one that lacks a package."""
    classifier: list[Any] = []

    def make(model: Any, *_: object) -> bytes:
        classifier[:] = [model]
        return b"quick"

    def run(_: bytes, images: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = classifier[0](torch.tensor(images)).numpy()
        return found

    table = {
        "quick": Format("model.quick", (), make, run),
        "absent": Format("model.absent", ("no_such_package",), make, run),
    }
    places = ("model.formats", "model.parity", "experiments.bundle_formats")
    for place in (*places, "experiments.exporting"):
        monkeypatch.setattr(f"shiftsearch.{place}.FORMATS", table)
    return table


@pytest.fixture
def run(tiny_dataset: Dataset, tmp_path: Path) -> Run:
    """A searched run; all its trials share two networks, the later of which predicts class 2."""
    run = stored_run(tmp_path / "run", tiny_dataset.digest)
    keep_pack(tiny_dataset, run.pack)
    result = stored_trials(run.journal)[0].result
    assert result is not None
    keep_two(run.store, result)
    return run


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["export", *map(str, arguments), "--format", "none"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_trial_is_exported_with_its_own_weights_and_without_a_look(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    folder = tmp_path / "models" / "five"
    assert (
        main(["export", str(run.folder), "--trial", "5", "--to", str(folder), "--format", "none"])
        == 0
    )
    torch.set_num_threads(threads)
    assert str(folder) in capsys.readouterr().out
    bundle = load_bundle(folder)
    trial = stored_trials(run.journal)[5]
    assert bundle.record.study.model_dump() == {"seed": 0, "number": 5, "replicate": 0}
    assert bundle.record.hyperparameters == dict(trial.configuration)
    assert torch.equal(bundle.weights["after"]["head.bias"], always(2, CLASSES, SIZE)["head.bias"])
    after = {row["part"]: row for row in bundle.record.metrics if row["stage"] == "after"}
    assert after.keys() == {"all", "selection"}
    assert after["selection"]["accuracy"] == pytest.approx(1 / CLASSES)
    assert looks_so_far(run.looks) == []


def test_a_trial_that_is_trained_again_is_exported_before_a_search_can_begin(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A search would remove its weights."""
    shutil.rmtree(run.folder / "store")
    result, lock, exported = stored_trials(run.journal)[1].result, RunLock(run.lock), list[Path]()
    assert result is not None

    def train(*arguments: Any) -> None:
        ((source, _),) = arguments[4]
        job = source.ask()
        keep_two(run.store, result)
        source.finish(job, result)

    def export(folder: Path, *arguments: Any) -> None:
        with pytest.raises(RunLocked, match="export"):
            lock.acquire()
        export_model(folder, *arguments)
        exported.append(folder)

    training_again = ModuleType("training_again")  # the real one imports Ray
    training_again.__dict__["train"] = train
    name = "shiftsearch.experiments.training_again"
    monkeypatch.setitem(sys.modules, name, training_again)
    monkeypatch.setattr(exporting, "export_model", export)
    assert main(["export", str(run.folder), "--trial", "1", "--format", "none"]) == 0
    assert len(exported) == 1
    assert load_bundle(run.exported(1)).record.study.number == 1
    assert "the weights of trial 1 are not in" in capsys.readouterr().out
    lock.acquire()
    lock.release()


def test_what_cannot_be_exported_is_said_in_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    line = refused(capsys, run.folder, "--trial", 99, "--to", folder)
    assert line.startswith("--trial 99: must be from 0 to 7")
    line = refused(capsys, tmp_path / "none", "--trial", 0, "--to", folder)
    assert "is not a run" in line
    shutil.rmtree(run.folder / "store")
    lock = RunLock(run.lock)  # else it would be trained again
    lock.acquire()
    line = refused(capsys, run.folder, "--trial", 0, "--to", folder)
    lock.release()
    assert "a search is using this run" in line
    assert not folder.exists()


def test_a_folder_in_use_is_replaced_only_if_it_is_a_bundle_and_wanted(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    arguments = (run.folder, "--trial", 1, "--to", folder)
    assert "--force" in refused(capsys, *arguments)
    assert "is not a bundle" in refused(capsys, *arguments, "--force")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    command = ["export", *map(str, arguments), "--force", "--format", "none"]
    assert main(command) == 0
    assert main([*command[:3], "2", *command[4:]]) == 0
    assert load_bundle(folder).record.study.number == 2


def test_the_chosen_model_is_exported_in_a_format_in_place_and_elsewhere(
    run: Run, quick: Mapping[str, Format], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, chosen = ["export", str(run.folder)], str(run.bundle)
    assert main(source) == 2  # the search is not finished
    assert "the best one so far is " in capsys.readouterr().err
    assert main([*source, "--trial", "1", "--to", chosen, "--format", "none"]) == 0
    assert main([*source, "--format", "quick"]) == 0
    assert "all classes equal" in capsys.readouterr().out
    assert (run.bundle / "model.quick").read_bytes() == b"quick"
    facts = facts_of(load_bundle(run.bundle).record)
    assert facts.formats["quick"].images == CLASSES * PER_CLASS
    assert facts.formats["quick"].real
    assert main([*source, "--format", "quick"]) == 0
    assert "--force makes it again" in capsys.readouterr().out
    other = tmp_path / "other"
    assert main(["export", chosen, "--to", str(other), "--format", "none"]) == 0
    assert contents(other) == contents(run.bundle)
    for wrong in (["--format", "tflite"], ["--trial", "1", "--to", chosen], ["--to", str(other)]):
        assert main([*source, *wrong]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(wrong[-2])


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_format_that_was_asked_for_and_fails_leaves_all_as_it_was(
    run: Run, quick: Mapping[str, Format], capsys: pytest.CaptureFixture[str]
) -> None:
    trial = ["export", str(run.folder), "--trial", "1"]
    assert main([*trial, "--format", "quick,absent"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no_such_package is not installed" in line
    assert not run.exported(1).exists()
    assert main(trial) == 0  # what can be made
    said = capsys.readouterr().out
    assert "no_such_package is not installed" in said
    assert str(run.exported(1)) in said
    assert "model.quick" in contents(run.exported(1))


def test_a_bundle_without_its_run_is_checked_on_made_or_given_images(
    run: Run,
    quick: Mapping[str, Format],
    tiny_dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alone, data = tmp_path / "alone", tmp_path / "data"
    trial = ["export", str(run.folder), "--trial", "1", "--format", "none"]
    assert main([*trial, "--to", str(alone)]) == 0
    assert main(["export", str(alone), "--format", "quick"]) == 0
    assert "made images" in capsys.readouterr().out
    assert not facts_of(load_bundle(alone).record).formats["quick"].real
    write_folder(tiny_dataset, data)
    again = ["export", str(alone), "--format", "quick", "--force", "--data", str(data)]
    assert main(again) == 0
    assert facts_of(load_bundle(alone).record).formats["quick"].real


def test_a_record_that_no_card_can_be_made_from_is_refused(
    run: Run, quick: Mapping[str, Format], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    trial = ["export", str(run.folder), "--trial", "1", "--format", "none"]
    assert main([*trial, "--to", str(folder)]) == 0
    record = json.loads((folder / "bundle.json").read_text())
    record["model"] |= {"licence": 3, "members": [{"share": 2}], "formats": []}
    (folder / "bundle.json").write_text(json.dumps(record))
    before = contents(folder)
    capsys.readouterr()
    assert main(["export", str(folder), "--format", "quick"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any("model.licence is 3: input should be a valid string" in line for line in lines)
    assert any("model.members.0.share is 2" in line for line in lines)
    assert contents(folder) == before
