"""The Slurm script, with stand-ins for srun, scontrol, ray and the search."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

SCRIPT = REPOSITORY / "experiments" / "cluster" / "slurm.sh"
# A sleeper that outlives its parent must not keep the standard error open that a test reads.
STANDS_IN = {
    # Runs the command here: on the node of --nodelist, or on all others.
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "scontrol": '[ "$1" = show ] && printf "node-%s\\n" 1 2 || echo "scontrol $*" >> "$LOG"',
    "hostname": "echo 10.0.0.7 172.17.0.1",
    # Waits for the nodes.
    "python3": """
        cat > /dev/null
        [ "$CODE" != no-ray ] || exec sleep 60 2> /dev/null
        until [ "$(grep --count '^ray start' "$LOG")" = 2 ]; do sleep 0.02; done""",
    "ray": """
        echo "ray $*" >> "$LOG"
        [ "$CODE" != no-ray ] || exit 9
        trap 'kill $!; exit 0' TERM
        sleep 60 2> /dev/null & wait""",
    "shiftsearch": """
        echo "token ${RAY_AUTH_MODE}${#RAY_AUTH_TOKEN}" >> "$LOG"
        echo "shiftsearch $*" >> "$LOG"
        trap 'kill $!; sleep 0.3; exit 75' TERM
        [ "$CODE" = wait ] || exit "$CODE"
        sleep 60 2> /dev/null & wait""",
}


class Job:
    """A Slurm job on two nodes, in a folder of stand-ins."""

    def __init__(self, folder: Path, code: str, number: int = 4_194_303) -> None:
        for name, body in STANDS_IN.items():
            file = folder / name
            file.write_text(f"#!/bin/bash\n{body}\n")
            file.chmod(0o755)
        self.log = folder / "log"
        self.log.touch()
        environment = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "LOG": str(self.log),
            "CODE": code,
            "RUN": "/shared/runs/my run",
            "SLURM_JOB_ID": str(number),
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_JOB_NODELIST": "node-[1-2]",
            "SLURM_CPUS_PER_TASK": "8",
            "SLURM_GPUS_ON_NODE": "1",
        }
        command = ["bash", str(SCRIPT), "mine.yaml", "--data", "/shared/images"]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)

    def lines(self, start: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(start)]

    def end(self) -> int:
        return self.process.wait(timeout=15)


def test_it_starts_head_workers_and_one_search(tmp_path: Path) -> None:
    job = Job(tmp_path, "0")
    assert job.end() == 0
    assert job.process.stderr is not None
    assert job.process.stderr.read() == b""
    head, worker = sorted(job.lines("ray start"), key=lambda line: "--head" not in line)
    port = 10000 + 4_194_303 % 160 * 120
    assert f"--head --block --node-ip-address=10.0.0.7 --port={port} " in head
    assert f"--block --address=10.0.0.7:{port} " in worker
    assert "--num-cpus=8 --num-gpus=1" in head
    assert job.lines("shiftsearch") == [
        "shiftsearch search mine.yaml --data /shared/images --run /shared/runs/my run"
        f" --address 10.0.0.7:{port}"
    ]
    assert job.lines("token") == ["token token64"]
    assert job.lines("scontrol") == []


@pytest.mark.parametrize("code", ["2", "3"])
def test_the_exit_code_is_the_search_s(code: str, tmp_path: Path) -> None:
    job = Job(tmp_path, code)
    assert job.end() == int(code)
    assert job.lines("scontrol") == []


def test_at_the_end_of_its_time_the_search_ends_in_order_and_is_queued_again(
    tmp_path: Path,
) -> None:
    job = Job(tmp_path, "wait")
    until = time.monotonic() + 15
    while not job.lines("shiftsearch") and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.2)  # until its handler is set
    job.process.send_signal(signal.SIGTERM)  # as Slurm does with --signal=B:TERM
    assert job.end() == 75
    assert job.lines("scontrol") == ["scontrol requeue 4194303"]


def test_without_ray_it_ends_and_is_not_queued_again(tmp_path: Path) -> None:
    job = Job(tmp_path, "no-ray")
    assert job.end() == 1
    assert job.process.stderr is not None
    assert b"Ray did not start on all 2 nodes" in job.process.stderr.read()
    assert job.lines("shiftsearch") + job.lines("scontrol") == []


def test_ports_of_jobs_do_not_meet_and_sockets_are_short(tmp_path: Path) -> None:
    blocks = []
    for number in (4_194_303, 4_194_304):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = Job(folder, "0", number)
        assert job.end() == 0
        (head,) = (line for line in job.lines("ray start") if "--head" in line)
        options = dict(o[2:].split("=", 1) for o in head.split() if "=" in o)
        ports = {int(value) for name, value in options.items() if name.endswith("port")}
        assert len(ports) == 10
        assert max(ports) < 32768  # Linux hands out the higher ones by itself
        blocks.append((min(ports), max(ports)))
        session = f"{options['temp-dir']}/session_2026-11-29_12-34-56_123456_4194304"
        assert len(f"{session}/sockets/plasma_store") <= 107
    (low, high), (next_low, _) = sorted(blocks)
    assert low < high < next_low


@pytest.mark.parametrize("missing", ["RUN", "SLURM_JOB_ID"])
def test_what_it_needs_is_named(missing: str) -> None:
    given = {"PATH": os.environ["PATH"], "RUN": "/r", "SLURM_JOB_ID": "1"}
    del given[missing]
    done = subprocess.run(["bash", str(SCRIPT)], env=given, capture_output=True, text=True)
    assert done.returncode != 0
    assert missing in done.stderr
    assert len(done.stderr.splitlines()) == 1
