"""`shiftsearch init`: the file that it writes runs as it is, and fits what the folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from PIL import Image

from shiftsearch.experiments.cli import main
from shiftsearch.experiments.definition import Experiment, load
from shiftsearch.experiments.exits import WRONG_INPUT
from shiftsearch.experiments.inputs import load_data
from shiftsearch.experiments.starting import command
from shiftsearch.experiments.starting.text import SCHEMA_FILE, flow

pytestmark = pytest.mark.unit

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; no training is timed."""
    monkeypatch.setenv("SHIFTSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "images_per_second", lambda *_: 1000.0)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def figures(count: int, size: tuple[int, int]) -> np.ndarray:
    """Dark images with a bright, central square: [count, H, W] uint8."""
    images = np.random.default_rng(count).integers(30, 60, size=(count, *size), dtype=np.uint8)
    height, width = size
    images[:, height // 4 : -height // 4, width // 4 : -width // 4] += 150
    return images


@pytest.fixture
def make(here: Path) -> Make:
    """Writes PNG files of two classes; `changes` is applied to a split's images."""

    def make(
        name: str = "photos",
        names: tuple[str, ...] = ("train", "val", "test"),
        counts: tuple[int, int] = (8, 8),
        size: tuple[int, int] = (28, 28),
        changes: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    ) -> Path:
        for split in names:
            for label, count in zip(("cat", "dog"), counts, strict=True):
                (here / name / split / label).mkdir(parents=True)
                images = (changes or {}).get(split, np.asarray)(figures(count, size))
                for i, image in enumerate(images):
                    Image.fromarray(image).save(here / name / split / label / f"{i}.png")
        return here / name

    return make


def experiment_of(file: Path) -> Experiment:
    """The experiment in a file, checked against its data and against the schema beside it."""
    experiment = load(str(file))
    load_data(experiment)
    first = file.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=./{SCHEMA_FILE}"
    schema = json.loads((file.parent / SCHEMA_FILE).read_text())
    raw = yaml.safe_load(file.read_text().replace("3e-4", "0.0003").replace("1e-4", "0.0001"))
    jsonschema.Draft202012Validator(schema).validate(
        json.loads(json.dumps(raw).replace('"2e-3"', "0.002"))
    )
    return experiment


def test_the_file_runs_as_it_is_and_says_what_was_found(
    make: Make, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make()
    assert main(["init", "photos"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].split() == ["shiftsearch", "search", "photos.yaml"]
    assert "TRAIN: train, TEST: val, TEST2: test" in out
    experiment = experiment_of(here / "photos.yaml")
    assert Path(experiment.data).resolve() == folder
    assert (experiment.name, experiment.trials, experiment.objective) == ("photos", 40, "accuracy")
    space = experiment.search_space()
    assert {"baseline.augmentation.rotation", "fine_tune.frozen_layers"} <= {*space.distributions}
    assert not any(name.startswith("preprocessing.") for name in space.distributions)
    assert space.distributions["fine_tune.augmentation.translation"].high == 3
    assert space.distributions["baseline.batch_size"].choices == (16, 32, 64)
    assert experiment.protocol.fine_tune.min_updates == 100
    assert experiment.protocol.fine_tune.max_epochs == 104


def test_a_folder_elsewhere_and_other_names_are_written_down(
    make: Make, here: Path, tmp_path: Path
) -> None:
    make("synthetic", names=("1", "dusk's", "night"))
    target = tmp_path / "other place" / "my file.yaml"
    given = ["--train", "1", "--tune", "dusk's", "--target", "night", "--aspect", "crop"]
    assert main(["init", "synthetic", *given, "--to", str(target)]) == 0
    experiment = load(str(target), ["name=x"])
    dataset, _ = load_data(experiment)
    assert [len(split) for split in dataset.splits.values()] == [16, 16, 16]
    assert main(["init", "synthetic", *given]) == 0
    assert experiment_of(here / "synthetic.yaml").data != "synthetic"
    assert experiment.images.aspect == "crop"


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda images: 255 - images, {"preprocessing.polarity"}),
        (lambda images: images // 2, {"preprocessing.intensity"}),
        (lambda images: np.roll(images, 5, axis=2), {"preprocessing.centre"}),
        (lambda images: (images // 3 + 160).astype(np.uint8), {"preprocessing.intensity"}),
    ],
)
def test_the_space_has_what_the_measured_shift_suggests(
    make: Make, here: Path, change: Callable[[np.ndarray], np.ndarray], fields: set[str]
) -> None:
    make(changes={"test": change})
    assert main(["init", "photos"]) == 0
    space = experiment_of(here / "photos.yaml").search_space()
    found = {name for name in space.distributions if name.startswith("preprocessing.")}
    assert found == fields


def test_classes_of_different_size_change_the_objective(make: Make, here: Path) -> None:
    make(counts=(25, 8))
    assert main(["init", "photos"]) == 0
    experiment = experiment_of(here / "photos.yaml")
    assert experiment.objective == "balanced_accuracy"
    assert "fine_tune.balance" in experiment.search_space().distributions


def test_large_or_different_sizes_are_chosen_and_told(
    make: Make, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(size=(96, 120))
    Image.new("L", (30, 30), 3).save(folder / "train" / "cat" / "0.png")
    assert main(["init", "photos"]) == 0
    assert "51x64 pixels; the files have 96x120 (47), 30x30 (1) pixels; shrunk" in (
        capsys.readouterr().out
    )
    experiment = experiment_of(here / "photos.yaml")
    assert experiment.images.reading.size == (51, 64)
    assert experiment.search_space().distributions["baseline.augmentation.translation"].high == 5


def test_few_trials_on_a_slow_machine(
    make: Make, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    monkeypatch.setattr(command, "images_per_second", lambda *_: 1.0)
    assert main(["init", "photos"]) == 0
    assert experiment_of(here / "photos.yaml").trials == 16


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none"], "none: does not exist"),
        (["photos", "--to", "there.yaml"], "there.yaml: exists already"),
        (["photos", "--train", "x"], "photos/x: does not exist, but is named as TRAIN"),
        (["unnamed"], "unnamed: holds the folders a, b, c, but not TRAIN, TEST, TEST2"),
        (["thin"], "TEST2: class 'cat' has 1 images, and none"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(
    make: Make, here: Path, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    make("unnamed", names=("a", "b", "c"), counts=(1, 1))
    make("thin", counts=(1, 1))
    (here / "there.yaml").touch()
    before = sorted(here.iterdir())
    assert main(["init", *arguments]) == WRONG_INPUT
    assert line in capsys.readouterr().err.splitlines()[0]
    assert sorted(here.iterdir()) == before


def test_values_are_written_in_one_line_and_read_back() -> None:
    values = {"a": [1, 0.5, "none"], "b": {"c": "true", "d": "Größe: #1", "e": "12"}, "f": "no"}
    read = yaml.safe_load(flow(values))
    assert read == {**values, "f": False}  # YAML 1.1; ours reads `no` as text
