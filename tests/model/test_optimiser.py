"""The fused kernel without the object: torch's own optimiser, to the last bit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import Parameter

from shiftsearch.model.optimiser import SGD, SLOTS, AdamW

pytestmark = pytest.mark.unit


def _parameters() -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    convolution = torch.randn(8, 4, 3, 3, generator=generator)
    return [
        Parameter(convolution.contiguous(memory_format=torch.channels_last)),
        Parameter(torch.randn(16, 8, generator=generator)),
        Parameter(torch.randn(16, generator=generator)),
    ]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_is_torch_s_own_optimiser_to_the_last_bit(weight_decay: float) -> None:
    ours, theirs = _parameters(), _parameters()
    own = AdamW(ours, weight_decay)
    torchs = torch.optim.AdamW(theirs, lr=1.0, weight_decay=weight_decay, fused=True)
    generator = torch.Generator().manual_seed(1)
    for rate in (1e-2, 1e-2, 5e-3, 1e-3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator).contiguous(
                memory_format=torch.channels_last if a.dim() == 4 else torch.contiguous_format
            )
            b.grad = a.grad.clone()
        torchs.param_groups[0]["lr"] = rate
        own.step([rate] * 3)
        torchs.step()
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.equal(a, b)
        for slot in SLOTS:
            assert torch.equal(own.state[i][slot], torchs.state[b][slot])
    own.zero_grad()
    assert all(p.grad is None for p in ours)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_is_torch_s_own_to_the_last_bit_but_for_its_decoupled_decay(
    weight_decay: float, momentum: float
) -> None:
    ours, theirs = _parameters(), _parameters()
    own = SGD(ours, weight_decay, momentum=momentum)
    torchs = torch.optim.SGD(theirs, lr=1.0, momentum=momentum, nesterov=True, foreach=False)
    generator = torch.Generator().manual_seed(1)
    for rate in (1e-2, 1e-2, 5e-3, 1e-3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
            b.data.mul_(1 - rate * weight_decay)
        torchs.param_groups[0]["lr"] = rate
        own.step([rate] * 3)
        torchs.step()
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.equal(a, b)
        assert torch.equal(own.state[i]["direction"], torchs.state[b]["momentum_buffer"])


@pytest.mark.slow(reason="a process of its own imports torch")
def test_it_does_not_import_torch_s_compiler() -> None:
    """1.3 s in each worker's first trial."""
    code = (
        "import sys, torch, model.optimiser as o; p = torch.nn.Parameter(torch.ones(2)); "
        "a = o.AdamW([p], 0.0); p.grad = torch.ones(2); a.step([0.1]); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    """The others are updated as if it were not there; so is it, once it has a gradient."""
    ours, twins = _parameters(), _parameters()
    own, twin = AdamW(ours, 0.1), AdamW(twins[1:], 0.1)
    for _ in range(2):
        for a, b in zip(ours[1:], twins[1:], strict=True):
            a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
        own.step([0.1] * 3)
        twin.step([0.1] * 2)
    assert torch.equal(ours[0], twins[0])
    assert own.state[0]["step"] == 0
    assert all(map(torch.equal, ours[1:], twins[1:]))
    ours[0].grad = torch.ones_like(ours[0])
    own.step([0.1] * 3)
    assert [float(slots["step"]) for slots in own.state] == [1, 3, 3]
    assert not torch.equal(ours[0], twins[0])


def test_start_decay_moves_back_to_the_first_values_before_each_step() -> None:
    ours, twins = _parameters(), _parameters()
    first = [p.detach().clone() for p in ours]
    own, twin = AdamW(ours, 0.1, start_decay=2.0), AdamW(twins, 0.1)
    for rate in (0.1, 0.05, 9.0):  # the last one all the way
        for a, b in zip(ours, twins, strict=True):
            a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
        with torch.no_grad():
            for p, start in zip(twins, first, strict=True):
                p += min(1.0, 2 * rate) * (start - p)
        own.step([rate] * 3)
        twin.step([rate] * 3)
        for a, b in zip(ours, twins, strict=True):
            torch.testing.assert_close(a, b)


def test_each_parameter_has_its_own_rate() -> None:
    ours, twins = _parameters(), _parameters()
    rates = [0.1, 0.01, 0.1]
    alone = [AdamW([twin], 0.1) for twin in twins]
    together = AdamW(ours, 0.1)
    for parameter in (*ours, *twins):
        parameter.grad = torch.ones_like(parameter)
    together.step(rates)
    for optimiser, rate in zip(alone, rates, strict=True):
        optimiser.step([rate])
    assert all(map(torch.equal, ours, twins))
