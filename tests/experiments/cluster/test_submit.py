"""The exit code of a submitted job, and Ray's own reader of the cluster's file."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
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


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 2, 2),
        (JobStatus.FAILED, 3, 3),
        (JobStatus.FAILED, 75, 75),
        (JobStatus.FAILED, -9, 75),  # killed
        (JobStatus.FAILED, None, 75),  # its supervisor was lost
        (JobStatus.STOPPED, None, 75),
    ],
)
def test_the_exit_code_is_that_of_the_search(
    submit: ModuleType, status: JobStatus, code: int | None, expected: int
) -> None:
    job = JobDetails(type=JobType.SUBMISSION, entrypoint="x", status=status, driver_exit_code=code)
    assert submit.exit_code(job) == expected


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
