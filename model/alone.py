"""Load this bundle with torch and safetensors alone: `import load; model = load.load()`.

`model(images)` takes raw [N, H, W] images, uint8 in 0..255 or floating on the scale of the
training images, and gives [N, classes] probabilities, in the order of "classes" in bundle.json. If
the model is your own network, give its function: `load.load(build)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch.nn.functional as F  # noqa: N812, the field's name
from safetensors.torch import load_file
from torch import Tensor, nn

from shiftsearch.model.classifier import Classifier, Member


class Part(nn.Module):
    """A module that holds others and computes `compute(self, x)`."""

    def __init__(self, compute: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.compute = compute
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] to [N, ...]."""
        return self.compute(self, x)


def block(a: dict[str, Any], i: int, inputs: int, outputs: int) -> nn.Module:
    """Convolution, normalisation, pooling and ReLU; attention and a shortcut if they are on."""
    side = a.get("first_kernel", 3) if i == 0 else 3
    made: nn.Module = Part(
        lambda m, x: F.relu(F.max_pool2d(m.normalisation(m.convolution(x)), 2)),
        convolution=nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False),
        normalisation=nn.BatchNorm2d(outputs),
    )
    if a.get("attention", "none") != "none":
        squeeze = nn.Linear(outputs, max(1, outputs // 8))
        excite = nn.Linear(squeeze.out_features, outputs)
        made = Part(_attended, block=made, squeeze=squeeze, excite=excite)
    if a.get("residual"):
        projection = nn.Conv2d(inputs, outputs, 1, bias=False)
        made = Part(
            lambda m, x: m.block(x) + m.projection(F.avg_pool2d(x, 2)),
            block=made,
            projection=projection,
        )
    return made


def _attended(m: Any, x: Tensor) -> Tensor:
    y: Tensor = m.block(x)
    factors: Tensor = m.excite(F.relu(m.squeeze(y.mean((2, 3))))).sigmoid()
    return y * factors[:, :, None, None]


def network(a: dict[str, Any], function: Callable[..., nn.Module] | None = None) -> nn.Module:
    """The network of an architecture as bundle.json has it: [N, 1, H, W] to logits."""
    height, width = a["image_size"]
    if function is not None and a.get("name") == "own":
        *layers, head = function(a["classes"], (height, width)).children()
    else:
        doubled = [round(32 * 2**i * a.get("width", 1)) for i in range(a.get("depth", 3))]
        channels = [1, *a.get("filters", doubled)]
        pairs = enumerate(pairwise(channels))
        layers = [block(a, i, inputs, outputs) for i, (inputs, outputs) in pairs]
        pixels = (height >> len(layers)) * (width >> len(layers))
        dense = nn.Linear(channels[-1] * pixels, a["dense"])
        layers.append(Part(lambda m, x: F.relu(m.linear(x.flatten(1))), linear=dense))
        head = nn.Linear(a["dense"], a["classes"])
    return Part(lambda m, x: m.head(m.layers(x)), layers=nn.Sequential(*layers), head=head)


def load(function: Callable[..., nn.Module] | None = None, folder: str | None = None) -> nn.Module:
    """The model, on the CPU and in evaluation mode; `folder` is that of this file by default."""
    place = Path(__file__).parent if folder is None else Path(folder)
    record = json.loads((place / "bundle.json").read_text(encoding="utf-8"))
    further = record.get("members", [])
    first = {**record, "file": "model.safetensors", "share": 1 - sum(m["share"] for m in further)}
    members = []
    for one in [first, *further]:
        made = network(one["architecture"], function)
        made.load_state_dict(load_file(place / one["file"]))
        how = one["preprocessing"]
        steps = {name: how.get(name, "none") for name in ("polarity", "centre", "intensity")}
        members.append(Member(made, record["preprocessing"].get("scale"), **steps))
    shares = [one["share"] for one in [first, *further]]
    return Classifier(members, shares, record.get("temperature", 1.0)).eval()
