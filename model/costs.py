"""What a configuration's network costs: parameters, multiply-adds, and time for one image."""

from __future__ import annotations

from collections.abc import Mapping

from shiftsearch.model.hyperparameters import Hyperparameters, Value
from shiftsearch.model.latency import latency_ms, processor
from shiftsearch.model.size import network_size
from shiftsearch.model.store import content_key


class Meter:
    """Finds the costs of configurations; each architecture is measured once.

    Args:
        classes: number of classes.
        image_size: (H, W) in pixels.
        times: whether the latency is measured, too.

    Attributes:
        latencies: `ms` and the `machine` that measured it, by key of the architecture. Keep it and
            put it back, and a later process decides as this one did.
    """

    def __init__(self, classes: int, image_size: tuple[int, int], *, times: bool = False) -> None:
        self._classes, self._image_size, self._times = classes, image_size, times
        self._sizes: dict[str, dict[str, float]] = {}
        self.latencies: dict[str, dict[str, float | str]] = {}

    def __call__(self, configuration: Mapping[str, Value]) -> dict[str, float]:
        """`parameters`, `multiply_adds` of one image and, if asked for, `latency_ms`.

        Args:
            configuration: full and flat.
        """
        architecture = Hyperparameters.from_flat(configuration).network.architecture
        key = content_key(architecture.content())
        if key not in self._sizes:
            size = network_size(architecture, self._classes, self._image_size)
            self._sizes[key] = {
                "parameters": size.parameters,
                "multiply_adds": size.multiply_adds,
            }
        if not self._times:
            return dict(self._sizes[key])
        if key not in self.latencies:
            measured = latency_ms(architecture, self._classes, self._image_size)
            self.latencies[key] = {"ms": round(measured, 4), "machine": processor()}
        return {**self._sizes[key], "latency_ms": float(self.latencies[key]["ms"])}
