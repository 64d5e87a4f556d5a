"""Requests to a running search and their answers, as files in `RUN/commands/`.

Only the driver writes the study. Another process writes `<id>.request.json`. The driver claims it
by renaming it to `<id>.taken.json`, carries it out or refuses it, and writes `<id>.answer.json`.
The other process withdraws a request that is not claimed in time. The folder may be on a shared
file system.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftsearch.data.publishing import write_atomically
from shiftsearch.experiments.definition import MAX_TRIALS
from shiftsearch.experiments.wording import one_line
from shiftsearch.search.proposing.space import Space

if TYPE_CHECKING:  # imports torch, which is slow and not needed to send a request
    from shiftsearch.experiments.phases import Phases

_EVERY = 1.0
"""Seconds between two checks of the folder by the driver."""

_REQUEST, _TAKEN, _ANSWER = ".request.json", ".taken.json", ".answer.json"


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        accepted: whether it was, or will be, carried out.
        text: one line that says what was done, or why not.
    """

    accepted: bool
    text: str


def send(folder: Path, command: str, arguments: Mapping[str, Any], wait: float) -> Answer | None:
    """Write a request and wait for its answer.

    Args:
        folder: the run's folder `commands`.
        command: `enqueue`, `extend` or `stop`.
        arguments: by name: `configuration` for `enqueue`, `trials` for `extend`, `now` for `stop`.
        wait: seconds after which the request is withdrawn, unless the driver has just claimed it.

    Returns:
        The answer; None if no driver claimed the request.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
    request, answer = folder / f"{name}{_REQUEST}", folder / f"{name}{_ANSWER}"
    text = json.dumps({"command": command, "arguments": arguments}, allow_nan=False)
    write_atomically(request, text.encode())
    try:
        _await(answer, wait)
    finally:
        withdrawn = _rename(request, None)
    if withdrawn:
        return None
    _await(answer, wait)  # it may have been claimed at the last moment
    if not answer.exists():
        return Answer(False, "the driver took it but gave no answer; see `shiftsearch status`")
    try:
        found = json.loads(answer.read_bytes())
        return Answer(bool(found["accepted"]), str(found["text"]))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        return Answer(False, f"{answer}: is damaged, it is no answer ({error})")


class Steering:
    """The driver's side: carries out or refuses the requests in the folder.

    Args:
        folder: the run's folder `commands`; need not exist.
        phases: the search and retraining that requests change.
        space: the study's space.
        tell: called with one line for each request, with its answer.
    """

    def __init__(
        self, folder: Path, phases: Phases, space: Space, tell: Callable[[str], None]
    ) -> None:
        self._folder, self._phases, self._space, self._tell = folder, phases, space, tell
        self._looked = float("-inf")
        self._interrupting = False
        self.close("it was made before this driver began")

    def poll(self) -> None:
        """Answer every open request; checks the folder at most once a second.

        Raises:
            OSError: the study's journal cannot be written.
        """
        if time.monotonic() - self._looked < _EVERY:
            return
        self._looked = time.monotonic()
        self._answer_all(self._do)
        if self._interrupting:
            # Like Ctrl+C: Ray's loop ends in order, and the next call continues open trials.
            self._interrupting = False
            signal.raise_signal(signal.SIGINT)

    def close(self, why: str) -> None:
        """Refuse every open request."""
        self._answer_all(lambda command, arguments: Answer(False, why))

    def _answer_all(self, do: Callable[[str, Mapping[str, Any]], Answer]) -> None:
        for request in self._requests():
            name = request.name.removesuffix(_REQUEST)
            taken = request.with_name(f"{name}{_TAKEN}")
            try:
                if not _rename(request, taken):
                    continue  # it was withdrawn
            except OSError:  # it cannot be claimed; its sender will withdraw it
                continue
            command, answer = _carried_out(taken, name, do)
            self._tell(f"{command}: {'' if answer.accepted else 'refused: '}{answer.text}")
            with contextlib.suppress(OSError):  # on a full disk the search goes on
                text = json.dumps({"accepted": answer.accepted, "text": answer.text})
                write_atomically(request.with_name(f"{name}{_ANSWER}"), text.encode())

    def _requests(self) -> list[Path]:
        try:
            return sorted(self._folder.glob(f"*{_REQUEST}"))
        except OSError:  # a file server may be away for a moment
            return []

    def _do(self, command: str, arguments: Mapping[str, Any]) -> Answer:
        try:
            if command == "stop" and arguments["now"]:
                self._interrupting = True
                return Answer(True, "interrupting; the command that began the run continues it")
            if not self._phases.searching:
                return Answer(False, "the search is over and the best are being retrained")
            study = self._phases.study
            match command:
                case "enqueue":
                    point = self._space.point(arguments["configuration"], "configuration")
                    return Answer(True, f"will be trial {study.enqueue(point)}")
                case "extend":
                    trials = arguments["trials"]
                    if not isinstance(trials, int) or trials > MAX_TRIALS:
                        return Answer(
                            False, f"trials is {trials!r}, but must be at most {MAX_TRIALS}"
                        )
                    study.ending.extend(trials)
                    study.ending.resume()
                    why = study.stop_reason
                    idle = f", but this call asks for no more: {why}" if why else ""
                    return Answer(True, f"the search will run to {trials} trials{idle}")
                case "stop":
                    study.ending.stop()
                    return Answer(
                        True,
                        "no more trials are asked for; open ones may end, then the best are "
                        "retrained",
                    )
            return Answer(False, f"{command} is not one of enqueue, extend, stop")
        except ValueError as error:
            return Answer(False, "; ".join(getattr(error, "problems", None) or [str(error)]))


def _carried_out(
    taken: Path, name: str, do: Callable[[str, Mapping[str, Any]], Answer]
) -> tuple[str, Answer]:
    """Carry out a request; returns its command, or else its name, and the answer.

    Raises:
        OSError: the study's journal cannot be written; the search must not write any more.
    """
    try:
        found = json.loads(taken.read_bytes())
        command, arguments = str(found["command"]), found["arguments"]
    except Exception as error:  # a wrong file must not end the search
        return name, Answer(False, f"not a request: {error}")
    try:
        return one_line(command), do(command, arguments)
    except OSError:
        raise
    except Exception as error:
        return name, Answer(False, f"not a request: {error}")


def _await(path: Path, wait: float) -> None:
    """Wait until the file exists, or for `wait` seconds."""
    end = time.monotonic() + wait
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)


def _rename(path: Path, target: Path | None) -> bool:
    """Rename a file, or remove it if there is no target; False if another process was first."""
    try:
        path.unlink() if target is None else path.rename(target)
    except FileNotFoundError:
        return False
    return True
