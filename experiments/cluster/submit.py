r"""Submit a command to a Ray cluster, show its output, and end with its exit code.

    python experiments/cluster/submit.py --address http://HEAD:8265 -- \
        shiftsearch search mine.yaml --data /shared/images --run /shared/runs/mine --address auto

`ray job submit` itself ends with 0 or 1, and with 0 if the job was stopped. This script ends with
the exit code of the command: 0, 2, 3 or 75, see docs. Ctrl+C and SIGTERM stop the job: the search
then ends in order and can be continued. Needs Ray with its dashboard (the extra `cluster`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import signal
import sys
from collections.abc import Sequence

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

INTERRUPTED = 75
EXCLUDED = (".git", ".venv", "build", "runs", "data/**/*.npy", "*.npy", "*.npz", "*.png")
"""What a working folder leaves out; images must lie on a shared folder."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit, follow, stop on a signal; returns the command's exit code."""
    options = _parser().parse_args(arguments)
    client = JobSubmissionClient(options.address)
    environment: dict[str, object] = {
        # Ray's own patience is 3 s; then it kills the job, which loses the epoch that is running.
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(options.stop_seconds)}
    }
    if options.working_dir:
        environment |= {"working_dir": options.working_dir, "excludes": list(EXCLUDED)}
    job = client.submit_job(
        entrypoint=shlex.join(options.command),
        submission_id=options.submission_id,
        runtime_env=environment,
    )
    print(f"job: {job}", file=sys.stderr)
    # From here on a signal asks the job to stop; its output is shown to its end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: client.stop_job(job))
    asyncio.run(_show(client, job))
    return exit_code(asyncio.run(_ended(client, job)))


def exit_code(job: JobDetails) -> int:
    """The exit code of the job's command; 75 if it was stopped or its process was lost."""
    if job.status == JobStatus.SUCCEEDED:
        return 0
    code = job.driver_exit_code
    return code if code is not None and code > 0 else INTERRUPTED


async def _show(client: JobSubmissionClient, job: str) -> None:
    with contextlib.suppress(RuntimeError):  # the connection is lost; the status is asked for
        async for lines in client.tail_job_logs(job):
            print(lines, end="", flush=True)


async def _ended(client: JobSubmissionClient, job: str) -> JobDetails:
    while not (info := client.get_job_info(job)).status.is_terminal():
        await asyncio.sleep(1)
    return info


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Submit a command to a Ray cluster.")
    parser.add_argument("--address", help="address of the dashboard, as http://HEAD:8265")
    parser.add_argument("--submission-id", help="name of the job; default: chosen by Ray")
    parser.add_argument("--working-dir", help="folder of code that is copied to the cluster")
    parser.add_argument(
        "--stop-seconds", type=int, default=60, help="time to end in order when it is stopped"
    )
    parser.add_argument("command", nargs="+", help="the command and its arguments, after --")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
