"""`report.html` as a reader opens it: from the disk, light and dark, on a telephone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chrome import Browser
from tests.browser.watched_run import Watched

pytestmark = pytest.mark.browser

WIDTHS = {"wide": 1200, "narrow": 390}

# Text that sticks out of its figure, of any element with text of its own. What lies in a box that
# scrolls by itself may be wider; `hidden` ones (for screen readers) are one pixel in size.
STICKING_OUT = """
const out = [];
for (const figure of document.querySelectorAll('figure, svg')) {
  const frame = figure.getBoundingClientRect();
  for (const node of figure.querySelectorAll('*')) {
    const own = [...node.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const box = node.getBoundingClientRect();
    if (!own || box.width < 2) continue;
    let scrolls = false;
    for (let up = node; up !== figure.parentElement; up = up.parentElement)
      scrolls ||= ['auto', 'scroll'].includes(getComputedStyle(up).overflowX);
    const beyond = Math.max(frame.left - box.left, box.right - frame.right,
                            frame.top - box.top, box.bottom - frame.bottom);
    if (!scrolls && beyond > 1) out.push(`${node.textContent.trim()}: ${beyond.toFixed(1)} px`);
  }
}
return out;
"""

# The contrast that WCAG 2 asks of text: 4.5, or 3 where it is large. Text over a drawn shape (a
# cell of a matrix) is left out: its background is not a property of an element above it.
PALE = """
const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
const light = c => c.slice(0, 3).map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = node => {
  for (let up = node; up; up = up.parentElement) {
    const c = parse(getComputedStyle(up).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const out = [];
for (const node of document.body.querySelectorAll('*')) {
  if (node.closest('svg')) continue;
  const own = [...node.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || !node.getClientRects().length) continue;
  const style = getComputedStyle(node);
  const [a, b] = [light(parse(style.color)), light(ground(node))].sort((x, y) => y - x);
  const needed = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < needed) out.push(`${node.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
}
return out;
"""


@pytest.fixture(params=[(w, s) for w in WIDTHS for s in ("light", "dark")], ids="-".join)
def report(
    request: pytest.FixtureRequest, browser: Browser, watched: Watched
) -> Iterator[Browser]:
    """The report at a width and in a scheme, everything that folds unfolded; pictured whole."""
    width, scheme = request.param
    url = watched.run.report.as_uri()
    browser.open(url, width=WIDTHS[width], dark=scheme == "dark")
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.resize(WIDTHS[width], browser.run("return document.body.scrollHeight") + 40)
    browser.shot(f"report-{width}-{scheme}")
    yield browser
    assert browser.errors() == []


def test_the_report_is_drawn_in_full(report: Browser) -> None:
    wide = "const page = document.scrollingElement; return [page.scrollWidth, page.clientWidth]"
    needed, given = report.run(wide)
    assert needed <= given, "the page scrolls sideways"
    assert report.run(STICKING_OUT) == []
    assert report.run(PALE) == []
    images = report.images()
    assert images, "no image"
    assert min(min(size) for size in images) > 0, "an image did not load"
    assert "trial" in report.texts("body")[0]


def test_the_report_takes_up_the_scheme(browser: Browser, watched: Watched) -> None:
    grounds = []
    for dark in (False, True):
        browser.open(watched.run.report.as_uri(), dark=dark)
        colour = browser.run("return getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, colour.strip("rgba() ").split(",")[:3])))
    assert grounds[0] > 600
    assert grounds[1] < 200
