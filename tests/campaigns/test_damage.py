"""Damaged files of every kind in one run: made again or refused by name; nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.campaigns.conftest import Bench
from tests.campaigns.runs import files, trials_of
from tests.campaigns.test_kills import assert_undisturbed, finish, running, strike

pytestmark = pytest.mark.campaign

GARBAGE = b'{"torn'


def entries_of(run: Path, number: int) -> list[Path]:
    """The files of the weights in the store that are not those of the complete trials before."""
    found = {path.parent.name: path for path in (run / "store").rglob("final")}
    for trial in trials_of(run)[:number]:
        for stage in ("baseline", "fine_tune"):
            del found[trial["result"][stage]["key"][:32]]
    return list(found.values())


def test_everything_is_damaged(bench: Bench, full_campaign: bool) -> None:
    if not full_campaign:
        pytest.skip("in the full campaign only")
    run = bench.run("damaged")
    strike(bench, run, Bench.TRIALS, "stored:2")
    assert running(run) == [1]
    first, second = entries_of(run, 1)
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[: len(content) // 3])
    with (run / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code": 9, "trial')
    for name in ("status.json", "dataset/pack.json", "run.lock"):
        (run / name).write_bytes(GARBAGE)
    finish(bench, run)
    assert_undisturbed(run, bench)

    looks = (run / "looks.json").read_bytes()
    for name in ("looks.json", "retrain.json", "result.json", "best/bundle.json"):
        (run / name).write_bytes(GARBAGE)
    before = files(run)
    said = len(bench.starter.said())
    assert bench.starter(bench.command(run)) == 2
    last = bench.starter.said()[said:].splitlines()[-1]
    assert last.startswith(f"{run}/looks.json: is damaged")
    assert files(run) == before
    (run / "looks.json").write_bytes(looks)
    finish(bench, run)
    for name in ("retrain.json", "result.json"):
        assert (run / f"{name}.damaged").read_bytes() == GARBAGE
        json.loads((run / name).read_bytes())
    assert_undisturbed(run, bench)
