"""Decode the picture files of a set together: in one size, and 16-bit files with one white."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from shiftsearch.data.dataset import DataError
from shiftsearch.data.fitting import DEFAULT_ASPECT, Aspect, Size, said_of_sizes
from shiftsearch.data.image_file import Decoded, declared_size, deepest_value, read_image
from shiftsearch.data.npy_image import MIN_SIDE
from shiftsearch.data.problems import named
from shiftsearch.data.scale import FULL_BITS, Bits, Pixels, bits_of

_CHOOSE = "choose one with --size N or --size HxW, or with images.size in an experiment file"


@dataclass
class Pictures:
    """The decoded files of a set.

    Attributes:
        images: each image, [H, W] uint8, by its place; only those that could be read.
        bits: significant bits of the 16-bit gray files; None without such.
        problems: one line for each file that could not be read.
        warnings: one line for each thing the user should know.
    """

    images: dict[str, Pixels] = field(default_factory=dict)
    bits: Bits | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def declared_sizes(files: Sequence[Path]) -> list[Size]:
    """The sizes of the picture files that declare one."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [size for size in pool.map(declared_size, files) if size is not None]


def common_size(source: Path, sizes: Sequence[Size]) -> Size:
    """The one size that all images of a source have.

    Raises:
        DataError: they differ, or are too small.
    """
    counts = Counter(sizes).most_common()
    if len(counts) > 1:
        listed = named([f"{h}x{w} ({count})" for (h, w), count in counts], most=4)
        raise DataError([f"{source}: images of {len(counts)} sizes: {listed}; {_CHOOSE}"])
    size = counts[0][0] if counts else (MIN_SIDE, MIN_SIDE)  # no file can be read, which is told
    if min(size) < MIN_SIDE:
        height, width = size
        rule = f"height and width must be at least {MIN_SIDE}"
        raise DataError([f"{source}: images of {height}x{width}, but {rule}; {_CHOOSE}"])
    return size


def read_pictures(
    places: Mapping[str, Path],
    size: Size,
    aspect: Aspect = DEFAULT_ASPECT,
    bits: Bits | None = None,
) -> Pictures:
    """Decode picture files, see `data.image_file.read_image`.

    Args:
        places: the files, by any name.
        size: height and width of all results, pixels.
        aspect: what happens to images of another aspect ratio, see `data.fitting`.
        bits: significant bits of 16-bit gray files; None: as many as their largest value needs.
    """
    found = Pictures()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if bits is None:
            found.bits, found.warnings = _depth(list(pool.map(deepest_value, places.values())))
        else:
            found.bits = bits

        def read(path: Path) -> Decoded | DataError:
            try:
                return read_image(path, size, bits=found.bits or FULL_BITS, aspect=aspect)
            except DataError as error:
                return error

        results = dict(zip(places, pool.map(read, places.values()), strict=True))
    read_ones = {p: one for p, one in results.items() if isinstance(one, Decoded)}
    found.images = {place: one.pixels for place, one in read_ones.items()}
    found.problems = [
        line for one in results.values() if isinstance(one, DataError) for line in one.problems
    ]
    sizes = ((str(places[place]), one.shape) for place, one in read_ones.items())
    if line := said_of_sizes(sizes, len(read_ones), size, aspect):
        found.warnings.append(line)
    through = [str(places[p]) for p, one in read_ones.items() if one.is_transparent]
    if through:
        found.warnings.append(
            "images with transparent pixels, which were laid over black:"
            f" {len(through)}: {named(through)}"
        )
    return found


def _depth(found: Sequence[tuple[int | None, bool]]) -> tuple[Bits | None, list[str]]:
    """The significant bits of the set's 16-bit gray files, and lines about its 16-bit files."""
    values = [value for value, _ in found if value is not None]
    coloured = sum(is_coloured for _, is_coloured in found)
    warnings = []
    if values:
        bits = bits_of(max(values))
        if bits < FULL_BITS:
            warnings.append(
                f"16-bit gray files: {len(values)}, with values up to {max(values)}. They were"
                f" read as {bits}-bit images, where {2**bits - 1} is white; `predict` will read"
                " such files in the same way"
            )
    if coloured:
        warnings.append(
            f"files with colour or transparency and 16 bits per channel: {coloured}; the"
            " upper 8 bits were kept"
        )
    return bits_of(max(values)) if values else None, warnings
