"""The commands besides `search`, called by `main`: what they print, write, count and refuse.

Integration, because some tests call `search`, which imports Ray; none is started.
"""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from shiftsearch.data.dataset import SPLITS, Dataset
from shiftsearch.data.drifts import DRIFTS
from shiftsearch.data.image_folder import read_folder
from shiftsearch.data.synthetic import synthesize
from shiftsearch.experiments.benchmarks.untrained import random_weights
from shiftsearch.experiments.cli import INTERRUPTED, WRONG_INPUT, main
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.outcome.looks import looks_so_far
from shiftsearch.experiments.outcome.results import parts_of
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.sections import BudgetRequest
from shiftsearch.model.bundle import Bundle
from shiftsearch.model.device import choose_device
from shiftsearch.model.evaluation import evaluate, predict
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.objective import F1_MACRO
from shiftsearch.model.protocol import build
from shiftsearch.search.study.journal import RunLock, RunLocked
from tests.experiments.protocol_results import finished_run, protocol_result
from tests.experiments.stored_runs import stored_run

pytestmark = pytest.mark.integration

BEFORE, AFTER = (random_weights(seed, 6, (28, 28)) for seed in (1, 2))


@pytest.fixture(autouse=True)
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own; `main`'s handler and the device's threads are put back."""
    monkeypatch.setenv("SHIFTSEARCH_CACHE", str(tmp_path / "cache"))
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    yield
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def rows(tiny_dataset: Dataset) -> list[dict[str, Any]]:
    """What a run would measure for replicate 2."""
    device = choose_device()
    device.apply()
    found = []
    for stage, weights in (("before", BEFORE), ("after", AFTER)):
        network = build(weights, 6, (28, 28), device)
        for part in parts_of(tiny_dataset, Protocol(), device):
            place = {"stage": stage, "split": part.split, "part": part.name}
            scores = evaluate(network, part.images, part.labels).to_json()
            found.append({**place, "label": part.label(stage), **scores})
    return found


@pytest.fixture
def bundle(rows: list[dict[str, Any]], tiny_dataset: Dataset, tmp_path: Path) -> Path:
    """Exported from `tiny_dataset` by a run that has taken no look yet."""
    folder = tmp_path / "run" / "best"
    save_bundle(
        folder,
        weights=AFTER,
        baseline_weights=BEFORE,
        dataset=tiny_dataset,
        hyperparameters=Hyperparameters(),
        protocol=Protocol(),
        metrics=rows,
        versions={},
        seed=0,
        number=17,
        replicate=2,
    )
    (tmp_path / "run" / "looks.json").write_text("[]")
    return folder


def looks_at(bundle: Path) -> list[dict[str, Any]]:
    return looks_so_far(bundle.parent / "looks.json")


ONE_LOOK_A_STAGE = [
    {"configuration": "trial 17", "replicate": 2, "stage": stage, "purpose": "evaluate"}
    for stage in ("before", "after")
]


def test_evaluate_reproduces_the_run_s_numbers_exactly_and_counts_its_looks(
    bundle: Path,
    tiny_folder: Path,
    rows: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for times in (1, 2):
        assert main(["evaluate", str(bundle), str(tiny_folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == rows
        assert looks_at(bundle) == ONE_LOOK_A_STAGE * times


def test_evaluate_shows_the_objective_of_the_run_beside_the_accuracy(
    bundle: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((bundle / "bundle.json").read_text())
    record["model"] = {"objective": "f1_macro"}
    (bundle / "bundle.json").write_text(json.dumps(record))
    assert main(["evaluate", str(bundle), str(tiny_folder), "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        (found,) = row["scores"].items()
        assert found[0] == "f1_macro"
        assert found[1]["value"] == pytest.approx(F1_MACRO.of_confusion(row["confusion"]))
        low, high = found[1]["interval"]
        assert low <= found[1]["value"] <= high
    assert main(["evaluate", str(bundle), str(tiny_folder)]) == 0
    assert "macro F1" in capsys.readouterr().out


def test_evaluate_counts_its_looks_before_it_takes_them(
    bundle: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bundle, "evaluate", interrupted)
    assert main(["evaluate", str(bundle), str(tiny_folder)]) == INTERRUPTED
    assert looks_at(bundle) == ONE_LOOK_A_STAGE


def test_evaluate_on_other_data_is_no_look(
    bundle: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_folder / "TRAIN" / "a" / "0000.npy").unlink()
    assert main(["evaluate", str(bundle), str(tiny_folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["split"], row["n"]) for row in rows[:3]] == [
        ("TRAIN", 95),
        ("TEST", 72),
        ("TEST2", 72),
    ]
    assert {row["label"] for row in rows} == {"other data"}
    assert looks_at(bundle) == []


def test_evaluate_takes_a_folder_of_one_split_and_counts_its_looks(
    bundle: Path,
    tiny_folder: Path,
    rows: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["evaluate", str(bundle), str(tiny_folder), "--json"]
    assert main([*command, "--split", "TEST"]) == 0
    assert json.loads(capsys.readouterr().out) == [row for row in rows if row["split"] == "TEST"]
    assert looks_at(bundle) == []
    shutil.rmtree(tiny_folder / "TRAIN")
    shutil.rmtree(tiny_folder / "TEST")
    assert main([*command, "--split", "TEST2"]) == 0
    assert json.loads(capsys.readouterr().out) == [row for row in rows if row["split"] == "TEST2"]
    assert looks_at(bundle) == ONE_LOOK_A_STAGE
    for wrong, line in (
        ([], f"{tiny_folder / 'TRAIN'}: missing"),
        (["--split", "TEST"], f"{tiny_folder / 'TEST'}: missing"),
        (["--split", "TEST3"], "--split TEST3: must be TRAIN, TEST, TEST2"),
    ):
        assert main([*command, *wrong]) == WRONG_INPUT
        assert capsys.readouterr().err.startswith(line)


def test_evaluate_reads_pictures_in_folders_of_other_names(
    bundle: Path,
    tiny_folder: Path,
    tmp_path: Path,
    rows: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the images that the model was trained on, so the numbers are the run's own."""
    others = dict(zip(SPLITS, ("day", "dusk", "night"), strict=True))
    for path in tiny_folder.rglob("*.npy"):
        split, label, name = path.relative_to(tiny_folder).parts
        picture = tmp_path / "pictures" / others[split] / label / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.load(path)).save(picture)
    command = ["evaluate", str(bundle), str(tmp_path / "pictures"), "--json"]
    assert main(command) == WRONG_INPUT
    assert "--train NAME --tune NAME --target NAME" in capsys.readouterr().err
    names = ["--train", "day", "--tune", "dusk", "--target", "night"]
    assert main([*command, *names]) == 0
    assert json.loads(capsys.readouterr().out) == rows


