"""The fused kernels are their slow twin: nn.BatchNorm2d, max_pool2d and relu, in float64."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from shiftsearch.model import kernels
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.fused import normalise_pool_relu
from shiftsearch.model.hyperparameters import Schedule, StageHyperparameters
from shiftsearch.model.network import Network, allocate, initialise
from shiftsearch.model.prepared import ProtocolData
from shiftsearch.model.protocol import build
from shiftsearch.model.store import open_store
from shiftsearch.model.training import run_stage

pytestmark = pytest.mark.unit

CHANNELS = 5
LAST = torch.channels_last
NAN, INF = float("nan"), float("inf")
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-8}
"""Relative: of float32 sums, and half a unit in the last place of a bfloat16 result."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randn(*shape, generator=generator(seed)).to(dtype)
    return drawn.contiguous(memory_format=LAST) if drawn.dim() == 4 else drawn


def normalisation(*, training: bool) -> nn.BatchNorm2d:
    """With a negative, a zero and a zero-with-positive-bias channel."""
    bn = nn.BatchNorm2d(CHANNELS).requires_grad_(training).train(training)
    with torch.no_grad():
        bn.weight.copy_(torch.tensor([1.5, -0.7, 0.0, 0.0, 0.3]))
        bn.bias.copy_(torch.tensor([0.2, 0.4, 0.0, 0.6, -0.1]))
        bn.running_mean.copy_(normal(CHANNELS, seed=8))
        bn.running_var.copy_(normal(CHANNELS, seed=9).square() + 0.1)
    return bn


def twin(z: Tensor, bn: nn.BatchNorm2d) -> Tensor:
    return F.relu(F.max_pool2d(bn(z), 2))


def exact(bn: nn.BatchNorm2d) -> nn.BatchNorm2d:
    return copy.deepcopy(bn).double()


def assert_close(found: Tensor | None, expected: Tensor | None, relative: float) -> None:
    """Within `relative` of the value, or of the largest where terms cancel."""
    assert found is not None
    assert expected is not None
    size = max(1.0, expected.abs().max().item())
    small = 2e-6 * size
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=relative, atol=small, check_stride=False
    )


