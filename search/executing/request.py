"""What Ray is asked for to do a job.

Every worker imports this module with the trainable, so it imports little.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

from ray import tune


def request_of(config: Mapping[str, str]) -> tune.PlacementGroupFactory:
    """The resources of a job, which may have a larger share of a GPU than others.

    Ray asks again for a worker that it gives to a second job, by the job's own resources.

    Args:
        config: from `search.executing.trainable.encode`.
    """
    context = json.loads(config["context"])
    return _share(context["cpus"], context["gpus"])


@cache
def _share(cpus: float, gpus: float) -> tune.PlacementGroupFactory:
    """One object for equal resources: Ray compares them often, and slowly if they are not one."""
    return tune.PlacementGroupFactory([{"CPU": cpus, **({"GPU": gpus} if gpus else {})}])
