"""Sizes and speed of a bundle in each format, and the time for a folder of image files.

    python -m shiftsearch.experiments.benchmarks.formats RUN/best [--turns 15] [--files 10000]

All on one core, in processor time, which other work on the machine changes less than time by the
clock. In each turn every format computes the same images, and ratios are within a turn. The
command's seconds include the start of Python and the import of torch.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from shiftsearch.data.image_file import read_image
from shiftsearch.data.tensors import changed
from shiftsearch.experiments.benchmarks.turns import Figure, in_turns, print_figures, spread
from shiftsearch.model.bundle import Bundle, together
from shiftsearch.model.calibration import tempered
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import BATCH
from shiftsearch.model.formats import FORMATS
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.parity import made_images

Run: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From raw images [N, H, W] to probabilities [N, classes]."""

OURS, PLAIN = "safetensors, as `predict` computes", "safetensors, as `load` gives it"
BATCHES: Mapping[int, int] = {1: 200, 256: 4}
"""By size of a batch, how many are computed in a turn."""
BOUND = 10.0
"""Most seconds for `FILES` files."""
FILES = 10_000


def runners(folder: Path, bundle: Bundle) -> dict[str, Run]:
    """The model on one thread, from the weights and from each further format in the folder."""
    device = Device("cpu", "float32", 1, "formats are compared on one core")
    networks, classifier = bundle.networks("after", device), bundle.classifier()

    def ours(images: NDArray[Any]) -> NDArray[np.float32]:
        batch = torch.tensor(images).unsqueeze(1)
        found = together(networks, lambda how: changed(batch, how.apply))
        return tempered(found, bundle.record.temperature)

    found: dict[str, Run] = {OURS: ours, PLAIN: _of_module(classifier)}
    if (file := folder / FORMATS["pt2"].file).is_file():
        found["pt2"] = _of_module(torch.export.load(file).module())
    if (file := folder / FORMATS["onnx"].file).is_file():
        import onnxruntime

        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, threads, providers=["CPUExecutionProvider"])
        found["onnx"] = lambda images: session.run(None, {"images": images})[0]
    return found


def _of_module(module: torch.nn.Module) -> Run:
    def run(images: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = module(torch.tensor(images)).numpy()
        return found

    return run


def sizes(folder: Path) -> list[Figure]:
    """The size of each file of the model."""
    names = ["model.safetensors", *(kind.file for kind in FORMATS.values())]
    return [
        Figure(f"{name}: MB", f"{(folder / name).stat().st_size / 1e6:.2f}", "1")
        for name in names
        if (folder / name).is_file()
    ]


def speeds(found: Mapping[str, Run], images: NDArray[Any], turns: int) -> list[Figure]:
    """Images per second of each runner by size of the batch, and over the first one's."""
    figures = []
    for size, count in BATCHES.items():
        batch = images[np.arange(size) % len(images)]
        sides = {name: _timed(run, batch, count) for name, run in found.items()}
        results = in_turns(sides, turns + 1)
        figures += _of(f"batch {size}: images/s", {n: r[1:] for n, r in results.items()})
    return figures


def _timed(run: Run, batch: NDArray[Any], count: int) -> Callable[[int], float]:
    def one(_: int) -> float:
        begin = time.process_time()
        for _ in range(count):
            run(batch)
        return len(batch) * count / (time.process_time() - begin)

    return one


def _of(
    what: str, results: Mapping[str, Sequence[float]], bound: float | None = None
) -> list[Figure]:
    base = next(iter(results.values()))
    figures = []
    for name, values in results.items():
        ratios = spread([v / b for v, b in zip(values, base, strict=True)])
        rule = "" if bound is None else f"median under {bound:g}"
        holds = bound is None or float(np.median(values)) < bound
        value = f"{spread(values, '.1f')}; ratio {ratios}"
        figures.append(Figure(f"{what}, {name}", value, f"{len(values)} turns", rule, holds))
    return figures


def of_files(
    folder: Path,
    bundle: Bundle,
    found: Mapping[str, Run],
    images: NDArray[Any],
    count: int,
    turns: int,
) -> list[Figure]:
    """Processor seconds for a folder of files: the command `predict`, then each runner."""
    figures = []
    for suffix in (".npy", ".png"):
        with tempfile.TemporaryDirectory() as place:
            files = _written(Path(place), images, count, suffix)
            sides: dict[str, Callable[[int], float]] = {
                "`shiftsearch predict`": partial(_command, folder, place)
            }
            sides |= {n: _read(bundle, files, run) for n, run in found.items() if n != PLAIN}
            results = in_turns(sides, turns)
        bound = BOUND * count / FILES if count >= FILES else None
        figures += _of(f"{count} {suffix} files: s", results, bound)
    return figures


def _written(place: Path, images: NDArray[Any], count: int, suffix: str) -> list[Path]:
    files = [place / f"{i:06}{suffix}" for i in range(count)]
    for i, file in enumerate(files):
        image = images[i % len(images)]
        np.save(file, image) if suffix == ".npy" else Image.fromarray(image).save(file)
    return files


def _command(folder: Path, place: str, _: int) -> float:
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    begin, code = spent(), "from shiftsearch.experiments.cli import main; raise SystemExit(main())"
    subprocess.run(
        [sys.executable, "-c", code, "predict", str(folder), place],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return spent() - begin


def _read(bundle: Bundle, files: Sequence[Path], run: Run) -> Callable[[int], float]:
    how = bundle.record.preprocessing

    def one(_: int) -> float:
        begin = time.process_time()
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            read = (read_image(file, how.size, how.scale, how.bits, how.aspect) for file in batch)
            run(np.stack([image.pixels for image in read]))
        return time.process_time() - begin

    return one


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether every bound holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="of a model of uint8 images")
    parser.add_argument("--turns", type=int, default=15, help="for the speeds, default 15")
    parser.add_argument("--files", type=int, default=FILES, help=f"default {FILES}")
    parser.add_argument("--file-turns", type=int, default=3, help="for the files, default 3")
    options = parser.parse_args(argv)
    bundle = load_bundle(options.bundle)
    images = made_images(bundle).images
    if images.dtype != np.uint8:
        parser.error(
            f"{options.bundle}: takes floats, but a PNG file of the benchmark holds uint8"
        )
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})  # of the command that is started, too
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = runners(options.bundle, bundle)
        figures = [*sizes(options.bundle), *speeds(found, images, options.turns)]
        figures += of_files(
            options.bundle, bundle, found, images, options.files, options.file_turns
        )
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
    return print_figures(figures)


if __name__ == "__main__":
    raise SystemExit(main())
