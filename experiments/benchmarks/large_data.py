"""Memory of workers that share a large dataset, and the time to open it.

Two workers train one epoch of each stage at a time, on a small set and on one of 70,000 images per
split. The images are in a pack, which the workers of a node map into memory. The bounds say that a
worker's own memory grows by as much as two splits at most: by the part of TEST2 that is selected
on, labels, indices, and what the allocator does not give back.

The default network and frozen layers are used, whose outputs are not kept for so many images. Kept
outputs take at most `model.prefix.MOST_BYTES` more for each of two splits.

    python -m shiftsearch.experiments.benchmarks.large_data
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shiftsearch.data.cache import open_pack, save_pack
from shiftsearch.data.dataset import SPLITS, Dataset, Split
from shiftsearch.experiments.benchmarks.turns import Figure, print_figures
from shiftsearch.model.device import choose_device
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.store import open_store

SMALL, LARGE, SIDE, WORKERS = 3000, 70_000, 28, 2
"""The small set fills the largest batches, whose memory the number of images does not change."""
CLASSES = tuple("abcdef")
OPENING = 1.0
"""Bound of the time to open a pack, in seconds."""
ONE_EPOCH = {
    "baseline": {"max_epochs": 1},
    "fine_tune": {"max_epochs": 1},
}


@dataclass(frozen=True)
class Memory:
    """A process's memory, in MB.

    Attributes:
        own: most that no other process can have part of; pages of files do not count.
        share: most of what it used, with its part of what it shared.
        opening: seconds that it took to open the pack.
    """

    own: float
    share: float
    opening: float


def made_dataset(count: int) -> Dataset:
    """Noise with a bright column for each class; [count, SIDE, SIDE] uint8 in each split."""
    rng = np.random.default_rng(0)
    labels = np.sort(np.arange(count, dtype=np.int64) % len(CLASSES))
    splits = {}
    for name in SPLITS:
        images = rng.integers(0, 128, (count, SIDE, SIDE), np.uint8)
        images[np.arange(count), :, labels * 4 + 2] = 255
        splits[name] = Split(images, labels)
    return Dataset(CLASSES, splits)


def used() -> tuple[float, float]:
    """This process's own memory and its share, in MB."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value = line.split()[:2]
        fields[name] = float(value) * 1024 / 1e6
    return fields["Anonymous:"], fields["Pss:"]


def work(pack: Path, seed: int) -> Memory:
    """Open a pack, train an epoch of each stage, and tell the most memory that was used."""
    peaks, over = [used()], threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            peaks.append(used())

    watching = threading.Thread(target=look, daemon=True)
    device = choose_device(1)
    device.apply()
    begin = time.perf_counter()
    dataset = open_pack(pack)
    opening = time.perf_counter() - begin
    watching.start()
    protocol = Protocol.model_validate(ONE_EPOCH)
    data = prepare(dataset, protocol, device)
    store = open_store(str(pack.parent / f"store-{seed}"))
    run_protocol(ProtocolRun(Hyperparameters(), data, protocol, store, device, seed=seed))
    over.set()
    watching.join()
    print("ended", flush=True)
    sys.stdin.read()  # until all have ended: what they share would become the last one's own
    own, share = zip(*peaks, strict=True)
    return Memory(max(own), max(share), opening)


def workers(pack: Path) -> list[Memory]:
    """The memory of `WORKERS` processes that work at a time."""
    command = [sys.executable, "-m", "shiftsearch.experiments.benchmarks.large_data"]
    started = [
        subprocess.Popen(
            [*command, "--worker", str(seed), "--pack", str(pack)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seed in range(WORKERS)
    ]
    for one in started:
        if one.stdout is None or one.stdout.readline() != b"ended\n":
            raise RuntimeError("a worker has failed")
    return [Memory(**json.loads(one.communicate()[0])) for one in started]


def figures(large: int) -> list[Figure]:
    """What a worker needs for the images beyond what it needs anyway."""
    found, sizes = {}, {}
    for count in (SMALL, large):
        with tempfile.TemporaryDirectory() as folder:
            dataset = made_dataset(count)
            sizes[count] = sum(s.images.nbytes for s in dataset.splits.values()) / 1e6
            save_pack(dataset, Path(folder) / "pack")
            del dataset
            found[count] = workers(Path(folder) / "pack")
    own = {count: max(m.own for m in memory) for count, memory in found.items()}
    share = {count: sum(m.share for m in memory) for count, memory in found.items()}
    opening = max(m.opening for m in found[large])
    more, together = own[large] - own[SMALL], share[large] - share[SMALL]
    one, n = sizes[large] / len(SPLITS), f"{WORKERS} workers"
    whole = sizes[large] + WORKERS * 2 * one
    return [
        Figure("images per split", f"{large:,}", "1"),
        Figure("images as uint8, MB", f"{sizes[large]:.0f}", "1"),
        Figure(
            f"own memory of a worker with {SMALL} images per split, MB", f"{own[SMALL]:.0f}", n
        ),
        Figure(
            "more for the large set, MB", f"{more:.0f}", n, f"<= {2 * one:.0f}", more <= 2 * one
        ),
        Figure(
            f"more of {WORKERS} workers together, the images counted once, MB",
            *(f"{together:.0f}", n, f"<= {whole:.0f}", together <= whole),
        ),
        Figure("to open the pack, s", f"{opening:.3f}", n, f"< {OPENING:g}", opening < OPENING),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=LARGE, help="per split")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pack", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker is not None:
        print(json.dumps(vars(work(options.pack, options.worker))))
        return 0
    return print_figures(figures(options.images))


if __name__ == "__main__":
    sys.exit(main())
