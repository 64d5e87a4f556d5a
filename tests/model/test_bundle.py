"""The bundle: reproduces its numbers, survives a crash, says what is wrong with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shiftsearch.data.dataset import DataError, Dataset, Split
from shiftsearch.data.scale import Scale
from shiftsearch.model import bundle_format
from shiftsearch.model.bundle import UNKNOWN_SCALE, Bundle
from shiftsearch.model.bundle_format import BundleError
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import evaluate, predict
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.loading import MAX_HEADER, load_bundle
from shiftsearch.model.network import allocate, initialise
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.protocol import build

pytestmark = pytest.mark.unit

HYPERPARAMETERS = Hyperparameters.from_flat({"fine_tune.dropout": 0.25})


def make_weights(seed: int, classes: int = 3) -> Mapping[str, Tensor]:
    network = allocate(classes, (16, 16))
    initialise(network, torch.Generator().manual_seed(seed))
    return network.state_dict()


BEFORE, AFTER, NEWER = (make_weights(seed) for seed in (1, 2, 3))

Save = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "best"


@pytest.fixture
def save(folder: Path, small_dataset: Dataset) -> Save:
    """`save_bundle` into `folder`; keyword arguments replace its own."""

    def save(**changes: Any) -> None:
        arguments: dict[str, Any] = {
            "weights": AFTER,
            "baseline_weights": BEFORE,
            "dataset": small_dataset,
            "hyperparameters": HYPERPARAMETERS,
            "protocol": Protocol(),
            "metrics": [{"split": "TEST", "accuracy": 0.1 + 0.2}],
            "versions": {"torch": torch.__version__},
            "seed": 4,
            "number": 17,
            "replicate": 2,
        }
        save_bundle(folder, **arguments | changes)

    return save


@pytest.fixture
def bundle(save: Save, folder: Path) -> Bundle:
    save()
    return load_bundle(folder)


def same(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return weights.keys() == expected.keys() and all(
        torch.equal(weights[name], expected[name]) for name in expected
    )


def test_all_that_was_saved_comes_back(
    bundle: Bundle, folder: Path, small_dataset: Dataset
) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "baseline.safetensors",
        "bundle.json",
        "classifier.py",
        "load.py",
        "model.safetensors",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["best"]
    assert same(bundle.weights["after"], AFTER)
    assert same(bundle.weights["before"], BEFORE)
    record = json.loads((folder / "bundle.json").read_text())
    del record["checksums"], record["division"]["held_out"]
    assert record == {
        "schema": 1,
        "architecture": {
            "name": "three blocks",
            "filters": [32, 64, 128],
            "dense": 512,
            "classes": 3,
            "image_size": [16, 16],
            "dropout": 0.25,
        },
        "preprocessing": {
            "size": [16, 16],
            "grayscale": True,
            "value_range": "uint8 / 255; float as is",
            "scale": "uint8",
            "bits": 16,
            "aspect": "pad",
        },
        "classes": ["left", "middle", "right"],
        "hyperparameters": HYPERPARAMETERS.to_flat(),
        "protocol": Protocol().model_dump(),
        "dataset_digest": small_dataset.digest,
        "division": {
            "holdout": 0.5,
            "seed": 0,
            "test2_digest": small_dataset.splits["TEST2"].digest(),
        },
        "metrics": [{"split": "TEST", "accuracy": 0.1 + 0.2}],
        "versions": {"torch": torch.__version__},
        "study": {"seed": 4, "number": 17, "replicate": 2},
    }
    assert bundle.record.hyperparameters == HYPERPARAMETERS.to_flat()
    assert bundle.record.protocol == Protocol()


def test_the_networks_are_the_saved_ones(
    bundle: Bundle, small_data: ProtocolData, device: Device
) -> None:
    images = small_data.test.images
    for stage, weights in (("before", BEFORE), ("after", AFTER)):
        network = bundle.network(stage, device)  # type: ignore[arg-type]
        assert not network.training
        assert network.dropout.probability == 0.25
        expected = build(weights, 3, (16, 16), device)
        assert torch.equal(predict(network, images), predict(expected, images))


def test_evaluation_reproduces_the_runs_numbers_exactly(
    save: Save, folder: Path, small_dataset: Dataset, small_data: ProtocolData, device: Device
) -> None:
    rows = []
    for stage, weights in (("before", BEFORE), ("after", AFTER)):
        network = build(weights, 3, (16, 16), device)
        for split, part, data in (
            ("TEST", "all", small_data.test),
            ("TEST2", "selection", small_data.selection),
        ):
            values = evaluate(network, data.images, data.labels).to_json()
            rows.append({"stage": stage, "split": split, "part": part, **values})
    save(metrics=rows)
    bundle = load_bundle(folder)
    found = bundle.evaluate(small_dataset, device)
    places = [(row["stage"], row["split"], row["part"], row["label"], row["n"]) for row in found]
    assert places == [
        ("before", "TEST", "all", "selected on", 30),
        ("before", "TEST2", "selection", "selected on", 15),
        ("before", "TEST2", "held-out", "held out", 15),
        ("after", "TEST", "all", "trained on", 30),
        ("after", "TEST2", "selection", "selected on", 15),
        ("after", "TEST2", "held-out", "held out", 15),
    ]
    known = [
        {k: v for k, v in r.items() if k != "label"} for r in found if r["part"] != "held-out"
    ]
    assert known == list(bundle.record.metrics) == rows


def test_the_held_out_part_is_the_rest_of_test2(
    bundle: Bundle, small_dataset: Dataset, device: Device
) -> None:
    whole = evaluate(
        bundle.network("after", device),
        torch.from_numpy(small_dataset.splits["TEST2"].images.copy()).unsqueeze(1),
        torch.from_numpy(small_dataset.splits["TEST2"].labels.copy()),
    )
    parts = [r for r in bundle.evaluate(small_dataset, device) if r["stage"] == "after"][1:]
    tables = [np.array(part["confusion"]) for part in parts]
    assert (tables[0] + tables[1] == whole.confusion).all()


def test_nothing_held_out_leaves_one_part_of_test2(
    save: Save, folder: Path, small_dataset: Dataset, device: Device
) -> None:
    save(protocol=Protocol(holdout=0.0))
    rows = load_bundle(folder).evaluate(small_dataset, device)
    places = [(row["split"], row["part"], row["n"]) for row in rows]
    assert places == [("TEST", "all", 30), ("TEST2", "selection", 30)] * 2


def test_other_data_is_evaluated_whole_and_labelled_so(
    bundle: Bundle, small_dataset: Dataset, device: Device
) -> None:
    test = small_dataset.splits["TEST"]
    other = Dataset(
        small_dataset.classes,
        {**small_dataset.splits, "TEST": Split(test.images[1:], test.labels[1:])},
    )
    rows = bundle.evaluate(other, device)
    assert {row["label"] for row in rows} == {"other data"}
    places = [(row["split"], row["part"], row["n"]) for row in rows]
    assert places == [("TRAIN", "all", 41), ("TEST", "all", 29), ("TEST2", "all", 30)] * 2


def test_chosen_splits_are_labelled_by_what_they_were_used_for(
    bundle: Bundle, small_dataset: Dataset, device: Device
) -> None:
    def labels(dataset: Dataset, *splits: str) -> list[tuple[str, ...]]:
        rows = bundle.evaluate(dataset, device, splits)
        return [tuple(row[key] for key in ("stage", "split", "part", "label")) for row in rows]

    def only(*names: str) -> Dataset:
        return Dataset(small_dataset.classes, {n: small_dataset.splits[n] for n in names})

    divided = [("selection", "selected on"), ("held-out", "held out")]
    test2 = [(stage, "TEST2", *part) for stage in ("before", "after") for part in divided]
    assert labels(small_dataset, "TEST2") == test2
    assert labels(only("TEST2"), "TEST2") == test2
    assert labels(small_dataset, "TRAIN", "TEST") == [
        ("before", "TRAIN", "all", "trained on"),
        ("before", "TEST", "all", "selected on"),
        ("after", "TRAIN", "all", "trained on"),
        ("after", "TEST", "all", "trained on"),
    ]
    # Whether TEST is the one of the run cannot be told from it alone.
    assert {label for *_, label in labels(only("TEST"), "TEST")} == {"may be trained on"}
    other = small_dataset.splits["TEST"]
    found = labels(Dataset(small_dataset.classes, {"TEST2": other}), "TEST2")
    assert {label for *_, label in found} == {"other data"}
    whole = bundle.evaluate(small_dataset, device)
    assert bundle.evaluate(only("TEST2"), device, ("TEST2",)) == [
        row for row in whole if row["split"] == "TEST2"
    ]


def test_data_that_does_not_fit_is_refused(
    bundle: Bundle, small_dataset: Dataset, tiny_dataset: Dataset, device: Device
) -> None:
    with pytest.raises(DataError) as caught:
        bundle.evaluate(tiny_dataset, device)
    assert caught.value.problems == (
        "classes are a, b, c, d, e, f, but must be the bundle's: left, middle, right",
        "image size is (28, 28), but must be the bundle's: (16, 16)",
    )
    with pytest.raises(DataError, match="right, middle, left, but must be"):
        bundle.evaluate(Dataset(small_dataset.classes[::-1], small_dataset.splits), device)


def with_scale(dataset: Dataset, scale: Scale) -> Dataset:
    """The dataset as if it had been read from floats on the scale."""
    splits = {
        name: Split(split.images.astype(np.float32) / np.float32(255), split.labels)
        for name, split in dataset.splits.items()
    }
    return dataset if scale == "uint8" else Dataset(dataset.classes, splits, scale=scale)


@pytest.mark.parametrize(
    ("trained", "other"),
    [("uint8", "float 0..1"), ("float 0..1", "float 0..255"), ("float 0..255", "float 0..1")],
)
def test_a_set_on_another_scale_is_not_evaluated(
    save: Save,
    folder: Path,
    small_dataset: Dataset,
    device: Device,
    trained: Scale,
    other: Scale,
) -> None:
    save(dataset=with_scale(small_dataset, trained))
    with pytest.raises(DataError) as caught:
        load_bundle(folder).evaluate(with_scale(small_dataset, other), device)
    assert caught.value.problems == (f"images are {other}, but must be the bundle's: {trained}",)


def test_a_set_of_floats_is_evaluated_on_the_scale_of_the_bundle(
    save: Save,
    folder: Path,
    small_dataset: Dataset,
    device: Device,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = with_scale(small_dataset, "float 0..255")
    save(dataset=dataset)
    assert load_bundle(folder).evaluate(dataset, device)[0]["label"] == "selected on"
    rows = load_bundle(folder).evaluate(small_dataset, device)
    assert {row["label"] for row in rows} == {"other data"}
    assert caplog.messages == []
    edit(folder, "preprocessing.scale", None)
    edit(folder, "preprocessing.bits", None)
    old = load_bundle(folder)
    assert (old.record.preprocessing.scale, old.record.preprocessing.bits) == (None, 16)
    old.evaluate(with_scale(small_dataset, "float 0..1"), device)
    assert caplog.messages == [f"warning: {UNKNOWN_SCALE}"]


def test_class_names_in_another_unicode_form_are_the_same(
    save: Save, folder: Path, small_dataset: Dataset, device: Device
) -> None:
    def named(*classes: str) -> Dataset:
        return Dataset(classes, small_dataset.splits)

    save(dataset=named("left", "mi\u0301ddle", "right"))
    bundle = load_bundle(folder)
    assert bundle.evaluate(named("left", "m\u00edddle", "right"), device)
    with pytest.raises(DataError, match="Unicode form"):
        bundle.evaluate(named("left", "right", "m\u00edddle"), device)


def edit(folder: Path, path: str, value: Any) -> None:
    """Set the field at a dotted path of `bundle.json`; None removes it."""
    record = json.loads((folder / "bundle.json").read_text())
    *parents, leaf = path.split(".")
    node = record
    for parent in parents:
        node = node[parent]
    if value is None:
        del node[leaf]
    else:
        node[leaf] = value
    (folder / "bundle.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 3, "schema is 3, but this version reads 1 and 2"),
        ("schema", None, "schema is None, but this version reads 1"),
        ("classes", None, "classes is missing, but is required"),
        ("extra", 1, "extra is 1: extra inputs are not permitted"),
        ("study.number", "17", "study.number is '17': input should be a valid integer"),
        ("study.seed", -1, "study.seed is -1: input should be greater than or equal to 0"),
        ("architecture.dropout", 1.5, "architecture.dropout is 1.5: input should be less than 1"),
        ("architecture.name", "x", "architecture.name is 'x': input should be 'three"),
        ("architecture.classes", 4, "classes has 3 names, but must have as many as"),
        ("preprocessing.size", [28, 28], "preprocessing.size is (28, 28), but must equal"),
        ("protocol.holdout", 2, "protocol.holdout is 2: input should be less than or equal to"),
        ("division.held_out", [-1], "division.held_out.0 is -1: input should be greater"),
    ],
)
def test_a_wrong_field_is_named(
    bundle: Bundle, folder: Path, path: str, value: Any, message: str
) -> None:
    edit(folder, path, value)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{folder / 'bundle.json'}: ")
    assert message in problem


def test_every_wrong_field_is_named_at_once(bundle: Bundle, folder: Path) -> None:
    edit(folder, "study.seed", -1)
    edit(folder, "dataset_digest", None)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert len(caught.value.problems) == 2


def test_missing_files_are_named(bundle: Bundle, folder: Path) -> None:
    for name in ("model.safetensors", "bundle.json"):
        (folder / name).unlink()
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert caught.value.problems == (
        f"{folder / 'bundle.json'}: is missing, but every bundle has it",
        f"{folder / 'model.safetensors'}: is missing, but every bundle has it",
    )


@pytest.mark.parametrize("text", ["", "{", "[1]", "\N{SNOWMAN}", "[" * 100_000])
def test_a_record_that_is_no_json_object_is_refused(
    bundle: Bundle, folder: Path, text: str
) -> None:
    (folder / "bundle.json").write_bytes(text.encode("utf-16") if text > "z" else text.encode())
    with pytest.raises(BundleError, match=r"bundle\.json: (is not JSON|schema is None)"):
        load_bundle(folder)


def test_damaged_weights_are_named(bundle: Bundle, folder: Path) -> None:
    for name, place in (("model.safetensors", -1), ("baseline.safetensors", 100)):
        content = bytearray((folder / name).read_bytes())
        content[place] ^= 1
        (folder / name).write_bytes(content)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert [line.split(": ")[:2] for line in caught.value.problems] == [
        [str(folder / "baseline.safetensors"), "is damaged"],
        [str(folder / "model.safetensors"), "is damaged"],
    ]


def test_weights_that_only_have_the_right_checksum_are_named(bundle: Bundle, folder: Path) -> None:
    good = (folder / "model.safetensors").read_bytes()
    for content in (b"", good[:100], b"\xff" * 8 + good[8:], good[:8] + b"[" + good[9:]):
        (folder / "model.safetensors").write_bytes(content)
        record = json.loads((folder / "bundle.json").read_text())
        record["checksums"]["model.safetensors"] = bundle_format.checksum(content)
        (folder / "bundle.json").write_text(json.dumps(record))
        with pytest.raises(BundleError) as caught:
            load_bundle(folder)
        (line,) = caught.value.problems
        assert line.startswith(f"{folder / 'model.safetensors'}: cannot be read: ")


def test_a_record_larger_than_any_is_not_read(bundle: Bundle, folder: Path) -> None:
    with (folder / "bundle.json").open("r+b") as file:
        file.truncate(bundle_format.MAX_RECORD + 1)  # a sparse file
    with pytest.raises(BundleError, match=r"bundle\.json: has 32000001 bytes"):
        load_bundle(folder)


@pytest.mark.parametrize("field", ["members", "classes", "model", "checksums"])
def test_a_record_of_many_entries_is_refused_in_one_line(
    bundle: Bundle, folder: Path, field: str
) -> None:
    many = [{}] * (bundle_format.MAX_ENTRIES + 1)
    edit(folder, field, {"a": many} if field in ("model", "checksums") else many)
    with pytest.raises(BundleError, match=r"bundle\.json: has \d{5,} entries") as caught:
        load_bundle(folder)
    assert len(caught.value.found) == 1


def test_wrong_positions_and_rows_are_told_once_however_many(bundle: Bundle, folder: Path) -> None:
    edit(folder, "division.held_out", [-1] * 1000)
    edit(folder, "metrics", [0] * 1000)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert len(caught.value.found) == 2


def test_weights_with_a_header_of_many_tensors_are_refused_unread(
    bundle: Bundle, folder: Path
) -> None:
    one = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"{i:060}": one for i in range(MAX_HEADER // 119)}).encode()
    content = len(header).to_bytes(8, "little") + header
    (folder / "model.safetensors").write_bytes(content)
    edit(folder, "checksums", {"model.safetensors": bundle_format.checksum(content)})
    with pytest.raises(BundleError, match=rf"header of {len(header)} bytes, but {MAX_HEADER}"):
        load_bundle(folder)


def test_a_long_value_is_shortened_and_a_network_of_giant_images_refused(
    bundle: Bundle, folder: Path, small_dataset: Dataset, device: Device
) -> None:
    edit(folder, "study.number", "x" * 10_000)
    edit(folder, "architecture.image_size", [10**9, 10**9])
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert len(caught.value.problems) == 3
    assert all(len(line) < 400 for line in caught.value.problems)
    edit(folder, "study.number", 1)
    edit(folder, "architecture.image_size", [16, 16])
    edit(folder, "division.held_out", [0, 999])
    with pytest.raises(
        BundleError, match=r"division\.held_out has position 999, but TEST2 has 30"
    ):
        load_bundle(folder).evaluate(small_dataset, device)


def test_weights_of_another_shape_are_named(bundle: Bundle, folder: Path) -> None:
    edit(folder, "architecture.classes", 4)
    edit(folder, "classes", list("abcd"))
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    path = folder / "baseline.safetensors"
    assert caught.value.problems[:2] == (
        f"{path}: head.weight is float32 [3, 512], but must be float32 [4, 512]",
        f"{path}: head.bias is float32 [3], but must be float32 [4]",
    )
    assert len(caught.value.problems) == 4


def test_weights_of_another_architecture_are_named(bundle: Bundle, folder: Path) -> None:
    edit(folder, "architecture.filters", [32, 64, 96])
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    name = "layers.2.normalisation.weight"
    wanted = f"{name} is float32 [128], but must be float32 [96]"
    assert any(line.endswith(wanted) for line in caught.value.problems)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (make_weights(1, classes=4), "model.safetensors: head.weight is float32 [4, 512], but"),
        ({k: t for k, t in AFTER.items() if k != "head.bias"}, "head.bias is missing, but must"),
        ({**AFTER, "tail": torch.ones(2)}, "tail is float32 [2], but must be absent"),
        ({k: t.double() for k, t in AFTER.items()}, "is float64 [32, 1, 3, 3], but must be"),
    ],
    ids=["shape", "missing", "superfluous", "dtype"],
)
def test_weights_that_do_not_fit_are_not_saved(
    bundle: Bundle, save: Save, folder: Path, weights: Mapping[str, Tensor], message: str
) -> None:
    with pytest.raises(BundleError) as caught:
        save(weights=weights)
    assert message in str(caught.value)
    assert same(load_bundle(folder).weights["after"], AFTER)


def test_metrics_that_are_not_finite_are_not_saved(
    bundle: Bundle, save: Save, folder: Path
) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        save(metrics=[{"accuracy": float("nan")}], weights=NEWER)
    assert same(load_bundle(folder).weights["after"], AFTER)
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_bundle_is_not_replaced(save: Save, folder: Path, kind: str) -> None:
    if kind == "folder":
        folder.mkdir(parents=True)
        (folder / "thesis.tex").write_text("years of work")
    else:
        folder.parent.mkdir()
        folder.write_text("years of work")
    with pytest.raises(BundleError, match="is not a bundle"):
        save()
    (path,) = folder.iterdir() if kind == "folder" else [folder]
    assert path.read_text() == "years of work"


class Crash(BaseException):
    """Stands in for the end of the process."""


def crash_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash before the `step`-th thing that changes the disk, counted from 0."""
    steps = 0

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal steps
            if steps == step:
                raise Crash
            steps += 1
            return original(*args)

        return call

    places = (
        (Path, "rename"),
        (bundle_format, "write_atomically"),
        (bundle_format.shutil, "rmtree"),
    )
    for place, name in places:
        monkeypatch.setattr(place, name, dying(getattr(place, name)))


