"""The tiers' rules, and the datasets and the Ray that tests of every floor share.

Tiers: every test carries exactly one of the markers `unit`, `integration`, `campaign` and
`browser`. A unit test never imports Ray and is short: at most `CPU_LIMIT` seconds of processor
time, its child processes' included, and `WALL_LIMIT` seconds by the clock. Processor time depends
less on what else the machine does; the clock catches a test that sleeps or waits. Both limits are
several times what a test should take, because a busy or slow machine must not fail it.
`slow(reason="...")` lifts both.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import sys
import time
import urllib.request
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from shiftsearch.data.dataset import SPLITS, Dataset, Split

TIERS = ("unit", "integration", "campaign", "browser")
CPU_LIMIT = 6.0
WALL_LIMIT = 20.0
REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = tuple("abcdef")
SECRET = "a/secret+access/key"
IMAGES_PER_CLASS = {"TRAIN": 16, "TEST": 12, "TEST2": 12}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="campaigns in full, not in short form")


def pytest_configure() -> None:
    """One thread for every library, before one of them is imported; children inherit it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def breaks_unit_tier(config: pytest.Config) -> bool:
    """Whether this is the unit tier, in a process of its own, and Ray is in it."""
    return config.option.markexpr == "unit" and "ray" in sys.modules


def module_tiers(path: Path) -> set[str]:
    """The tiers named in a test module's top-level `pytestmark`, read without importing it."""
    return {
        node.attr
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in statement.targets)
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Attribute) and node.attr in TIERS
    }


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave modules of another tier alone: `-m unit` must not import a module that needs Ray."""
    selected = config.option.markexpr
    if selected not in TIERS or not collection_path.match("test_*.py"):
        return None
    tiers = module_tiers(collection_path)
    return True if tiers and selected not in tiers else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    clean = not breaks_unit_tier(collector.config)
    report = yield
    if clean and breaks_unit_tier(collector.config):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} imports ray, which the unit tier must not"
    return report


def share_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Groups for `--dist loadgroup`: the tests on the shared Ray; each module.

    So only one process starts that Ray. The longest groups begin first: slow tests, those on the
    shared Ray, then the others of its folder.
    """
    items.sort(
        key=lambda item: (
            item.get_closest_marker("slow") is None,
            "local_ray" not in getattr(item, "fixturenames", ()),
            "executing" not in item.path.parts,
        )
    )
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        on_ray = "local_ray" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("local_ray" if on_ray else item.path.stem))


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a test without exactly one tier, and a `slow` without a reason."""
    share_out(config, items)
    problems = []
    for item in items:
        tiers = sorted({mark.name for mark in item.iter_markers() if mark.name in TIERS})
        if len(tiers) != 1:
            problems.append(f"{item.nodeid}: has tiers {tiers}, must have exactly one of {TIERS}")
        slow = item.get_closest_marker("slow")
        if slow and not slow.kwargs.get("reason"):
            problems.append(f'{item.nodeid}: slow must state its reason: slow(reason="...")')
    if problems:
        raise pytest.UsageError("\n".join(problems))


def cpu_seconds() -> float:
    """Processor time of this process and of its finished children, user and system."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    if breaks_unit_tier(item.config):
        item.session.shouldfail = f"{item.nodeid} imported ray, which the unit tier must not"
        pytest.fail(item.session.shouldfail, pytrace=False)
    limited = item.get_closest_marker("unit") and not item.get_closest_marker("slow")
    if limited and (cpu > CPU_LIMIT or wall > WALL_LIMIT):
        pytest.fail(
            f"took {cpu:.1f} s of processor time and {wall:.1f} s by the clock; a unit test has"
            f' {CPU_LIMIT:.0f} s and {WALL_LIMIT:.0f} s unless marked slow(reason="...")',
            pytrace=False,
        )


@pytest.fixture(scope="session", autouse=True)
def warm_compilers(request: pytest.FixtureRequest) -> None:
    """Import and compile before the tests, or the first training would exceed its time limit.

    The first optimiser of torch's own imports its compiler (1.4 s), the first fused block Numba
    (0.8 s, and 5 s more where nothing is cached).
    """
    if request.config.option.markexpr != "unit":
        return
    import torch

    from shiftsearch.model.fused import normalise_pool_relu

    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    for dtype in (torch.float32, torch.bfloat16):
        z = torch.zeros(2, 1, 2, 2, dtype=dtype, requires_grad=True)
        normalise_pool_relu(z, torch.nn.BatchNorm2d(1)).sum().backward()


