"""The files of a bundle: their contents, their checks, and how they replace older ones."""

from __future__ import annotations

import hashlib
import json
import reprlib
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import (
    BeforeValidator,
    FailFast,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from shiftsearch.data.fitting import Aspect
from shiftsearch.data.problems import ProblemsError
from shiftsearch.data.publishing import write_atomically
from shiftsearch.data.scale import Bits, Scale
from shiftsearch.model.architecture import REFERENCE
from shiftsearch.model.frozen import Frozen, Neutral
from shiftsearch.model.hyperparameters import PreprocessingHyperparameters, Protocol, Value
from shiftsearch.model.recorded_network import RECORDED, RecordedNetwork, Side, of_its_kind

SCHEMA = 1
SEVERAL = 2
"""The schema of a bundle of several networks; versions that read schema 1 alone refuse it."""
RECORD = "bundle.json"
MAX_RECORD = 32_000_000
"""Most bytes of `bundle.json`; JSON takes up to 30 times its size in memory. The positions of a
million held-out images take 12 MB."""
MAX_ENTRIES = 20_000
"""Most entries of all lists and objects in it, but for the rows of `metrics` and the held-out
positions: a line is made for each one that is wrong."""
WEIGHTS: dict[Stage, str] = {"before": "baseline.safetensors", "after": "model.safetensors"}

Stage = Literal["before", "after"]
Row = dict[str, Any]
Count = Annotated[int, Field(ge=0)]


class BundleError(ProblemsError):
    """A bundle cannot be saved or loaded."""


Built = TypeVar("Built", bound=RecordedNetwork)


class Preprocessing(PreprocessingHyperparameters):
    """How an image file becomes the network's input: how it is read, and the trial's steps.

    Bundles without steps do not name them, so that earlier versions load these too.
    """

    size: tuple[Side, Side]
    """(H, W) in pixels."""
    grayscale: Literal[True] = True
    value_range: Literal["uint8 / 255; float as is"] = "uint8 / 255; float as is"
    """How the values of an image that was read become the network's input."""
    scale: Scale | None = None
    """The scale of the training files, see `data.scale`; files on another scale are refused. None
    in
    a bundle of an earlier version, which did not record it: a .npy file of floats is then divided
    by 255 if it holds a value above 1."""
    bits: Bits = 16
    """Significant bits of 16-bit gray PNG files."""
    aspect: Annotated[Aspect, Neutral("stretch")] = "stretch"
    """What is done to images of another aspect ratio; bundles of earlier versions distort them."""


class DivisionRecord(Frozen):
    """Which images of TEST2 were held out."""

    holdout: float
    seed: Count
    test2_digest: str
    held_out: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], FailFast()]
    """Positions in TEST2, ascending."""


class Origin(Frozen):
    """Which training made the model: the study's seed, the trial and its replicate."""

    seed: Count
    number: Count
    replicate: Count


