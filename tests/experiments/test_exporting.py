"""The model of any complete trial, exported from the store of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from shiftsearch.data.cache import keep_pack
from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.loading import load_bundle
from shiftsearch.search.study.records import stored_trials
from tests.experiments.stored_networks import always, keep_two
from tests.experiments.stored_runs import stored_run

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(reason="scores a model on all images of a small dataset"),
]

SIZE, CLASSES = (28, 28), 6


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


def test_what_cannot_be_exported_is_said_in_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    line = refused(capsys, run.folder, "--trial", 99, "--to", folder)
    assert line.startswith("--trial 99: must be from 0 to 7")
    line = refused(capsys, tmp_path / "none", "--trial", 0, "--to", folder)
    assert "is not a run" in line
    shutil.rmtree(run.folder / "store")
    line = refused(capsys, run.folder, "--trial", 0, "--to", folder)
    assert line.startswith("--trial 0: its weights are not in ")
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
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["export", str(run.folder)]
    chosen = str(run.bundle)
    assert main([*source, "--trial", "1", "--to", chosen, "--format", "none"]) == 0
    assert not (run.bundle / "model.pt2").exists()
    assert main([*source, "--format", "pt2"]) == 0
    assert "all classes equal" in capsys.readouterr().out
    assert (run.bundle / "model.pt2").is_file()
    other = tmp_path / "other"
    assert main(["export", chosen, "--to", str(other), "--format", "none"]) == 0
    names = sorted(path.name for path in run.bundle.iterdir())
    assert sorted(path.name for path in other.iterdir()) == names
    assert load_bundle(other).record == load_bundle(run.bundle).record
    for wrong in (["--format", "tflite"], ["--trial", "1"], ["--to", str(other)]):
        assert main([*source, *wrong]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(wrong[0])
    assert main(["export", str(other), "--format", "pt2"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
