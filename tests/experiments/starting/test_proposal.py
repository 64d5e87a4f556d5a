"""What `init` proposes for sets of other sizes, and how it measures the machine."""

from __future__ import annotations

import pytest

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.starting.proposal import batch_sizes, longer, translations
from shiftsearch.experiments.starting.speed import images_per_second
from shiftsearch.experiments.starting.survey import chosen_size
from shiftsearch.model.device import choose_device
from shiftsearch.model.hyperparameters import Schedule

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("images", [2, 64, 65, 640, 1216, 1217, 100_000])
def test_a_small_set_may_take_a_hundred_steps(images: int) -> None:
    steps = -(-images // 64)
    fields = longer(images)
    assert bool(fields) == (5 * steps < 100)
    schedule = Schedule(**fields)
    assert schedule.max_epochs * steps >= min(100, 15 * steps)
    assert not fields or (schedule.max_epochs - schedule.patience) * steps >= 100


def test_batches_grow_with_the_set_and_have_the_reference_s() -> None:
    found = [batch_sizes(images) for images in (1, 999, 1000, 9999, 10_000)]
    assert found == [(16, 32, 64)] * 2 + [(32, 64, 128)] * 2 + [(64, 128, 256)]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((28, 28), (3, 1)), ((16, 90), (2, 1)), ((64, 64), (7, 1)), ((96, 100), (10, 2))],
)
def test_translations_are_a_share_of_the_smaller_side(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert translations(size) == wanted


def test_a_size_is_chosen_only_if_the_files_do_not_say_it() -> None:
    assert chosen_size([(28, 30)] * 3) == (None, "")
    assert chosen_size([]) == (None, "")
    assert chosen_size([(28, 30), (28, 30), (40, 40)])[0] == (28, 30)
    assert chosen_size([(640, 480)] * 2)[0] == (64, 48)
    assert chosen_size([(20, 2000)])[0] == (16, 64)


@pytest.mark.slow(reason="trains a few batches")
def test_the_machine_s_speed_is_measured(tiny_dataset: Dataset) -> None:
    assert images_per_second(tiny_dataset, choose_device(cpus=1, gpus=0)) > 0
