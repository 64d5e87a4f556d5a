"""One local Ray for all integration tests of a session."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The driver's current folder when it started Ray; the tests keep their own.

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


@pytest.fixture(scope="module")
def fake_jobs(local_ray: Path) -> Iterator[None]:
    """Jobs train nothing, see `fake_trainable`."""
    del local_ray
    import shiftsearch.search.executing.tune
    from tests.search.fake_trainable import fake_run_job

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shiftsearch.search.executing.tune, "run_job", fake_run_job)
        yield
