"""What `doctor` takes from an experiment file, from a run, and from its flags."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from shiftsearch.experiments.definition import DefinitionError
from shiftsearch.experiments.doctor import command
from shiftsearch.experiments.doctor.examination import Examination
from shiftsearch.experiments.parser import parser
from shiftsearch.experiments.run_folder import Run

pytestmark = pytest.mark.integration

EXPERIMENT = """
data: images
images: {size: 32}
resources: {cpus_per_trial: 2.5}
storage: s3://bucket/searches
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(EXPERIMENT)
    return file


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Examination]:
    """The examinations that were begun; none looks at anything."""
    begun: list[Examination] = []
    monkeypatch.setattr(Examination, "__call__", lambda self: begun.append(self))
    return begun


def doctor(*words: str | Path) -> None:
    options = parser().parse_args(["doctor", *map(str, words)])
    assert command.doctor(options, Console()) == 0


def test_an_experiment_file_gives_resources_data_and_storage(
    experiment: Path, examined: list[Examination]
) -> None:
    doctor(experiment)
    doctor(experiment, "--data", "others", "--storage", "s3://other")
    doctor("recommended")
    of_file, with_flags, shipped = examined
    assert of_file.folder == experiment.parent / "images"
    assert of_file.reading.size == (32, 32)
    assert of_file.storage == "s3://bucket/searches"
    assert of_file.asked.cpus_per_trial == 2.5
    assert (with_flags.folder, with_flags.storage) == (Path("others").absolute(), "s3://other")
    assert with_flags.asked.cpus_per_trial == 2.5
    assert (shipped.folder, shipped.storage) == (None, "")
    assert shipped.asked.cpus_per_trial is None


def test_without_a_file_the_run_s_own_counts(
    experiment: Path, tmp_path: Path, examined: list[Examination]
) -> None:
    run = Run(tmp_path / "run")
    doctor("--run", run.folder)
    run.folder.mkdir()
    run.definition.write_bytes(experiment.read_bytes())
    doctor("--run", run.folder)
    new, begun = examined
    assert new.asked.cpus_per_trial is None
    assert begun.asked.cpus_per_trial == 2.5
    assert begun.folder is None  # what the run has packed is read


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    options = parser().parse_args(["doctor", str(tmp_path / "none.yaml")])
    with pytest.raises(DefinitionError, match="neither a file nor a shipped experiment"):
        command.doctor(options, Console())
