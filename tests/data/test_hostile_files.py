"""Damaged and hostile files: each is read, or refused in lines that name it, within its memory.

`experiments.benchmarks.mutations` tries many more.
"""

from __future__ import annotations

import gzip
import io
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftsearch.data.dataset import DataError
from shiftsearch.data.expansion import FACTOR, FREE, overlarge
from shiftsearch.data.idx import read_idx
from shiftsearch.data.image_file import MAX_SIDE, read_image
from shiftsearch.data.npz import read_npz
from shiftsearch.experiments.benchmarks.mutated import (
    EDITS,
    Kind,
    edited,
    kinds,
    outcome,
    with_right_checksums,
)

pytestmark = [
    pytest.mark.unit,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Pillow warns of damaged files
]

NAMES = (
    *("npy", "npy of floats", "png", "png, palette", "png, alpha", "jpeg", "bmp"),
    *("tiff", "tiff, deflate", "idx", "idx, labels", "idx, gzip", "npz", "csv"),
    *("bundle.json", "safetensors"),
)
NUMBERS = st.integers(0, 1 << 30)


@pytest.fixture(scope="module")
def samples() -> dict[str, Kind]:
    return dict(kinds())


def test_every_kind_is_tried(samples: dict[str, Kind]) -> None:
    assert tuple(samples) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_good_file_is_read(samples: dict[str, Kind], name: str, tmp_path: Path) -> None:
    kind = samples[name]
    assert outcome(kind, tmp_path, kind.content) == ""
    assert outcome(kind, tmp_path, kind.repaired(kind.content)) == ""
    if kind.inner:
        assert outcome(kind, tmp_path, kind.inner[1](kind.inner[0])) == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused_by_name(
    samples: dict[str, Kind], name: str, tmp_path: Path
) -> None:
    kind = samples[name]
    refused = []

    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(
        edits=st.lists(
            st.tuples(st.integers(0, EDITS - 1), NUMBERS, NUMBERS), min_size=1, max_size=3
        ),
        is_inner=st.booleans(),
    )
    def try_one(edits: list[tuple[int, int, int]], is_inner: bool) -> None:
        inner = kind.inner if is_inner else None
        content = inner[0] if inner else kind.content
        for edit in edits:
            content = edited(content, *edit)
        content = inner[1](content) if inner else kind.repaired(content)
        line = outcome(kind, tmp_path, content)
        if line:
            refused.append(line)

    try_one()
    assert refused
    assert all(str(tmp_path) in line for line in refused)


def test_the_allowance_grows_with_the_file() -> None:
    assert overlarge(FREE, "bytes", 0) == ""
    assert f"declares {FREE + 1} bytes in a file of 7 bytes" in overlarge(FREE + 1, "bytes", 7)
    size = FREE // FACTOR * 2
    assert overlarge(FACTOR * size, "bytes", size) == ""
    assert overlarge(FACTOR * size + 1, "bytes", size)


def peak() -> int:
    """Most memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


def test_bombs_are_refused_before_they_expand(tmp_path: Path) -> None:
    """A gigabyte of zeros packs into a megabyte: far over `FACTOR`."""
    side = 32_768
    zeros = gzip.compress(bytes(1 << 22)) * 256  # gzip members follow each other
    start = b"\0\0\x08\x02" + struct.pack(">2I", side, side)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(start) + zeros)
    (tmp_path / "giant").write_bytes(b"\0\0\x0e\x04" + b"\xff" * 16)
    (tmp_path / "long.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x05") + zeros)
    head = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (1 << 28,)}
    np.lib.format.write_array_header_1_0(head, shape)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", head.getvalue() + bytes(1 << 25))
    before = peak()
    for name in ("bomb.gz", "giant", "long.gz"):
        with pytest.raises(DataError, match=rf"{name}: (shape .* declares|holds more bytes)"):
            read_idx(tmp_path / name)
    with pytest.raises(DataError, match=r"bomb\.npz: images: shape .* declares"):
        read_npz(tmp_path / "bomb.npz", ["images"])
    assert peak() - before < 40


def test_a_long_side_and_a_shape_of_booleans_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.zeros((1, MAX_SIDE + 1), np.uint8))
    head = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (True, 28)}
    np.lib.format.write_array_header_1_0(head, shape)  # type: ignore[arg-type]
    (tmp_path / "boolean.npy").write_bytes(head.getvalue() + bytes(28))
    for name, rule in (("long", rf"{MAX_SIDE + 1}x1 pixels"), ("boolean", r"shape \(True, 28\)")):
        with pytest.raises(DataError, match=rf"{name}\.npy: {rule}"):
            read_image(tmp_path / f"{name}.npy", (28, 28))


def test_right_checksums_let_a_changed_png_through_to_its_decoder(
    samples: dict[str, Kind], tmp_path: Path
) -> None:
    kind = samples["png"]
    content = bytearray(kind.content)
    content[20:24] = (27).to_bytes(4, "big")  # height
    assert outcome(kind, tmp_path, bytes(content)) != ""
    assert outcome(kind, tmp_path, with_right_checksums(bytes(content))) == ""
