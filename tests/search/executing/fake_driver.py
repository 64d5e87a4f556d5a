"""`shiftsearch` with fake training: python -m tests.search.executing.fake_driver ARGUMENTS."""

from __future__ import annotations

import sys

from ray import cloudpickle

import shiftsearch.search.executing.tune
from shiftsearch.experiments.cli import main
from tests import made_results
from tests.search import fake_study, fake_trainable

if __name__ == "__main__":
    # Workers cannot import tests.
    cloudpickle.register_pickle_by_value(made_results)
    cloudpickle.register_pickle_by_value(fake_study)
    cloudpickle.register_pickle_by_value(fake_trainable)
    shiftsearch.search.executing.tune.run_job = fake_trainable.fake_run_job
    raise SystemExit(main(sys.argv[1:]))
