"""Files of each kind that the commands read, their mutations, and what reading one must do.

A mutated file is either read or refused by a line for each problem. Anything else is a fault of
the program. `tests/data/test_hostile_files.py` tries a few, `benchmarks.mutations` many.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from shiftsearch.data.dataset import SPLITS, Dataset, Split
from shiftsearch.data.image_file import read_image
from shiftsearch.data.import_sources import find_images
from shiftsearch.data.problems import ProblemsError
from shiftsearch.experiments.benchmarks.untrained import save_untrained
from shiftsearch.model.bundle_format import WEIGHTS, checksum
from shiftsearch.model.device import Device
from shiftsearch.model.loading import load_bundle

SIZE = (28, 28)
_EXTREMES = (
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0" * 4,
    b"\0\0\0\1",
    b"99999",
)
EDITS = 7 + len(_EXTREMES)
"""Number of kinds of edits."""
CHANGES = (4, 5)
"""The kinds that change one byte only, so that more of the file is still read."""


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        content: a good file.
        name: its name in the folder of a mutation.
        read: reads the folder with the file in it.
        others: the good files beside it, by name.
        repaired: the mutation with its checksums made right, so that it is not refused for these.
        inner: what is mutated in every second file, and how it is packed again; None: the content.
    """

    content: bytes
    name: str
    read: Callable[[Path], object]
    others: Mapping[str, bytes] = {}
    repaired: Callable[[bytes], bytes] = bytes
    inner: tuple[bytes, Callable[[bytes], bytes]] | None = None


def edited(raw: bytes, kind: int, place: int, value: int) -> bytes:
    """One edit of a file.

    Args:
        raw: the content; may be empty.
        kind: 0 to EDITS - 1.
        place: any number of at least 0; taken modulo the length, or near the start if it is odd.
        value: any number of at least 0, of which a byte or a length is made.
    """
    at = place % max(1, min(len(raw), 128) if place % 2 else len(raw))
    length = 1 + value % 64
    if kind == 0:
        return raw[:at]
    if kind == 1:
        return raw[:at] + raw[at + length :]
    if kind == 2:
        return raw[:at] + bytes([value % 256]) * length + raw[at:]
    if kind == 3:
        return raw[: at + length] + raw[at:]
    if kind == 4:
        return raw[:at] + bytes([value % 256]) + raw[at + 1 :]
    if kind == 5:
        return raw[:at] + bytes([(raw[at] if raw else 0) ^ (1 << value % 8)]) + raw[at + 1 :]
    if kind == 6:
        return raw[at:] + raw[:at]
    extreme = _EXTREMES[kind - 7]
    return raw[:at] + extreme + raw[at + len(extreme) :]


def outcome(kind: Kind, folder: Path, content: bytes) -> str:
    """Read a mutation in `folder`, which must exist: empty if it is read, else what is wrong.

    Raises:
        Exception: the program is at fault: it neither reads nor refuses the file.
    """
    for name, other in kind.others.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(other)
    (folder / kind.name).write_bytes(content)
    try:
        kind.read(folder)
    except ProblemsError as error:
        if any("\n" in line for line in error.problems):
            raise AssertionError(f"more than one line: {error.problems}") from error
        return error.problems[0]
    return ""