@pytest.mark.parametrize("step", range(9))
@pytest.mark.parametrize("crashes", [1, 2])
def test_a_crash_leaves_the_old_bundle_or_the_new_one(
    save: Save, folder: Path, step: int, crashes: int
) -> None:
    """Steps 0 to 4 write the files, 5 and 6 rename, 7 removes the old one, 8 is past the end."""
    save()
    for _ in range(crashes):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Crash):
            crash_at(step, patch)
            save(weights=NEWER)
    found = load_bundle(folder)
    assert same(found.weights["before"], BEFORE)
    if crashes == 1:
        assert same(found.weights["after"], AFTER if step < 7 else NEWER)
    else:
        assert same(found.weights["after"], AFTER) or same(found.weights["after"], NEWER)
    save(weights=NEWER)
    assert same(load_bundle(folder).weights["after"], NEWER)
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("step", range(6))
def test_a_crash_in_the_first_export_leaves_no_half_bundle(
    save: Save, folder: Path, step: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        crash_at(step, patch)
        with pytest.raises(Crash):
            save()
    assert not folder.exists()
    save()
    assert same(load_bundle(folder).weights["after"], AFTER)
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_an_empty_folder_is_filled(save: Save, folder: Path) -> None:
    folder.mkdir(parents=True)
    save()
    assert same(load_bundle(folder).weights["after"], AFTER)
