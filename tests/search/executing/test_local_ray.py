"""Options of a local Ray on machines of any kind, and the message if it does not start."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from shiftsearch.search.executing import local_ray as module
from shiftsearch.search.executing.faults import EnvironmentFault
from shiftsearch.search.executing.local_ray import local_ray
from shiftsearch.search.executing.session_folder import SessionFolder, session_folder

pytestmark = pytest.mark.integration

LONG = "/scratch/" + "a-long-project-name/" * 5


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """4 CPUs and 64 GiB, and none of Ray's variables set."""
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "available_cpus", lambda: 4)
    monkeypatch.setattr(module, "available_gpus", lambda: 2)
    monkeypatch.setattr(module, "available_memory", lambda: 64 * 2**30)
    return monkeypatch


def test_ray_gets_what_the_machine_grants(machine: pytest.MonkeyPatch) -> None:
    with local_ray() as options:
        assert (options["address"], options["num_cpus"], options["num_gpus"]) == ("local", 4, 2)
        assert options["_memory"] == 64 * 2**30
        assert options["object_store_memory"] == 100 * 2**20
    machine.setattr(module, "available_memory", lambda: 2**29)
    with local_ray() as options:
        assert 75 * 2**20 < options["object_store_memory"] < 100 * 2**20


@pytest.mark.parametrize(
    ("variable", "value", "folder"),
    [
        (None, "", "/tmp/ray"),
        ("TMPDIR", "/scratch/job", "/scratch/job/ray"),
        ("RAY_TMPDIR", "/scratch/job", "/scratch/job/ray"),
        ("TMPDIR", LONG, "/tmp/ray"),
        ("RAY_TMPDIR", LONG, "/tmp/ray"),
        ("TMPDIR", "/scratch/" + "ä" * 20, "/tmp/ray"),  # 29 characters, 49 bytes
    ],
)
def test_ray_s_folder_is_short_enough_for_its_sockets(
    machine: pytest.MonkeyPatch, variable: str | None, value: str, folder: str
) -> None:
    if variable:
        machine.setenv(variable, value)
    with local_ray() as options:
        assert options["_temp_dir"] == folder
        session = f"{folder}/session_2026-11-26_02-51-19_323129_{os.getpid()}"
        assert len(os.fsencode(f"{session}/sockets/plasma_store")) <= 107


def test_where_no_short_folder_can_be_written_the_variable_is_named(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.setenv("TMPDIR", LONG)
    absent = SessionFolder(None, session_folder(os.environ, [str(tmp_path / "absent")]).problem)
    machine.setattr(module, "session_folder", lambda _: absent)
    with pytest.raises(EnvironmentFault, match=r"^TMPDIR .* set RAY_TMPDIR"), local_ray():
        pass


def test_a_long_folder_of_temporary_files_leaves_out_the_dashboard(
    machine: pytest.MonkeyPatch,
) -> None:
    machine.setattr("importlib.util.find_spec", lambda name: object())  # it is installed
    for folder, starts in (("/tmp", True), (LONG, False)):
        machine.setattr("tempfile.gettempdir", lambda folder=folder: folder)
        with local_ray() as options:
            assert options["include_dashboard"] is starts


def test_ray_s_token_is_in_the_environment_not_in_the_home(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("HOME", "/nonexistent")
    with local_ray():
        first = os.environ["RAY_AUTH_TOKEN"]
    assert len(first) >= 32
    with local_ray():
        assert os.environ["RAY_AUTH_TOKEN"] == first  # Ray keeps the first that it read
    machine.delenv("RAY_AUTH_TOKEN")
    machine.setenv("RAY_AUTH_TOKEN_PATH", "/secret")  # the user's own choice stays
    with local_ray():
        assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/.ray"), "/.ray: Permission denied"),
        (Exception("timed out\n\nand more"), "timed out"),
        (ValueError("the port is taken"), "the port is taken"),
    ],
)
def test_a_failed_start_is_one_line_that_points_to_the_log(
    machine: pytest.MonkeyPatch, tmp_path: Path, error: Exception, said: str
) -> None:
    machine.setenv("RAY_TMPDIR", "/short")
    machine.setattr(module, "_folder", lambda _: tmp_path)
    logs = tmp_path / f"session_2026-11-26_02-51-19_323129_{os.getpid()}" / "logs"
    logs.mkdir(parents=True)
    machine.setattr("resource.getrlimit", lambda _: (128, 128))
    with pytest.raises(EnvironmentFault) as caught, local_ray():
        raise error
    line = str(caught.value)
    assert "\n" not in line
    assert said in line
    assert "ulimit -n" in line
    assert line.endswith(str(logs))
    assert "None" not in line