def test_evaluate_s_table_holds_every_row_and_says_that_it_looked(
    bundle: Path,
    tiny_folder: Path,
    rows: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (bundle.parent / "looks.json").unlink()  # a bundle that was copied out of its run
    assert main(["evaluate", str(bundle), str(tiny_folder)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for row in rows:
        cells = [row["stage"], row["split"], row["part"], row["n"], f"{100 * row['accuracy']:.2f}"]
        (line,) = (line for line in lines if line.startswith(f"│ {' │ '.join(map(str, cells))} %"))
        assert line.endswith(f"{row['label']} │")
    assert lines[-1] == "this was one more look at the held-out part of TEST2"
    assert not (bundle.parent / "looks.json").exists()


def test_predict_prints_class_and_probability_of_npy_and_png(
    bundle: Path, tiny_dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tiny_dataset.splits["TEST"].images[[0, 40]]
    files = [tmp_path / "first.npy", tmp_path / "second.png"]
    np.save(files[0], first)
    Image.fromarray(second).save(files[1])
    assert main(["predict", str(bundle), *map(str, files)]) == 0
    device = choose_device()
    images = torch.tensor(np.stack([first, second]))[:, None].to(device.torch_device)
    probabilities, labels = predict(build(AFTER, 6, (28, 28), device), images).max(1)
    expected = [
        f"{file}\t{tiny_dataset.classes[label]}\t{probability:.4f}"
        for file, label, probability in zip(
            files, labels.tolist(), probabilities.tolist(), strict=True
        )
    ]
    assert capsys.readouterr().out.splitlines() == expected


def test_data_check_prints_counts_digest_and_what_is_doubtful(
    tiny_folder: Path, tiny_dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(tiny_folder)]) == 0
    out = capsys.readouterr().out
    assert f"digest {tiny_dataset.digest}" in out
    assert "warning" not in out
    counts = [line.replace("│", " ").split() for line in out.splitlines()]
    for name, each in {"TRAIN": 16, "TEST": 12, "TEST2": 12}.items():
        assert [name, *[str(each)] * 6, str(6 * each)] in counts
    seen = (tiny_folder / "TRAIN" / "a" / "0003.npy").read_bytes()
    (tiny_folder / "TEST" / "a" / "0003.npy").write_bytes(seen)
    (tiny_folder / "notes.txt").touch()
    assert main(["data", "check", str(tiny_folder)]) == 0
    warnings = [x for x in capsys.readouterr().out.splitlines() if x.startswith("warning: ")]
    assert len(warnings) == 2
    assert warnings[1].startswith("warning: identical images in TRAIN (1) and TEST (1)")


def test_data_synthesize_writes_the_set_whose_digest_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "synthetic"
    assert main(["data", "synthesize", str(folder), "--seed", "3", "--size", "16"]) == 0
    digest = synthesize(seed=3, size=16).digest
    count = sum(DRIFTS["camera"].counts.values())
    out = capsys.readouterr().out
    assert out == f"{count} synthetic images in {folder}, digest {digest}\n"
    assert read_folder(folder)[0].digest == digest


def test_data_import_makes_a_folder_of_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(len(SPLITS), 2, 20, 20), dtype=np.uint8)
    for name, of_split in zip(SPLITS, images, strict=True):
        for label, image in zip(("cat", "dog"), of_split, strict=True):
            picture = tmp_path / "pictures" / name / label / "one.png"
            picture.parent.mkdir(parents=True)
            Image.fromarray(image).save(picture)
    source, target = str(tmp_path / "pictures"), str(tmp_path / "images")
    Image.new("L", (20, 20)).save(tmp_path / "pictures" / "TRAIN" / "dog" / "two.png")
    assert main(["data", "check", source]) == 0
    assert "20x20 pixels" in capsys.readouterr().out
    assert main(["data", "import", source, target]) == 0
    done, warning = capsys.readouterr().out.splitlines()
    assert done.startswith(f"{target}: 7 images of 20x20 pixels in 2 classes")
    assert warning.startswith("warning: blank images (a single value): 1: ")
    assert warning.endswith(f"{source}/TRAIN/dog/two.png")
    (tmp_path / "images" / "TRAIN" / "dog" / "two.png.npy").unlink()
    dataset, _ = read_folder(Path(target))
    assert dataset.classes == ("cat", "dog")
    for name, of_split in zip(SPLITS, images, strict=True):
        assert np.array_equal(dataset.splits[name].images, of_split)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("evaluate {bundle} {at}/none", "{at}/none: does not exist"),
        ("predict {bundle} {at}/none.npy", "{at}/none.npy: cannot be read"),
        ("data check {at}/none", "{at}/none: does not exist"),
        ("data check {at}/file", "{at}/file: is a file"),
        ("data synthesize {at}/full --size 16", "{at}/full: holds 'something'"),
        ("data synthesize {at}/new --size 8", "size is 8"),
        ("data import {at}/none {at}/new", "{at}/none: does not exist"),
        ("report {at}/none", "{at}/none/result.json: does not exist"),
        ("report {at}/empty", "{at}/empty/result.json: does not exist"),
        ("report {at}/file", "{at}/file/result.json: does not exist"),
        ("search nonsense --run {at}/new", "nonsense: "),
        ("search {at}/full --run {at}/new", "{at}/full: is a folder, but must be a file"),
        ("search {at}/file/x --run {at}/new", "{at}/file/x: "),
        ("search demo --data {at}/none --run {at}/new", "{at}/none: does not exist"),
        ("search demo --data {at}/file --run {at}/new", "{at}/file: is a file"),
        ("search demo --data {at}/\udcff --run {at}/new", "'{at}/\\udcff': is not valid UTF-8"),
        ("search demo --run {at}/\udcff", "'{at}/\\udcff': is not valid UTF-8"),
        ("search demo --run {at}/file", "{at}/file: is a file, but must be the folder of a run"),
        ("search demo --run {at}/file/new", "{at}/file/new: Not a directory"),
        ("search demo --run {at}/full", "{at}/full: is not empty, and not a run"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    command: str, line: str, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    names = {"at": tmp_path, "bundle": bundle}
    assert main([word.format(**names) for word in command.split()]) == WRONG_INPUT
    out, err = capfd.readouterr()
    assert out == ""
    (problem,) = err.splitlines()
    assert problem.startswith(line.format(**names))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_search_that_the_images_do_not_allow_is_refused_before_ray_starts(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in (tiny_folder / "TEST2" / "a").glob("*.npy"):
        if path.stem != "0000":
            path.unlink()
    command = ["search", "demo", "--data", str(tiny_folder), "--run", str(tmp_path / "new")]
    far = "space.baseline.augmentation.translation=15"
    holdout = "protocol.holdout=0.9"
    assert main([*command, "--set", far, "--set", holdout]) == WRONG_INPUT
    out, err = capfd.readouterr()
    assert out == ""
    one, other = err.splitlines()
    assert one.startswith("TEST2: class 'a' has 1 images, and none of them is in the selection")
    assert other.startswith("space.baseline.augmentation.translation: 15, but must be at most 14")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["evaluate {at}/none {at}", "predict {at}/none {at}/file"])
def test_a_bundle_that_is_missing_is_named_file_by_file(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command.format(at=tmp_path).split()) == WRONG_INPUT
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.partition(": is missing")[0] for line in err.splitlines()] == [
        f"{tmp_path}/none/{name}"
        for name in ("bundle.json", "baseline.safetensors", "model.safetensors")
    ]


def test_replay_prints_a_row_for_each_policy_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [stored_run(tmp_path / "one"), stored_run(tmp_path / "two", old=True)]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    command = ["replay", *(str(run.folder) for run in runs), "--seeds", "2", "--trials", "5"]
    assert main([*command, "--policy", "branches=3,sampler=qmc", "--target", "0"]) == 0
    out = capsys.readouterr().out
    assert "2 simulated searches each, 2 workers" in out
    rows = [[cell.strip() for cell in line.split("│")] for line in out.splitlines()]
    found = {row[1]: row[4] for row in rows if len(row) > 5}
    assert found == dict.fromkeys(
        ["as in experiment.yaml", "random, nothing shared", "branches=3,sampler=qmc"], "100%"
    )
    assert "rank correlation" in out
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("replay {at}/none", ["{at}/none: is not a run; it has no experiment.yaml"]),
        ("replay {at}", ["{at}: is not a run; it has no experiment.yaml"]),
        ("replay {at}/run {at}/other", ["{at}/other: data is d2, but d1 in {at}/run; runs"]),
        ("replay {at}/few", ["{at}/few: 3 recorded trials, but replay needs at least 5"]),
        ("replay {at}/run --policy branch=2", ["--policy branch=2: 'branch=2' is not KEY=VALUE"]),
        ("replay {at}/run --policy keep=2", ["--policy keep=2: policy.keep: 2.0, but input "]),
        ("replay {at}/run --policy rungs=2", ["--policy rungs=2: the runs recorded no rung of 2"]),
        (
            "replay {at}/none --seeds 0 --workers -1 --trials 0 --target 1.5",
            [
                "--seeds 0: must be at least 1",
                "--workers -1: must be at least 1",
                "--trials 0: must be at least 1",
                "--target 1.5: must be in 0..1",
            ],
        ),
        ("replay {at}/run --target nan", ["--target nan: must be in 0..1"]),
        (
            "search demo --run {at}/new --seconds 0",
            ["--seconds 0.0: budget.seconds: 0.0,"],
        ),
        (
            "search demo --run {at}/new --seconds nan",
            ["--seconds nan: budget.seconds: 'nan', but"],
        ),
        (
            "search demo --run {at}/new --trainings -1",
            ["--trainings -1.0: budget.trainings: -1.0, but"],
        ),
        (
            "search demo --run {at}/new --set policy.rungs=[12]",
            ["--set policy.rungs=[12]: policy.rungs: 12, but"],
        ),
    ],
)
def test_wrong_settings_are_one_line_each_and_nothing_is_written(
    command: str, lines: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stored_run(tmp_path / "run")
    stored_run(tmp_path / "other", digest="d2")
    stored_run(tmp_path / "few", trials=3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([word.format(at=tmp_path) for word in command.split()]) == WRONG_INPUT
    out, err = capfd.readouterr()
    assert out == ""
    for problem, line in zip(err.splitlines(), lines, strict=True):
        assert line.format(at=tmp_path) in problem
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_the_budget_flags_are_keys_of_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Experiment] = []

    def search(experiment: Experiment, *_: object, **__: object) -> int:
        given.append(experiment)
        return 0

    monkeypatch.setattr("shiftsearch.experiments.run.search", search)
    flags = ["--trials", "9", "--seconds", "90", "--trainings", "4.5", "--until-converged"]
    for arguments in (flags, []):
        assert main(["search", "demo", "--run", str(tmp_path / "new"), *arguments]) == 0
    with_flags, without = given
    assert (with_flags.trials, with_flags.until_converged) == (9, True)
    assert with_flags.budget == BudgetRequest(seconds=90.0, trainings=4.5)
    assert (without.until_converged, without.budget) == (False, BudgetRequest())


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/run/study.journal"),
        PermissionError(errno.EACCES, "Permission denied", "/run/study.journal"),
        OSError(errno.EROFS, "Read-only file system", "/run/study.journal"),
        OSError(errno.ENOSPC, "No space left on device", "/run/study.journal"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer", "/run/study.journal"),
    ],
)
def test_a_file_that_fails_during_a_search_is_an_interruption(
    error: OSError,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The same error is wrong input before a run has begun, and an interruption afterwards."""

    def execute(*_: object) -> None:
        raise error

    monkeypatch.setattr("shiftsearch.experiments.searching.Searching._execute", execute)
    command = ["search", "demo", "--data", str(tiny_folder), "--run", str(tmp_path / "run")]
    for _ in range(2):
        assert main(command) == INTERRUPTED
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith(f"interrupted: /run/study.journal: {error.strerror}; ")


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_runs_out_is_an_interruption(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shiftsearch.experiments.commands.check", Mock(side_effect=error))
    monkeypatch.setattr("shiftsearch.experiments.commands.open_dataset", lambda *_, **__: (0, []))
    assert main(["data", "check", "/images"]) == INTERRUPTED
    assert capfd.readouterr().err == "interrupted: out of memory; the same command continues\n"


def test_a_search_on_a_damaged_journal_is_refused_in_one_line(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def execute(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("shiftsearch.experiments.searching.Searching._execute", execute)
    command = ["search", "demo", "--data", str(tiny_folder), "--run", str(tmp_path / "run")]
    assert main(command) == INTERRUPTED
    journal = tmp_path / "run/study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0], "{no JSON\n", *lines[1:]]))
    capfd.readouterr()
    assert main(command) == WRONG_INPUT
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{journal}, line 2: is damaged" in line


@pytest.mark.parametrize("name", ["looks.json", "retrain.json"])
def test_a_search_is_refused_or_warns_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    def execute(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("shiftsearch.experiments.searching.Searching._execute", execute)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_text("nonsense")
    (folder / "study.journal").touch()
    code = main(["search", "demo", "--run", str(folder)])
    output = capfd.readouterr()
    if name == "looks.json":
        assert code == WRONG_INPUT
        (line,) = output.err.splitlines()
        assert line.startswith(f"{folder / name}: is damaged")
        assert not (folder / "status.json").exists()
    else:
        assert code == INTERRUPTED
        assert f"warning: {folder / name}: is damaged" in output.out


def test_a_run_folder_that_vanishes_during_a_search_is_an_interruption(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"

    def execute(driver: Any, *_: object) -> None:
        shutil.rmtree(folder)
        driver.phases.ask()

    monkeypatch.setattr("shiftsearch.experiments.searching.Searching._execute", execute)
    command = ["search", "demo", "--data", str(tiny_folder), "--run", str(folder)]
    assert main(command) == INTERRUPTED
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith(f"interrupted: {folder}/study.journal: No such file or directory; ")
    assert not folder.exists()


def test_report_holds_the_run_s_lock_until_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise it could replace the report of a search that ends meanwhile by an older one."""
    run = stored_run(tmp_path / "run")
    run.result.write_text(json.dumps(finished_run()[0]))
    where, locked = run.report, list[bool]()

    def asked(run: Run) -> Path:
        other = RunLock(run.lock)
        try:
            other.acquire()
        except RunLocked:
            locked.append(True)
        else:
            other.release()
            locked.append(False)
        return where

    monkeypatch.setattr(Run, "report", property(asked))
    assert main(["report", str(run.folder)]) == 0
    assert locked[0]
    assert where.exists()
    assert not locked[-1]  # it is free for the next driver


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-", "> /dev/full"])
def test_a_command_does_its_work_without_standard_streams(
    redirection: str, tmp_path: Path
) -> None:
    """As under cron or a daemon; a full disk is reported and is an interruption."""
    run = stored_run(tmp_path / "run")
    command = f"exec '{sys.executable}' -m experiments.cli trials '{run.folder}' {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    full = "full" in redirection
    assert done.returncode == (INTERRUPTED if full else 0)
    assert done.stdout == ""
    assert done.stderr.count("\n") == full


def test_why_a_search_stopped_early_is_printed_and_recorded(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def execute(driver: Any, *_: object) -> None:
        """What Ray would do."""
        while (job := driver.phases.ask()) is not None:
            driver.phases.finish(job, protocol_result(0.2, 0.9))

    class Concluded:
        def __init__(self, *arguments: Any) -> None:
            circumstances.append(arguments[-1])

        def conclude(self) -> dict[str, Any]:
            return finished_run()[0]

    circumstances: list[dict[str, Any]] = []
    monkeypatch.setattr("shiftsearch.experiments.searching.Searching._execute", execute)
    monkeypatch.setattr("shiftsearch.experiments.searching.Conclusion", Concluded)
    monkeypatch.setattr("shiftsearch.experiments.adornments.adorn", lambda *_: None)
    command = ["search", "demo", "--data", str(tiny_folder), "--trials", "4"]
    for flags, stopped in ((["--trainings", "2"], "the budget is spent"), ([], "")):
        folder = tmp_path / f"run-{len(flags)}"
        assert main([*command, *flags, "--run", str(folder)]) == 0
        assert circumstances[-1]["stopped"] == stopped
        line = f"no more trials were asked for: {stopped}"
        assert (line in capsys.readouterr().out.splitlines()) == bool(stopped)
        assert len((folder / "trials.csv").read_text().splitlines()) == (3 if flags else 5)


def test_commands_run_where_there_is_no_home(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user without a name in a container; Ray's import needs the home folder."""

    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setenv("HOME", "to be put back afterwards")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert main(["data", "check", str(tiny_folder)]) == 0
    assert Path.home()  # else it raises
