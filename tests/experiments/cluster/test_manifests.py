"""The files for clusters are what their readers accept: `ray up` and KubeRay."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from shiftsearch.experiments.parser import parser
from shiftsearch.search.executing.tested import RAY
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

FOLDER = REPOSITORY / "experiments" / "cluster"


@pytest.fixture
def cluster() -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / "cluster.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture
def job() -> dict[str, Any]:
    # One object: `kubectl delete -f rayjob.yaml` must not delete the volume with the run.
    (job,) = yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text(encoding="utf-8"))
    assert isinstance(job, dict)
    return job


@pytest.fixture
def volume() -> tuple[dict[str, Any], dict[str, Any]]:
    claim, pod = yaml.safe_load_all((FOLDER / "volume.yaml").read_text(encoding="utf-8"))
    return claim, pod


def ray_s_schema() -> Any:
    spec = importlib.util.find_spec("ray")  # does not import it
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    return json.loads((folder / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))


def test_ray_up_accepts_the_cluster(cluster: dict[str, Any]) -> None:
    jsonschema.validate(cluster, ray_s_schema())
    cluster["available_node_types"]["head"]["resource"] = {}  # a misspelt key is noticed
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster, ray_s_schema())


def test_the_head_trains_nothing_and_all_workers_are_there_at_once(
    cluster: dict[str, Any],
) -> None:
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    # A search never asks the autoscaler for a node, see `fit_resources`.
    workers = types["gpu_worker"]
    assert workers["min_workers"] == workers["max_workers"] == cluster["max_workers"] >= 1
    assert types["gpu_worker"]["resources"]["GPU"] == 1
    for kind in ("head", "worker"):
        *_, start = cluster[f"{kind}_start_ray_commands"]
        assert start.startswith("RAY_AUTH_MODE=token ray start")


def closed(required: str, optional: str = "", **properties: Any) -> dict[str, Any]:
    """A schema of an object with these keys only; `properties` are schemas of some of them."""
    names = (required + " " + optional).split()
    return {
        "type": "object",
        "required": required.split(),
        "properties": {name: properties.get(name, {}) for name in names},
        "additionalProperties": False,
    }


PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
AMOUNTS = {"type": "object", "additionalProperties": {"type": "string"}}
CONTAINER = closed(
    "name image resources volumeMounts",
    "ports lifecycle env command args",
    resources=closed("requests limits", requests=AMOUNTS, limits=AMOUNTS),
    volumeMounts={"type": "array", "items": closed("name mountPath")},
)
POD = closed(
    "spec",
    "metadata",
    spec=closed(
        "containers volumes",
        "terminationGracePeriodSeconds nodeSelector tolerations",
        containers={"type": "array", "minItems": 1, "items": CONTAINER},
        volumes={"type": "array", "items": closed("name", "persistentVolumeClaim emptyDir")},
        terminationGracePeriodSeconds={"type": "integer"},
    ),
)
COUNT = {"type": "integer", "minimum": 0}
WORKERS = closed(
    "groupName replicas minReplicas maxReplicas rayStartParams template",
    "numOfHosts idleTimeoutSeconds suspend scaleStrategy",
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=PARAMETERS,
    template=POD,
)
RAY_JOB = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    spec=closed(
        "entrypoint submissionMode backoffLimit activeDeadlineSeconds rayClusterSpec"
        " shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished runtimeEnvYAML submitterConfig submitterPodTemplate metadata"
        " entrypointNumCpus entrypointNumGpus entrypointResources jobId suspend",
        submissionMode={"const": "K8sJobMode"},
        backoffLimit={"type": "integer", "minimum": 1},
        activeDeadlineSeconds={"type": "integer", "minimum": 1},
        submitterConfig=closed("backoffLimit"),
        runtimeEnvYAML={"type": "string"},
        rayClusterSpec=closed(
            "rayVersion headGroupSpec workerGroupSpecs",
            "authOptions enableInTreeAutoscaling autoscalerOptions suspend",
            authOptions=closed("mode", mode={"enum": ["token", "disabled"]}),
            headGroupSpec=closed(
                "rayStartParams template", "serviceType", rayStartParams=PARAMETERS, template=POD
            ),
            workerGroupSpecs={"type": "array", "minItems": 1, "items": WORKERS},
        ),
    ),
)
"""The fields of KubeRay's v1 that such a job may have (ray-operator/apis/ray/v1)."""


def test_the_ray_job_has_the_fields_of_kuberay(job: dict[str, Any]) -> None:
    jsonschema.validate(job, RAY_JOB)
    for path in (
        ["spec"],
        ["spec", "rayClusterSpec"],
        ["spec", "rayClusterSpec", "headGroupSpec"],
    ):
        wrong = copy.deepcopy(job)
        at = wrong
        for key in path:
            at = at[key]
        at["backofLimit"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, RAY_JOB)


def test_the_ray_job_continues_one_run_on_a_shared_volume(job: dict[str, Any]) -> None:
    spec = job["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    # KubeRay pastes the line into `ray job submit -- LINE ;` (ray-operator, common/job.go, 1.5.1).
    shell, c, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, c) == ("bash", "-c")
    commands = [line.split() for line in script.split("&&")]
    assert [command[:2] for command in commands] == [
        ["shiftsearch", "doctor"],
        ["shiftsearch", "search"],
    ]
    for command in commands:
        options = parser().parse_args(command[1:])
        assert str(options.run).startswith("/shared/")
        assert options.address == "auto"
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"/shared", "/dev/shm"}
        claims = [
            v["persistentVolumeClaim"]["claimName"]
            for v in pod["volumes"]
            if "persistentVolumeClaim" in v
        ]
        assert claims == ["shiftsearch"]
    assert yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]


def test_files_are_copied_through_a_pod_on_the_job_s_volume(
    job: dict[str, Any], volume: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    claim, pod = volume
    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    jsonschema.validate({"spec": pod["spec"]}, POD)
    (mounted,) = pod["spec"]["volumes"]
    assert mounted["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (container,) = pod["spec"]["containers"]
    assert [m["mountPath"] for m in container["volumeMounts"]] == ["/shared"]
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert container["image"] == head["containers"][0]["image"]


def test_the_head_has_no_gpu_and_bears_a_spike(job: dict[str, Any]) -> None:
    spec = job["spec"]["rayClusterSpec"]
    head = spec["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == head["rayStartParams"]["num-gpus"] == "0"
    resources = head["template"]["spec"]["containers"][0]["resources"]
    assert "nvidia.com/gpu" not in resources["limits"]
    assert int(resources["limits"]["cpu"]) >= 2 * int(resources["requests"]["cpu"])
    (workers,) = spec["workerGroupSpecs"]
    worker = workers["template"]["spec"]
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert any("preemptible" in key for key in worker["nodeSelector"])


def test_versions_and_image(job: dict[str, Any]) -> None:
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == RAY[1]
    image = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert "wget" in image  # the probes of KubeRay run it in the container
    assert "[cluster]" in image
    assert re.search(r"^ARG TORCH=cpu$", image, re.MULTILINE)
