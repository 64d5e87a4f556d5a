"""Where the folders of TensorBoard's runs lie: the ones that are shown first, and all others.

TensorBoard selects no run when it opens a folder with more than 40, and its pages are then empty.
So `RUN/tensorboard` holds the reference, the winner, and the best and the latest trials.
`RUN/tensorboard-all` holds the other trials and all replicates, and a link `shown` to the first
folder: `tensorboard --logdir RUN/tensorboard-all` has every run. A folder's name says whether its
trial is the reference or the winner: `trial-0017-winner`.

Folders are moved in one step. A file that is open in one is written further, and TensorBoard
follows within seconds.
"""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from shiftsearch.search.executing.jobs import Job
from shiftsearch.search.study.records import TrialRecord

BEST, LATEST = 12, 20
"""Numbers of trials that are shown; with reference, winner and the experiment below 40 runs."""
SHOWN = "shown"
"""The link in the second folder to the first."""
REFERENCE, WINNER = "reference", "winner"
_TRIAL = re.compile(r"trial-(\d+)((?:-reference)?(?:-winner)?)")
_REPLICATE = "retrain-*"


class Places:
    """The folders of the jobs of a run.

    Contract: only the driver moves folders.

    Args:
        shown: the folder that is shown first; it need not exist.

    Attributes:
        marks: by `REFERENCE` and `WINNER`, the number of the trial, if it is known.
    """

    def __init__(self, shown: Path) -> None:
        self.shown, self.others = shown, shown.with_name(f"{shown.name}-all")
        self._trials: dict[int, Path] = {}
        self._first: set[int] = set()  # the trials whose folders are shown first
        self._latest: list[int] = []
        self._best: dict[int, float] = {}
        self.marks: dict[str, int] = {}
        for folder in (self.others, shown):
            for path in sorted(folder.glob("trial-*")):
                self._note(path)
        self._replicates = [*shown.glob(_REPLICATE)]  # of an earlier version

    def _note(self, path: Path) -> None:
        found = _TRIAL.fullmatch(path.name)
        if found is not None:
            self._add(int(found[1]), path)
            self.marks |= dict.fromkeys(filter(None, found[2].split("-")), int(found[1]))

    def _add(self, number: int, path: Path) -> None:
        self._trials[number] = path
        if path.parent == self.shown:
            self._first.add(number)
        self._latest = sorted({*self._latest, number})[-LATEST:]

    def of_job(self, job: Job) -> Path:
        """The folder of a job that starts; a new trial's is shown at first."""
        if job.phase != "search":
            self._link()
            return self.others / job.name
        if job.role == REFERENCE:
            self.marks[REFERENCE] = job.number
        return self.of_trial(job.number)

    def of_trial(self, number: int) -> Path:
        """The folder of a trial, which need not exist."""
        if number not in self._trials:
            self._add(number, self.shown / self._name(number))
        return self._trials[number]

    def _name(self, number: int) -> str:
        marks = [mark for mark in (REFERENCE, WINNER) if self.marks.get(mark) == number]
        return "-".join([Job("search", number, 0, {}).name, *marks])

    def arrange(self, values: Mapping[int, float]) -> None:
        """Move every folder to its place, under the name that its marks give it.

        The time it takes does not grow with the number of trials.

        Args:
            values: see `can_win`; those that an earlier call was given may be left out.
        """
        while self._replicates:
            path = self._replicates.pop()
            self._move(path, self.others / path.name)
        known = {**self._best, **values}
        best = heapq.nsmallest(BEST, known, key=lambda number: (-known[number], number))
        self._best = {number: known[number] for number in best}
        shown = {*self.marks.values(), *best, *self._latest} & self._trials.keys()
        for number in sorted(self._first | shown):
            path, folder = self._trials[number], self.shown if number in shown else self.others
            target = folder / self._name(number)
            if path != target:
                if path.exists():
                    self._move(path, target)
                self._trials[number] = target
        self._first = shown

    def _move(self, path: Path, target: Path) -> None:
        self._link()
        path.rename(target)

    def _link(self) -> None:
        link = self.others / SHOWN
        if not link.is_symlink():
            self.others.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):  # a file system without links
                link.symlink_to(Path("..", self.shown.name), target_is_directory=True)


def can_win(trials: Sequence[TrialRecord]) -> dict[int, float]:
    """The objective of the complete trials that can win, by number."""
    return {t.number: t.value for t in trials if t.value is not None and not t.infeasible}


def mark_winner(shown: Path, number: int, trials: Sequence[TrialRecord]) -> None:
    """Mark the folder of the winning trial by its name; an earlier winner loses the mark.

    Args:
        shown: the folder that is shown first.
        number: the winner's.
        trials: the study's trials.
    """
    places = Places(shown)
    places.marks[WINNER] = number
    places.arrange(can_win(trials))
