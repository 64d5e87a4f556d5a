"""The exit code of a submitted job, and Ray's own reader of the cluster's file."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from ray.job_submission import JobDetails, JobStatus, JobType

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.integration

FOLDER = REPOSITORY / "experiments" / "cluster"


@pytest.fixture(scope="module")
def submit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("submit", FOLDER / "submit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def details(status: JobStatus, code: int | None, **more: str) -> JobDetails:
    kind = JobType.SUBMISSION
    return JobDetails(type=kind, entrypoint="x", status=status, driver_exit_code=code, **more)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 2, 2),
        (JobStatus.FAILED, 3, 3),
        (JobStatus.FAILED, 75, 75),
        (JobStatus.FAILED, -9, 75),  # killed
        (JobStatus.FAILED, 137, 75),  # killed below a shell
        (JobStatus.STOPPED, None, 75),
    ],
)
def test_the_exit_code_is_that_of_the_search(
    submit: ModuleType, status: JobStatus, code: int | None, expected: int
) -> None:
    assert submit.exit_code(details(status, code)) == expected


@pytest.mark.parametrize(
    ("error", "node", "expected"),
    [
        ("RUNTIME_ENV_SETUP_FAILURE", {}, 1),
        ("JOB_SUPERVISOR_ACTOR_START_TIMEOUT", {}, 1),
        ("JOB_SUPERVISOR_ACTOR_DIED", {}, 75),
        ("JOB_SUPERVISOR_ACTOR_START_FAILURE", {}, 1),
        # Of a job that was running: its head was started anew.
        ("JOB_SUPERVISOR_ACTOR_START_FAILURE", {"driver_node_id": "0a"}, 75),
    ],
)
def test_a_job_without_an_exit_code_says_why(
    submit: ModuleType,
    error: str,
    node: dict[str, str],
    expected: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = details(JobStatus.FAILED, None, message="no such package", error_type=error, **node)
    assert submit.exit_code(job) == expected
    assert "no such package" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_1_and_one_message(
    submit: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit.main(["--address", "http://127.0.0.1:9", "--", "true"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1  # no traceback


def test_a_working_folder_is_code_without_data(submit: ModuleType, tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import _get_excludes

    code = ["net.py", "net/build/blocks.py", "net/runs/plan.py", "mine.yaml", "start.pt"]
    data = ["a.png", "x/b.JPG", "c.Jpeg", "d.bmp", "e.TIFF", "f.csv", "g.ubyte.gz", "h.npy"]
    data += [".git/config", ".venv/bin/python", "build/lib/net.py", "runs/mine/study.journal"]
    excluded = _get_excludes(tmp_path, list(submit.EXCLUDED))
    for name in code + data:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    left = {str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file()}
    assert {name for name in left if not excluded(tmp_path / name)} == set(code)


def test_ray_up_reads_the_cluster_s_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    read = prepare_config(yaml.safe_load((FOLDER / "cluster.yaml").read_text(encoding="utf-8")))
    validate_config(read)
    assert read["available_node_types"]["head"]["max_workers"] == 0
    assert read["max_workers"] == 4


def test_the_container_of_ray_up_is_a_shell() -> None:
    from ray.autoscaler._private.docker import docker_start_cmds

    docker = yaml.safe_load((FOLDER / "cluster.yaml").read_text(encoding="utf-8"))["docker"]
    image, name, options = docker["image"], docker["container_name"], docker["run_options"]
    line = docker_start_cmds("ubuntu", image, {}, name, options, "c", "/root", "docker")
    words = shlex.split(line)
    given = [w.removeprefix("--entrypoint=") for w in words if w.startswith("--entrypoint=")]
    built = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    (its_own,) = [x for x in built.splitlines() if x.startswith("ENTRYPOINT ")]
    process = given or json.loads(its_own.removeprefix("ENTRYPOINT "))
    process += words[words.index(image) + 1 :]
    assert subprocess.run([*process, "-c", "exit 7"], check=False).returncode == 7
