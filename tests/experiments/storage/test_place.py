"""Where a run lies besides its folder: it keeps its place when it is moved, and has only one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shiftsearch.experiments.definition import DefinitionError, Experiment, build, dump, load
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.storage.place import Place, note_place, place_of, placed
from shiftsearch.model.remote_store import RemoteStore
from tests.conftest import SECRET
from tests.experiments.stored_runs import EXPERIMENT, stored_run

pytestmark = pytest.mark.unit

BASE = "s3://bucket/some/where?region=eu-west-1"
URL = "s3://bucket/some/where/my%20run?region=eu-west-1"


def asking(storage: str) -> Experiment:
    return build({**EXPERIMENT, "storage": storage}, "tests")


def test_a_new_run_lies_below_the_url_under_its_folder_s_name(tmp_path: Path) -> None:
    run = Run(tmp_path / "my run")
    assert placed(asking(BASE), run) == Place(BASE, URL)
    assert placed(asking(""), run) is None


def test_a_run_keeps_its_place_where_it_is_moved(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "my run")
    note_place(run, place := Place(BASE, URL, ("a.json", "b.json")))
    assert place_of(run) == place
    moved = Run(Path(shutil.move(run.folder, tmp_path / "another")))
    assert placed(asking(BASE), moved) == place
    assert placed(asking(""), moved) == place
    store = moved.store
    assert isinstance(store, RemoteStore)
    assert store.address == "s3://bucket/some/where/my%20run/store?region=eu-west-1"


@pytest.mark.parametrize("began_at", ["", "s3://other"])
def test_a_run_has_one_place(tmp_path: Path, began_at: str) -> None:
    run = stored_run(tmp_path / "my run")
    if began_at:
        note_place(run, Place(began_at, f"{began_at}/my%20run"))
    with pytest.raises(DefinitionError, match=r"^storage: this run is kept") as error:
        placed(asking(BASE), run)
    assert len(error.value.problems) == 1


def test_a_run_in_its_folder_has_its_store_there(tmp_path: Path) -> None:
    run = stored_run(tmp_path / "run")
    assert run.store.address == str(tmp_path / "run" / "store")


def test_the_key_comes_back_and_changes_no_identity() -> None:
    experiment = asking(BASE)
    assert f"storage: {BASE}" in dump(experiment)
    assert experiment.identity("d") == build(EXPERIMENT, "tests").identity("d")


@pytest.mark.parametrize(
    "url", [f"s3://key:{SECRET}@bucket/a", f"s3://bucket?secret_key={SECRET}&access_key=key"]
)
@pytest.mark.parametrize("override", [False, True])
def test_a_secret_in_the_url_is_refused_and_not_repeated(
    tmp_path: Path, url: str, override: bool
) -> None:
    (file := tmp_path / "mine.yaml").write_text("" if override else f"storage: {url}\n")
    with pytest.raises(DefinitionError) as error:
        load(str(file), [f"storage={url}"] * override)
    (line,) = error.value.problems
    assert "AWS_SECRET_ACCESS_KEY" in line
    assert SECRET not in line
    assert "key:" not in line
