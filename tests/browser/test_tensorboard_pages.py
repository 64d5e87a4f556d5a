"""TensorBoard's pages of a real run, drawn by Chromium."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.chrome import Browser
from tests.browser.servers import until
from tests.browser.watched_run import Watched

pytestmark = pytest.mark.browser

SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


def opened(browser: Browser, watched: Watched, tab: str, dark: bool, width: int = 1600) -> str:
    """Open a tab; the name of its picture."""
    browser.open(f"{watched.tensorboard.url}/#{tab}", dark=dark, width=width)
    return f"tensorboard-{tab}-{'dark' if dark else 'light'}-{width}"


@SCHEMES
def test_the_hparams_table_shows_the_trials(
    browser: Browser, watched: Watched, dark: bool
) -> None:
    """In the order of the trials, with the values of the columns that are shown at first."""
    name = opened(browser, watched, "hparams", dark, 2000)
    rows = watched.rows()
    until(lambda: set(rows) <= set(browser.texts("vaadin-grid-cell-content")))
    browser.shot(name)
    cells = browser.texts("vaadin-grid-cell-content")
    assert [cell for cell in cells if cell.startswith("trial-")] == list(rows)
    wide = cells.index(next(iter(rows)))
    header = cells[:wide]
    assert "baseline.learning_rate" in header
    assert "test2_accuracy_after" in header
    for number, (trial, row) in enumerate(rows.items(), start=1):
        line = dict(zip(header, cells[number * wide : (number + 1) * wide], strict=True))
        assert line["Trial ID"] == trial
        for column in set(line) & set(row):
            if isinstance(row[column], float):
                assert float(line[column]) == pytest.approx(row[column], rel=1e-4), column
    browser.resize(800, 900)
    browser.shot(f"{name}-narrow")
    assert browser.errors() == []


@SCHEMES
@pytest.mark.parametrize("view", ["PARALLEL COORDINATES VIEW", "SCATTER PLOT MATRIX VIEW"])
def test_the_other_views_of_hparams_are_drawn(
    browser: Browser, watched: Watched, dark: bool, view: str
) -> None:
    name = opened(browser, watched, "hparams", dark)
    (tab,) = until(lambda: [e for e in browser.elements("paper-tab") if e.text.upper() == view])
    tab.click()
    drawn = until(lambda: len(browser.elements("svg path, svg circle")))
    browser.shot(f"{name}-{view.split()[0].lower()}")
    assert drawn > 10
    assert browser.errors() == []


def coloured(chart: WebElement) -> int:
    """Pixels of a chart that are not grey: of its curves, for axes, grid and ground are."""
    pixels = np.asarray(Image.open(io.BytesIO(chart.screenshot_as_png)).convert("RGB"), int)
    return int((np.ptp(pixels, axis=2) > 60).sum())


@SCHEMES
@pytest.mark.parametrize(
    ("tab", "chart"), [("timeseries", "canvas"), ("scalars", "vz-line-chart2")]
)
def test_curves_are_drawn(
    browser: Browser, watched: Watched, dark: bool, tab: str, chart: str
) -> None:
    """In the first cards; those below the window are drawn later."""
    name = opened(browser, watched, tab, dark)
    assert until(lambda: len(browser.elements(chart)) > 1)
    until(lambda: min(map(coloured, browser.elements(chart)[:2])) > 20)
    assert min(map(coloured, browser.elements(chart)[:2])) > 20, "an empty chart"
    browser.shot(name)
    assert browser.errors() == []


@SCHEMES
def test_images_are_drawn(browser: Browser, watched: Watched, dark: bool) -> None:
    name = opened(browser, watched, "images", dark)
    until(lambda: browser.images() and min(min(s) for s in browser.images()) > 0)
    sizes = browser.images()
    browser.shot(name)
    assert sizes, "no image"
    assert min(min(size) for size in sizes) > 0, "an image did not load"
    browser.resize(800, 900)
    browser.shot(f"{name}-narrow")
    assert browser.errors() == []
