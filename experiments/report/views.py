"""Values and pictures for the templates that show an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.experiments.analysis.inside import BlockMaps
from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.analysis.split_summary import SplitSummary
from shiftsearch.experiments.report.explanations import layer_lines, shift_lines
from shiftsearch.experiments.report.figures.coordinates import (
    MAX_COORDINATES,
    parallel_coordinates,
)
from shiftsearch.experiments.report.figures.images import sheet
from shiftsearch.experiments.report.figures.shift import intensity_histogram
from shiftsearch.experiments.report.figures.thinning import thinned
from shiftsearch.experiments.report.figures.what_mattered import (
    importance_bars,
    shown_first,
    slices,
)
from shiftsearch.experiments.wording import one_line, points
from shiftsearch.search.judging.importance import LEAST, Importance
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord

SHOWN = 12
"""Largest number of classes whose samples are shown; more would make the page long and large."""
_SAMPLE, _MEAN, _MISTAKE, _MAP = 56, 112, 84, 42  # CSS pixels of a side
_MAP_COLUMNS = 4


def data_view(result: Mapping[str, Any], analysis: Analysis | None) -> dict[str, Any]:
    """Counts by class and split; with an analysis also samples, mean images and the shift."""
    classes, counts = result["dataset"]["classes"], result["dataset"]["counts"]
    splits = {s.name: s for s in analysis.splits} if analysis is not None else {}
    rows = [
        {
            "name": name,
            "cells": [
                {"n": counts[split][i], "image": _samples(splits.get(split), i, name)}
                for split in counts
            ],
        }
        for i, name in enumerate(classes)
    ]
    columns = [
        {"name": split, "what": _what(splits.get(split)), "total": sum(counts[split])}
        for split in counts
    ]
    view = {
        "titles": ["Class", *((c["name"], c["what"]) for c in columns)],
        "columns": columns,
        "rows": rows,
        "samples": analysis is not None,
        "preprocessed": any(s.is_preprocessed for s in splits.values()),
        "classes_shown": SHOWN,
        "classes_left": analysis is not None and len(classes) > SHOWN,
    }
    return view if analysis is None else view | _shift_view(analysis)


def _shift_view(analysis: Analysis) -> dict[str, Any]:
    white = max(float(s.mean_image.max()) for s in analysis.splits) or 1.0
    splits = []
    for s in analysis.splits:
        name = s.name if s.part == "all" else f"{s.name}, {s.part} part"
        image = sheet([s.mean_image / white], 1, _MEAN, f"Mean image of {name}")
        splits.append({"name": name, "n": s.n, "mean": s.mean, "sd": s.sd, "image": image})
    return {
        "white": white,
        "splits": splits,
        "histogram": intensity_histogram(analysis.splits),
        "shifts": analysis.shifts,
        "lines": shift_lines(analysis),
    }


def _what(split: SplitSummary | None) -> str:
    """What a split's column of samples shows, in words."""
    if split is None:
        return ""
    shown = "original, then preprocessed" if split.is_preprocessed else "as stored"
    if split.augmentation is None:
        return shown
    draws = len(split.samples[0].augmented) if split.samples else 0
    stage = split.augmentation.replace("_", "-")
    return f"{shown}, then {draws} times with the augmentation of the winner's {stage}"


