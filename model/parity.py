"""A model in another format, and how it compares with the PyTorch model on the same images.

A format is taken only if it gives the same probabilities on these images, within `TOLERANCE`, and
the same classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shiftsearch.model.bundle import Bundle
from shiftsearch.model.bundle_facts import Parity
from shiftsearch.model.formats import FORMATS, missing_packages, quiet

TOLERANCE = 1e-4
"""The largest difference of a probability from the PyTorch model's, in float32."""
PER_CLASS = 8
"""Images of each class on which a format is checked."""


@dataclass(frozen=True)
class Checks:
    """The images on which formats are compared with the PyTorch model.

    Attributes:
        images: [N, H, W], at least 2, raw on the scale of the bundle.
        real: whether they are images of the training's dataset.
    """

    images: NDArray[Any]
    real: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one format.

    Attributes:
        name: the format's name.
        line: one line for the user: the parity, or why it cannot be used.
        content: the file's content; empty if it cannot be used.
        parity: how it compares; None if it cannot be used.
    """

    name: str
    line: str
    content: bytes = b""
    parity: Parity | None = None


def raw_images(images: NDArray[Any], scale: str | None) -> NDArray[Any]:
    """A dataset's images as the formats take them: uint8, or float32 on the model's scale.

    Args:
        images: [N, H, W] uint8 in 0..255 or float32 in 0..1.
        scale: that of the bundle.
    """
    if scale in (None, "uint8"):
        return images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
    floats: NDArray[np.float32] = images.astype(np.float32)
    if images.dtype == np.uint8:
        floats /= np.float32(255)
    if scale == "float 0..255":
        floats *= np.float32(255)
    return floats


def real_images(images: NDArray[Any], labels: NDArray[np.int64], scale: str | None) -> Checks:
    """The first `PER_CLASS` images of each class of a split, on the scale of the bundle.

    Args:
        images: [N, H, W] as a `data.dataset.Split` has them.
        labels: [N] classes.
        scale: that of the bundle.
    """
    chosen = [np.flatnonzero(labels == c)[:PER_CLASS] for c in np.unique(labels)]
    return Checks(raw_images(images[np.concatenate(chosen)], scale), real=True)


def made_images(bundle: Bundle) -> Checks:
    """Images for a bundle without its data: noise, ramps and bars, `PER_CLASS` for each class."""
    how, draw = bundle.record.preprocessing, np.random.default_rng(0)
    height, width = how.size
    y, x = np.mgrid[:height, :width] / (max(how.size) - 1)
    made = []
    for i in range(PER_CLASS * len(bundle.record.classes)):
        angle, level, waves = draw.uniform(0, np.pi), draw.uniform(), draw.uniform(1, 4)
        along = np.cos(angle) * x + np.sin(angle) * y
        kinds = (
            draw.uniform(size=how.size),
            (along - along.min()) / (along.max() - along.min()),
            (np.sin(2 * np.pi * waves * along) > 0) * level,
        )
        made.append(kinds[i % len(kinds)])
    pixels = np.rint(255 * np.stack(made)).astype(np.uint8)
    return Checks(raw_images(pixels, how.scale), real=False)


def made_formats(bundle: Bundle, names: Sequence[str], checks: Checks) -> list[Outcome]:
    """The bundle's model in these formats, one outcome for each name in `FORMATS`."""
    record = bundle.record
    about = {
        "classes": json.dumps(record.classes, ensure_ascii=False),
        "input": "images: raw [N, H, W] on the scale of the training images",
        "scale": record.preprocessing.scale or "uint8",
        "output": "probabilities [N, classes]",
        "dataset_digest": record.dataset_digest,
        "versions": json.dumps(record.versions),
    }
    return [_made(name, bundle, checks, about) for name in names]


def written(outcomes: Sequence[Outcome]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of the formats that can be used, and what `bundle.json` says about them."""
    usable = [(one, one.parity) for one in outcomes if one.parity is not None]
    files = {parity.file: one.content for one, parity in usable}
    return files, {one.name: parity.model_dump() for one, parity in usable}


def _made(name: str, bundle: Bundle, checks: Checks, about: Mapping[str, str]) -> Outcome:
    kind, images = FORMATS[name], checks.images
    if missing := missing_packages(name):
        return Outcome(
            name,
            f"{kind.file}: is not written, because {', '.join(missing)} is not installed: install"
            " the extra `export`",
        )
    classifier, raw = bundle.classifier(), torch.tensor(images)
    with torch.no_grad():
        expected = classifier(raw).numpy()
    try:
        with quiet():
            content = kind.make(classifier, raw, about)
            found, one = kind.run(content, images), kind.run(content, images[:1])
    except Exception as error:  # of exporters, which raise many kinds
        said = " ".join(str(error).split())[:200]
        return Outcome(
            name,
            f"{kind.file}: is not written, because this model cannot be exported to it:"
            f" {type(error).__name__}: {said}",
        )
    found = np.concatenate([one, found[1:]])  # also in a batch of one
    return _compared(name, content, found, expected, checks.real)


def _compared(
    name: str, content: bytes, found: NDArray[Any], expected: NDArray[Any], real: bool
) -> Outcome:
    file, count = FORMATS[name].file, len(expected)
    of = f"{count} images" if real else f"{count} made images"
    most = float(np.abs(found - expected).max())
    others = int((found.argmax(1) != expected.argmax(1)).sum())
    if not most <= TOLERANCE or others:
        return Outcome(
            name,
            f"{file}: is not written, because it differs from the PyTorch model on {of}: by up to"
            f" {most:.1e} in a probability, which must be at most {TOLERANCE:g}; {others} other"
            " classes",
        )
    return Outcome(
        name,
        f"{file}: {len(content) / 1e6:.1f} MB; differs from the PyTorch model by at most"
        f" {most:.1e} in a probability on {of}, all classes equal",
        content,
        Parity(file=file, bytes=len(content), difference=most, images=count, real=real),
    )
