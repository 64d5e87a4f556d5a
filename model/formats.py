"""A bundle's model in formats that other programs run: ONNX, and torch's own exported program.

Each holds all from raw images to probabilities. It is written only if it gives the same
probabilities as the PyTorch model on real images, within `TOLERANCE`, and the same classes.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shiftsearch.model.bundle_format import RECORD, checksum, publish
from shiftsearch.model.classifier import Classifier
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.own_network import Function

TOLERANCE = 1e-4
"""The largest difference of a probability from the PyTorch model's, in float32."""
PER_CLASS = 8
"""Images of each class on which a format is checked."""

Made = Callable[[Classifier, torch.Tensor, Mapping[str, str]], bytes]
Ran = Callable[[bytes, NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        file: its name in the bundle.
        packages: those it needs beyond shiftsearch's own.
        make: from the classifier, example images and the metadata to the file's content.
        run: from the content and raw images [N, H, W] to probabilities [N, classes].
    """

    file: str
    packages: tuple[str, ...]
    make: Made
    run: Ran


@dataclass(frozen=True)
class Outcome:
    """What became of one format.

    Attributes:
        name: the format's name.
        is_written: whether it is in the bundle.
        line: one line for the user: the parity, or why it is not written.
    """

    name: str
    is_written: bool
    line: str


def missing_packages(name: str) -> list[str]:
    """The packages of a format that are not installed."""
    return [package for package in FORMATS[name].packages if find_spec(package) is None]


def add_formats(
    folder: Path,
    names: Sequence[str],
    images: NDArray[Any],
    network: Function | None = None,
    target: Path | None = None,
) -> list[Outcome]:
    """Write the bundle anew with these formats besides those it has.

    Args:
        folder: the bundle's folder.
        names: keys of `FORMATS`.
        images: [N, H, W] real ones, at least 2, raw as `raw_images` gives them.
        network: as in `load_bundle`.
        target: where the bundle is written; None: in its place.

    Returns:
        One outcome for each name. Where none is written and no target given, nothing changes.

    Raises:
        model.bundle_format.BundleError: the bundle is damaged.
    """
    bundle = load_bundle(folder, network)
    record = bundle.record
    about = {
        "classes": json.dumps(record.classes, ensure_ascii=False),
        "input": "images: raw [N, H, W] on the scale of the training images",
        "scale": record.preprocessing.scale or "uint8",
        "output": "probabilities [N, classes]",
        "dataset_digest": record.dataset_digest,
        "versions": json.dumps(record.versions),
    }
    made: dict[str, bytes] = {}
    outcomes = []
    for name in names:
        content, outcome = _checked(name, bundle.classifier(), images, about)
        outcomes.append(outcome)
        if content:
            made[FORMATS[name].file] = content
    if made or target is not None:
        kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        written = json.loads(kept.pop(RECORD))
        written["checksums"] |= {file: checksum(content) for file, content in made.items()}
        text = json.dumps(written, indent=1, allow_nan=False)
        publish(target or folder, {**kept, **made, RECORD: text.encode()})
    return outcomes


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


def some_of_each_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions of the first `PER_CLASS` images of each class."""
    return np.concatenate([np.flatnonzero(labels == c)[:PER_CLASS] for c in np.unique(labels)])


def _checked(
    name: str, classifier: Classifier, images: NDArray[Any], about: Mapping[str, str]
) -> tuple[bytes, Outcome]:
    """The format's content, empty if it is not to be written, and what to say."""
    kind = FORMATS[name]
    if missing := missing_packages(name):
        return b"", Outcome(
            name,
            False,
            f"{kind.file}: is not written, because {', '.join(missing)} is not installed: install"
            " the extra `export`",
        )
    raw = torch.tensor(images)
    with torch.no_grad():
        expected = classifier(raw).numpy()
    try:
        with _quiet():
            content = kind.make(classifier, raw, about)
            found = kind.run(content, images)
            one = kind.run(content, images[:1])
    except Exception as error:  # of exporters, which raise many kinds
        said = " ".join(str(error).split())[:200]
        return b"", Outcome(
            name,
            False,
            f"{kind.file}: is not written, because this model cannot be exported"
            f" to it: {type(error).__name__}: {said}",
        )
    found = np.concatenate([one, found[1:]])
    most = float(np.abs(found - expected).max())
    others = int((found.argmax(1) != expected.argmax(1)).sum())
    if not most <= TOLERANCE or others:
        return b"", Outcome(
            name,
            False,
            f"{kind.file}: is not written, because it differs from the PyTorch model on"
            f" {len(images)} images: by up to {most:.1e} in a probability, which must be at most"
            f" {TOLERANCE:g}; {others} other classes",
        )
    return content, Outcome(
        name,
        True,
        f"{kind.file}: {len(content) / 1e6:.1f} MB; differs from the PyTorch model by at most"
        f" {most:.1e} in a probability on {len(images)} images, all classes equal",
    )


def _program(classifier: Classifier, images: torch.Tensor) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim("N")},)
    return torch.export.export(classifier, (images[:2],), dynamic_shapes=shapes)


def _make_pt2(classifier: Classifier, images: torch.Tensor, about: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    torch.export.save(
        _program(classifier, images), content, extra_files={"about.json": json.dumps(about)}
    )
    return content.getvalue()


def _run_pt2(content: bytes, images: NDArray[Any]) -> NDArray[np.float32]:
    module = torch.export.load(io.BytesIO(content)).module()
    with torch.no_grad():
        found: NDArray[np.float32] = module(torch.tensor(images)).numpy()
    return found


def _make_onnx(classifier: Classifier, images: torch.Tensor, about: Mapping[str, str]) -> bytes:
    program = torch.onnx.export(
        _program(classifier, images),
        (),
        input_names=["images"],
        output_names=["probabilities"],
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model: Any = program.model_proto
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content


def _run_onnx(content: bytes, images: NDArray[Any]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"images": images})[0]
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters, which warn of what does not concern these models."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


FORMATS: Mapping[str, Format] = {
    "onnx": Format("model.onnx", ("onnx", "onnxscript", "onnxruntime"), _make_onnx, _run_onnx),
    "pt2": Format("model.pt2", (), _make_pt2, _run_pt2),
}
"""Formats by name; to add one, write two functions and its entry."""