def kinds() -> Mapping[str, Kind]:
    """The kinds of files, by name; making them takes about a second."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=SIZE, dtype=np.uint8)
    result = {
        "npy": _npy(pixels),
        "npy of floats": _npy(pixels / 255),
        "png": _picture("a.png", Image.fromarray(pixels)),
        "png, palette": _picture("a.png", Image.fromarray(pixels).convert("P"), transparency=3),
        "png, alpha": _picture("a.png", Image.fromarray(pixels).convert("RGBA")),
        "jpeg": _picture("a.jpg", Image.fromarray(pixels).convert("RGB"), exif=_exif()),
        "bmp": _picture("a.bmp", Image.fromarray(pixels)),
        "tiff": _picture("a.tif", Image.fromarray(pixels), compression="tiff_lzw"),
        "tiff, deflate": _picture("a.tif", Image.fromarray(pixels), compression="tiff_deflate"),
    }
    return result | _imports(rng) | _bundle(rng)


def _npy(pixels: np.ndarray[Any, Any]) -> Kind:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return Kind(buffer.getvalue(), "a.npy", lambda folder: read_image(folder / "a.npy", SIZE))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _picture(name: str, image: Image.Image, **options: Any) -> Kind:
    buffer = io.BytesIO()
    Image.preinit()
    image.save(buffer, format=Image.registered_extensions()[Path(name).suffix], **options)
    is_png = name.endswith(".png")
    return Kind(
        buffer.getvalue(),
        name,
        lambda folder: read_image(folder / name, SIZE),
        repaired=with_right_checksums if is_png else bytes,
    )


def with_right_checksums(png: bytes) -> bytes:
    """A PNG file whose chunks have the checksum of what they hold, as far as they can be found."""
    result, at = bytearray(png), 8
    while at + 12 <= len(result):
        (length,) = struct.unpack_from(">I", result, at)
        end = at + 8 + length
        if end + 4 > len(result):
            break
        struct.pack_into(">I", result, end, zlib.crc32(result[at + 4 : end]))
        at = end + 4
    return bytes(result)


def _imports(rng: np.random.Generator) -> dict[str, Kind]:
    images = rng.integers(256, size=(6, *SIZE), dtype=np.uint8)
    labels = np.arange(6, dtype=np.uint8) % 2
    idx_images = b"\0\0\x08\x03" + struct.pack(">3I", *images.shape) + images.tobytes()
    idx_labels = b"\0\0\x08\x01" + struct.pack(">I", 6) + labels.tobytes()
    others = {f"{s}-{w}": x for s in SPLITS for w, x in _pair(idx_images, idx_labels)}
    npz = io.BytesIO()
    arrays = {f"{s}_{w}": a for s in SPLITS for w, a in _pair(images, labels)}
    np.savez_compressed(npz, **arrays)
    members = {name: _bytes_of(array) for name, array in arrays.items()}
    rows = [f"{s},{n % 2},{n}.png" for s in SPLITS for n in range(6)]
    lines = "\n".join(["split,label,path", *rows]).encode()
    packed = _zipped(members, "TRAIN_images")
    return {
        "idx": Kind(idx_images, "TRAIN-images", find_images, others),
        "idx, labels": Kind(idx_labels, "TRAIN-labels", find_images, others),
        "idx, gzip": Kind(
            gzip.compress(idx_images),
            "TRAIN-images",
            find_images,
            others,
            inner=(idx_images, gzip.compress),
        ),
        "npz": Kind(
            npz.getvalue(),
            "a.npz",
            lambda folder: find_images(folder / "a.npz"),
            inner=(members["TRAIN_images"], packed),
        ),
        "csv": Kind(lines, "a.csv", lambda folder: find_images(folder / "a.csv")),
    }


def _pair(images: Any, labels: Any) -> tuple[tuple[str, Any], ...]:
    return ("images", images), ("labels", labels)


def _bytes_of(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _zipped(members: Mapping[str, bytes], changed: str) -> Callable[[bytes], bytes]:
    """A function that packs the members with another content of one of them."""

    def pack(content: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, own in {**members, changed: content}.items():
                archive.writestr(f"{name}.npy", own)
        return buffer.getvalue()

    return pack


def _bundle(rng: np.random.Generator) -> dict[str, Kind]:
    size = (16, 16)
    labels = np.arange(12) % 3
    splits = {
        s: Split(rng.integers(256, size=(12, *size), dtype=np.uint8), labels) for s in SPLITS
    }
    with TemporaryDirectory() as folder:
        bundle = save_untrained(Path(folder, "best"), Dataset(("a", "b", "c"), splits))
        files = {path.name: path.read_bytes() for path in bundle.iterdir()}
    weights_name = WEIGHTS["after"]
    return {
        "bundle.json": Kind(files["bundle.json"], "bundle.json", _use_bundle, files),
        "safetensors": Kind(files[weights_name], weights_name, _use_bundle_whatever, files),
    }


def _use_bundle(folder: Path) -> None:
    """Load a bundle and predict an image."""
    bundle = load_bundle(folder)
    images = np.zeros((1, *bundle.record.preprocessing.size), np.uint8)
    bundle.predict_proba(images, Device("cpu", "float32", 1, "mutated bundle"))


def _use_bundle_whatever(folder: Path) -> None:
    """The same after the record has been given the checksum of the weights."""
    path = folder / "bundle.json"
    record = json.loads(path.read_bytes())
    name = WEIGHTS["after"]
    record["checksums"][name] = checksum((folder / name).read_bytes())
    path.write_text(json.dumps(record), encoding="utf-8")
    _use_bundle(folder)
