"""Pages that explain the winner in TensorBoard: images, feature maps, changes of the layers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary

from shiftsearch.experiments.analysis.answers import Mistake
from shiftsearch.experiments.analysis.inside import BlockMaps, FeatureMaps
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.analysis.split_summary import Sample, SplitSummary
from shiftsearch.experiments.tensorboard.events import (
    empty,
    has_end,
    image,
    scalar,
    text,
    write_end,
)
from shiftsearch.experiments.tensorboard.pictures import Tile, confusion_matrix, grid, written
from shiftsearch.experiments.wording import percent

_MOST_CLASSES = 20
"""Largest number of classes whose samples are shown."""
_ACROSS = 4
"""Number of channels, and of mistakes, in a row."""


def has_winner(root: Path) -> bool:
    """Whether the winner's folder in the run's TensorBoard folder is complete."""
    return has_end(_folder(root))


def _folder(root: Path) -> Path:
    return root / "winner"


def write_winner(root: Path, analysis: Analysis) -> None:
    """Write the winner's folder again; if that fails, `has_winner` is False afterwards.

    Args:
        root: the run's TensorBoard folder.
        analysis: analysis of the exported network.
    """
    a, folder, classes = analysis, _folder(root), written(analysis.classes)
    empty(folder)  # it may show an earlier winner
    values = [_samples(split, classes) for split in a.splits]
    values += [_feature_maps(a.feature_maps, block) for block in a.feature_maps.blocks]
    values.append(_shown(a.feature_maps, classes))
    for when, evaluation in (("before", a.predictions.before), ("after", a.predictions.after)):
        picture = confusion_matrix(evaluation.confusion, classes)
        about = f"images of TEST2's selection part, {when} fine-tuning; exported replicate"
        values.append(image(f"confusion/test2_{when}", picture, about))
    if a.predictions.mistakes:
        values.append(_mistakes(a.predictions.mistakes, classes))
    values.append(text("representation/layers", _layer_table(a)))
    steps = {0: values}
    for step, point in _curve(a):
        steps.setdefault(step, []).append(point)
    write_end(folder, steps)


def _samples(split: SplitSummary, classes: tuple[str, ...]) -> Summary.Value:
    """One row per class; each sample as stored, preprocessed and augmented."""
    by_class = groupby(split.samples, key=lambda sample: sample.label)
    found = [(classes[label], list(samples)) for label, samples in by_class][:_MOST_CLASSES]
    forms = ["stored", "preprocessed"]
    about = "as stored and as the network gets it"
    if split.augmentation is not None:
        forms += ["augmented"] * len(split.samples[0].augmented)
        stage = split.augmentation.replace("_", "-")
        about += f", and as the {stage}'s augmentation changes it, drawn twice"
    part = "" if split.part == "all" else f", {split.part} part"
    return image(
        f"samples/{split.name}",
        grid(
            [[tile for sample in samples for tile in _forms(sample)] for _, samples in found],
            row_titles=[name for name, _ in found],
            column_titles=forms * max(len(samples) for _, samples in found),
        ),
        f"images of {split.name}{part}, {about}",
    )


def _forms(sample: Sample) -> list[Tile]:
    return [Tile(p) for p in (sample.stored, sample.preprocessed, *sample.augmented)]


def _shown(maps: FeatureMaps, classes: tuple[str, ...]) -> Summary.Value:
    said = f"before: {classes[maps.before]}\nafter: {classes[maps.after]}"
    tiles = [Tile(maps.image, f"true: {classes[maps.label]}\n{said}")]
    if maps.preprocessed is not None:
        tiles.append(Tile(maps.preprocessed, "preprocessed"))
    return image(
        "feature_maps/input",
        grid([tiles], side=112),
        "the image of TEST2's selection part whose feature maps are shown, and its predicted "
        "class before and after fine-tuning",
    )


def _feature_maps(maps: FeatureMaps, block: BlockMaps) -> Summary.Value:
    highest = max(float(block.before.max()), float(block.after.max())) or 1.0
    rows, titles = [], []
    for first in range(0, len(block.channels), _ACROSS):
        few = slice(first, first + _ACROSS)
        for when, channels in (("before", block.before), ("after", block.after)):
            named = zip(block.channels[few], channels[few] / highest, strict=True)
            rows.append([Tile(pixels, f"channel {name}") for name, pixels in named])
            titles.append(when)
    return image(
        f"feature_maps/{block.name.replace(' ', '_')}",
        grid(rows, row_titles=titles, side=84),
        f"{block.name}'s output for image {maps.index} of TEST2, before and after fine-tuning, "
        f"on one scale: black is 0, white {highest:.3g}",
    )


def _mistakes(mistakes: tuple[Mistake, ...], classes: tuple[str, ...]) -> Summary.Value:
    tiles = [
        Tile(
            mistake.image,
            f"true: {classes[mistake.label]}\n"
            f"after: {classes[mistake.predicted]}, {percent(mistake.probability)}\n"
            f"before: {classes[mistake.before]}, {percent(mistake.before_probability)}",
        )
        for mistake in mistakes
    ]
    rows = [tiles[i : i + _ACROSS] for i in range(0, len(tiles), _ACROSS)]
    return image(
        "mistakes/most_confident",
        grid(rows, side=112),
        "images of TEST2's selection part that are wrong after fine-tuning, by confidence",
    )


def _curve(analysis: Analysis) -> Iterator[tuple[int, Summary.Value]]:
    about = "linear CKA, 0 to 1, between a layer's outputs before and after fine-tuning on "
    about += f"{analysis.cka_images} images of TEST2's selection part; the step is the layer: "
    about += ", ".join(f"{i} {layer.name}" for i, layer in enumerate(analysis.layers, 1))
    for step, layer in enumerate(analysis.layers, 1):
        if layer.cka is not None:
            yield step, scalar("representation/cka", layer.cka, about)


def _layer_table(analysis: Analysis) -> str:
    lines = [
        "| layer | | linear CKA | change of weights | change of running statistics |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {layer.name} | {'frozen' if layer.frozen else 'trained'} | {_number(layer.cka)} | "
        f"{_number(layer.weight_change)} | {_number(layer.statistics_change)} |"
        for layer in analysis.layers
    ]
    return "\n".join(
        [
            "What fine-tuning changed: the similarity of each layer's outputs before and after "
            f"(1 is unchanged), on {analysis.cka_images} images of TEST2's selection part, and "
            "the relative change of its weights and of its running statistics.",
            "",
            *lines,
        ]
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
