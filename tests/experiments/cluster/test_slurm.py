"""The Slurm script, with stand-ins for srun, scontrol, ray and the search."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

SCRIPT = REPOSITORY / "experiments" / "cluster" / "slurm.sh"
NUMBER = 5_000_000 + os.getpid()
"""Of the job; its folder /tmp/rNUMBER is on this machine."""
PORT = 10000 + NUMBER % 160 * 120
# A sleeper that outlives its parent must not keep the standard error open that a test reads.
STANDS_IN = {
    # Runs the command here: on the node of --nodelist, or on all others.
    "srun": """
        echo "srun-cpus $SRUN_CPUS_PER_TASK" >> "$LOG"
        while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"
    """,
    "scontrol": '[ "$1" = show ] && printf "node-%s\\n" 1 2 || echo "scontrol $*" >> "$LOG"',
    "hostname": "echo 10.0.0.7 172.17.0.1",
    # Waits for the nodes.
    "python3": """
        cat > /dev/null
        [ "$CODE" != no-ray ] || exec sleep 60 2> /dev/null
        until [ "$(grep --count '^ray start' "$LOG")" = 2 ]; do sleep 0.02; done""",
    # As symmetric-run: 0 if Ray did not start, else it ends as its command does.
    "ray": """
        echo "ray $*" >> "$LOG"
        if [ "$1" = symmetric-run ]; then
            [ "$CODE" != no-ray ] || exit 0
            [ "$CODE" != late ] || { sleep 60 2> /dev/null; exit 0; }
            while [ "$1" != -- ]; do shift; done
            "${@:2}"
            exit
        fi
        [ "$CODE" != no-ray ] || exit 9
        trap 'kill $!; exit 0' TERM
        sleep 60 2> /dev/null & wait""",
    "shiftsearch": """
        echo "token ${RAY_AUTH_MODE}${#RAY_AUTH_TOKEN}" >> "$LOG"
        echo "shiftsearch $*" >> "$LOG"
        [ "$1" != doctor ] || exit "${DOCTOR_CODE:-0}"
        trap 'kill $!; sleep 0.3; exit 75' TERM
        [ "$CODE" != killed ] || kill -9 $$
        [ "$CODE" = wait ] || exit "$CODE"
        sleep 60 2> /dev/null & wait""",
}


def _hear_interrupts() -> None:
    """Behind `&` a shell lets SIGINT be ignored, and bash cannot undo that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Job:
    """A Slurm job on two nodes, in a folder of stand-ins."""

    def __init__(
        self, folder: Path, code: str, *more: str, number: int = NUMBER, **variables: str
    ) -> None:
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
            **variables,
        }
        command = ["bash", str(SCRIPT), "mine.yaml", "--data", "/shared/images", *more]
        self.process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, preexec_fn=_hear_interrupts
        )

    def lines(self, start: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(start)]

    def end(self) -> int:
        return self.process.wait(timeout=15)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def signalled(self, number: int, after: str) -> int:
        """The exit code after a signal that comes once the log has a line that begins so."""
        until = time.monotonic() + 15
        while not self.lines(after) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)  # until its handler is set
        self.process.send_signal(number)  # as Slurm does with --signal=B:TERM
        return self.end()


WAYS = pytest.mark.parametrize("symmetric", ["0", "1"])
REQUEUED = [f"scontrol requeue {NUMBER}"]


def test_it_starts_head_workers_and_one_search(tmp_path: Path) -> None:
    job = Job(tmp_path, "0")
    assert job.end() == 0
    assert job.errors() == ""
    head, worker = sorted(job.lines("ray start"), key=lambda line: "--head" not in line)
    assert f"--head --block --node-ip-address=10.0.0.7 --port={PORT} " in head
    assert f"--block --address=10.0.0.7:{PORT} " in worker
    assert "--num-cpus=8 --num-gpus=1" in head
    assert job.lines("shiftsearch") == [
        "shiftsearch search mine.yaml --data /shared/images --run /shared/runs/my run"
        f" --address 10.0.0.7:{PORT}"
    ]
    assert job.lines("token") == ["token token64"]
    assert job.lines("scontrol") == []


@WAYS
@pytest.mark.parametrize("code", ["0", "2", "3"])
def test_the_exit_code_is_the_search_s(code: str, symmetric: str, tmp_path: Path) -> None:
    job = Job(tmp_path, code, SYMMETRIC=symmetric)
    assert job.end() == int(code)
    assert len(job.lines("shiftsearch search")) == 1
    assert job.lines("scontrol") == []


@WAYS
def test_at_the_end_of_its_time_the_search_ends_in_order_and_is_queued_again(
    symmetric: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, "wait", SYMMETRIC=symmetric)
    assert job.signalled(signal.SIGTERM, "shiftsearch") == 75
    assert job.lines("scontrol") == REQUEUED


@WAYS
def test_sigint_interrupts_and_the_job_is_not_queued_again(symmetric: str, tmp_path: Path) -> None:
    job = Job(tmp_path, "wait", SYMMETRIC=symmetric)
    assert job.signalled(signal.SIGINT, "shiftsearch") == 75
    assert job.lines("scontrol") == []
    assert "not queued again" in job.errors()