@pytest.fixture(scope="session")
def full_campaign(request: pytest.FixtureRequest) -> bool:
    """Whether campaigns run in full (`make campaigns`) or in short form (`make test`)."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One local Ray for all integration tests of a session.

    The value is the driver's current folder when it started Ray; the tests keep their own.

    It is started as on a machine that makes it hard: another cluster in RAY_ADDRESS that does not
    answer, no home that can be written, and a TMPDIR too long for a socket.
    """
    from ray import cloudpickle

    from shiftsearch.search.executing.cluster import cluster
    from tests import made_results
    from tests.search import fake_study, fake_trainable

    # Workers cannot import tests.
    cloudpickle.register_pickle_by_value(made_results)
    cloudpickle.register_pickle_by_value(fake_study)
    cloudpickle.register_pickle_by_value(fake_trainable)
    folder, before = tmp_path_factory.mktemp("ray"), Path.cwd()
    (long := folder / ("long" * 20)).mkdir()
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
            patch.setenv("HOME", "/proc")
            patch.setenv("TMPDIR", str(long))
            stack.enter_context(cluster(None, folder))
        os.chdir(before)
        yield folder


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """The address of an S3 server on loopback, in a thread of this process."""
    server = pytest.importorskip("moto.server", reason="moto, of the extra dev, is not installed")
    import flask_cors  # noqa: F401 - which the server needs

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs each request
    running.start()
    host, port = running.get_host_and_port()
    yield f"{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(object_store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder in a new bucket of that server; the secrets are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"bucket-{uuid.uuid4().hex}"
    request = urllib.request.Request(f"http://{object_store}/{name}", method="PUT")
    urllib.request.urlopen(request).close()
    return f"s3://{name}/some/where?endpoint_override={object_store}&scheme=http&region=us-east-1"


@pytest.fixture(scope="session")
def digits6() -> Path:
    """The folder of the real dataset digits6; its path is only given here."""
    default = REPOSITORY.parent / "shared" / "data" / "digits6"
    folder = Path(os.environ.get("SHIFTSEARCH_DIGITS6", default))
    if not folder.is_dir():
        pytest.skip(f"digits6 is not at {folder}: set SHIFTSEARCH_DIGITS6 to its folder")
    return folder


def tiny_images(labels: np.ndarray, split: str, rng: np.random.Generator) -> np.ndarray:
    """[N, 28, 28] uint8: one bright blob per image, whose place on a 2 x 3 grid is its class.

    The domains drift: TEST moves the blobs by two pixels, TEST2 is a dimmed negative.
    """
    drift = 2.0 if split == "TEST" else 0.0
    centres = np.stack([8 + 11 * (labels // 3), 5 + 9 * (labels % 3)], axis=1) + drift
    centres = centres + rng.normal(0, 1, centres.shape)
    grid = np.arange(28)
    rows = np.exp(-((grid - centres[:, :1]) ** 2) / 12)
    columns = np.exp(-((grid - centres[:, 1:]) ** 2) / 12)
    images = 220 * rows[:, :, None] * columns[:, None, :]
    if split == "TEST2":
        images = 160 - 0.6 * images
    return np.clip(images + rng.normal(0, 12, images.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_dataset() -> Dataset:
    """Six learnable classes of blobs; TRAIN 96, TEST 72 and TEST2 72 images, read-only."""
    splits = {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng(number)
        labels = np.repeat(np.arange(len(CLASSES)), IMAGES_PER_CLASS[split])
        images = tiny_images(labels, split, rng)
        images.flags.writeable = labels.flags.writeable = False
        splits[split] = Split(images, labels)
    return Dataset(CLASSES, splits)


@pytest.fixture
def gpu_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is there, but this process was not given it: to touch CUDA fails the test."""
    import torch

    def touched() -> None:
        raise AssertionError("a GPU of others was touched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "_lazy_init", touched)
    for name in ("get_device_name", "is_bf16_supported", "get_device_properties"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, **__: touched())


@pytest.fixture
def tiny_folder(tiny_dataset: Dataset, tmp_path: Path) -> Path:
    """`tiny_dataset` as split/class/NNNN.npy, for this test to keep or to damage."""
    root = tmp_path / "tiny"
    for name, split in tiny_dataset.splits.items():
        for label, folder in enumerate(tiny_dataset.classes):
            (root / name / folder).mkdir(parents=True)
            for index, image in enumerate(split.images[split.labels == label]):
                np.save(root / name / folder / f"{index:04d}.npy", image)
    return root
