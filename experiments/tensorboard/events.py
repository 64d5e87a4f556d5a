"""TensorBoard's event files: appended to live, or written whole in one step.

TensorBoard reads a folder's files in the order of their names. Names contain the time at which a
file was begun, and a file `.end` follows the file whose name it extends. TensorBoard never returns
to a file after it has gone on to the next.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from PIL.Image import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from shiftsearch.data.publishing import write_atomically

Values = Sequence[Summary.Value]

_FILES, _END = "*tfevents*", ".end"


def scalar(tag: str, value: float, description: str | None) -> Summary.Value:
    """A point of a curve; TensorBoard keeps float32.

    `simple_value` is not used, because TensorBoard's fast reader drops its description.

    Args:
        tag: the curve's tag.
        value: the point's value.
        description: Markdown; needed only at the first point of a curve in each file.
    """
    metadata = None
    if description is not None:
        metadata = scalar_metadata.create_summary_metadata(tag, description)
    tensor = TensorProto(dtype=DT_FLOAT, float_val=[value])
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def image(tag: str, picture: Image, description: str = "") -> Summary.Value:
    """A picture, stored as PNG."""
    png = io.BytesIO()
    picture.save(png, "PNG")
    size = [str(side).encode() for side in picture.size]
    metadata = image_metadata.create_summary_metadata(tag, description)
    return Summary.Value(tag=tag, metadata=metadata, tensor=_strings([*size, png.getvalue()]))


def text(tag: str, markdown: str) -> Summary.Value:
    """A page of Markdown."""
    metadata = text_metadata.create_summary_metadata(tag, "")
    return Summary.Value(tag=tag, metadata=metadata, tensor=_strings([markdown.encode()]))


class EventFile:
    """A new event file, which is read after the folder's others; events can be read at once.

    Args:
        folder: created if absent.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._records = RecordWriter((folder / _new_name()).open("wb"))
        _begin(self._records)
        self._records.flush()

    def add(self, values: Values, step: int) -> None:
        """Add values at one step."""
        _add(self._records, values, step)
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def write_end(folder: Path, steps: Mapping[int, Values]) -> None:
    """Write a folder's last event file, completely or not at all.

    Args:
        folder: created if absent.
        steps: values by step.
    """
    content = io.BytesIO()
    records = RecordWriter(content)
    files = list(folder.glob(_FILES))
    earlier = max((path.name for path in files), default="")
    if not any(path.stat().st_size for path in files):
        _begin(records)  # a running TensorBoard then drops the data of the emptied folder
    for step, values in steps.items():
        _add(records, values, step)
    write_atomically(folder / f"{earlier or _new_name()}{_END}", content.getvalue())


def has_end(folder: Path) -> bool:
    """Whether the folder has a last event file, written since it was last emptied."""
    return any(path.stat().st_size for path in folder.glob(f"*{_END}"))


def empty(folder: Path) -> None:
    """Remove all events; the folder need not exist.

    The files stay, without content, because a running TensorBoard stops at a file that is gone.
    """
    for path in folder.glob(_FILES):
        os.truncate(path, 0)


def _new_name() -> str:
    return "events.out.tfevents.{:010d}.{:09d}".format(*divmod(time.time_ns(), 10**9))


def _begin(records: RecordWriter) -> None:
    now = time.time()
    records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    start = SessionLog(status=SessionLog.START)
    records.write(Event(wall_time=now, step=0, session_log=start).SerializeToString())


def _add(records: RecordWriter, values: Values, step: int) -> None:
    summary = Summary(value=values)
    event = Event(wall_time=time.time(), step=step, summary=summary)
    records.write(event.SerializeToString())


def _strings(values: Sequence[bytes]) -> TensorProto:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(values))])
    return TensorProto(dtype=DT_STRING, string_val=values, tensor_shape=shape)