@WAYS
def test_a_search_that_was_killed_is_queued_again(symmetric: str, tmp_path: Path) -> None:
    job = Job(tmp_path, "killed", SYMMETRIC=symmetric)
    assert job.end() == 75
    assert job.lines("scontrol") == REQUEUED


@WAYS
def test_without_ray_there_is_no_search_and_the_job_is_queued_again(
    symmetric: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, "no-ray", SYMMETRIC=symmetric)
    assert job.end() == 75
    assert "Ray did not start on all 2 nodes" in job.errors()
    assert job.lines("shiftsearch") == []
    assert job.lines("scontrol") == REQUEUED


def test_a_signal_while_symmetric_run_waits_for_nodes_is_75(tmp_path: Path) -> None:
    job = Job(tmp_path, "late", SYMMETRIC="1")
    assert job.signalled(signal.SIGTERM, "ray symmetric-run") == 75
    assert job.lines("scontrol") == REQUEUED


@pytest.mark.parametrize(("turn", "queued"), [("2", REQUEUED), ("3", [])])
def test_a_fault_that_lasts_does_not_queue_it_for_ever(
    turn: str, queued: list[str], tmp_path: Path
) -> None:
    job = Job(tmp_path, "75", RESTARTS="3", SLURM_RESTART_COUNT=turn)
    assert job.end() == 75
    assert job.lines("scontrol") == queued
    assert ("not queued again (restarts: 3)" in job.errors()) is (not queued)


@WAYS
@pytest.mark.parametrize("code", ["0", "2"])
def test_the_doctor_comes_first_if_it_is_asked_for(
    code: str, symmetric: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, "0", SYMMETRIC=symmetric, DOCTOR="1", DOCTOR_CODE=code)
    assert job.end() == int(code)
    first, *others = job.lines("shiftsearch")
    assert first == (
        f"shiftsearch doctor mine.yaml --address 10.0.0.7:{PORT} --data /shared/images"
        " --run /shared/runs/my run"
    )
    assert len(others) == (code == "0")
    assert job.lines("scontrol") == []


def test_symmetric_run_uses_the_job_s_folder_and_ports(tmp_path: Path) -> None:
    job = Job(tmp_path, "0", SYMMETRIC="1")
    assert job.end() == 0
    lines = job.lines("ray symmetric-run")
    assert f"--address 10.0.0.7:{PORT} --min-nodes 2 --temp-dir=/tmp/r{NUMBER} " in lines[0]


@pytest.mark.parametrize("kept", ["0", "1"])
def test_the_job_s_folder_is_removed_on_all_nodes(kept: str, tmp_path: Path) -> None:
    folder = Path(f"/tmp/r{NUMBER}")
    job = Job(tmp_path, "0", KEEP_LOGS=kept)
    assert job.end() == 0
    assert folder.exists() is (kept == "1")
    shutil.rmtree(folder, ignore_errors=True)


def test_with_an_object_store_each_turn_has_a_folder_of_its_own(tmp_path: Path) -> None:
    store = ("--storage", "s3://bucket/searches")
    for code, run, expected in [
        ("75", "mine", f"/tmp/r{NUMBER}/mine"),
        ("0", "/scratch/mine", "/scratch/mine"),
    ]:
        folder = tmp_path / code
        folder.mkdir()
        job = Job(folder, code, *store, RUN=run, DOCTOR="1")
        assert job.end() == int(code)
        for line in job.lines("shiftsearch"):
            assert f" --run {expected}" in line
            assert "--storage s3://bucket/searches" in line
    (tmp_path / "shared").mkdir()
    job = Job(tmp_path / "shared", "0", RUN="mine")  # in the folder of sbatch
    assert job.end() == 0
    assert " --run mine " in job.lines("shiftsearch")[0]


def test_what_depends_on_the_cluster_is_marked() -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    marked = {i for i, line in enumerate(lines) if line.startswith("# CHANGE: ")}
    for option in ("cpus-per-task", "gpus-per-node", "time"):
        (line,) = (i for i, text in enumerate(lines) if text.startswith(f"#SBATCH --{option}="))
        assert {line - 1, line - 2} & marked
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(i < first for i, line in enumerate(lines) if line.startswith("#SBATCH"))


def test_steps_get_the_job_s_cpus(tmp_path: Path) -> None:
    job = Job(tmp_path, "0")
    assert job.end() == 0
    assert set(job.lines("srun-cpus")) == {"srun-cpus 8"}


def test_an_environment_that_is_not_active_is_named(tmp_path: Path) -> None:
    job = Job(tmp_path, "0", PATH="/usr/bin:/bin")
    assert job.end() == 2
    assert "shiftsearch is not on PATH: activate" in job.errors()


def test_ports_of_jobs_do_not_meet_and_sockets_are_short(tmp_path: Path) -> None:
    blocks = []
    for number in (NUMBER, NUMBER + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = Job(folder, "0", number=number)
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
