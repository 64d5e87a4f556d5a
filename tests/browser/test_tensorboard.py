"""What TensorBoard serves of a real run, while it runs and afterwards, held to `trials.csv`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.watched_run import TRIALS, Watched, metrics_of, status_of

pytestmark = pytest.mark.browser

SEARCHED = {
    "baseline.learning_rate": {"minValue": 1e-3, "maxValue": 1.0},
    "baseline.weight_decay": [0.0, 10.0],
    "baseline.dropout": {"minValue": 0.2, "maxValue": 0.6},
    "fine_tune.learning_rate": {"minValue": 1e-4, "maxValue": 1e-2},
    "fine_tune.frozen_layers": {"minValue": 0.0, "maxValue": 3.0},
}
"""Name to domain, as the HParams tab says it."""
BESIDE = {"role", "branch_of"}
METRICS = {
    "state",
    *(f"final/{s}_accuracy_{when}" for s in ("test", "test2") for when in ("before", "after")),
}
STATES = {"running": 0, "complete": 1, "pruned": 2, "fail": 3}
STATUSES = {"complete": "SUCCESS", "pruned": "SUCCESS", "fail": "FAILURE"}
"""There is no status for pruned ones: `state` tells them apart."""
CURVES = {
    "accuracy/{stage}/train",
    "accuracy/{stage}/validation",
    "{stage}/train_loss",
    "{stage}/validation_loss",
    "{stage}/learning_rate",
    "{stage}/images_per_second",
}
SECONDS = 5.0
"""Within which a point must be shown; TensorBoard itself looks every second here."""
MEGABYTES = 3.0
"""A trial may take."""


def test_the_run_has_one_trial_of_each_kind(watched: Watched) -> None:
    """What the tests below have to go by."""
    rows = watched.rows().values()
    states = [row["state"] for row in rows]
    assert states.count("complete") + states.count("pruned") == TRIALS, watched.said
    assert {"pruned", "fail"} < set(states), watched.said
    assert {row["role"] for row in rows} == {"reference", "point", "sampled"}
    assert any("branch_of" in row for row in rows)


def test_the_hparams_tab_is_right_from_the_first_moment(watched: Watched) -> None:
    """All columns before the first trial ends, and never others."""
    shown = [sight for sight in watched.sights if sight.columns or sight.sessions]
    assert {frozenset(sight.columns) for sight in shown} == {frozenset({*SEARCHED, *BESIDE})}
    assert len({frozenset(sight.metrics) for sight in shown}) == 1
    early = [
        s for s in shown if all(status == "STATUS_UNKNOWN" for status, _ in s.sessions.values())
    ]
    assert early, "no columns until a trial had ended"


def is_open(shown: object) -> bool:
    """Whether a status or a `state` says that the trial runs."""
    return shown in ("STATUS_UNKNOWN", None, 0.0)


def test_trials_are_shown_while_they_run(watched: Watched) -> None:
    """Every trial that ran for a while was seen to, and none that ended is shown as running."""
    long = {name for name, row in watched.rows().items() if row["seconds"] > 3}
    assert long, "no trial ran long enough to be seen"
    for name in long:
        assert any(sight.is_running(name) for sight in watched.sights), f"{name} was not seen"
    for sight in watched.sights:
        running = [name for name in sight.sessions if sight.is_running(name)]
        # One at a time; the next may be there before TensorBoard has seen the end of the last.
        assert len(running) <= 2, running
    # TensorBoard reads on while it answers, so the two may be of two moments, but not for long.
    torn = [
        {n for n, (status, state) in sight.sessions.items() if is_open(status) != is_open(state)}
        for sight in watched.sights
    ]
    for sight, then in zip(torn, [*torn[1:], set()], strict=True):
        assert not sight & then, "a status and `state` that disagree for longer than a look"
    assert not torn[-1]
    assert not any(watched.sights[-1].is_running(name) for name in watched.rows())


def test_points_are_shown_within_seconds(watched: Watched) -> None:
    assert len(watched.delays) > 20, "hardly a point was seen while its trial ran"
    late = {point: delay for point, delay in watched.delays.items() if delay > SECONDS}
    assert not late
    assert min(watched.delays.values()) >= 0


def test_the_columns_have_types_domains_and_descriptions(watched: Watched) -> None:
    experiment = watched.tensorboard.experiment()
    infos = {info["name"]: info for info in experiment["hparamInfos"]}
    assert set(infos) == {*SEARCHED, *BESIDE}
    for name, domain in SEARCHED.items():
        assert infos[name]["type"] == "DATA_TYPE_FLOAT64", name
        kind = "domainInterval" if isinstance(domain, dict) else "domainDiscrete"
        assert infos[name][kind] == domain, name
    assert all(infos[name]["type"] == "DATA_TYPE_STRING" for name in BESIDE)
    assert all(info["description"] for info in infos.values())
    metrics = {info["name"]["tag"]: info["description"] for info in experiment["metricInfos"]}
    assert set(metrics) >= METRICS
    assert all(
        f"{number} {state}" in metrics["state"]
        for state, number in (("running", 0), ("complete", 1), ("pruned", 2), ("failed", 3))
    )


def test_every_trial_is_a_row_as_in_trials_csv(watched: Watched) -> None:
    rows = watched.rows()
    groups = watched.tensorboard.sessions([*SEARCHED, *BESIDE])
    assert set(groups) == set(rows)
    for name, row in rows.items():
        group = groups[name]
        assert status_of(group) == f"STATUS_{STATUSES[row['state']]}", name
        for searched in SEARCHED:
            assert group["hparams"][searched] == pytest.approx(row[searched], rel=1e-6), name
        branch_of = str(int(row["branch_of"])) if "branch_of" in row else "none"
        beside = {"role": row["role"], "branch_of": branch_of}
        assert set(group["hparams"]) == {*SEARCHED, *beside}
        assert beside.items() <= group["hparams"].items(), name


def expected(row: Mapping[str, Any], tag: str) -> float | None:
    """A metric's value in a row of `trials.csv`, whose column is the tag's last part."""
    if tag == "state":
        return STATES[row["state"]]
    return row.get(tag.rpartition("/")[2])


def test_every_metric_is_that_of_trials_csv(watched: Watched) -> None:
    """Within float32, of which event files are made; what a trial does not have is not there."""
    tags = {info["name"]["tag"] for info in watched.tensorboard.experiment()["metricInfos"]}
    groups = watched.tensorboard.sessions([*SEARCHED, *BESIDE])
    for name, row in watched.rows().items():
        wanted = {tag: value for tag in tags if (value := expected(row, tag)) is not None}
        found = metrics_of(groups[name])
        assert set(found) == set(wanted), name
        for tag, value in wanted.items():
            assert found[tag] == pytest.approx(value, rel=1e-6), f"{name} {tag}"


def test_curves_have_every_epoch(watched: Watched) -> None:
    """Of each stage of each complete trial, and of each of a pruned one's rungs."""
    tags = watched.tensorboard.tags("scalars")
    for name, row in watched.rows().items():
        stages = {s: row[f"{s}_epochs"] for s in ("baseline", "fine_tune") if f"{s}_epochs" in row}
        if row["state"] == "pruned":
            rung = int(row["stopped_at"])
            stages = {"baseline": rung, f"rung_{rung}": None}
        for stage, epochs in stages.items():
            assert tags[name] >= {curve.format(stage=stage) for curve in CURVES}, (name, stage)
            steps = [s for _, s, _ in watched.tensorboard.points(name, f"{stage}/train_loss")]
            assert steps == list(range(1, len(steps) + 1)), (name, stage)
            assert epochs in (None, len(steps)), (name, stage)


