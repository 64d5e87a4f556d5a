"""The text of a proposed experiment file, and what is said of the images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import jinja2

from shiftsearch.data.dataset import SPLITS
from shiftsearch.data.fitting import DEFAULT_ASPECT
from shiftsearch.data.reading import ROLES
from shiftsearch.experiments.outcome.statistics import wilson
from shiftsearch.experiments.starting.proposal import Proposal
from shiftsearch.experiments.starting.survey import Survey
from shiftsearch.experiments.wording import interval
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.model.prepared import division_of

SCHEMA_FILE = "shiftsearch.schema.json"
"""The JSON schema that is written beside an experiment file, for editors."""

_WORD = re.compile(r"[A-Za-z][A-Za-z_]*")
_GUESS = 0.9


def said_of(found: Survey) -> list[str]:
    """Lines about the splits, the size and the shift."""
    dataset, m = found.dataset, found.measures
    others = [f"{s}: {n}" for s, n in found.names.items() if s != n]
    height, width = dataset.image_size
    lines = [f"folders: {', '.join(others)}"] if others else []
    why = f"; {found.why_size}" if found.why_size else ""
    lines.append(f"images: {height}x{width} pixels{why}")
    lines += [
        f"{', '.join(SPLITS)}: mean intensity {_listed(m, 'level', '.2f')}; contrast "
        f"{_listed(m, 'contrast', '.2f')}; dark on bright {_listed(m, 'inverted', '.0%')}; off "
        f"centre by {_listed(m, 'off_centre', '.1f')} pixels"
    ]
    if found.shift:
        lines.append(f"so the space has preprocessing of {', '.join(found.shift)}")
    else:
        lines.append("so the splits are alike in these, and the space has no preprocessing")
    return lines


def _listed(measures: Mapping[str, object], name: str, form: str) -> str:
    return ", ".join(format(getattr(one, name), form) for one in measures.values())


def experiment_text(found: Survey, proposal: Proposal, target: Path) -> str:
    """The file's text, with comments.

    Args:
        found: what the folder holds.
        proposal: the values.
        target: where the file will be; `data` is relative to it if the folder lies below.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = flow
    classes = len(found.dataset.classes)
    said = [f"{s}: {sum(n)} images of {classes} classes" for s, n in found.counts.counts.items()]
    said += [*said_of(found), *found.warnings]
    return environment.get_template("experiment.yaml.j2").render(
        schema=f"./{SCHEMA_FILE}",
        file=target.name,
        data=_data(found.folder, target.parent),
        images=_images(found),
        why_size=found.why_size,
        said=[" ".join(line.split()) for line in said],
        p=proposal,
        held_out=_held_out(found),
    )


def _data(folder: Path, parent: Path) -> str:
    folder, parent = folder.resolve(), parent.resolve()
    if not folder.is_relative_to(parent):
        return str(folder)
    # With ./ a folder with the name `synthetic` is not taken for the built-in set.
    return f"./{folder.relative_to(parent).as_posix()}"


def _images(found: Survey) -> dict[str, object]:
    """The keys of `images` that are needed to read the folder in the same way."""
    how = found.how
    named: dict[str, object] = {role: name for role in ROLES if (name := getattr(how, role))}
    if how.size is not None:
        named["size"] = "x".join(map(str, how.size))
    if how.aspect != DEFAULT_ASPECT:
        named["aspect"] = how.aspect
    return named


def _held_out(found: Survey) -> str:
    """What holding out means for this TEST2."""
    n = len(division_of(found.dataset, Protocol()).held_out)
    if not n:
        return "TEST2 is too small to hold out images"
    bounds = interval(wilson(_GUESS, n))
    return f"of TEST2, {n} images; if 90 % are right, the 95 % interval is {bounds} %"


def flow(value: object) -> str:
    """A value in YAML, in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    text = str(value)
    is_word = _WORD.fullmatch(text) and text.lower() not in ("true", "false", "null")
    if isinstance(value, str) and not is_word:
        return json.dumps(text, ensure_ascii=False)
    return text
