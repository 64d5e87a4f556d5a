"""The process of the command ends without a traceback, whenever a signal comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from shiftsearch.experiments.exits import DEFECT, INTERRUPTED, interruption

pytestmark = pytest.mark.unit

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
HEAD = """
import os, signal, sys, threading, time, types
# nohup and a shell's `&` leave them ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from shiftsearch.experiments import entry
kill = os.kill
def send(pid=os.getpid(), number=signal.Signals({number})):
    kill(pid, number)
"""
WHILE_IMPORTING = """
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.endswith("experiments.cli"):
            send()
            try:
                time.sleep(10)
            except BaseException:  # as some libraries do
                time.sleep(10)
sys.meta_path.insert(0, Finder)
sys.exit(entry.run())
"""
FAKE = """
cli = types.ModuleType("shiftsearch.experiments.cli")
cli.main = lambda: 3
sys.modules[cli.__name__] = cli
"""
AT_THE_END = {
    "thread": """
code = entry.run()
threading.Thread(target=time.sleep, args=[60]).start()
threading.Timer(0.2, send).start()
sys.exit(code)
""",
    "finalising": """
class Late:
    def __del__(self, send=send):
        send()
late = Late()
late.itself = late
sys.late = late
sys.exit(entry.run())
""",
}


def run(script: str, number: signal.Signals) -> tuple[int, str]:
    script = HEAD.format(number=int(number)) + script
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=15, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_imports_is_an_interruption(number: signal.Signals) -> None:
    assert run(WHILE_IMPORTING, number) == (INTERRUPTED, f"{interruption()}\n")


@pytest.mark.parametrize("when", AT_THE_END)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_after_the_command_changes_nothing(number: signal.Signals, when: str) -> None:
    assert run(FAKE + AT_THE_END[when], number) == (3, "")


def test_what_is_ignored_stays_ignored() -> None:
    """SIGHUP under nohup."""
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    look = "cli.main = lambda: send() or 3\nsys.exit(entry.run())\n"
    assert run(ignore + FAKE + look, signal.SIGHUP) == (3, "")


def test_the_command_itself_is_interrupted_like_by_ctrl_c() -> None:
    look = """
def main():
    try:
        send()
        time.sleep(10)
    except KeyboardInterrupt:
        return 7
cli.main = main
sys.exit(entry.run())
"""
    assert run(FAKE + look, signal.SIGINT) == (7, "")


def test_what_the_command_does_not_know_is_called_a_defect() -> None:
    code, said = run(FAKE + "cli.main = lambda: {}[9]\nsys.exit(entry.run())\n", signal.SIGINT)
    assert code == DEFECT
    *traced, last = said.splitlines()
    assert traced[0].startswith("Traceback")
    assert traced[-1] == "KeyError: 9"
    assert "defect of shiftsearch" in last
