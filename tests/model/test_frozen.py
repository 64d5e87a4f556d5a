"""An option that is added later, off, is in nothing that is keyed or drawn from."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from torch import Tensor

from shiftsearch.model.course import Course
from shiftsearch.model.frozen import Frozen, Neutral, When, flatten
from shiftsearch.model.hyperparameters import (
    Augmentation,
    ChangedBy,
    FineTuneHyperparameters,
    Hyperparameters,
    Protocol,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.recipe import Recipe

pytestmark = pytest.mark.unit


class Group(Frozen):
    """A group of options of which the first version had none."""

    share: Annotated[float, Field(ge=0, le=1), Neutral(0.0)] = 0.0
    kind: Annotated[str, Neutral("none")] = "none"


def fade(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    del generator
    return images * (1 - share)


class LaterAugmentation(Augmentation):
    fading: Annotated[float, Field(ge=0, le=1), Neutral(0.0), ChangedBy(fade)] = 0.0


class LaterStage(StageHyperparameters):
    group: Group = Group()
    augmentation: LaterAugmentation = LaterAugmentation()
    mixup: Annotated[float, Field(ge=0), Neutral(0.0)] = 0.0


class LaterFineTune(FineTuneHyperparameters):
    group: Group = Group()


class LaterSchedule(Schedule):
    cooldown: Annotated[int | None, Neutral(None)] = None


class Later(Hyperparameters):
    baseline: LaterStage = LaterStage()
    fine_tune: LaterFineTune = LaterFineTune()


def course(hyperparameters: StageHyperparameters, schedule: Schedule) -> Course:
    return Course("baseline", hyperparameters, schedule, "a", "b", 3, (16, 16), 0, 0)


def stands_for(course: Course) -> list[Any]:
    purposes = ("order", "weights", "dropout", "augmentation")
    return [course.key, *(course.seed_for(purpose, 1) for purpose in purposes)]


OLD = {"learning_rate": 2e-3, "dropout": 0.4}
BEFORE = course(StageHyperparameters(**OLD), Schedule())


def test_a_later_option_that_is_off_moves_no_key_and_no_seed() -> None:
    assert stands_for(course(LaterStage(**OLD), LaterSchedule())) == stands_for(BEFORE)


@pytest.mark.parametrize(
    "on",
    [
        {"mixup": 0.1},
        {"group": Group(share=0.1)},
        {"group": Group(kind="other")},
        {"augmentation": LaterAugmentation(fading=0.1)},
    ],
)
def test_a_later_option_that_is_on_moves_them(on: dict[str, Any]) -> None:
    changed = course(LaterStage(**OLD, **on), Schedule())
    same, other = stands_for(BEFORE), stands_for(changed)
    assert [a == b for a, b in zip(same, other, strict=True)] == [False, True, True, False, False]
    assert course(StageHyperparameters(**OLD), LaterSchedule(cooldown=3)).key != BEFORE.key


def test_an_augmentation_is_what_its_field_says() -> None:
    assert LaterAugmentation(noise=0.1).changes() == []
    assert LaterAugmentation(fading=0.25).changes() == [(fade, 0.25)]
    later = Recipe(course(LaterStage(augmentation=LaterAugmentation(fading=0.25)), Schedule()))
    assert later.changes_images
    ones, labels = torch.ones(2, 1, 4, 4), torch.tensor([0, 1])
    changed, *_ = later.augment(ones, labels, None, later.generator("augmentation", 1))
    assert torch.equal(changed, 0.75 * ones)


def test_every_field_of_the_first_version_is_content() -> None:
    for settings in (Hyperparameters(), Schedule(), Protocol()):
        every, neutral = flatten(settings.existing()), settings.neutrals()
        assert flatten(settings.content()) == {k: v for k, v in every.items() if k not in neutral}


def test_content_is_what_is_not_neutral() -> None:
    later = Later(baseline=LaterStage(group=Group(share=0.5)))
    added = flatten(later.content()).keys() - Hyperparameters().to_flat().keys()
    assert added == {"baseline.group.share"}
    assert Later().content() == Hyperparameters().content()
    assert Later.flat_content(Later().to_flat()) == Hyperparameters().to_flat()


def test_a_default_that_is_not_neutral_is_refused_where_it_is_declared() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.level: default 1 must be its neutral value, 0"):

        class Wrong(Frozen):
            level: Annotated[int, Neutral(0)] = 1


def test_a_condition_that_would_have_no_effect_is_refused_where_it_is_declared() -> None:
    with pytest.raises(TypeError, match=r"OnGroup\.group: is a group"):

        class OnGroup(Frozen):
            kind: str = "none"
            group: Annotated[Group, When("kind", ("other",))] = Group()

    with pytest.raises(TypeError, match=r"Required\.group: is a group"):

        class Required(Frozen):
            kind: str = "none"
            group: Annotated[Group, When("kind", ("other",))]

    with pytest.raises(TypeError, match=r"Twice\.level: has two When"):

        class Twice(Frozen):
            kind: str = "none"
            level: Annotated[int, When("kind", ("a", "b")), When("kind", ("b",))] = 1


def test_conditions_on_two_fields_must_both_hold() -> None:
    class Both(Frozen):
        kind: str = "none"
        share: float = 0.0
        level: Annotated[int, When("kind", ("a",)), When("share", (1.0,))] = 1

    assert Both.conditions() == {"level": {"kind": ("a",), "share": (1.0,)}}
    assert "level" not in Both(kind="a").content()
    assert "level" in Both(kind="a", share=1.0).content()
