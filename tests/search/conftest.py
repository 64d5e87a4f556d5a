"""Jobs that train nothing, on the local Ray of `tests/conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def fake_jobs(local_ray: Path) -> Iterator[None]:
    """Jobs train nothing, see `fake_trainable`."""
    del local_ray
    import shiftsearch.search.executing.tune
    from tests.search.fake_trainable import fake_run_job

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shiftsearch.search.executing.tune, "run_job", fake_run_job)
        yield
