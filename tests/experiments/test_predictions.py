"""The command `predict`: its three forms, its exit codes, and what it says of files."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.untrained import save_untrained
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.exits import DONE, SOME_UNREADABLE, WRONG_INPUT
from shiftsearch.model.device import choose_device
from shiftsearch.model.loading import load_bundle

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """`main`'s handler and the device's threads are put back."""
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    yield
    signal.signal(signal.SIGTERM, handler)
    torch.set_num_threads(threads)


@pytest.fixture
def bundle(tiny_dataset: Dataset, tmp_path: Path) -> str:
    return str(save_untrained(tmp_path / "best", tiny_dataset))


@pytest.fixture
def images(tiny_dataset: Dataset, tmp_path: Path) -> Path:
    """A folder of 0.npy, inner/1.png, inner/2.npy and a text file; no image is bad."""
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    first, second, third = tiny_dataset.splits["TEST"].images[[0, 30, 60]]
    np.save(folder / "0.npy", first)
    Image.fromarray(second).save(folder / "inner" / "1.png")
    np.save(folder / "inner" / "2.npy", third)
    (folder / "notes.txt").touch()
    return folder


def expected(bundle: str, tiny_dataset: Dataset) -> np.ndarray:
    device = choose_device()
    stack = tiny_dataset.splits["TEST"].images[[0, 30, 60]]
    return load_bundle(Path(bundle)).predict_proba(stack, device)


def test_a_folder_is_predicted_as_text(
    bundle: str,
    images: Path,
    tiny_dataset: Dataset,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"{images}/0.npy", f"{images}/inner/1.png", f"{images}/inner/2.npy"]
    values = expected(bundle, tiny_dataset)
    assert main(["predict", bundle, str(images)]) == DONE
    out, err = capsys.readouterr()
    assert [line.split("\t") for line in out.splitlines()] == [
        [name, tiny_dataset.classes[row.argmax()], f"{row.max():.4f}"]
        for name, row in zip(names, values, strict=True)
    ]
    assert err.splitlines() == ["skipped entries of folders, which are not image files: 1"]
    monkeypatch.chdir(images.parent)  # names are printed as they were given
    for given in ("images", "images/", "./images", "../" + images.parent.name + "/images"):
        assert main(["predict", bundle, given]) == DONE
        files = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
        assert files == [f"{given.rstrip('/')}{name[len(str(images)) :]}" for name in names]
    assert main(["predict", bundle, names[1], "--all"]) == DONE
    cells = capsys.readouterr().out.rstrip("\n").split("\t")
    assert cells[3:] == [
        f"{name}={value:.4f}" for name, value in zip(tiny_dataset.classes, values[1], strict=True)
    ]


def test_json_and_csv_hold_all_files_with_probabilities_or_an_error(
    bundle: str, images: Path, tiny_dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = images / "inner" / "0, bad.png"
    bad.write_text("no image")
    values = expected(bundle, tiny_dataset)
    assert main(["predict", bundle, str(images), "--json", "--all"]) == SOME_UNREADABLE
    out, err = capsys.readouterr()
    first, wrong, *others = json.loads(out)
    assert set(wrong) == {"file", "error"}
    assert wrong["file"] == str(bad)
    assert wrong["error"] in err.splitlines()
    assert err.splitlines()[-1] == "files and folders that could not be read: 1"
    for row, value in zip([first, *others], values, strict=True):
        assert list(row["probabilities"]) == list(tiny_dataset.classes)
        np.testing.assert_allclose(list(row["probabilities"].values()), value, rtol=1e-5)
        assert row["class"] == tiny_dataset.classes[value.argmax()]
        assert row["probability"] == max(row["probabilities"].values())

    assert main(["predict", bundle, str(images), "--csv", "--all"]) == SOME_UNREADABLE
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[1] == dict.fromkeys(rows[1], "") | wrong
    for row, same in zip([rows[0], *rows[2:]], [first, *others], strict=True):
        assert row["file"] == same["file"]
        assert row["class"] == same["class"]
        assert float(row["probability"]) == same["probability"]
        assert row["error"] == ""
        for name, value in same["probabilities"].items():
            assert float(row[f"probability.{name}"]) == value

    assert main(["predict", bundle, str(images / "0.npy"), "--json"]) == DONE
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {key: first[key] for key in ("file", "class", "probability")}


def test_without_a_readable_image_nothing_is_printed_and_the_input_is_wrong(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["predict", bundle, str(tmp_path / "empty")]) == WRONG_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith(f"{tmp_path / 'empty'}: holds no image file")
    for number in range(30):
        (tmp_path / "empty" / f"{number}.npy").touch()
    assert main(["predict", bundle, str(tmp_path / "empty")]) == WRONG_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 21
    assert err.splitlines()[-1] == "and 10 more"
    assert main(["predict", bundle, str(tmp_path / "empty"), "--json"]) == WRONG_INPUT
    assert len(json.loads(capsys.readouterr().out)) == 30


def test_names_with_control_characters_stay_in_one_line(
    bundle: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "0.npy").rename(images / "a\x1b[2J\tb\n.npy")
    assert main(["predict", bundle, str(images)]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{images}/a\\x1b[2J\\tb\\n.npy\t")
