"""A person's own network: what its function must return, and the functions of this process.

The function takes the number of classes and the size of the images, (H, W) in pixels. It returns a
`torch.nn.Module`, most simply an `nn.Sequential` of named layers. Its children are the layers in
order, at most `LAYERS` of them, and last the head. Each takes the output of the one before it: the
first takes [N, 1, H, W] images in 0..1, and the head gives [N, classes] logits. A layer is what
can be frozen. Dropout, a hyperparameter, acts on the head's input. The initial weights are those
that the function draws from torch's generator.

A function must be given to a process before an `Own` architecture is used there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shiftsearch.data.problems import ProblemsError
from shiftsearch.model.architecture import LAYERS, Layer

Function = Callable[[int, tuple[int, int]], nn.Module]


class OwnNetworkError(ProblemsError):
    """A person's own network cannot be used; one line for each problem.

    What the person's code raised is its cause.
    """


@dataclass(frozen=True)
class Given:
    """A function that was given for some classes and images.

    Attributes:
        function: the function.
        classes: number of classes.
        layers: the layers that can be frozen, with the shapes of their outputs.
    """

    function: Function
    classes: int
    layers: tuple[Layer, ...]


_GIVEN: dict[str, Given] = {}


def give(source: str, function: Function, classes: int, image_size: tuple[int, int]) -> None:
    """Check a function, and let this process use it as `source`.

    Args:
        source: `MODULE:FUNCTION@DIGEST`.
        function: the function.
        classes: number of classes.
        image_size: (H, W) in pixels.

    Raises:
        OwnNetworkError: the function breaks the rules above.
    """
    name = source.partition("@")[0]
    cause: BaseException | None = None
    try:
        first, second = (_called(function, classes, image_size) for _ in range(2))
        problems = [*_problems_of(first), *_differences(first, second)]
        if not problems:
            layers = _layers(first, classes, image_size)
    except _Refused as refused:
        problems, cause = [str(refused)], refused.__cause__
    if problems:
        lines = [f"network: {name}: {problem}" for problem in problems]
        raise OwnNetworkError(lines) from cause
    _GIVEN[source] = Given(function, classes, layers)


def given(source: str) -> Given:
    """The function that was given as `source`.

    Raises:
        OwnNetworkError: none was.
    """
    if source not in _GIVEN:
        name = source.partition("@")[0] or "own"
        raise OwnNetworkError([f"network: {name}: its function was not given to this process"])
    return _GIVEN[source]


def is_given(source: str) -> bool:
    """Whether a function was given as `source`."""
    return source in _GIVEN


class _Refused(Exception):  # noqa: N818, not an error of this program
    """A rule is broken, so that the next ones cannot be checked."""


def _called(function: Function, classes: int, image_size: tuple[int, int]) -> nn.Module:
    """What the function returns, with torch's generator in a fixed state."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            network = function(classes, image_size)
        except Exception as error:  # of any kind: it is a person's code
            raise _Refused(f"raises {_said(error)}") from error
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise _Refused(f"returns {kind}, but must return a torch.nn.Module")
    count = len(list(network.children()))
    if not 2 <= count <= LAYERS + 1:
        raise _Refused(
            f"returns a module with {count} children, but must have 2 to {LAYERS + 1}: 1 to"
            f" {LAYERS} layers, then the head"
        )
    return network


def _problems_of(network: nn.Module) -> Iterator[str]:
    """Problems of the network's parameters."""
    for name, layer in network.named_children():
        if not any(True for _ in layer.parameters()):
            yield f"layer {name!r} has no parameters; make it part of the layer before or after it"
    lazy = [name for name, p in network.named_parameters() if is_lazy(p)]
    if lazy:
        raise _Refused(
            f"{lazy[0]!r} has no shape yet; it must be drawn when the function is called, so no"
            " lazy layer can be used"
        )
    own = [*network.named_parameters(recurse=False), *network.named_buffers(recurse=False)]
    for name, _ in own:
        yield f"{name!r} belongs to the network itself, but must be in one of its layers"
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            yield f"{name!r} is {str(tensor.dtype).removeprefix('torch.')}, but must be float32"
    places = [p.data_ptr() for _, p in network.named_parameters(remove_duplicate=False)]
    if len(set(places)) < len(places):
        yield "two of its parameters share their memory, but each must have its own"


def _differences(first: nn.Module, second: nn.Module) -> Iterator[str]:
    """A problem if two calls gave different networks."""
    one, other = first.state_dict(), second.state_dict()
    if [(k, t.shape) for k, t in one.items()] != [(k, t.shape) for k, t in other.items()]:
        yield "two calls returned networks with other tensors, but must return equal ones"
    elif not all(torch.equal(one[name], other[name]) for name in one):
        yield (
            "two calls with torch's generator in one state drew other weights; it must draw from"
            " no other generator"
        )


def _layers(network: nn.Module, classes: int, image_size: tuple[int, int]) -> tuple[Layer, ...]:
    """The layers before the head with their shapes, found by computing images.

    Raises:
        _Refused: the children cannot be computed in order, or do not compute the network.
    """
    images = torch.rand(4, 1, *image_size, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        _in_order(network.train(), images)
        if not torch.equal(before, torch.get_rng_state()):
            raise _Refused(
                "draws random numbers when it computes images, which could not be repeated; the"
                " hyperparameter dropout acts before the head"
            )
        *layers, (_, logits) = _in_order(network.eval(), images)
        if tuple(logits.shape) != (len(images), classes):
            raise _Refused(
                f"gives {list(logits.shape)} for {len(images)} images and {classes} classes, but"
                f" must give {[len(images), classes]}"
            )
        try:
            whole = network(images)
        except Exception as error:
            raise _Refused(f"cannot compute images: {_said(error)}") from error
    if whole.shape != logits.shape or not torch.allclose(whole, logits, rtol=1e-3, atol=1e-5):
        raise _Refused("its children, applied in order, do not compute what it computes itself")
    return tuple(Layer(name, tuple(features.shape[1:])) for name, features in layers)


def _in_order(network: nn.Module, images: Tensor) -> list[tuple[str, Tensor]]:
    """Name and output of each child, applied to the output of the one before it."""
    found, features = [], images
    for name, layer in network.named_children():
        try:
            features = layer(features)
        except Exception as error:
            shape = list(features.shape)
            raise _Refused(f"layer {name!r} cannot take {shape}: {_said(error)}") from error
        if not isinstance(features, Tensor) or len(features) != len(images):
            raise _Refused(f"layer {name!r} must give a tensor with a row for each image")
        found.append((name, features))
    return found


def _said(error: Exception) -> str:
    """An exception's type and text, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
