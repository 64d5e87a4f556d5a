"""The model card: its numbers by hand, its tables as HTML, and names that hold anything."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import markdown
import pytest

from shiftsearch.experiments.outcome.card import CARD, card
from shiftsearch.experiments.outcome.card_figures import CHANGE, CONFUSION
from shiftsearch.experiments.outcome.markdown import plain
from shiftsearch.model.architecture import ThreeBlocks
from shiftsearch.model.bundle_format import (
    BundleError,
    DivisionRecord,
    FurtherMember,
    Origin,
    Preprocessing,
    Record,
)
from shiftsearch.model.hyperparameters import PreprocessingHyperparameters, Protocol
from shiftsearch.model.recorded_network import RECORDED, RecordedNetwork, recorded

pytestmark = pytest.mark.unit

SIZES = {"model.safetensors": 2_749_064, "model.onnx": 2_800_000, "load.py": 4306, "notes|.txt": 1}
BEFORE = ((25, 25), (25, 25))
SELECTION = ((48, 2), (0, 50))
HELD_OUT = ((45, 5), (10, 40))
PARITY = {
    "file": "model.onnx",
    "bytes": 2_800_000,
    "difference": 1.2e-7,
    "images": 16,
    "real": True,
}


def row(part: str, label: str, confusion: Any, stage: str = "after") -> dict[str, Any]:
    n = sum(map(sum, confusion))
    right = sum(line[i] for i, line in enumerate(confusion))
    place = {"stage": stage, "split": "TEST2", "part": part, "label": label, "n": n}
    return {**place, "accuracy": right / n, "loss": 0.1, "confusion": confusion}


def a_record(classes: tuple[str, ...] = ("cat", "dog"), **changes: Any) -> Record[RecordedNetwork]:
    built = recorded(ThreeBlocks(), classes=len(classes), image_size=(16, 16), dropout=0.0)
    division = DivisionRecord(holdout=0.5, seed=0, test2_digest="def", held_out=tuple(range(100)))
    fields: dict[str, Any] = {
        "architecture": built,
        "preprocessing": Preprocessing(size=(16, 16), scale="uint8", intensity="stretch"),
        "classes": classes,
        "hyperparameters": {},
        "protocol": Protocol(),
        "dataset_digest": "abc",
        "division": division,
        "metrics": (
            row("selection", "selected on", BEFORE, "before"),
            row("selection", "selected on", SELECTION),
            row("held-out", "held out", HELD_OUT),
            {"split": "TEST", "accuracy": 1},  # of another form
        ),
        "versions": {"torch": "2.13.0"},
        "study": Origin(seed=0, number=17, replicate=2),
        "checksums": {},
        "temperature": 1.5,
        "model": {
            "name": "cats",
            "licence": "CC-BY-4.0",
            "images": {"TRAIN": [300, 300], "TEST2": [100, 100]},
            "members": [{"share": 1, "trained": [{"number": 17, "replicate": 2}]}],
            "calibration_error": {"held-out": {"before": 0.03, "after": 0.01}},
            "formats": {"onnx": PARITY},
        },
    }
    kind: Any = Record[RECORDED["three blocks"]]  # type: ignore[misc]
    made: Record[RecordedNetwork] = kind(**fields | changes)
    return made


def text_of(record: Record[Any]) -> str:
    return card(record, SIZES)[CARD].decode()


def lines_of(record: Record[RecordedNetwork]) -> list[str]:
    return text_of(record).replace("\N{NO-BREAK SPACE}", " ").splitlines()


def html_of(record: Record[RecordedNetwork]) -> str:
    return markdown.markdown(text_of(record), extensions=["tables", "fenced_code"])


def test_the_numbers_are_those_of_the_held_out_part() -> None:
    lines = lines_of(a_record())
    # By hand: 85 of 100; 183 of 200; Wilson's intervals; of dog 40 of 50, and 40 of 45 predicted.
    assert "| accuracy | 85.00 % [76.72, 90.69] of 100 images of TEST2, held out |" in lines
    (whole,) = [line for line in lines if line.startswith("| TEST2 | all")]
    assert "| 200 | - | 91.50 % |" in whole
    (chosen,) = [line for line in lines if line.startswith("| TEST2 selection | selected on")]
    assert "| 100 | 50.00 % | 98.00 % |" in chosen
    (optimism,) = [line for line in lines if line.startswith("Optimism")]
    assert "+13.00 points [" in optimism
    assert "| dog | 50 | - | 80.00 % | [66.96, 88.76] | 88.89 % |" in lines
    assert "| dog | 10 | **40** |" in lines
    assert "| TEST2 held-out | 3.00 % | 1.00 % |" in lines
    assert "| licence | CC-BY-4.0 |" in lines
    assert "| TRAIN | trained the baseline | 600 | 300 | 300 |" in lines
    (onnx,) = [line for line in lines if line.startswith("| `model.onnx`")]
    assert "2.8 MB" in onnx
    assert "1.2e-07 on 16 images of TEST, all classes equal" in onnx
    assert not any("notes" in line for line in lines)
    assert sum("stretched between" in line for line in lines) == 1


def test_every_table_is_a_table_with_equal_rows() -> None:
    html = html_of(a_record())
    tables = html.split("<table>")[1:]
    assert len(tables) == 8
    for table in tables:
        rows = table.split("</table>")[0].split("<tr>")[1:]
        assert len({line.count("</td>") + line.count("</th>") for line in rows}) == 1
    assert not any("|" in part.split("<table>")[0] for part in html.split("</table>"))


@pytest.mark.parametrize(
    "name", ["a|b", "<script>x</script>", "*b* _c_ `d`", "line\nbreak", "[l](u)"]
)
def test_names_that_hold_anything_are_shown_as_they_are(name: str) -> None:
    html = html_of(a_record((name, "dog")))
    assert not any(mark in html for mark in ("<script>", "<a ", "<em>"))
    shown = name.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    assert f">{shown}</td>" in html
    assert "\n" not in plain(name)


def test_many_classes_have_their_most_frequent_errors_instead_of_a_square() -> None:
    names = tuple(f"class {i:02d}" for i in range(20))
    matrix = [[10 if i == j else 0 for j in range(20)] for i in range(20)]
    matrix[3][7] = 4
    matrix[5][6] = 9
    metrics = (row("held-out", "held out", tuple(map(tuple, matrix))),)
    lines = lines_of(a_record(names, metrics=metrics, model={}))
    place = lines.index("| true | predicted | images |")
    assert lines[place + 2 : place + 5] == [
        "| class 05 | class 06 | 9 |",
        "| class 03 | class 07 | 4 |",
        "",
    ]


def test_a_bundle_of_an_earlier_version_has_a_card_of_what_it_knows() -> None:
    lines = lines_of(a_record(model={}, metrics=(), temperature=1.0))
    assert "# An image classifier" in lines
    assert "No accuracies are recorded." in lines
    assert "| licence | not stated |" in lines


def test_the_networks_of_an_ensemble_are_named_with_their_steps_and_summed() -> None:
    built = recorded(ThreeBlocks(), classes=2, image_size=(16, 16), dropout=0.0)
    other = FurtherMember(
        file="member-2.safetensors",
        share=0.4,
        architecture=built,
        preprocessing=PreprocessingHyperparameters(centre="mass"),
        hyperparameters={},
        study=Origin(seed=0, number=5, replicate=1),
    )
    trained = [
        {"share": share, "trained": [{"number": number, "replicate": 1}]}
        for share, number in ((0.6, 3), (0.4, 5))
    ]
    lines = lines_of(a_record(members=(other,), model={"members": trained}))
    assert any("an ensemble of 2 networks: trial 3" in line for line in lines)
    assert any(line.startswith("- Network 2: the centre of mass") for line in lines)
    one = next(line for line in lines_of(a_record()) if line.startswith("| parameters"))
    two = next(line for line in lines if line.startswith("| parameters"))
    numbers = [int(line.split("|")[2].replace(",", "")) for line in (one, two)]
    assert numbers[1] == 2 * numbers[0]


def test_what_is_wrong_in_the_record_is_named() -> None:
    with pytest.raises(BundleError) as caught:
        card(a_record(model={"licence": 3, "objective": "speed"}), SIZES)
    assert [line.split(" is ")[0] for line in caught.value.problems] == [
        "bundle.json: model.licence",
        "bundle.json: model.objective",
    ]


def drawn(record: Record[Any], name: str) -> list[str]:
    """The texts in a figure, which must be a file that an XML parser reads."""
    root = ElementTree.fromstring(card(record, SIZES)[name])
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return [text for text in ("".join(e.itertext()).strip() for e in root.iter()) if text]


def test_the_figures_are_files_that_the_card_shows() -> None:
    before = row("held-out", "held out", BEFORE, "before")
    record = a_record(metrics=(before, row("held-out", "held out", HELD_OUT)))
    assert card(record, SIZES).keys() == {CARD, CHANGE, CONFUSION}
    sources = re.findall(r'<img alt="[^"]+" src="([^"]+)"', html_of(record))
    assert sources == [CHANGE, CONFUSION]
    assert {"cat", "dog", "45", "5", "10", "40"} <= {*drawn(record, CONFUSION)}
    assert {"cat (n = 50)", "dog (n = 50)"} <= {*drawn(record, CHANGE)}


def test_a_figure_without_its_numbers_is_left_out() -> None:
    only_after = a_record(metrics=(row("held-out", "held out", HELD_OUT),))
    assert card(only_after, SIZES).keys() == {CARD, CONFUSION}
    assert CHANGE not in text_of(only_after)
    none = a_record(
        metrics=({**row("held-out", "held out", HELD_OUT), "confusion": ((0, 0), (0, 0))},)
    )
    assert card(none, SIZES).keys() == {CARD}
    assert ".svg" not in text_of(none)


def test_a_name_in_a_figure_is_text_and_nothing_else() -> None:
    name = '</svg><script>alert(1)</script> $x$ & "y"'
    record = a_record((name, "dog"), metrics=(row("held-out", "held out", HELD_OUT),))
    root = ElementTree.fromstring(card(record, SIZES)[CONFUSION])
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert name in root.attrib["aria-label"]
