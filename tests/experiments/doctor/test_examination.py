"""The whole of `doctor` on a real Ray, and what it prints."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path

import pytest
from rich.console import Console

from shiftsearch.experiments.doctor import command
from shiftsearch.experiments.doctor.examination import Examination
from shiftsearch.experiments.exits import DONE, WRONG_INPUT
from shiftsearch.experiments.sections import ResourceRequest
from shiftsearch.model.remote import RemoteFolder
from shiftsearch.search.executing import tested
from tests.conftest import SECRET

pytestmark = pytest.mark.integration


def states(looked: Examination) -> dict[str, str]:
    return {finding.check: finding.state for finding in looked.findings}


def test_all_tiers_on_one_node(local_ray: Path, tiny_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    looked = Examination("auto", tiny_folder, run, {"RAY_AUTH_MODE": "disabled"})
    looked.look_at_machine()
    looked.look_at_data()
    looked.look_at_nodes()
    found = states(looked)
    of_node = ("packages of nodes", "memory of nodes", "disk of nodes", "ports of nodes")
    of_run = ("nodes", "versions", "gpus", "clocks", "trials at once", "run folder", "data")
    assert all(found[check] != "FAIL" for check in of_node)
    assert {found[check] for check in of_run} == {"PASS"}
    assert "answers" not in found
    assert len(looked.nodes) == 1
    assert not run.exists()
    assert [path.name for path in tmp_path.iterdir()] == [tiny_folder.name]
    looked.asked = ResourceRequest(cpus_per_trial=1000.0)
    looked.findings = looked.findings[:1]
    looked.look_at_nodes()
    assert states(looked)["trials at once"] == "FAIL"
    shown = json.dumps(command.document(looked))
    assert json.loads(shown)["checks"][0]["check"] == "packages"
    assert '"mark"' not in shown


def test_an_object_store_whose_secrets_only_the_driver_has(
    local_ray: Path, bucket: str, tmp_path: Path
) -> None:
    looked = Examination("auto", None, tmp_path / "run", os.environ, storage=bucket)
    looked.look_at_machine()
    looked.look_at_storage()
    assert states(looked)["object store"] == "PASS"
    assert RemoteFolder(bucket).files() == {}
    looked.look_at_nodes()
    assert states(looked)["object store of nodes"] == "FAIL"
    assert states(looked)["run folder"] == "PASS"
    assert SECRET not in json.dumps(command.document(looked))


def test_a_failed_tier_is_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Namespace(
        experiment=None,
        address="127.0.0.1:1",
        data=tmp_path,
        run=tmp_path / "run",
        storage=None,
        json=False,
    )
    console = Console(soft_wrap=True, width=200)
    assert command.doctor(options, console) == WRONG_INPUT
    printed = capsys.readouterr().out
    assert "FAIL data: " in printed
    assert "not looked at: Ray and its nodes" in printed
    options.data = None
    assert command.doctor(options, console) == WRONG_INPUT
    printed = capsys.readouterr().out
    assert "FAIL ray: --address 127.0.0.1:1: nothing answers there" in printed
    assert "not looked at" not in printed
    options.storage = "file:///proc/nowhere"
    assert command.doctor(options, console) == WRONG_INPUT
    printed = capsys.readouterr().out
    assert "FAIL object store: file:///proc/nowhere: nothing can be written" in printed
    assert "not looked at: Ray and its nodes" in printed
    options.storage = "ftp://host"
    with pytest.raises(command.INPUT_ERRORS) as caught:
        command.doctor(options, console)
    assert str(caught.value).startswith("storage: must begin with s3://")
    options.storage = None
    monkeypatch.setattr(Examination, "_look_at_ray", lambda self: None)
    monkeypatch.setattr(tested, "RAY", ("0.0.0", "9.0.0"))
    assert command.doctor(options, console) == DONE
    assert not (tmp_path / "run").exists()
