"""A bundle's model in formats that other programs run: ONNX, and torch's own exported program.

Each holds all from raw images to probabilities; `model.parity` compares it with the PyTorch model.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shiftsearch.model.classifier import Classifier

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


def missing_packages(name: str) -> list[str]:
    """The packages of a format that are not installed."""
    return [package for package in FORMATS[name].packages if find_spec(package) is None]


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
    _name_batch(model.graph)
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content


def _name_batch(graph: Any) -> None:
    """Name the number of images "N", which torch's exporter gives a name like "s34"."""
    made = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param == made:
                side.dim_param = "N"


def _run_onnx(content: bytes, images: NDArray[Any]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"images": images})[0]
    return found


@contextmanager
def quiet() -> Iterator[None]:
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