class FurtherMember(Frozen):
    """A network of an ensemble besides the first, which `Record` itself describes."""

    file: Annotated[str, Field(pattern=r"^member-[1-9][0-9]{0,2}\.safetensors$")]
    """Its weights."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """Its weight in the mean of the probabilities; the first network has the rest."""
    architecture: Annotated[SerializeAsAny[RecordedNetwork], BeforeValidator(of_its_kind)]
    preprocessing: PreprocessingHyperparameters = PreprocessingHyperparameters()
    """Its own steps; files are read as for the first network."""
    hyperparameters: dict[str, Value]
    study: Origin


class Record(Frozen, Generic[Built]):
    """The content of `bundle.json`; `Built` is a class in `RECORDED`."""

    schema_number: Annotated[int, Field(alias="schema")] = SCHEMA
    architecture: Built
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    hyperparameters: dict[str, Value]
    protocol: Protocol
    dataset_digest: str
    division: DivisionRecord
    metrics: Annotated[tuple[Row, ...], FailFast()]
    """Rows as the caller of `save_bundle` gave them."""
    versions: dict[str, str]
    study: Origin
    checksums: dict[str, str]
    """Blake2b-256 in hex, by file name."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the probabilities, see `model.calibration`; absent in a bundle without one."""
    model: dict[str, Any] = Field(default_factory=dict)
    """What people want to know about the model, see `model.bundle_facts`; absent if empty."""
    members: tuple[FurtherMember, ...] = ()
    """The networks besides the first; absent if there is one."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """Refuse fields that disagree."""
        a = self.architecture
        if sum(member.share for member in self.members) >= 1:
            raise ValueError("members have shares with a sum of 1 or more; the first has the rest")
        if len({member.file for member in self.members}) < len(self.members):
            raise ValueError("members must have different files")
        for i, other in enumerate(member.architecture for member in self.members):
            if (other.classes, other.image_size) != (a.classes, a.image_size):
                raise ValueError(
                    f"members.{i}.architecture has other classes or another image_size than"
                    " architecture"
                )
        if len(self.classes) != a.classes:
            raise ValueError(
                f"classes has {len(self.classes)} names, but must have as many as"
                f" architecture.classes says, {a.classes}"
            )
        if self.preprocessing.size != a.image_size:
            raise ValueError(
                f"preprocessing.size is {self.preprocessing.size}, but must equal"
                f" architecture.image_size, {a.image_size}"
            )
        return self


def other_classes(found: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """A line if a dataset has other classes than the bundle; Unicode forms are not compared."""
    one, other = ([unicodedata.normalize("NFC", name) for name in c] for c in (found, wanted))
    if one == other:
        return []
    line = f"classes are {', '.join(found)}, but must be the bundle's: {', '.join(wanted)}"
    if sorted(one) == sorted(other) and sorted(found) != sorted(wanted):
        line += "; some names differ in their Unicode form, and so in their order"
    return [line]


def checksum(content: bytes) -> str:
    """Blake2b-256 in hex."""
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def is_replaceable(folder: Path) -> bool:
    """Whether `folder` may be replaced: it is a bundle, or empty, or absent."""
    if folder.is_dir():
        return (folder / RECORD).is_file() or not any(folder.iterdir())
    return not folder.exists()


def publish(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace `folder` by one with these files.

    The new folder is written beside the old one, and two renames exchange them. After a crash
    between the two renames, `present` finds the old folder.
    """
    beside, aside = _beside(folder), _aside(folder)
    if aside.exists():
        # Left by a crash: the only complete bundle, or an old one.
        shutil.rmtree(aside) if folder.exists() else aside.rename(folder)
    if beside.exists():
        shutil.rmtree(beside)
    for name, content in contents.items():
        write_atomically(beside / name, content)
    if folder.exists():
        folder.rename(aside)
    beside.rename(folder)
    if aside.exists():
        shutil.rmtree(aside)


def present(folder: Path) -> Path:
    """`folder`, or the old bundle beside it if a crash left no bundle at `folder`."""
    return folder if folder.exists() or not _aside(folder).exists() else _aside(folder)


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.new")


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def read_record(path: Path) -> Record[RecordedNetwork]:
    """Read and check `bundle.json`.

    Raises:
        BundleError: a line for each field that is wrong.
    """
    size = path.stat().st_size
    if size > MAX_RECORD:
        raise BundleError([f"{path}: has {size} bytes, but may have {MAX_RECORD} at most"])
    raw = path.read_bytes()
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:  # lists in lists in lists
        raise BundleError([f"{path}: is not JSON: {error}"]) from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema not in (SCHEMA, SEVERAL):
        known = f"{SCHEMA} and {SEVERAL}"
        raise BundleError(
            [f"{path}: schema is {reprlib.repr(schema)}, but this version reads {known}"]
        )
    network = content.get("architecture")
    name = network.get("name") if isinstance(network, dict) else None
    kind = RECORDED.get(str(name or REFERENCE.name))
    if kind is None:
        names = " or ".join(map(repr, RECORDED))
        raise BundleError(
            [f"{path}: architecture.name is {reprlib.repr(name)}: input should be {names}"]
        )
    if (count := _entries(content)) > MAX_ENTRIES:
        raise BundleError([f"{path}: has {count} entries, but may have {MAX_ENTRIES} at most"])
    del content, network  # memory for the record itself
    try:
        return Record[kind].model_validate_json(raw)  # type: ignore[valid-type]
    except ValidationError as error:
        raise BundleError(
            [f"{path}: {problem_line(problem)}" for problem in error.errors()]
        ) from None


def _entries(content: Mapping[str, Any]) -> int:
    """Entries of a record, see `MAX_ENTRIES`; those of one list more than that may be left out."""
    count, left = 0, [value for key, value in content.items() if key != "metrics"]
    while left and count <= MAX_ENTRIES:
        one = left.pop()
        if isinstance(one, dict):
            one = [value for key, value in one.items() if key != "held_out"]
        if isinstance(one, list):
            count += len(one)
            left += one[:MAX_ENTRIES]
    return count


def problem_line(problem: Any) -> str:
    """One problem found by pydantic as a line: field, value and rule, each shortened."""
    field = ".".join(str(part) for part in problem["loc"])[:200]
    if problem["type"] == "missing":
        return f"{field} is missing, but is required"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{field} is {reprlib.repr(problem['input'])}: {problem['msg'].lower()}"
