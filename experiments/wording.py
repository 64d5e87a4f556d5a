"""How numbers and reasons are written, in the terminal and in the report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shiftsearch.data.os_errors import in_words

_TOGETHER = re.compile(
    r"(?<=\d) (?=%|(?:s|min|h)\b)|(?<=\d h) (?=\d)|(?<=\d min) (?=\d)|(?<=\d,) (?=[+-]?[\d.]+\])"
    r"|(?<=\bn) (?== \d)|(?<=\bn =) (?=\d)"
)
"""Spaces within `97.17 %`, `3 min 20 s`, `[95.41, 98.27]` and `n = 541`."""


def percent(fraction: float | None) -> str:
    """A fraction in 0..1 as `97.17 %`; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`; for nouns with a plural in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def interval(bounds: Sequence[float]) -> str:
    """Low and high in 0..1 as `[95.41, 98.27]`, in percent."""
    return f"[{100 * bounds[0]:.2f}, {100 * bounds[1]:.2f}]"


def points(difference: float, bounds: Sequence[float]) -> str:
    """A difference of fractions with its interval: `+14.02 points [+11.10, +17.03]`."""
    return f"{100 * difference:+.2f} points [{100 * bounds[0]:+.2f}, {100 * bounds[1]:+.2f}]"


def setting(value: object) -> str:
    """A setting's value: a number with four significant digits, `true`, a list with commas, text.

    A dash for None.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def unbroken(text: str) -> str:
    """The text with no-break spaces within percentages, durations, intervals and counts."""
    return _TOGETHER.sub("\N{NO-BREAK SPACE}", text)


def one_line(text: str) -> str:
    """The text without line breaks and control characters, such as colours of a traceback."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def in_one_line(error: BaseException) -> str:
    """An exception's type and message: `ValueError: n is 0, but must be at least 1`.

    Of an error of the operating system the file and what is wrong: `a/file: No space left on
    device`.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return one_line(in_words(error))
    message = one_line(str(error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
