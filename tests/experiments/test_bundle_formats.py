"""A search brings the formats of its bundle up to date, and never fails for them."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.benchmarks.untrained import save_untrained
from shiftsearch.experiments.bundle_formats import finish_bundle
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.export_settings import FORMATS as NAMES
from shiftsearch.experiments.outcome.card import card
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.bundle_facts import Parity
from shiftsearch.model.formats import FORMATS
from shiftsearch.model.parity import Outcome

pytestmark = pytest.mark.unit


@pytest.fixture
def run(tiny_dataset: Dataset, tmp_path: Path) -> Run:
    save(Run(tmp_path), tiny_dataset, {"licence": "", "name": "tests"})
    return Run(tmp_path)


def save(run: Run, dataset: Dataset, model: dict[str, Any]) -> None:
    save_untrained(run.bundle, dataset, model=model, card=card)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The formats that were made; `pt2` cannot be."""
    names: list[str] = []

    def made(_: object, wanted: list[str], checks: Any) -> list[Outcome]:
        names.extend(wanted)
        parity = Parity(file="model.onnx", bytes=4, difference=0.0, images=2, real=True)
        every = {
            "onnx": Outcome("onnx", "model.onnx: made", b"onnx", parity),
            "pt2": Outcome("pt2", "model.pt2: is not written"),
        }
        assert checks.real
        return [every[name] for name in wanted]

    monkeypatch.setattr("shiftsearch.experiments.bundle_formats.made_formats", made)
    monkeypatch.setattr("shiftsearch.model.formats.find_spec", lambda _: None)
    return names


def finish(run: Run, dataset: Dataset, **raw: Any) -> list[str]:
    console, warned = Console(file=StringIO(), width=200), list[str]()
    finish_bundle(build(raw, "tests"), run, dataset, console, warned.append)
    assert isinstance(console.file, StringIO)
    return [*console.file.getvalue().splitlines(), *warned]


def test_every_format_can_be_asked_for() -> None:
    assert set(NAMES) == set(FORMATS)


def test_what_is_asked_for_is_made_once_and_a_failure_is_said_each_time(
    run: Run, tiny_dataset: Dataset, asked: list[str]
) -> None:
    raw: dict[str, Any] = {"export": {"formats": ["onnx", "pt2"]}}
    assert finish(run, tiny_dataset, **raw) == ["model.onnx: made", "model.pt2: is not written"]
    assert (run.bundle / "model.onnx").read_bytes() == b"onnx"
    record = json.loads((run.bundle / "bundle.json").read_text())
    assert record["model"]["formats"]["onnx"]["difference"] == 0
    assert finish(run, tiny_dataset, **raw) == ["model.pt2: is not written"]
    assert asked == ["onnx", "pt2", "pt2"]


def test_the_default_is_what_the_installed_packages_can_make(
    run: Run, tiny_dataset: Dataset, asked: list[str]
) -> None:
    assert finish(run, tiny_dataset, export={"formats": []}) == []
    assert finish(run, tiny_dataset) == ["model.pt2: is not written"]
    assert asked == ["pt2"]  # onnx needs packages, and none is installed here


def test_the_bundle_of_an_earlier_version_stays_as_it_is_unless_formats_are_asked_for(
    run: Run, tiny_dataset: Dataset, asked: list[str]
) -> None:
    save(run, tiny_dataset, {"kind": "single"})
    before = {p.name: p.read_bytes() for p in run.bundle.iterdir()}
    assert finish(run, tiny_dataset) == []
    assert {p.name: p.read_bytes() for p in run.bundle.iterdir()} == before
    assert finish(run, tiny_dataset, export={"formats": ["onnx"]}) == ["model.onnx: made"]


def test_another_licence_gets_into_bundle_and_card(
    run: Run, tiny_dataset: Dataset, asked: list[str]
) -> None:
    finish(run, tiny_dataset, licence="Our own, 2026", export={"formats": []})
    record = json.loads((run.bundle / "bundle.json").read_text())
    assert record["model"]["licence"] == "Our own, 2026"
    assert "| licence | Our own, 2026 |" in (run.bundle / "README.md").read_text()


def test_a_failure_is_one_line_and_costs_nothing(
    run: Run, tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError("no\nspace")

    monkeypatch.setattr("shiftsearch.experiments.bundle_formats.made_formats", failing)
    (line,) = finish(run, tiny_dataset, export={"formats": ["onnx"]})
    assert line.endswith("OSError: no space")
