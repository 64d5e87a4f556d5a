"""Predict many image files, batch by batch: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shiftsearch.data.dataset import DataError
from shiftsearch.data.fitting import Size, said_of_sizes
from shiftsearch.data.image_file import read_image
from shiftsearch.data.problems import named
from shiftsearch.data.scale import Pixels
from shiftsearch.data.tensors import normalise
from shiftsearch.model.bundle import UNKNOWN_SCALE, Bundle, together
from shiftsearch.model.calibration import tempered
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import BATCH
from shiftsearch.model.hyperparameters import PreprocessingHyperparameters

_BATCH_PIXELS = 1 << 20
"""Pixels of a batch, unless a single image has more; at 64x64 pixels and below, 256 images."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one file.

    Attributes:
        file: its path.
        probabilities: [classes] float32 in 0..1 with sum 1; None if the file could not be read.
        error: what is wrong with the file, in one line that names it; else empty.
    """

    file: Path
    probabilities: NDArray[np.float32] | None
    error: str = ""


@dataclass
class Remarks:
    """What the user should know about the files that were read; `predictions` fills it."""

    read: int = 0
    resized: list[tuple[str, Size]] = field(default_factory=list)
    transparent: list[str] = field(default_factory=list)
    dark: list[str] = field(default_factory=list)
    has_floats: bool = False

    def lines(self, bundle: Bundle) -> list[str]:
        """One line for each thing to know."""
        how = bundle.record.preprocessing
        lines = []
        if bundle.record.preprocessing.scale is None and self.has_floats:
            lines.append(UNKNOWN_SCALE)
        if line := said_of_sizes(self.resized, self.read, how.size, how.aspect):
            lines.append(line)
        if self.transparent:
            lines.append(
                "images with transparent pixels, which were laid over black:"
                f" {len(self.transparent)}: {named(self.transparent)}"
            )
        if self.dark:
            lines.append(
                "files without a value above 1, which is almost black on the model's scale,"
                f" 0..255: {len(self.dark)}: {named(self.dark)}"
            )
        return lines


def predictions(
    bundle: Bundle, files: Sequence[Path], device: Device, remarks: Remarks
) -> Iterator[Prediction]:
    """The prediction of each file, in their order, after fine-tuning and in float32.

    Files are read on the scale of the training images, see `data.image_file.read_image`. A file
    that cannot be read does not keep the others from being predicted.

    Args:
        bundle: the model.
        files: image files of any supported format and any size.
        device: where to compute.
        remarks: filled while the files are read.

    Raises:
        OSError: the machine is at fault, not a file.
    """
    networks = bundle.networks("after", device)
    height, width = bundle.record.preprocessing.size
    step = max(1, min(BATCH, _BATCH_PIXELS // (height * width)))
    for start in range(0, len(files), step):
        batch = files[start : start + step]
        read = [_read(bundle, file, remarks) for file in batch]
        images = [image for image in read if not isinstance(image, str)]
        found: Iterator[NDArray[np.float32]] = iter(())
        if images:
            inputs = partial(_inputs, images=images, place=device.torch_device)
            found = iter(tempered(together(networks, inputs), bundle.record.temperature))
        for file, image in zip(batch, read, strict=True):
            if isinstance(image, str):
                yield Prediction(file, None, image)
            else:
                yield Prediction(file, next(found))


def _read(bundle: Bundle, file: Path, remarks: Remarks) -> Pixels | str:
    """The image of a file, or a line that says what is wrong with it."""
    how = bundle.record.preprocessing
    try:
        image = read_image(file, how.size, how.scale, how.bits, how.aspect)
    except DataError as error:
        return error.problems[0]
    remarks.read += 1
    if image.was_resized:
        remarks.resized.append((str(file), image.shape))
    if image.is_transparent:
        remarks.transparent.append(str(file))
    if image.pixels.dtype != np.uint8:
        remarks.has_floats = True
        if how.scale == "float 0..255" and 0 < image.pixels.max() <= np.float32(1 / 255):
            remarks.dark.append(str(file))
    return image.pixels


def _inputs(
    how: PreprocessingHyperparameters, images: Sequence[Pixels], place: torch.device
) -> Tensor:
    """Preprocess images of mixed dtypes: [H, W] each to [N, 1, H, W] float32 in 0..1."""
    result = torch.empty(len(images), *images[0].shape)
    for is_byte in (True, False):
        own = [i for i, image in enumerate(images) if (image.dtype == np.uint8) == is_byte]
        if own:
            stack: Pixels = np.stack([images[i] for i in own])  # type: ignore[assignment]  # one dtype
            # A copy: the array may be read-only.
            result[own] = normalise(torch.tensor(how.apply(stack)))
    return result.unsqueeze(1).to(place)
