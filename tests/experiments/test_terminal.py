"""Standard streams as a command may find them, each in a process that has them so."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from shiftsearch.experiments.terminal import lost_output, own_streams

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).resolve().parents[2]
BEGIN = (
    "import os, sys; from shiftsearch.experiments.terminal import lost_output, own_streams\n"
    "own_streams()\n"
)


def run(code: str, redirections: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Python code after `own_streams`, in a shell with these redirections."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirections}', sys.executable, BEGIN + code],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed_are_opened_on_nowhere(closed: str, tmp_path: Path) -> None:
    """Else the next file that is opened takes the number, also in a child."""
    target = tmp_path / "numbers"
    code = f"""
print("out"); print("error", file=sys.stderr); assert not sys.stdin.read()
with open({str(target)!r}, "w") as file:
    file.write(str(file.fileno()))
assert all(os.get_inheritable(number) for number in (0, 1, 2))
"""
    done = run(code, f"< /dev/null {closed}")
    assert done.returncode == 0, done.stderr
    assert int(target.read_text()) > 2
    assert (done.stdout == b"") == ("1>&-" in closed)
    assert (done.stderr == b"") == ("2>&-" in closed)


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "Größe 日本 … é".encode() + b" \xff\n"),
        ("latin-1", "Größe \\u65e5\\u672c ? é".encode("latin-1") + b" \xff\n"),
        ("ascii", b"Gr\\xf6\\xdfe \\u65e5\\u672c ? \\xe9 \xff\n"),
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_every_character_is_written_in_every_encoding(
    encoding: str, written: bytes, stream: str
) -> None:
    """Names stay different, and bytes of a path that are no text stay themselves."""
    code = rf"print('Gr\xf6\xdfe \u65e5\u672c \u2026 \xe9 \udcff', file=sys.{stream})"
    done = run(code, "", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert getattr(done, stream) == written


def test_a_full_disk_behind_standard_output_is_remembered() -> None:
    code = "print('x' * 100_000, flush=True); print('more'); sys.exit(lost_output().errno)"
    done = run(code, "> /dev/full")
    assert (done.returncode, done.stderr) == (28, b"")


def test_a_full_disk_behind_standard_error_is_no_error() -> None:
    code = "print('x', file=sys.stderr); print('done')"
    done = run(code, "2> /dev/full")
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_output_whose_reader_has_gone_is_dropped() -> None:
    code = "\nfor _ in range(1000): print('x' * 1000)\n"
    code += "assert isinstance(lost_output(), BrokenPipeError)"
    command = [sys.executable, "-c", BEGIN + code]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")


def test_a_pipe_that_never_blocks_gets_everything() -> None:
    """Some terminals and supervisors hand such a pipe to their children."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [sys.executable, "-c", BEGIN + "print('x' * 1_000_000)"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=writer) as process:
        os.close(writer)
        time.sleep(0.3)  # until the pipe is full
        with os.fdopen(reader, "rb") as file:
            assert len(file.read()) == 1_000_001
    assert process.returncode == 0


def test_an_unknown_size_of_the_terminal_is_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setenv("LINES", "0")
    own_streams()
    assert Console(file=io.StringIO()).width > 0
    monkeypatch.setenv("COLUMNS", "33")
    own_streams()
    assert Console(file=io.StringIO()).width == 33


def test_streams_that_a_caller_put_there_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    monkeypatch.setattr(sys, "stderr", mine)
    own_streams()
    assert sys.stdout is mine
    assert sys.stderr is mine
    assert lost_output() is None
