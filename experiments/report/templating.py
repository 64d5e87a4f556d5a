"""The templates of the report's pages, and their filters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from shiftsearch.experiments.wording import duration, interval, percent, setting, unbroken


def template_environment() -> jinja2.Environment:
    """The templates and their filters; values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _unbroken(percent),
        "interval": _unbroken(interval),
        "duration": _unbroken(duration),
        "unbroken": unbroken,
        "value": setting,
        "title_case": _title_case,
        "breakable": _breakable,
    }
    return environment


def _unbroken(write: Callable[..., str]) -> Callable[..., str]:
    """The same function, with no-break spaces in its result."""
    return lambda value: unbroken(write(value))


def _title_case(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _breakable(name: str) -> Markup:
    """A dotted name that a line may break within."""
    return Markup(str(escape(name)).replace(".", ".<wbr>").replace("_", "_<wbr>"))
