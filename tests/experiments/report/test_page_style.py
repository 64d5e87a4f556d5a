"""What is written on the page can be read, light and dark."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from shiftsearch.experiments.wording import unbroken

pytestmark = pytest.mark.unit

KEPT = "\N{NO-BREAK SPACE}"
CSS = (files("shiftsearch.experiments.report") / "templates" / "style.css").read_text()
SCHEMES = [
    dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", block))
    for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
]


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def blended(colour: str, share: float, paper: str) -> str:
    """A colour at so much opacity over the paper."""
    pairs = [[int(c[i : i + 2], 16) for c in (colour, paper)] for i in (0, 2, 4)]
    return "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def test_contrast_is_measured_as_wcag_does() -> None:
    assert contrast("000000", "ffffff") == pytest.approx(21)
    assert contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
def test_text_stands_out_by_4_5_and_marks_by_3(scheme: dict[str, str]) -> None:
    paper, shade, ink = scheme["paper"], scheme["shade"], scheme["ink"]
    texts = [(ink, paper), (ink, shade), (scheme["muted"], paper), (scheme["muted"], shade)]
    texts += [(scheme["after"], paper)]  # links
    texts += [(ink, blended(scheme["cell"], share / 10, paper)) for share in range(11)]
    assert min(contrast(*pair) for pair in texts) >= 4.5
    assert min(contrast(scheme[c], paper) for c in ("before", "after", "mark")) >= 3


def test_numbers_stay_with_their_units() -> None:
    said = unbroken("1 min 42 s of 12 s, 2 h 05 min; 97.17 % [95.41, -8.27] of 3 trials, n = 4")
    assert said.count(KEPT) == 11
    assert (
        f"1{KEPT}min{KEPT}42{KEPT}s of 12{KEPT}s, 2{KEPT}h{KEPT}05{KEPT}min; 97.17{KEPT}%" in said
    )
    assert "of 3 trials" in said
    assert f"[95.41,{KEPT}-8.27]" in said


def test_both_schemes_set_every_colour() -> None:
    light, dark = SCHEMES
    assert set(light) == set(dark)
    assert set(re.findall(r"var\(--([\w-]+)\)", CSS)) <= set(light)
