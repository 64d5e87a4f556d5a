"""The page says what `result.json`, the trials and the analysis hold, and stands alone."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.report import page
from shiftsearch.experiments.report.page import write_report
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import TrialRecord
from tests.experiments.protocol_results import (
    branch,
    confusion,
    finished_run,
    pruned,
    reference_only,
)
from tests.experiments.report.made_analysis import made_analysis, made_curves

pytestmark = pytest.mark.unit

draws = pytest.mark.slow(reason="draws all figures of a page")

SPACE = Space.parse({"fine_tune": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}})
SECTIONS = {
    "data": "Data",
    "protocol": "Protocol and configuration",
    "results": "Accuracies before and after fine-tuning",
    "model": "The exported model",
    "curves": "Learning curves",
    "confusion": "Confusion matrices",
    "classes": "Change of each class",
    "mistakes": "Most confident mistakes",
    "features": "What fine-tuning changed inside",
    "search": "Search",
    "importance": "What mattered in the search",
    "retraining": "Retraining, noise and outlook",
    "advice": "What the data recommends next",
    "provenance": "Provenance",
}


class Page(HTMLParser):
    """What a reader meets: headings, text, pictures; fails on tags that do not match."""

    VOID = frozenset({"meta", "br", "img", "wbr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())
        self.alts = [a.get("aria-label") for tag, a in self.attributes if tag == "svg"]
        self.images = [a for tag, a in self.attributes if tag == "img"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, text = self.headings.pop()
            self.headings.append((level, text + data))


def html_of(
    run: tuple[dict[str, Any], list[TrialRecord]], folder: Path, analysis: Analysis | None = None
) -> str:
    result, trials = run
    curves = None if analysis is None else made_curves()
    write_report(result, trials, SPACE, analysis, folder / "report.html", curves)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with a winner, failures, a held-out part and an analysis."""
    return html_of(finished_run(), tmp_path_factory.mktemp("report"), made_analysis("012345"))


def test_the_page_answers_first_and_stands_alone(html: str) -> None:
    found = Page(html)
    answer = found.text.index("The winner, trial 17, is right on 95.67 % [93.61, 97.09] of 542")
    assert answer < found.text.index("Contents")
    assert "The reference configuration is right on 81.35 %" in found.text
    assert "+14.32 points [+11.19, +17.44]; the winner is better, by more than" in found.text
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert re.findall(r"(?:src|href)=\"(?!#|data:image/png)[^\"]*|url\((?!#)[^)]*", html) == []
    assert "@import" not in html
    assert re.findall(r"\son\w+=", html) == []


def test_the_box_at_the_top_has_verdict_advice_configuration_and_use(html: str) -> None:
    found = Page(html)
    box, _, rest = found.text.partition("Contents")
    order = [
        "The winner, trial 17, is better than the reference configuration, by more than",
        "is right on 95.67 %",
        "Recommendations Use the winner, trial 17: +14.32 points",
        "1.05 points less. The winner's configuration",
        "fine_ tune. learning_ rate 0.001235 instead of 0.0001",
        "fine_ tune. frozen_ layers 0 instead of 2",
        "other hyperparameters have the reference's value",
        "Use the model",
        "shiftsearch predict best IMAGE_OR_FOLDER...",
        'model = shiftsearch.load("best")',
    ]
    places = [box.index(text) for text in order]
    assert places == sorted(places)
    assert "What it is trial 17, replicate 2" in rest
    assert "0.030 before and 0.010 after the temperature 1.25" in rest


@draws
def test_a_failed_search_says_so_first_and_gives_no_other_advice(
    tmp_path: Path, html: str
) -> None:
    assert "What went wrong" not in html
    result, trials = finished_run()
    for row in result["table"]:
        row |= {"accuracy": 0.17, "interval": [0.14, 0.2]}
    written = html_of((result, trials), tmp_path)
    box, _, rest = Page(written).text.partition("Contents")
    order = [
        "is no better than chance on TEST2",
        "--set space.",
        "The winner, trial 17, is better",
    ]
    places = [Page(written).text.replace("'", "").index(text) for text in order]
    assert places == sorted(places)
    assert "shiftsearch search experiment.yaml --run ../again --set" in box
    assert "Use the winner" not in box + rest


def test_long_parts_fold_without_a_script(html: str) -> None:
    folded = re.findall(
        r"<details>\s*<summary><h3>(.*?)</h3></summary>(.*?)</details>", html, re.S
    )
    assert [title for title, _ in folded] == [
        "Feature maps of one image",
        "Representation, layer by layer",
        "Trials over the hyperparameters",
    ]
    assert "<img" in folded[0][1]
    assert "CKA" in folded[1][1]
    assert "<svg" in folded[2][1]


