"""Damaged files of a run are named before anything is trained, and made again where possible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.cli import main
from shiftsearch.experiments.outcome.training import Training
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.experiments.soundness import damaged, mend
from tests.experiments.stored_runs import stored_run
from tests.made_results import made_result

pytestmark = pytest.mark.unit

GARBAGE = {
    "text": b"nonsense",
    "bytes": b"\xff\xfe\0\0",
    "zeros": b"\0" * 100,
    "cut off": b'[{"configuration": "win',
    "empty": b"",
    "null": b"null",
    "number": b"5",
    "numbers": b"[5]",
    "deep": b"[" * 100_000,
    "other keys": b'{"a": {"b": 1}}',
}
LOOK = {"configuration": "winner", "replicate": 1, "stage": "after", "purpose": "export"}


def whole_files(run: Run) -> None:
    trainings = {"k1": Training(made_result(0.5)).to_json(), "k2": Training(reason="x").to_json()}
    run.retrained.write_text(json.dumps(trainings))
    run.looks.write_text(json.dumps([LOOK]))
    result: dict[str, Any] = {"fingerprint": "f", "table": []}
    result |= {k: {} for k in ("winner", "reference", "search", "retrain", "environment")}
    run.result.write_text(json.dumps(result))


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("name", ["looks.json", "retrain.json", "result.json"])
def test_what_can_be_made_again_is_set_aside_and_the_looks_are_asked_for(
    tmp_path: Path, name: str, garbage: bytes
) -> None:
    run = Run(tmp_path)
    whole_files(run)
    assert damaged(run) == {}
    path = tmp_path / name
    path.write_bytes(garbage)
    (line,) = damaged(run).values()
    assert line.startswith(f"{path}: is damaged")
    assert "\n" not in line
    said: list[str] = []
    if name == "looks.json":
        with pytest.raises(NotARun, match=r"looks\.json: is damaged"):
            mend(run, said.append)
        assert path.read_bytes() == garbage
        assert said == []
        return
    mend(run, said.append)
    assert [line in text for text in said] == [True]
    assert (tmp_path / f"{name}.damaged").read_bytes() == garbage
    assert not path.exists()
    assert damaged(run) == {}


def test_nothing_is_set_aside_if_the_call_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for path in (run.looks, run.retrained):
        path.write_text("nonsense")
    with pytest.raises(NotARun):
        mend(run, lambda _: None)
    assert run.retrained.exists()


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_status_names_the_damage_and_is_not_stopped_by_a_damaged_status(
    tmp_path: Path, garbage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_run(tmp_path / "run", trials=1)
    assert main(["status", str(run.folder), "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert before["damage"] == []
    run.status.write_bytes(garbage)
    run.looks.write_bytes(garbage)
    assert main(["status", str(run.folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (line,) = found.pop("damage")
    assert line.startswith(f"{run.looks}: is damaged")
    assert found == {k: v for k, v in before.items() if k != "damage"}
    assert main(["status", str(run.folder)]) == 0
    assert f"{run.looks}: is damaged" in capsys.readouterr().out


def test_a_status_without_what_is_read_of_it_counts_as_none(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run", trials=1)
    written = {"schema": 1, "written": "2026-11-28T00:00:00+00:00", "process": {}}
    run.status.write_text(json.dumps(written))
    assert main(["status", str(run.folder)]) == 0
