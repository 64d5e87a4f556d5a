"""Check stacks of images that were given as arrays, and bring floats to 0..1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.npy_image import is_image_dtype
from shiftsearch.data.scale import LEAST_WIDE, TOLERANCE, Pixels, impossible, to_unit


def image_arrays(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[Mapping[str, Pixels], list[str], list[str]]:
    """The images of all splits, which must be on one scale.

    Args:
        arrays: [N, H, W], [N, H, W, 1] or [N, 1, H, W] by a place for messages, uint8 in 0..255 or
            floating in 0..1 or 0..255; not changed.

    Returns:
        [N, H, W] uint8 or float32 in 0..1, by place; empty if there are problems. A line for each
        problem. A line for each thing the user should know.
    """
    problems: list[str] = []
    stacks: dict[str, NDArray[Any]] = {}
    for place, array in arrays.items():
        shape = array.shape
        channel = 3 if len(shape) == 4 and shape[3] == 1 else 1
        sides = shape[:channel] + shape[channel + 1 :] if len(shape) == 4 else shape
        if len(sides) != 3 or (len(shape) == 4 and shape[channel] != 1) or 0 in shape:
            problems.append(
                f"{place}: images of shape {shape}, but must be (N, H, W), (N, H, W, 1) or"
                " (N, 1, H, W), none of them 0"
            )
        elif not is_image_dtype(array.dtype):
            problems.append(
                f"{place}: images of {array.dtype.name}, but must be uint8, float16, float32 or"
                " float64"
            )
        else:
            stacks[place] = array.reshape(sides)
    has_bytes = any(stack.dtype == np.uint8 for stack in stacks.values())
    problems += [
        f"{place}: images of {stack.dtype.name}, but of uint8 in another split; all must be uint8,"
        " or all must be floats"
        for place, stack in stacks.items()
        if has_bytes and stack.dtype != np.uint8
    ]
    if problems:
        return {}, problems, []
    return (stacks, [], []) if has_bytes else _floats(stacks)


def _floats(
    stacks: Mapping[str, NDArray[Any]],
) -> tuple[Mapping[str, Pixels], list[str], list[str]]:
    """As `image_arrays`, for floats: 0..255 if a value is above 1, in all splits."""
    problems, highest = [], {}
    for place, stack in stacks.items():
        low, high = float(stack.min()), float(stack.max())
        highest[place] = high
        if not (np.isfinite(low) and np.isfinite(high)):
            problems.append(f"{place}: images hold NaN or infinite values, but must be finite")
        elif impossible(low, high):
            problems.append(
                f"{place}: values in {low:g}..{high:g}, but floats must be in 0..1 or in 0..255"
            )
    if problems:
        return {}, problems, []
    top = max(highest.values())
    if top <= 1 + TOLERANCE:
        return {p: to_unit(s.astype(np.float32), "float 0..1") for p, s in stacks.items()}, [], []
    problems = [
        f"{place}: largest value {high:g}, but {top:g} in another split; all must be in 0..1, or"
        f" all in 0..255 with values of at least {LEAST_WIDE}"
        for place, high in highest.items()
        if high < LEAST_WIDE
    ]
    if problems:
        return {}, problems, []
    wide = {p: to_unit(s.astype(np.float32), "float 0..255") for p, s in stacks.items()}
    return wide, [], [f"float images up to {top:g} were read as 0..255 and divided by 255"]
