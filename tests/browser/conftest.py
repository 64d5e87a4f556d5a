"""One browser and one real run for all tests here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.convert import write_folder
from shiftsearch.data.dataset import Dataset, Split
from tests.browser import chrome
from tests.browser.watched_run import Watched, watched_run


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chrome.Browser]:
    """Headless; its screenshots go to the folder in SHIFTSEARCH_SCREENSHOTS, if that is set."""
    if lacking := chrome.missing():
        pytest.skip(lacking)
    given = os.environ.get("SHIFTSEARCH_SCREENSHOTS")
    shots = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    browser = chrome.Browser(tmp_path_factory.mktemp("profile"), shots)
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Dataset) -> Iterator[Watched]:
    """A finished run that TensorBoard has watched; not to be changed.

    Its TEST2 is bright and pale: learned with the right augmentation, and only with it.
    """
    folder = tmp_path_factory.mktemp("watched")
    negative = tiny_dataset.splits["TEST2"]
    pale = Split(np.uint8(192 - 0.45 * negative.images), negative.labels)
    dataset = Dataset(tiny_dataset.classes, {**tiny_dataset.splits, "TEST2": pale})
    write_folder(dataset, folder / "data")
    with watched_run(folder, folder / "data") as watched:
        yield watched
