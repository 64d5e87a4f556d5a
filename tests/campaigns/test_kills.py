"""kill -9 of the driver and of its workers: the finished run is the undisturbed one."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from shiftsearch.model.loading import load_bundle
from tests.campaigns.conftest import Bench
from tests.campaigns.runs import KILLED, check_whole, stored, story, trials_of

pytestmark = pytest.mark.campaign


def assert_undisturbed(run: Path, bench: Bench, extended: bool = False) -> None:
    """The run holds what the undisturbed one holds, bit for bit, and nothing besides.

    One that had ended with fewer trials, and was extended, may have retrained others as well.
    """
    check_whole(run, Bench.TRIALS)
    killed, wanted = story(run), story(bench.undisturbed())
    for growing in ("retrain", "store", "curves") if extended else ():
        killed[growing] = {k: v for k, v in killed[growing].items() if k in wanted[growing]}
    assert killed == wanted


def strike(bench: Bench, run: Path, trials: int, point: str) -> None:
    """Start the driver, which must die at the point."""
    code = bench.starter(bench.command(run, trials), point)
    assert code == KILLED, f"{point}: exit code {code}\n{bench.starter.said()}"


def finish(bench: Bench, run: Path, trials: int = Bench.TRIALS, *more: str) -> None:
    """Start the driver, which must come to the end."""
    code = bench.starter(bench.command(run, trials, *more))
    assert code == 0, bench.starter.said()


def running(run: Path) -> list[int]:
    return [t["number"] for t in trials_of(run) if t["state"] == "RUNNING"]


def test_killed_at_named_points(bench: Bench, full_campaign: bool) -> None:
    """One run, killed in every phase of its life, extended, killed in the exchange of models.

    In short only while a question is written, between the stages and in that exchange.
    """
    run, fewer = bench.run("named"), Bench.TRIALS - 1
    if full_campaign:
        for point in ("locking:1", "opening:1", "enqueueing:1"):
            strike(bench, run, fewer, point)
    strike(bench, run, fewer, "asking:1")  # with half of trial 1's parameters written
    assert running(run) == [1]
    assert len(trials_of(run)[1]["drawn"]) == 2
    strike(bench, run, fewer, "between-stages:1")
    assert running(run) == [1]
    assert len(stored(run)) == 3, "the reference's two stages and the baseline of trial 1"
    if full_campaign:
        strike(bench, run, fewer, "stored:1")
        assert running(run) == [1]
        assert len(stored(run)) == 4, "both stages of trial 1, which the study does not know"
        strike(bench, run, fewer, "retraining:1")
        check_whole(run, fewer)
        assert not (run / "retrain.json").exists()
    strike(bench, run, fewer, "exported:1")
    check_whole(run, fewer)
    assert not (run / "result.json").exists()
    exported = load_bundle(run / "best").record
    strike(bench, run, Bench.TRIALS, "swapping:1")
    assert not (run / "best").exists()
    assert load_bundle(run / "best").record == exported, "the model before, whole"
    finish(bench, run)
    assert_undisturbed(run, bench, extended=True)


def test_killed_at_the_other_points(bench: Bench, full_campaign: bool) -> None:
    if not full_campaign:
        pytest.skip("in the full campaign only")
    run = bench.run("others")
    points = ["asked:1", "epoch:2", "telling:1", "told:1", "asked:2", "journal:3"]
    points += ["retrained:1", "recorded:1", "exporting:1", "writing:1", "writing:3", "concluded:1"]
    for point in points:
        strike(bench, run, Bench.TRIALS, point)
    finish(bench, run)
    assert_undisturbed(run, bench)


def test_killed_while_weights_are_removed(bench: Bench, full_campaign: bool) -> None:
    """With one best trial kept: what is left is bit for bit a part of what is left with all."""
    if not full_campaign:
        pytest.skip("in the full campaign only; in short in tests/experiments/test_collector.py")
    run, one = bench.run("removal"), ("--set", "keep=1")
    for point in ("removing:1", "removed:1"):
        code = bench.starter(bench.command(run, Bench.TRIALS, *one), point)
        assert code == KILLED, bench.starter.said()
    finish(bench, run, Bench.TRIALS, *one)
    check_whole(run, Bench.TRIALS)
    collected, whole = story(run), story(bench.undisturbed())
    for same in ("trials", "retrain", "curves"):
        assert collected[same] == whole[same]
    assert collected["store"].items() < whole["store"].items()
    tuned = {t["number"]: t["result"]["fine_tune"]["key"][:32] for t in trials_of(run)}
    gone = [n for n, course in tuned.items() if f"{course}/final" not in collected["store"]]
    best = max(trials_of(run), key=lambda t: (t["value"], -t["number"]))["number"]
    assert set(gone) == set(tuned) - {0, best}
    models = []
    for of in (run, bench.undisturbed()):
        model = of.parent / f"{of.name}-model"
        export = ["export", of, "--trial", gone[0], "--to", model, "--format", "none"]
        assert bench.starter([str(part) for part in export]) == 0, bench.starter.said()
        models.append([path.read_bytes() for path in sorted(model.glob("*.safetensors"))])
    assert models[0] == models[1]
    again = ["retrain", str(run), "--trial", str(gone[1]), "--own-seed"]
    assert bench.starter(again) == 0, bench.starter.said()
    assert "are equal, bit for bit" in bench.starter.said()


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random(bench: Bench, full_campaign: bool, seed: int) -> None:
    """Two trials at once; before a write to the journal, or at any moment."""
    if not full_campaign:
        pytest.skip("in the full campaign only")
    rng, run = random.Random(seed), bench.run(f"random-{seed}")
    at_once = ("--set", "resources.concurrency=2")
    for _ in range(5):
        point = rng.choice([f"journal:{rng.randint(1, 10)}", f"seconds:{rng.uniform(0, 20):.1f}"])
        code = bench.starter(bench.command(run, Bench.TRIALS, *at_once), point)
        assert code in (KILLED, 0), bench.starter.said()  # 0: over before the strike
    finish(bench, run, Bench.TRIALS, *at_once)
    assert_undisturbed(run, bench)


def test_tpe_killed_after_its_start_up(bench: Bench, full_campaign: bool) -> None:
    """At concurrency 1 the sampler makes the same suggestions as in an undisturbed run."""
    if not full_campaign:
        pytest.skip("in the full campaign only")
    trials, runs = 14, [bench.run("tpe-undisturbed"), bench.run("tpe-killed")]
    tpe = ("--set", "sampler=tpe")
    rng = random.Random(0)
    for point in ("journal:25", *(f"journal:{rng.randint(3, 12)}" for _ in range(3))):
        assert bench.starter(bench.command(runs[1], trials, *tpe), point) == KILLED
    for run in runs:
        finish(bench, run, trials, *tpe)
        check_whole(run, trials)
    undisturbed, killed = map(story, runs)
    assert killed == undisturbed


@pytest.mark.parametrize("seed", range(2))
def test_workers_killed(bench: Bench, full_campaign: bool, seed: int) -> None:
    """Lost workers cost time, not numbers: before, within and between stages, in both phases."""
    if not full_campaign:
        pytest.skip("in the full campaign only")
    rng, run = random.Random(seed), bench.run(f"workers-{seed}")
    epochs = rng.sample(range(2, 30), 2)
    strikes = [f"epoch:{n}:workers" for n in epochs] + ["retraining:1:workers", "asked:2:workers"]
    at_once = ("--set", f"resources.concurrency={1 + seed}")
    code = bench.starter(bench.command(run, Bench.TRIALS, *at_once), *strikes)
    assert code == 0, bench.starter.said()
    assert any(t["losses"] for t in trials_of(run))
    assert_undisturbed(run, bench)


def test_a_killed_driver_leaves_no_process(bench: Bench, full_campaign: bool) -> None:
    if not full_campaign:
        pytest.skip("in the full campaign only")
    run = bench.run("left-over")
    bench.undisturbed()
    strike(bench, run, Bench.TRIALS, "epoch:2")
    deadline = time.monotonic() + 90
    while (left := bench.starter.left_over()) and time.monotonic() < deadline:
        time.sleep(1)
    assert not left
