r"""Submit a command to a Ray cluster, show its output, and end with its exit code.

    python experiments/cluster/submit.py --address http://HEAD:8265 -- \
        shiftsearch search /shared/mine.yaml --data /shared/images --run /shared/runs/mine \
        --address auto

`ray job submit` itself ends with 0 or 1, and with 0 if the job was stopped. This script ends with
the exit code of the command, see docs/exit-codes.md. It ends with 75 if the job was
stopped or its process was lost, and with 1 if the job never started or the cluster does not
answer; then it prints the reason. Ctrl+C and SIGTERM stop the job: the search ends in order and
can be continued. This machine needs Ray with its dashboard (the extra `cluster`) and the token of
the cluster, see README.md.
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

NOT_STARTED = 1
INTERRUPTED = 75
LOST = ("JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE")
"""Kinds of error after which a job has no exit code because its processes were lost."""

_DATA = ["npy", "npz", "png", "jpg", "jpeg", "bmp", "tif", "tiff", "gz", "tgz", "zip", "csv"]
EXCLUDED = (
    *("/.git", "/.venv", "/build", "/runs"),
    # Ray reads patterns as Git does, with regard to case.
    *("*." + "".join(f"[{c}{c.upper()}]" for c in suffix) for suffix in _DATA),
)
"""What a working folder leaves out: four folders at its top, and data in any folder; images must
lie on a shared folder."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Submit, follow, stop on a signal; returns the exit code."""
    options = _parser().parse_args(arguments)
    environment: dict[str, object] = {
        # Ray's own patience is 3 s; then it kills the job, which loses the epoch that is running.
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(options.stop_seconds)}
    }
    if options.working_dir:
        environment |= {"working_dir": options.working_dir, "excludes": list(EXCLUDED)}
    try:
        client = JobSubmissionClient(options.address)
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
        ended = asyncio.run(_ended(client, job))
    except (OSError, RuntimeError, ValueError) as error:
        # Nothing is known of a job that was submitted; it may still be running.
        print(error, file=sys.stderr)
        return NOT_STARTED
    return exit_code(ended)


def exit_code(job: JobDetails) -> int:
    """The exit code of the job's command; prints why there is none.

    Returns:
        75 if the job was stopped or its processes were lost, 1 if it never started.
    """
    if job.status == JobStatus.SUCCEEDED:
        return 0
    code: int | None = job.driver_exit_code
    if code is not None and 0 < code <= 128:
        return code
    print(f"the job has no exit code: {job.status}, {job.message}", file=sys.stderr)
    # Below 0 or above 128 a signal ended the command. A job with a node was running.
    lost = code is not None or job.driver_node_id is not None or job.error_type in LOST
    return INTERRUPTED if job.status == JobStatus.STOPPED or lost else NOT_STARTED


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
