"""The command `shiftsearch` with fake training: python -m tests.search.fake_driver ARGUMENTS."""

from __future__ import annotations

import sys

from ray import cloudpickle

import search.tune
from experiments.cli import main
from tests.search import fake_study, fake_trainable

if __name__ == "__main__":
    # Workers cannot import tests.
    cloudpickle.register_pickle_by_value(fake_study)
    cloudpickle.register_pickle_by_value(fake_trainable)
    search.tune.run_job = fake_trainable.fake_run_job
    raise SystemExit(main(sys.argv[1:]))
