"""The public interface, `import shiftsearch`: light to import, and usable without Ray."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shiftsearch

pytestmark = pytest.mark.unit

ARCHIVE = Path(__file__).parent / "fixtures" / "runs_of_the_first_version.tar.xz"
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 16x16 images."""
    folder = tmp_path_factory.mktemp("runs")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "finished"


def images_of(run: Path) -> np.ndarray:
    files = sorted((run.parent / "images" / "TEST2").rglob("*.npy"))
    return np.stack([np.load(file) for file in files])


def outside(code: str, *arguments: Path) -> str:
    """The output of Python code in a process of its own, where no Ray can be imported."""
    blocked = "import sys; sys.modules['ray'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_imports_neither_ray_nor_torch() -> None:
    heavy = "('ray', 'torch', 'optuna', 'pandas', 'numpy')"
    code = f"import sys, shiftsearch; print([m for m in {heavy} if sys.modules.get(m)])"
    assert outside(code) == "[]\n"


@pytest.mark.slow(reason="imports torch in a process of its own")
def test_predicting_imports_neither_ray_nor_optuna() -> None:
    heavy = "('ray', 'optuna', 'pandas', 'matplotlib', 'scipy.optimize')"
    code = "import sys, shiftsearch.experiments.predictions; "
    assert outside(f"{code}print([m for m in {heavy} if sys.modules.get(m)])") == "[]\n"


def test_all_public_names_are_documented() -> None:
    for name in shiftsearch.__all__:
        thing = getattr(shiftsearch, name)
        assert thing.__doc__
        for member in vars(thing) if isinstance(thing, type) else ():
            assert member.startswith("_") or getattr(thing, member).__doc__, f"{name}.{member}"


@pytest.mark.slow(reason="imports torch, Optuna and pandas in a process of its own")
def test_a_model_and_a_run_are_read_where_ray_is_absent(finished: Path) -> None:
    code = (
        "import shiftsearch\n"
        "run = shiftsearch.Run(sys.argv[1])\n"
        "print(run.best.classes, len(run.trials()), run.result['status'])"
    )
    assert outside(code, finished) == "('left', 'middle', 'right') 2 complete\n"


@pytest.mark.slow(reason="imports all that a command imports")
def test_probabilities_are_those_of_the_command(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from shiftsearch.experiments.cli import main

    model = shiftsearch.load(finished / "best")
    images = images_of(finished)
    found = model.predict_proba(images)
    assert (found.shape, found.dtype) == ((len(images), len(model.classes)), np.float32)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.predict_proba(images / 255), found, atol=1e-6)
    file = sorted((finished.parent / "images" / "TEST2").rglob("*.npy"))[0]
    assert main(["predict", str(finished / "best"), str(file)]) == 0
    printed = capsys.readouterr().out
    assert model.classes[found[0].argmax()] in printed
    assert f"{found[0].max():.4f}"[:5] in printed
    assert model.predict_proba(images[:0]).shape == (0, len(model.classes))


@pytest.mark.parametrize(
    ("images", "value"),
    [
        (np.zeros((2, 8, 8), np.uint8), "(2, 8, 8)"),
        (np.zeros((16, 16), np.uint8), "(16, 16)"),
        (np.zeros((1, 16, 16), np.int64), "int64"),
        (np.full((1, 16, 16), np.nan), "NaN"),
        (np.full((1, 16, 16), -3.0), "-3"),
    ],
)
def test_what_is_no_image_is_refused(finished: Path, images: Any, value: str) -> None:
    model = shiftsearch.load(finished / "best")
    with pytest.raises(ValueError, match=value.replace("(", r"\(").replace(")", r"\)")):
        model.predict_proba(images)


def test_a_folder_that_is_no_run_or_bundle_is_refused(tmp_path: Path) -> None:
    for read in (
        lambda: shiftsearch.Run(tmp_path).trials(),
        lambda: shiftsearch.Run(tmp_path).result,
        lambda: shiftsearch.load(tmp_path),
    ):
        with pytest.raises(ValueError, match=str(tmp_path)):
            read()


def test_trials_are_those_of_the_table(finished: Path) -> None:
    """`trials.csv`, as the first version wrote it."""
    frame = shiftsearch.Run(finished).trials()
    assert frame.to_csv(index=False) == (finished / "trials.csv").read_text(encoding="utf-8")
    assert len(frame) == 2


@pytest.mark.slow(reason="imports torch's compiler")
def test_the_network_is_plain_torch(finished: Path) -> None:
    import torch

    model, images = shiftsearch.load(finished / "best"), images_of(finished)
    raw = torch.from_numpy(images)
    network = model.network
    expected = network(raw)
    np.testing.assert_allclose(expected.detach().numpy(), model.predict_proba(images), atol=1e-6)
    # As Grad-CAM needs them: gradients of an inner layer's output and of the pixels.
    pixels = (raw / 255).requires_grad_()
    seen: list[torch.Tensor] = []
    block = network.get_submodule("members.0.network.layers.1")
    block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(pixels)[:, 0].sum().backward(inputs=[pixels, *seen])
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in (pixels, *seen))
    network = model.network
    exported = torch.export.export(network, (raw,)).module()
    traced = torch.jit.trace(network, raw)
    for made in (exported, traced):
        torch.testing.assert_close(made(raw), expected, rtol=0, atol=1e-6)
