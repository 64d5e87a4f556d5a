"""Read many mutated files: none may crash the program or take memory beyond the stated factor.

    python -m shiftsearch.experiments.benchmarks.mutations [--files 10000] [--seed 0]

Each file of a kind has one to four random edits. The peak of resident memory is reset before each
file (/proc/self/clear_refs, Linux), so its growth is that file's own. A file may take 20 bytes for
each pixel that `data.expansion` allows it.
"""

from __future__ import annotations

import argparse
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from shiftsearch.data.expansion import FACTOR, FREE
from shiftsearch.experiments.benchmarks.mutated import CHANGES, EDITS, Kind, edited, kinds, outcome

BYTES_PER_VALUE = 20
"""Most bytes of memory for each pixel or byte that a file may declare."""


def main() -> int:
    """Print a row for each kind; 1 if a file crashed the program or took too much memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow warns of damaged files
    found = kinds()
    each = -(-options.files // len(found))
    total: Counter[str] = Counter()
    print("| kind | files | read | refused | crashed | most MB | times the file | over |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for number, (name, kind) in enumerate(found.items()):
        rng = np.random.default_rng([options.seed, number])
        counts, most, factor = _tried(kind, each, rng)
        total += counts
        cells = [counts[key] for key in ("files", "read", "refused", "crashed")]
        print(f"| {name} | {' | '.join(map(str, cells))} |", end="")
        print(f" {most / 1e6:.1f} | {factor:.0f} | {counts['over']} |", flush=True)
    print(", ".join(f"{key} {total[key]}" for key in ("files", "read", "refused")), end=", ")
    print(f"crashed {total['crashed']}, over the memory allowed {total['over']}")
    return 1 if total["crashed"] or total["over"] else 0


def mutation(kind: Kind, rng: np.random.Generator) -> bytes:
    """A mutation of a file, or of what it packs, with one to four edits."""
    is_inner = kind.inner is not None and rng.random() < 0.5
    raw = kind.inner[0] if is_inner and kind.inner else kind.content
    for _ in range(rng.choice([1, 1, 2, 4])):
        edit = int(rng.choice(CHANGES) if rng.random() < 0.5 else rng.integers(EDITS))
        raw = edited(raw, edit, *rng.integers(1 << 30, size=2).tolist())
    if is_inner and kind.inner:
        return kind.inner[1](raw)
    return kind.repaired(raw) if rng.random() < 0.7 else raw


def _tried(kind: Kind, files: int, rng: np.random.Generator) -> tuple[Counter[str], int, float]:
    """Counts of outcomes, the most memory that a file took, in bytes, and its most by size."""
    counts: Counter[str] = Counter()
    most, factor = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        outcome(kind, Path(folder), kind.content)  # what is taken once is not the file's
        for _ in range(files):
            content = mutation(kind, rng)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            before = _resident("VmRSS")
            try:
                counts["refused" if outcome(kind, Path(folder), content) else "read"] += 1
            except Exception:
                counts["crashed"] += 1
                traceback.print_exc()
            grown = _resident("VmHWM") - before
            counts["files"] += 1
            counts["over"] += grown > BYTES_PER_VALUE * max(FREE, FACTOR * len(content))
            most, factor = max(most, grown), max(factor, grown / max(1, len(content)))
    return counts, most, factor


def _resident(field: str) -> int:
    """Resident memory of this process, now (VmRSS) or at its peak (VmHWM), in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    raise SystemExit(main())
