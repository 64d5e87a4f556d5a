"""Figures are well-formed SVG, say in words what they show, and take the page's colours."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shiftsearch.experiments.outcome.result_rows import TableRow, rows_of
from shiftsearch.experiments.report.figures.accuracy import accuracy_intervals, confusion_matrix
from shiftsearch.experiments.report.figures.change import class_changes
from shiftsearch.experiments.report.figures.images import sheet
from shiftsearch.experiments.report.figures.search import search_history, time_used
from shiftsearch.experiments.report.figures.shift import intensity_histogram
from tests.experiments.protocol_results import branch, complete, confusion, failed, pruned, rows
from tests.experiments.report.made_analysis import made_analysis

pytestmark = pytest.mark.unit

NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '


def parse(svg: str) -> ET.Element:
    """The figure's root; fails when it is not well-formed or holds colours of its own."""
    root = ET.fromstring(svg.replace("<svg ", f"<svg {NAMESPACES}", 1))
    colours = re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)
    assert {c for c in colours if c.startswith("#")} == set()
    assert "currentColor" in colours
    assert root.get("role") == "img"
    return root


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_a_perfect_accuracy_has_a_bar_to_one_side_alone(accuracy: float) -> None:
    """Also for a result of an earlier version, whose interval ends 2e-16 before the accuracy."""
    short = [0.0, 1 - 2e-16] if accuracy else [2e-16, 1.0]
    row = TableRow(
        "winner", "before", "TEST2", "held-out", "held out", 60, accuracy, short, [accuracy], 0.1
    )
    rows = [row, replace(row, stage="after")]
    label = parse(accuracy_intervals(rows)).get("aria-label")
    assert f"{100 * accuracy:.2f} % [0.00, 100.00]" in str(label)


def test_confusion_matrix_shows_counts_under_hostile_names() -> None:
    counts = [[80, 10, 0], [0, 77, 0], [1, 2, 3]]
    classes = ["<b>", "a $cheap$ one", '"&']
    root = parse(confusion_matrix(counts, classes, "Matrix of <b>"))
    assert [t for t in texts(root) if t.isdigit()] == ["80", "10", "77", "1", "2", "3"]
    assert texts(root).count("a $cheap$ one") == 2
    assert root.get("aria-label") == (
        "Matrix of <b>: 160 of 173 images are on the diagonal. "
        "Most frequent mistake: <b> predicted as a $cheap$ one, 10 times."
    )


@pytest.mark.filterwarnings("error")
def test_names_of_any_length_and_script_leave_room_for_the_matrix() -> None:
    counts = [[90, 0, 0], [0, 90, 0], [0, 0, 90]]
    root = parse(confusion_matrix(counts, ["x" * 300, "two\nlines", "日本語"], "Matrix"))
    assert [t for t in texts(root) if t.isdigit()] == ["90"] * 3
    assert {"x" * 19 + "…", "two lines", "日本語"} <= set(texts(root))


def test_markers_of_a_series_share_their_style_and_places_are_rounded() -> None:
    trials = [complete(n, 0.9 + n / 1000) for n in range(50)]
    figure = search_history(trials, winner=0)
    assert 50 <= figure.count("<use ") < 70
    assert len(re.findall("<use [^>]*style", figure)) < 20
    assert re.findall(r" [xyd]=\"[^\"]*\d\.\d{3}", figure) == []


def test_confusion_matrix_of_many_classes_thins_its_names_and_leaves_out_counts() -> None:
    root = parse(confusion_matrix(confusion(100, 90), [f"n{i}" for i in range(100)], "Matrix"))
    assert [t for t in texts(root) if t.isdigit()] == []
    assert 40 <= sum(t.startswith("n") for t in texts(root)) <= 60
    assert "mistake" not in (root.get("aria-label") or "")


def test_search_history_tells_branches_and_pruned_trials_apart() -> None:
    trials = [complete(0, 0.8), branch(1, 0.9, root=0), pruned(2, {1: 0.6}), failed(3, "x")]
    root = parse(search_history(trials, winner=1))
    assert {"sampled", "sampled, shared baseline", "stopped early"} <= set(texts(root))
    assert root.get("aria-label") == (
        "Search history: TEST2 accuracy of 2 trials, from 80.00 % to 90.00 %; 1 of them on a "
        "shared baseline; 2 trials without one, 1 of them stopped early; the winner is 1."
    )


def test_search_history_names_what_occurs_and_nothing_else() -> None:
    trials = [complete(0, 0.8, role="reference"), failed(1, "x"), complete(2, 0.95)]
    root = parse(search_history(trials, winner=2))
    legend = {"best so far", "sampled", "reference", "winner", "failed, no accuracy"}
    assert legend <= set(texts(root))
    assert {"point", "stopped early", "sampled, shared baseline"} & set(texts(root)) == set()
    assert root.get("aria-label") == (
        "Search history: TEST2 accuracy of 2 trials, from 80.00 % to 95.00 %; "
        "1 trial without one; the winner is 2."
    )