def test_every_section_is_there_and_reached_from_the_contents(html: str) -> None:
    found = Page(html)
    assert [text for level, text in found.headings if level == 2][2:] == list(SECTIONS.values())
    ids = [a["id"] for _, a in found.attributes if "id" in a]
    assert len(ids) == len(set(ids))
    links = [str(a["href"]) for tag, a in found.attributes if tag == "a"]
    assert links[-len(SECTIONS) :] == [f"#{anchor}" for anchor in SECTIONS]
    assert {link[1:] for link in links} <= set(ids)
    named = [str(a["aria-labelledby"]) for _, a in found.attributes if "aria-labelledby" in a]
    assert set(named) <= set(ids)
    assert {"header", "main", "nav"} <= set(found.tags)


def test_the_page_is_accessible(html: str) -> None:
    found = Page(html)
    levels = [level for level, _ in found.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(found.alts) == 14
    assert all(alt and len(alt) > 40 for alt in found.alts)
    assert len(set(found.alts)) == 14
    assert all(len(image["alt"] or "") > 15 for image in found.images)
    scrolled = [a for _, a in found.attributes if a.get("class") == "scroll"]
    assert scrolled
    assert all(a.get("tabindex") == "0" and a.get("aria-labelledby") for a in scrolled)
    wide = [a for _, a in found.attributes if "wide" in str(a.get("class"))]
    assert len(wide) == 6
    assert all(a.get("tabindex") == "0" for a in wide)


def test_each_image_is_drawn_in_whole_pixels_of_its_own(html: str) -> None:
    images = Page(html).images
    # Two samples of six classes from three splits, a mean of each split, two mistakes, an image
    # and its maps from three blocks before and after.
    assert len(images) == 18 + 3 + 2 + 1 + 6
    sizes = set()
    for image in images:
        _, _, data = str(image["src"]).partition("base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert (str(picture.width), str(picture.height)) == (image["width"], image["height"])
            sizes.add(picture.size)
    assert (84, 84) in sizes  # a mistake: 28 pixels, each three wide
    assert (3 * 56 + 2 * 3, 2 * 56 + 3) in sizes  # two of TRAIN, each with two draws beside it


def test_the_page_shows_what_explains_the_winner(html: str) -> None:
    found = Page(html)
    for expected in (
        "TRAIN as stored, then 2 times with the augmentation of the winner's baseline TEST as",
        "all 4800 1080 1080",
        "mean of 540 images; intensity mean 0.375, sd 0.188",
        "from the 541 images of the selection part, so that nothing of the held-out part is shown",
        "TRAIN TEST2 0.2500 0.0312",
        "By their intensities, TRAIN and TEST2 are furthest apart.",
        "By their mean images, TRAIN and TEST are furthest apart.",
        "trained on the 1080 images of TEST, validated on the 541 of TEST2's selection part",
        "542 are held out: not used for training, stopping or ranking",
        "trial 17, replicate 2, is wrong on 36 of 540 images",
        "corrected 7 that were wrong before, and made 3 wrong that were right before. The 2 most",
        "0 predicted as 1 probability 0.875; before: 0 at 0.500; image 40 of TEST2",
        "Image 99 of TEST2 (selection part), class 1 : predicted as 0 before and as 1 after",
        "block 1 frozen 1.000 0.000 0.000",
        "block 3 trained 0.625 0.100 2.500",
        "head trained - - -",
        "Frozen in this model: block 1;",
        "block 2 93.75 % 94.53 % +0.78 points [-1.25, +3.00] no block 3 90.00 % 95.00 %",
        "frozen_layers 0 to 2, because",
        "space.fine_tune.frozen_layers: {low: 0, high: 2}.",
        "block 2 changed least (CKA 0.975) and dense 512 most (CKA 0.500)",
        "block 2 kept nearly the same representation (CKA 0.975 or more)",
        "Frozen layers Complete Stopped or failed Median Best 0 1 0 97.22 % 97.22 % 2 16 1",
    ):
        assert expected in found.text
    assert "of class 3 from TRAIN, each as stored and 2 times augmented" in html
    assert "3 27.8 to 93.3 of 90 images" in html
    assert "8 feature maps of block 2 before fine-tuning" in html


@draws
def test_preprocessed_images_stand_beside_the_original_ones(tmp_path: Path) -> None:
    result, trials = finished_run()
    result["winner"]["configuration"]["preprocessing.polarity"] = "bright_on_dark"
    made = made_analysis("012345")
    analysis = replace(
        made,
        splits=tuple(replace(s, is_preprocessed=True) for s in made.splits),
        feature_maps=replace(made.feature_maps, preprocessed=np.zeros((28, 28), np.float32)),
    )
    html = html_of((result, trials), tmp_path, analysis)
    found = Page(html)
    for expected in (
        "TRAIN original, then preprocessed, then 2 times with the augmentation of the winner's "
        "baseline TEST original, then preprocessed",
        "Preprocessing: polarity bright_on_dark.",
    ):
        assert expected in found.text
    assert "from TRAIN, each as stored, preprocessed and 2 times augmented" in html
    assert "of class 3 from TEST2, each as stored and preprocessed" in html
    sizes = [(int(a["width"] or 0), int(a["height"] or 0)) for a in found.images]
    assert (4 * 56 + 3 * 3, 2 * 56 + 3) in sizes  # two of TRAIN: two forms and two draws
    assert (2 * 112 + 3, 112) in sizes  # the image of the feature maps, in both forms


def test_a_section_that_fails_is_a_line_and_the_others_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> NoReturn:
        raise ValueError("'xerr' must not <contain>\nnegative values")

    for name in ("accuracy_intervals", "confusion_matrices", "importances"):
        monkeypatch.setattr(f"shiftsearch.experiments.report.page.{name}", failing)
    for name in ("changes_of", "search_history", "time_used"):  # for speed
        monkeypatch.setattr(f"shiftsearch.experiments.report.page.{name}", lambda *_: "")
    result, trials = finished_run()
    lines = write_report(result, trials, SPACE, None, tmp_path / "report.html")
    failed = ["results", "confusion", "importance", "advice"]
    titles = ["Recommendations", *(SECTIONS[anchor] for anchor in failed)]
    error = "failed: ValueError: 'xerr' must not <contain> negative values"
    assert lines == [f"section '{title}' {error}" for title in titles]
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [text for level, text in found.headings if level == 2][2:] == list(SECTIONS.values())
    assert all(line in found.text for line in lines)
    assert found.text.count(error) == len(lines)
    assert "The winner, trial 17, is right on 95.67 %" in found.text
    assert "standard deviation 0.71 points" in found.text


def test_an_answer_that_fails_is_a_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shiftsearch.experiments.report.page._SECTIONS", ())
    monkeypatch.setattr("shiftsearch.experiments.report.page._TOP", page._TOP[1:2])
    result, trials = finished_run()
    del result["comparison"]
    (line,) = write_report(result, trials, SPACE, None, tmp_path / "report.html")
    assert line == "section 'answer' failed: KeyError: 'comparison'"
    assert line in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text


@draws
def test_without_data_or_model_the_page_says_so_once_a_section(html: str, tmp_path: Path) -> None:
    found = Page(html_of(finished_run(), tmp_path))
    assert found.text.count("Not shown: the run's dataset or exported model is missing") == 3
    assert found.images == []
    assert "all 4800 1080 1080" in found.text
    assert "Frozen layers Complete" in found.text
    assert "Not shown" not in Page(html).text


def test_the_page_shows_failures_escaped_looks_and_provenance(html: str) -> None:
    found = Page(html)
    for expected in (
        "baseline epoch 3: training loss nan <script>alert(1)</script>",
        "shiftsearch search digits6 --data <DIR>",
        "0 reference fine-tuned on TRAIN+TEST 81.51 % 81.00 %, 82.00 % failed: worker lost 4",
        "17 winner fine-tuned on TEST 97.22 % 96.00 %, 97.00 %, 95.50 % 96.17 %",
        "6 with the reference (final evaluation); 6 with the winner (final evaluation)",
        "0123456789abcdef0123456789abcdef",
        "fine_ tune. learning_ rate 0.0001 0.0001 0.001235",
        "Not searched, and the same in both: baseline.learning_rate 0.001,",
        "17 complete, 0 pruned and 1 failed trials (17 were asked for)",
        "torch 2.13.0",
        "right after the reference. The last command of this run was",
        "2 trials at once: 2 cores",
        "Warning about the data: 4 images of TRAIN and 4 of TEST2 are identical: <seen> in",
        "Time this call 7 min 13 s",
        "standard deviation 0.71 points [0.40, 2.65], 3 degrees of freedom.",
        "the better 8 and all of 16 trials (1 baseline)",
        "Use the winner, trial 17: +14.32 points [+11.19, +17.44] over the reference",
        "Above their limits: none of them. 1 trial outside the searched space is left out.",
        "20 more trials are expected to add 0.42 points [0.17, 1.33] to the search's best value",
    ):
        assert expected in found.text


@draws
def test_the_page_tells_of_branches_rungs_and_an_early_end(html: str, tmp_path: Path) -> None:
    without = Page(html).text
    assert not any(
        w in without for w in ("tunes another", "rung", "No more trials", "continued since")
    )
    result, trials = finished_run()
    trials = [*trials[:9], branch(19, 0.9, root=17), pruned(20, {1: 0.4, 3: 0.51})]
    result["search"] |= {"stopped": "the budget is spent", "complete": 8}
    text = Page(html_of((result, trials), tmp_path)).text
    assert "1 trial fine-tunes another trial's baseline." in text
    assert "continued since this result: 9 trials are complete now." in text
    assert "There are no importances: fewer than 16 trials" in text
    assert "No more trials were asked for: the budget is spent." in text
    assert "Node Device Trials" not in text
    spot = {"host": "<one>", "device": "cuda 0", "retrainings": 2, "seconds": 125.0}
    result["places"] = [{**spot, "node_id": n * 8, "trials": [0, 3]} for n in "ab"]
    text = Page(html_of((result, trials), tmp_path)).text
    assert "Retrainings Busy <one>/aaaaaa cuda 0 2 2 2 min 05 s <one>/bbbbbb cuda 0" in text
    assert "Trial Reason 20 stopped at the rung of 3 epochs" in text


@draws
def test_without_a_held_out_part_the_page_says_so(tmp_path: Path) -> None:
    page = html_of(finished_run(held_out=0), tmp_path, made_analysis("012345"))
    found = Page(page)
    assert "Nothing was held out (holdout 0)" in found.text
    assert (
        "is right on 96.17 % [94.20, 97.49] of 541 TEST2 images (selected on; mean" in found.text
    )
    assert "TEST2's selection part" in found.text
    assert "541 images are the selection part; none is held out." in found.text
    assert "nothing of the held-out part is shown" not in found.text
    assert "TEST2 held-out" not in found.text
    assert "Looks at the held-out part none" in found.text


@draws
def test_a_run_of_the_reference_alone_has_a_page(tmp_path: Path) -> None:
    run = reference_only()
    del run[0]["search"]["stopped"]  # of a run that an older version concluded
    found = Page(html_of(run, tmp_path))
    assert "No more trials" not in found.text
    assert "The reference configuration is right on 93.70 %" in found.text
    assert "Only the reference configuration was run" in found.text
    assert "The winner, trial" not in found.text.partition("Contents")[0]
    assert "Failed trials" not in found.text
    assert "Warning" not in found.text
    assert "Noise between seeds is unknown" in found.text
    assert "What more trials would gain is unknown" in found.text
    assert "other retrained configuration" not in found.text
    assert "Not shown: nothing was searched, or fewer than two trials are complete." in found.text


@draws
def test_hostile_and_many_class_names_do_no_harm(tmp_path: Path) -> None:
    classes = ['<img src=x onerror="alert(1)">', "a $cheap$ one", *(f"n{i}" for i in range(28))]
    result, trials = finished_run()
    result["dataset"] |= {
        "classes": classes,
        "counts": {split: [9] * 30 for split in ("TRAIN", "TEST", "TEST2")},
    }
    matrices = {"before": confusion(30, 25), "after": confusion(30, 84)}
    result["confusion"] |= {"reference": matrices, "winner": matrices}
    found = Page(html_of((result, trials), tmp_path, made_analysis(classes, mistakes=12)))
    assert "<img src=x onerror=" in found.text
    assert all("onerror" not in attributes for _, attributes in found.attributes)
    assert "images of the first 12 classes" in found.text
    assert len(found.images) == 12 * 3 + 3 + 12 + 1 + 6
    assert "n27 9 9 9" in found.text


@draws
def test_trials_that_are_as_good_as_the_best_are_named(tmp_path: Path) -> None:
    result, trials = finished_run()
    assert "have the same value" not in Page(html_of((result, trials), tmp_path)).text
    others = [t.number for t in trials if t.value is not None and t.number not in (0, 17)][:2]
    best = result["search"]["best_value"]
    equal = [replace(t, value=best) if t.number in others else t for t in trials]
    text = Page(html_of((result, equal), tmp_path)).text
    assert f"trials {others[0]}, {others[1]} have the same value" in text