def _samples(split: SplitSummary | None, label: int, name: str) -> str:
    """The samples of a class; below each other if other forms are shown beside them."""
    if split is None or label >= SHOWN:
        return ""
    samples = [s for s in split.samples if s.label == label]
    if not samples:
        return ""
    tiles: list[NDArray[Any]] = []
    for sample in samples:
        preprocessed = [sample.preprocessed] if split.is_preprocessed else []
        tiles += [sample.stored, *preprocessed, *sample.augmented]
    draws = len(samples[0].augmented)
    forms = ["preprocessed"] if split.is_preprocessed else []
    forms += [f"{draws} times augmented"] if draws else []
    alt = f"{len(samples)} images of class {name} from {split.name}"
    if not forms:
        return sheet(tiles, len(tiles), _SAMPLE, alt)
    alt += f", each {', '.join(['as stored', *forms[:-1]])} and {forms[-1]}"
    return sheet(tiles, len(tiles) // len(samples), _SAMPLE, alt)


def mistakes_view(analysis: Analysis) -> dict[str, Any]:
    """The most confident mistakes, and the number of all mistakes."""
    p, classes = analysis.predictions, analysis.classes
    cards = []
    for m in p.mistakes:
        alt = f"Image of class {classes[m.label]}, predicted as {classes[m.predicted]}"
        cards.append(
            {
                "image": sheet([m.image], 1, _MISTAKE, alt),
                "label": classes[m.label],
                "predicted": classes[m.predicted],
                "probability": m.probability,
                "before": classes[m.before],
                "before_probability": m.before_probability,
                "name": f"image {m.index} of TEST2" if m.file is None else one_line(m.file),
            }
        )
    right = sum(row[i] for i, row in enumerate(p.after.confusion))
    return {
        "n": p.after.n,
        "total": p.after.n - right,
        "repaired": p.repaired,
        "broken": p.broken,
        "cards": cards,
    }


def features_view(analysis: Analysis) -> dict[str, Any]:
    """Feature maps of one image, and the change of every layer."""
    maps, classes = analysis.feature_maps, analysis.classes
    alt = f"Image {maps.index} of TEST2, class {classes[maps.label]}"
    forms: list[NDArray[Any]] = [maps.image]
    if maps.preprocessed is not None:
        forms.append(maps.preprocessed)
        alt += ", original and preprocessed"
    return {
        "image": sheet(forms, len(forms), _MEAN, alt),
        "preprocessed": maps.preprocessed is not None,
        "index": maps.index,
        "label": classes[maps.label],
        "before": classes[maps.before],
        "after": classes[maps.after],
        "channels": len(maps.blocks[0].channels),
        "blocks": [_block_view(block) for block in maps.blocks],
        "layers": analysis.layers,
        "cka_images": analysis.cka_images,
        "lines": layer_lines(analysis),
        "probes": analysis.probes,
        "differences": [points(p.after - p.before, p.interval) for p in analysis.probes.layers],
    }


def _block_view(block: BlockMaps) -> dict[str, str]:
    """The sheets before and after, on one scale from 0 to their largest value."""
    scale = max(float(block.before.max()), float(block.after.max())) or 1.0
    height, width = block.before.shape[1:]
    view = {"name": block.name, "size": f"{height}x{width}"}
    for when, maps in (("before", block.before), ("after", block.after)):
        alt = (
            f"{len(block.channels)} feature maps of {block.name} {when} fine-tuning, "
            f"mean {np.mean(maps):.3g}, largest {np.max(maps):.3g}"
        )
        view[when] = sheet([m / scale for m in maps], _MAP_COLUMNS, _MAP, alt)
    return view


def importance_view(
    trials: Sequence[TrialRecord], space: Space, importance: Importance | None, winner: int
) -> dict[str, Any]:
    """The figures of the section on importance; a figure is None if there is nothing to draw."""
    names = shown_first(space)
    ranked = names if importance is None else [p.name for p in importance.parameters]
    is_drawn = bool(names) and sum(t.value is not None for t in trials) > 1
    drawn: dict[str, Any] = {
        "bars": None,
        "slices": None,
        "parallel": None,
        "least": LEAST,
        "coordinates": MAX_COORDINATES,
    }
    if is_drawn:
        complete = [t for t in trials if t.value is not None]
        drawn |= {"complete": len(complete), "drawn": len(thinned(complete, winner))}
        drawn["slices"] = slices(trials, space, names, winner)
        drawn["parallel"] = parallel_coordinates(trials, space, ranked, winner)
    if importance is None:
        return drawn
    return drawn | {
        "bars": importance_bars(importance),
        "trials": importance.trials,
        "baselines": importance.baselines,
        "best": importance.best,
        "outside": importance.outside,
        "unused": importance.unused,
        "out": [p.name for p in importance.parameters if p.stands_out],
    }