def test_accuracy_intervals_has_a_line_per_images_scored() -> None:
    root = parse(
        accuracy_intervals(rows_of({"table": rows("reference", 0.17, 0.8185, held_out=542)}))
    )
    assert texts(root).count("reference") == 3
    assert [t for t in texts(root) if "TEST" in t] == ["TEST", "TEST2 selection", "TEST2 held-out"]
    spoken = "reference, TEST2 held-out, after fine-tuning: 81.35 % [77.85, 84.40]"
    assert spoken in (root.get("aria-label") or "")


def test_figures_of_one_page_share_no_ids() -> None:
    matrix = confusion(3, 50)
    figures = [confusion_matrix(matrix, list("abc"), title) for title in ("first", "second")]
    ids = [set(re.findall(r'id="([^"]+)"', figure)) for figure in figures]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert figures[0] == confusion_matrix(matrix, list("abc"), "first")  # repeatable


def test_class_changes_names_both_shares_and_leaves_out_absent_classes() -> None:
    before = [[30, 60, 0], [0, 0, 0], [90, 0, 0]]
    after = [[81, 9, 0], [0, 0, 0], [45, 0, 45]]
    root = parse(class_changes(before, after, ["a", "none", "c"], "The <winner>"))
    assert [t for t in texts(root) if "n = " in t] == ["a (n = 90)", "c (n = 90)"]
    assert root.get("aria-label") == (
        "The <winner>, accuracy in % by class: a 33.3 to 90.0 of 90 images; "
        "c 0.0 to 50.0 of 90 images."
    )


def test_time_used_counts_a_shared_baseline_once() -> None:
    trials = [complete(0, 0.8), branch(1, 0.9, root=0), pruned(2, {1: 0.6}), failed(3, "x")]
    root = parse(time_used(trials))
    legend = {"baseline", "fine-tune", "uses another trial's baseline"}
    assert {*legend, "no result: time from start to end"} <= set(texts(root))
    assert root.get("aria-label") == (
        "Time used: 14 s for 1 baseline and 36 s for 2 fine-tunes, 1 of them from another "
        "trial's baseline; 2 trials without a result."
    )


def test_time_used_draws_many_trials_as_one_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [complete(0, 0.8), failed(1, "x"), *(complete(n, 0.8) for n in range(2, 9))]
    bars = time_used(trials)
    monkeypatch.setattr("shiftsearch.experiments.report.figures.search.MAX_BARS", 3)
    outline = time_used(trials)
    assert outline.count("<path") < bars.count("<path") - 8
    assert parse(outline).get("aria-label") == parse(bars).get("aria-label")
    assert texts(parse(outline)) == texts(parse(bars))


def test_intensities_of_all_splits_are_told_apart_by_their_lines() -> None:
    splits = made_analysis("ab").splits
    figure = intensity_histogram(splits)
    root = parse(figure)
    assert {"TRAIN", "TEST", "TEST2"} <= set(texts(root))
    assert "TEST2 mean 0.375, sd 0.188" in (root.get("aria-label") or "")
    assert len(set(re.findall(r"stroke-dasharray: ([^;]+)", figure))) == 2


def test_flat_intensities_have_a_scale() -> None:
    splits = made_analysis("ab").splits  # 1.6 % in every bin but one
    root = parse(intensity_histogram(splits))
    assert {"1", "10"} <= set(texts(root))
    black = [replace(s, histogram=np.eye(64)[0]) for s in splits]
    assert {"10", "100", "1000"} & set(texts(parse(intensity_histogram(black)))) == {"10", "100"}


def test_a_sheet_keeps_pixels_and_reduces_what_is_large() -> None:
    dark, light = np.zeros((2, 3), np.uint8), np.ones((2, 3), np.float32)
    image = sheet([dark, light, light], 2, 9, 'a "b"')
    picture = decoded(image)
    assert 'alt="a &quot;b&quot;"' in image
    assert picture.shape == (2 * 6 + 3, 2 * 9 + 3, 2)
    assert picture[0, 0].tolist() == [0, 255]
    assert picture[5, 12].tolist() == [255, 255]
    assert picture[0, 10].tolist() == picture[8, 12].tolist() == [0, 0]  # the page shows through
    assert decoded(sheet([np.zeros((200, 100), np.uint8)], 1, 56, "large")).shape == (64, 32, 2)


def decoded(image: str) -> NDArray[np.uint8]:
    """[H, W, grey and opacity] of an `<img>`."""
    _, _, data = image.partition("base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition('"')[0]))))
