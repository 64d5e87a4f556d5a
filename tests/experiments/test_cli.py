"""How the command ends: exit codes and lines by the kind of a fault, and what paths mean."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from shiftsearch.experiments import cli
from shiftsearch.experiments.cli import main
from shiftsearch.experiments.completion import arguments
from shiftsearch.experiments.exits import INTERRUPTED, WRONG_INPUT, Interrupted
from shiftsearch.experiments.parser import parser

pytestmark = pytest.mark.unit


class WrongError(ValueError):
    """Wrong input, as a command's module declares it."""


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """The exit code of a command that raises this."""

    def run(error: BaseException) -> int:
        def status(*_: object) -> int:
            raise error

        module = SimpleNamespace(INPUT_ERRORS=(WrongError,), status=status)
        monkeypatch.setattr(cli, "importlib", SimpleNamespace(import_module=lambda name: module))
        return main(["status", "run"])

    return run


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "/run/looks.json")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "/set"), "/set: No such file"),
        (PermissionError(errno.EACCES, "Permission denied", b"/set"), "/set: Permission denied"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/set"), "/set: Is a directory"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/a"), "/a: Not a directory"),
        (OSError(errno.EROFS, "Read-only file system", "/set"), "/set: Read-only file system"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/x"), "/x: File name too long"),
        (FileNotFoundError("/store/1: its weights are missing"), "/store/1: its weights are"),
        (WrongError("a\nb: is 3, but must be 2"), r"a\nb: is 3, but must be 2"),
        (
            caused(WrongError("a: is missing"), FileNotFoundError(errno.ENOENT, "")),
            "a: is missing",
        ),
    ],
)
def test_what_the_user_named_and_is_not_fit_is_wrong_input(
    error: Exception,
    line: str,
    command: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(error) == WRONG_INPUT
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (FULL, "/run/looks.json: No space left on device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/run/x"), "/run/x: Disk quota exceeded"),
        (OSError(errno.EIO, "Input/output error", "/set/a.npy"), "/set/a.npy: Input/output error"),
        (OSError(errno.ESTALE, "Stale file handle", "/run"), "/run: Stale file handle"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected", "/m"), "/m: Transport"),
        (OSError(errno.EMFILE, "Too many open files", "/run"), "/run: Too many open files"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe"),  # no pipe of ours
        (ConnectionError("ray lost its head"), "ray lost its head"),
        (TimeoutError(), "TimeoutError"),
        (socket.gaierror(socket.EAI_AGAIN, "name resolution failed"), "name resolution failed"),
        (caused(WrongError("/set: cannot be written"), FULL), "/set: cannot be written"),
        (Interrupted("/run/study.journal: No such file"), "/run/study.journal: No such file"),
        (KeyboardInterrupt(), ""),
    ],
)
def test_what_the_machine_cannot_do_now_is_an_interruption(
    error: Exception,
    named: str,
    command: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(error) == INTERRUPTED
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("interrupted")
    assert named in said


def paths_of(whole: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """Every option and argument of every command that takes a file or a folder."""
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            for of_command in action.choices.values():
                yield from paths_of(of_command)
        elif action.metavar in {"RUN", "RUN|BUNDLE", "DIR", "BUNDLE", "SOURCE", "DATA"}:
            yield f"{whole.prog} {action.dest}", action


ALL_PATHS = dict(paths_of(parser()))
# A search's data may also be the word `synthetic`, so it is made absolute later.
PATHS = {name: action for name, action in ALL_PATHS.items() if name != "shiftsearch search data"}


def test_the_paths_of_all_commands_are_found() -> None:
    assert len(ALL_PATHS) == 23


@pytest.mark.parametrize("name", PATHS)
def test_a_path_means_the_same_on_every_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    read = PATHS[name].type
    assert callable(read)
    assert read("~/a b") == Path("/home/me/a b")
    assert read("~") == Path("/home/me")
    assert read("-a") == tmp_path / "-a"
    assert read("a/~") == tmp_path / "a" / "~"
    assert read("~nobody-of-this-name/a") == tmp_path / "~nobody-of-this-name" / "a"
    assert os.fsencode(read("a\udcff")) == os.fsencode(tmp_path) + b"/a\xff"


@pytest.mark.parametrize("run", ["runs/mine", "/runs/mine"])
def test_a_current_folder_that_was_deleted_is_one_line(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["status", run]) == WRONG_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the current folder does not exist any more")


def test_what_argparse_ends_is_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: shiftsearch")
    assert main(["status", "--sideways"]) == WRONG_INPUT
    assert capsys.readouterr().err.startswith("usage: shiftsearch status")


def test_every_option_and_argument_of_every_command_says_what_it_is() -> None:
    found = list(arguments(parser()))
    assert [a.option_strings or a.metavar or a.dest for a in found if not a.help] == []
    assert len(found) > 60
