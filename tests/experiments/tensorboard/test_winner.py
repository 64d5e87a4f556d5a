"""What TensorBoard finds in the winner's folder."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from shiftsearch.experiments.analysis.answers import Mistake, Predictions
from shiftsearch.experiments.analysis.inside import BlockMaps, FeatureMaps, LayerChange
from shiftsearch.experiments.analysis.probes import LayerProbe, Probes
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.analysis.split_summary import Sample, SplitSummary
from shiftsearch.experiments.tensorboard.winner import has_winner, write_winner
from shiftsearch.model.evaluation import Evaluation

pytestmark = pytest.mark.unit

CLASSES = ("a", "b")
IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8)
INPUT = IMAGE.astype(np.float32) / 255


def split(name: str, part: str, augmentation: str | None) -> SplitSummary:
    drawn = np.stack([INPUT, INPUT])[: 2 if augmentation else 0]
    samples = tuple(Sample(i, i, IMAGE, INPUT, drawn) for i in range(2))
    return SplitSummary(
        name, part, 2, (1, 1), INPUT, np.ones(64) / 64, 0.5, 0.1, samples, augmentation
    )


def analysis() -> Analysis:
    evaluation = Evaluation(2, 0.5, 0.7, (1.0, 0.0), ((1, 0), (1, 0)))
    mistakes = (Mistake(1, IMAGE, 1, 0, 0.9, 1, 0.6),)
    maps = np.zeros((8, 4, 4), np.float32)
    blocks = tuple(BlockMaps(f"block {i}", tuple(range(8)), maps, maps + i) for i in (1, 2, 3))
    return Analysis(
        CLASSES,
        (
            split("TRAIN", "all", "baseline"),
            split("TEST", "all", None),
            split("TEST2", "selection", None),
        ),
        (),
        Predictions((1, 1), evaluation, evaluation, 0, 0, mistakes),
        FeatureMaps(1, IMAGE, 1, 0, 1, blocks),
        (
            LayerChange("block 1", True, 1.0, 0.0, 0.0),
            LayerChange("dense 512", False, None, 0.25, None),
            LayerChange("head", False, 0.125, 0.5, None),
        ),
        2,
        Probes((LayerProbe("block 1", 0.5, 0.5, (0.0, 0.0)),), trained_on=2, n=2),
    )


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_the_winner_is_explained_in_pictures_numbers_and_words(tmp_path: Path) -> None:
    write_winner(tmp_path, analysis())
    found = read(tmp_path / "winner")
    pictures = {
        *(f"samples/{name}" for name in ("TRAIN", "TEST", "TEST2")),
        *(f"feature_maps/{name}" for name in ("input", "block_1", "block_2", "block_3")),
        *(f"confusion/test2_{when}" for when in ("before", "after")),
        "mistakes/most_confident",
    }
    assert set(found.Tags()["tensors"]) == pictures | {
        "representation/cka",
        "representation/layers",
    }
    sizes = {}
    for tag in pictures:
        width, height, png = make_ndarray(found.Tensors(tag)[0].tensor_proto)
        sizes[tag] = Image.open(io.BytesIO(png)).size
        assert sizes[tag] == (int(width), int(height))
        assert found.SummaryMetadata(tag).summary_description
    assert sizes["samples/TRAIN"] > sizes["samples/TEST"] == sizes["samples/TEST2"]
    about = found.SummaryMetadata("samples/TEST2").summary_description
    assert about.startswith("images of TEST2, selection part")
    curve = found.Tensors("representation/cka")
    points = [(e.step, make_ndarray(e.tensor_proto).item()) for e in curve]
    assert points == [(1, 1.0), (3, 0.125)]
    (words,) = make_ndarray(found.Tensors("representation/layers")[0].tensor_proto)
    assert "| dense 512 | trained | none | 0.250 | none |" in words.decode()


def test_the_input_is_shown_as_stored_and_as_preprocessed(tmp_path: Path) -> None:
    preprocessed = replace(analysis().feature_maps, preprocessed=INPUT)
    widths = []
    for name, maps in (("off", analysis().feature_maps), ("on", preprocessed)):
        write_winner(tmp_path / name, replace(analysis(), feature_maps=maps))
        found = read(tmp_path / name / "winner")
        tensor = found.Tensors("feature_maps/input")[0].tensor_proto
        widths.append(int(make_ndarray(tensor)[0]))
    assert widths[1] > 1.5 * widths[0]


def test_written_again_nothing_is_there_twice_and_a_reader_follows(tmp_path: Path) -> None:
    write_winner(tmp_path, analysis())
    watching = read(tmp_path / "winner")
    flawless = replace(analysis().predictions, mistakes=())
    write_winner(tmp_path, replace(analysis(), predictions=flawless))
    watching.Reload()
    for found in (watching, read(tmp_path / "winner")):
        assert len(found.Tensors("representation/cka")) == 2
        assert len(found.Tensors("samples/TRAIN")) == 1
    assert "mistakes/most_confident" not in found.Tags()["tensors"]


def test_pages_that_fail_leave_none_of_an_earlier_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> NoReturn:
        raise ValueError("no layers")

    write_winner(tmp_path, analysis())
    assert has_winner(tmp_path)
    monkeypatch.setattr("shiftsearch.experiments.tensorboard.winner._layer_table", failing)
    with pytest.raises(ValueError, match="no layers"):
        write_winner(tmp_path, analysis())
    assert not has_winner(tmp_path)