def opened(png: bytes) -> Image.Image:
    """A picture with something on it."""
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    assert np.ptp(np.asarray(image.convert("L"))) > 100, "an empty picture"
    return image


def test_complete_trials_have_confusion_matrices(watched: Watched) -> None:
    tags = watched.tensorboard.tags("images")
    for name, row in watched.rows().items():
        found = {tag for tag in tags.get(name, ()) if "confusion" in tag}
        wanted = {
            f"confusion/{split}_{when}"
            for split in ("test", "test2")
            for when in ("before", "after")
        }
        assert found == (wanted if row["state"] == "complete" else set()), name
        for tag in found:
            (png,) = watched.tensorboard.images(name, tag)
            assert min(opened(png).size) > 100


def test_the_winner_is_explained(watched: Watched) -> None:
    """Samples, feature maps of each block, confusion, and each layer's change by fine-tuning."""
    tensorboard = watched.tensorboard
    wanted = {f"samples/{split}" for split in ("TRAIN", "TEST", "TEST2")}
    wanted |= {f"feature_maps/{shown}" for shown in ("input", "block_1", "block_2", "block_3")}
    wanted |= {f"confusion/test2_{when}" for when in ("before", "after")}
    assert tensorboard.tags("images")["winner"] >= wanted
    for tag in wanted:
        (png,) = tensorboard.images("winner", tag)
        opened(png)
    winner = json.loads(watched.run.result.read_text())["winner"]["configuration"]
    frozen = winner["fine_tune.frozen_layers"]
    similarity = [value for _, _, value in tensorboard.points("winner", "representation/cka")]
    assert len(similarity) == 5, "three blocks, the dense layer and the head"
    assert similarity[:frozen] == pytest.approx([1.0] * frozen, abs=1e-3), "frozen layers"
    assert 0 <= min(similarity) < max(similarity[frozen:]) < 1 - 1e-6, "trained layers"


def test_a_trial_takes_few_megabytes(watched: Watched) -> None:
    for folder in watched.run.tensorboard.iterdir():
        size = sum(p.stat().st_size for p in folder.rglob("*")) if folder.is_dir() else 0
        assert size < MEGABYTES * 1e6, folder.name