def assert_gradients_agree(z: Tensor, rounding: float) -> None:
    bn = normalisation(training=True)
    slow = exact(bn)
    ours, theirs = z.clone().requires_grad_(), z.double().requires_grad_()
    out, expected = normalise_pool_relu(ours, bn), twin(theirs, slow)
    assert out.dtype == z.dtype
    assert out.is_contiguous(memory_format=LAST)
    assert_close(out, expected, rounding)
    upstream = normal(*out.shape, seed=3, dtype=z.dtype)
    out.backward(upstream)
    expected.backward(upstream.double())
    assert_close(ours.grad, theirs.grad, rounding)
    for (name, parameter), other in zip(bn.named_parameters(), slow.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert_close(parameter.grad, other.grad, 1e-5)
    for name, buffer in bn.named_buffers():
        assert_close(buffer, slow.get_buffer(name), 1e-6)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("size", [(8, 28, 28), (2, 7, 7), (3, 9, 14), (2, 2, 3)])
def test_training_agrees_with_the_slow_twin(
    dtype: torch.dtype, size: tuple[int, int, int]
) -> None:
    n, height, width = size
    z = normal(n, CHANNELS, height, width, dtype=dtype) * 2 + 0.5
    assert_gradients_agree(z.to(dtype), ROUNDING[dtype])


@pytest.mark.parametrize("dtype", ROUNDING)
def test_equal_values_send_their_gradient_to_the_same_place(dtype: torch.dtype) -> None:
    drawn = torch.randint(0, 3, (4, CHANNELS, 6, 6), generator=generator(2))
    assert_gradients_agree(drawn.to(dtype).contiguous(memory_format=LAST), ROUNDING[dtype])


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("size", [(28, 28), (9, 14)])
def test_evaluation_agrees_and_leaves_the_statistics(
    dtype: torch.dtype, size: tuple[int, int]
) -> None:
    bn = normalisation(training=False)
    before = copy.deepcopy(bn.state_dict())
    z = normal(3, CHANNELS, *size, dtype=dtype)
    assert_close(normalise_pool_relu(z, bn), twin(z.double(), exact(bn)), ROUNDING[dtype])
    assert all(before[name].equal(tensor) for name, tensor in bn.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_the_memory_format_changes_no_bit(training: bool) -> None:
    results = []
    for memory_format in (LAST, torch.contiguous_format):
        z = normal(3, CHANNELS, 8, 6).contiguous(memory_format=memory_format)
        z.requires_grad_(training)
        out = normalise_pool_relu(z, normalisation(training=training))
        if training:
            out.backward(torch.ones(()).expand(out.shape))
        results.append((out, z.grad))
    (last, last_grad), (first, first_grad) = results
    assert last.equal(first)
    assert not training or last_grad.equal(first_grad)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_poisons_its_channel_in_training(
    dtype: torch.dtype, bad: float
) -> None:
    bn = normalisation(training=True)
    slow = exact(bn)
    z = normal(2, CHANNELS, 4, 4, dtype=dtype)
    z[1, 1, 2, 3] = bad
    z.requires_grad_()
    out = normalise_pool_relu(z, bn)
    assert out.isnan().equal(twin(z.detach().double(), slow).isnan())
    assert out[:, 1].isnan().all()
    assert out[:, [0, 2, 3, 4]].isfinite().all()
    assert bn.running_var.isnan().tolist() == [False, True, False, False, False]
    out.sum().backward()
    assert z.grad is not None
    assert z.grad[:, 1].isnan().all()
    assert z.grad[:, [0, 2, 3, 4]].isfinite().all()


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("place", range(4))
def test_what_is_not_finite_survives_evaluation(
    dtype: torch.dtype, bad: float, place: int
) -> None:
    bn = normalisation(training=False)
    z = normal(2, CHANNELS, 4, 4, dtype=dtype)
    z[0, :, place // 2, 2 + place % 2] = bad
    out, expected = normalise_pool_relu(z, bn), twin(z.double(), exact(bn))
    torch.testing.assert_close(
        out.double(), expected, rtol=ROUNDING[dtype], atol=2e-6, equal_nan=True, check_stride=False
    )
    assert out[0, :, 0, 1].isnan().all() or bad == bad
    assert out[1].isfinite().all()


def test_a_far_mean_does_not_swallow_the_variance() -> None:
    bn, slow = nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS).double()
    z = normal(8, CHANNELS, 28, 28) + 1000
    normalise_pool_relu(z, bn)
    twin(z.double(), slow)
    assert_close(bn.running_var, slow.running_var, 1e-6)
    assert_close(bn.running_mean, slow.running_mean, 1e-6)


def test_a_constant_channel_has_variance_zero() -> None:
    bn = nn.BatchNorm2d(CHANNELS, momentum=1.0)
    out = normalise_pool_relu(torch.full((3, CHANNELS, 4, 4), 0.1), bn)
    assert out.abs().max() < 1e-4
    assert bn.running_var.tolist() == [0.0] * CHANNELS


def test_what_it_cannot_do_is_refused() -> None:
    z = normal(1, CHANNELS, 2, 2)
    with pytest.raises(ValueError, match=r"shape \(1, 5, 1, 1\): one value per channel"):
        normalise_pool_relu(z[:, :, :1, :1], nn.BatchNorm2d(CHANNELS))
    with pytest.raises(ValueError, match="must keep running statistics with a momentum"):
        normalise_pool_relu(z, nn.BatchNorm2d(CHANNELS, track_running_stats=False))
    with pytest.raises(ValueError, match="freeze its input"):
        normalise_pool_relu(z, nn.BatchNorm2d(CHANNELS).eval())
    with pytest.raises(ValueError, match="freeze its input"):
        normalise_pool_relu(z.requires_grad_(), normalisation(training=False))


@pytest.mark.parametrize("size", [(28, 28), (17, 12)])
def test_a_whole_network_agrees_with_itself_unfused(size: tuple[int, int]) -> None:
    images = torch.rand(6, 1, *size, generator=generator(1)).contiguous(memory_format=LAST)
    slow: Network = allocate(3, size, dropout=0)
    initialise(slow, generator(0))
    slow.to(memory_format=LAST)
    fast = copy.deepcopy(slow)
    fast.fuse()
    logits = [network(images) for network in (fast, slow)]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)
    for output in logits:
        F.cross_entropy(output, torch.arange(6) % 3).backward()
    for (name, one), other in zip(fast.named_parameters(), slow.parameters(), strict=True):
        assert one.grad is not None, name
        assert other.grad is not None, name
        # Far from the loss rounding has grown; it is measured against the layer's largest.
        off = (one.grad - other.grad).abs().max() / other.grad.abs().max()
        assert off < 1e-3, name
    with torch.no_grad():
        torch.testing.assert_close(fast.eval()(images), slow.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow(reason="two threads wait for each other, busily, on a loaded machine")
def test_a_stage_fuses_on_one_thread_alone_and_runs_on_two(
    small_data: ProtocolData, device: Device, tmp_path: Path
) -> None:
    course = Course(
        "baseline", StageHyperparameters(batch_size=16), Schedule(max_epochs=1), "", "", 3,
        (16, 16), seed=5, replicate=0,
    )  # fmt: skip
    losses: list[Any] = []
    for threads in (1, 2):
        chosen = Device("cpu", "float32", threads, "test")
        chosen.apply()
        try:
            store = open_store(tmp_path / str(threads))
            result = run_stage(course, small_data.train, small_data.test, store, chosen)
        finally:
            device.apply()
        network = build(result.weights, 3, (16, 16), chosen)
        assert (network.layers[0].fused is not None) == (threads == 1)
        losses.append(result.history[0]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_compiled_bfloat16_is_that_of_the_same_kernel_in_plain_python() -> None:
    """There torch reads and rounds it. One addition each, so that nothing else rounds."""
    offset = normal(48, seed=1)
    # Ties, which go to the even neighbour below or above, across an exponent's end too.
    offset.view(torch.int32)[:24] = torch.arange(24) * 0x10000 + 0x3F758000
    offset[24:27] = torch.tensor([INF, -INF, 1e-40])
    z, gradient = (
        normal(48 * n * n, seed=n).bfloat16().view(torch.uint16).numpy().reshape(1, n, n, 48)
        for n in (3, 1)
    )
    index = np.arange(48, dtype=np.uint8).reshape(1, 1, 1, 48) % 5
    kernel = kernels.backward[torch.bfloat16]
    compiled, plain = np.zeros_like(z), np.zeros_like(z)
    for run, out in ((kernel, compiled), (kernel.py_func, plain)):
        one, nothing = np.ones(48, np.float32), np.zeros(48, np.float32)
        run(z, index, gradient, one, nothing, offset.numpy(), out)
    assert plain.tolist() == compiled.tolist()
    bits = offset.bfloat16().view(torch.uint16).numpy()
    assert (plain[0, 2] == bits).all()  # left out by pooling


def test_no_cache_is_shared_and_none_is_needed() -> None:
    names = [
        kernel.py_func.__qualname__
        for kind in (kernels.moments, kernels.forward, kernels.sums, kernels.backward)
        for kernel in kind.values()
    ]
    assert len(set(names)) == 8
    space: dict[str, Any] = {"__name__": "nowhere"}
    exec(compile("def double(a):\n    a[0] *= 2", "<nowhere>", "exec"), space)
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(space["double"]).enable_caching()
    array = np.array([1.5])
    kernels._kernel(space["double"])[torch.float32](array)
    assert array[0] == 3
