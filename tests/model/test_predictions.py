"""Predictions of files: read as the training images were, whatever else lies beside them."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shiftsearch.data.dataset import Dataset, Split
from shiftsearch.data.fitting import ASPECTS, Aspect, fitted
from shiftsearch.data.scale import Scale
from shiftsearch.experiments.benchmarks.untrained import save_untrained
from shiftsearch.model.bundle import UNKNOWN_SCALE, Bundle
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import predict
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.predictions import Prediction, Remarks, predictions

pytestmark = pytest.mark.unit

Save = Callable[..., Bundle]


@pytest.fixture
def save(tmp_path: Path, small_dataset: Dataset) -> Save:
    """Saves and loads a bundle with random weights for `small_dataset` or another of 16x16."""

    def save(dataset: Dataset = small_dataset, **values: Any) -> Bundle:
        return load_bundle(save_untrained(tmp_path / "best", dataset, values))

    return save


def predicted(
    bundle: Bundle, files: Sequence[Path], device: Device
) -> tuple[list[Prediction], Remarks]:
    remarks = Remarks()
    return list(predictions(bundle, files, device, remarks)), remarks


def probabilities(found: Sequence[Prediction]) -> np.ndarray:
    return np.stack([one.probabilities for one in found if one.probabilities is not None])


def expected(bundle: Bundle, images: np.ndarray, device: Device) -> np.ndarray:
    """What the network says of [N, 16, 16] images, all in one batch."""
    batch = torch.tensor(bundle.record.preprocessing.apply(images)).unsqueeze(1)
    return predict(bundle.network("after", device), batch).numpy()


def test_files_of_all_formats_are_predicted_as_their_images(
    save: Save, small_dataset: Dataset, device: Device, tmp_path: Path
) -> None:
    bundle = save()
    images = small_dataset.splits["TEST"].images[:6].copy()
    files = [tmp_path / name for name in ("a.npy", "b.png", "c.npy", "d.PNG", "e.bmp", "f.TIF")]
    np.save(files[0], images[0])
    Image.fromarray(images[1]).save(files[1])
    np.save(files[2], images[2][None])
    Image.fromarray(images[3].astype(np.uint16) * 257).save(files[3])
    Image.fromarray(images[4]).convert("RGB").save(files[4])
    Image.fromarray(images[5]).save(files[5])
    found, remarks = predicted(bundle, files, device)
    assert [one.file for one in found] == files
    np.testing.assert_allclose(
        probabilities(found), expected(bundle, images, device), rtol=1e-5, atol=1e-7
    )
    assert (remarks.read, remarks.lines(bundle)) == (6, [])
    assert predicted(bundle, [], device) == ([], Remarks())


@pytest.mark.parametrize("intensity", ["none", "stretch"])
def test_bytes_and_floats_share_a_batch(
    save: Save, small_dataset: Dataset, device: Device, tmp_path: Path, intensity: str
) -> None:
    """A bundle of floats reads both; each image is preprocessed in its own dtype."""
    bundle = save(
        with_scale(small_dataset, "float 0..1"), **{"preprocessing.intensity": intensity}
    )
    images = small_dataset.splits["TEST"].images[:8]
    files = [tmp_path / f"{index}.npy" for index in range(8)]
    for index, (file, image) in enumerate(zip(files, images, strict=True)):
        np.save(file, image if index % 3 else image / 255)
    found, _ = predicted(bundle, files, device)
    np.testing.assert_allclose(
        probabilities(found), expected(bundle, images, device), rtol=1e-4, atol=1e-6
    )


def test_a_bad_file_does_not_keep_others_from_being_predicted(
    save: Save, small_dataset: Dataset, device: Device, tmp_path: Path
) -> None:
    bundle = save()
    images = small_dataset.splits["TEST"].images[:3]
    names = ("0.npy", "absent.npy", "1.npy", "text.png", "2.npy", "nan.npy", "cube.npy")
    files = [tmp_path / name for name in names]
    for index, image in enumerate(images):
        np.save(tmp_path / f"{index}.npy", image)
    files[3].write_text("no image")
    np.save(files[5], np.full((16, 16), np.nan))
    np.save(files[6], np.zeros((16, 16, 3), np.uint8))
    found, remarks = predicted(bundle, files, device)
    assert [one.file for one in found] == files
    assert [bool(one.error) for one in found] == [False, True, False, True, False, True, True]
    assert [one.probabilities is None for one in found] == [bool(one.error) for one in found]
    for one in found:
        assert not one.error or one.error.startswith(f"{one.file}: ")
    np.testing.assert_allclose(
        probabilities(found), expected(bundle, images, device), rtol=1e-5, atol=1e-7
    )
    assert remarks.read == 3


@pytest.mark.parametrize("aspect", ASPECTS)
def test_another_size_is_resized_alike_in_every_format_and_told(
    save: Save, device: Device, tmp_path: Path, small_dataset: Dataset, aspect: Aspect
) -> None:
    """As the images that the model was trained on were."""
    bundle = save(replace(small_dataset, aspect=aspect))
    image = np.random.default_rng(0).integers(256, size=(40, 24), dtype=np.uint8)
    np.save(tmp_path / "a.npy", image)
    Image.fromarray(image).save(tmp_path / "b.png")
    small = fitted(image, (16, 16), aspect)
    np.save(tmp_path / "c.npy", small)
    Image.fromarray(small[:6, :5]).save(tmp_path / "d.png")
    np.save(tmp_path / "e.npy", small[:6, :5])
    files = [tmp_path / name for name in ("a.npy", "b.png", "c.npy", "d.png", "e.npy")]
    found, remarks = predicted(bundle, files, device)
    a, b, c, d, e = probabilities(found)
    np.testing.assert_allclose([a, b, d], [c, c, e], rtol=1e-5, atol=1e-7)
    assert np.abs(c - d).max() > 1e-4
    (line,) = remarks.lines(bundle)
    assert f"16x16: 4 of 5: {files[0]}, {files[1]}, {files[3]} and 1 more; of another" in line
    assert f"(aspect {aspect};" in line


def test_a_bundle_of_an_earlier_version_distorts(
    save: Save, device: Device, tmp_path: Path
) -> None:
    save()
    record = tmp_path / "best" / "bundle.json"
    content = json.loads(record.read_text())
    del content["preprocessing"]["aspect"]
    record.write_text(json.dumps(content))
    bundle = load_bundle(tmp_path / "best")
    assert bundle.record.preprocessing.aspect == "stretch"


def test_transparent_pictures_are_told(save: Save, device: Device, tmp_path: Path) -> None:
    bundle = save()
    Image.new("LA", (16, 16), (255, 255)).save(tmp_path / "opaque.png")
    Image.new("LA", (16, 16), (255, 100)).save(tmp_path / "glass.png")
    _, remarks = predicted(bundle, [tmp_path / "opaque.png", tmp_path / "glass.png"], device)
    (line,) = remarks.lines(bundle)
    assert line.endswith(f"over black: 1: {tmp_path / 'glass.png'}")


def test_memory_does_not_grow_with_the_number_of_files(
    save: Save, device: Device, tmp_path: Path
) -> None:
    """2,000 images of 200x200 would be 320 MB as floats; the resized batch is all that is kept."""
    bundle = save()
    np.save(tmp_path / "a.npy", np.zeros((200, 200), np.uint8))
    files = [tmp_path / "a.npy"] * 2000
    for _ in predictions(bundle, files[:256], device, Remarks()):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(not one.error for one in predictions(bundle, files, device, Remarks())) == 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # KiB


SCALES: dict[Scale, float] = {"float 0..1": 1, "float 0..255": 255}


def with_scale(dataset: Dataset, scale: Scale) -> Dataset:
    """The dataset as if it had been read from floats on the scale."""
    splits = {
        name: Split(split.images.astype(np.float32) / np.float32(255), split.labels)
        for name, split in dataset.splits.items()
    }
    return dataset if scale == "uint8" else Dataset(dataset.classes, splits, scale=scale)


@pytest.mark.parametrize("scale", SCALES)
def test_a_file_of_floats_is_predicted_as_it_was_trained(
    save: Save, small_dataset: Dataset, device: Device, tmp_path: Path, scale: Scale
) -> None:
    """Alone in its file, a constant image of 1.0 does not say what white is."""
    bundle = save(with_scale(small_dataset, scale))
    white = SCALES[scale]
    values = [np.full((16, 16), 1.0), small_dataset.splits["TEST"].images[0] / 255 * white]
    files = [tmp_path / "constant.npy", tmp_path / "image.npy"]
    for file, value in zip(files, values, strict=True):
        np.save(file, value)
    found, remarks = predicted(bundle, files, device)
    trained = (np.stack(values) / white).astype(np.float32)
    np.testing.assert_allclose(
        probabilities(found), expected(bundle, trained, device), rtol=1e-5, atol=1e-7
    )
    assert remarks.dark == [str(files[0])] * (white == 255)
    assert len(remarks.lines(bundle)) == (white == 255)


@pytest.mark.parametrize(
    ("trained", "wrong", "rule"),
    [
        ("uint8", 1.0, "holds float64, but must hold uint8"),
        ("uint8", 255.0, "holds float64, but must hold uint8"),
        ("float 0..1", 1.15, "largest value 1.15, but floats must be in 0..1"),
        ("float 0..1", 255.0, "largest value 255, but floats must be in 0..1"),
        ("float 0..255", 300.0, "values in 300..300, but floats must be in"),
    ],
)
def test_a_file_on_another_scale_is_refused_by_name(
    save: Save,
    small_dataset: Dataset,
    device: Device,
    tmp_path: Path,
    trained: Scale,
    wrong: float,
    rule: str,
) -> None:
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for file in files:
        np.save(file, np.full((16, 16), wrong))
    found, _ = predicted(save(with_scale(small_dataset, trained)), files, device)
    for file, one in zip(files, found, strict=True):
        assert one.error.startswith(f"{file}: {rule}")


def test_a_bundle_without_a_scale_reads_floats_as_it_always_did_and_says_so(
    save: Save, small_dataset: Dataset, device: Device, tmp_path: Path
) -> None:
    bundle = save()
    record = json.loads((tmp_path / "best" / "bundle.json").read_text())
    del record["preprocessing"]["scale"], record["preprocessing"]["bits"]
    (tmp_path / "best" / "bundle.json").write_text(json.dumps(record))
    old = load_bundle(tmp_path / "best")
    image = small_dataset.splits["TEST"].images[0]
    files = [tmp_path / name for name in ("a.npy", "b.npy", "c.npy")]
    np.save(files[0], image)
    (one,), remarks = predicted(old, files[:1], device)
    assert remarks.lines(old) == []
    np.save(files[1], image / 255)
    np.save(files[2], image.astype(np.float32))
    found, remarks = predicted(old, files, device)
    assert remarks.lines(old) == [UNKNOWN_SCALE]
    for other in found:
        np.testing.assert_allclose(other.probabilities, one.probabilities, rtol=1e-5, atol=1e-7)
    (same,), _ = predicted(bundle, files[:1], device)
    assert np.array_equal(same.probabilities, one.probabilities)


def test_deep_png_files_are_read_with_the_bits_of_the_training_images(
    save: Save, small_dataset: Dataset, device: Device, tmp_path: Path
) -> None:
    splits = small_dataset.splits
    bundle = save(Dataset(small_dataset.classes, splits, bits=12))
    image = splits["TEST"].images[0]
    files = [tmp_path / "a.npy", tmp_path / "b.png"]
    np.save(files[0], image)
    Image.fromarray(np.round(image / 255 * 4095).astype(np.uint16)).save(files[1])
    (one, other), _ = predicted(bundle, files, device)
    assert np.array_equal(one.probabilities, other.probabilities)
