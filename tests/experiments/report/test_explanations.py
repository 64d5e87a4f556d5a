"""The sentences on freezing, and when there are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shiftsearch.experiments.analysis.run_analysis import Analysis
from shiftsearch.experiments.report.explanations import (
    frozen_rows,
    layer_lines,
    protocol_lines,
)
from shiftsearch.model.hyperparameters import Hyperparameters
from tests.experiments.protocol_results import (
    complete,
    failed,
    finished_run,
    pruned,
    waiting,
)
from tests.experiments.report.made_analysis import made_analysis

pytestmark = pytest.mark.unit


def with_layers(frozen: int, *cka: float | None) -> Analysis:
    made = made_analysis("ab")
    layers = [
        replace(layer, frozen=i < frozen, cka=value)
        for i, (layer, value) in enumerate(zip(made.layers, cka, strict=True))
    ]
    return replace(made, layers=tuple(layers))


def test_layers_that_stayed_are_named_with_the_least_of_theirs() -> None:
    said = layer_lines(with_layers(1, 1.0, 0.98, 0.96, 0.5, 0.3))
    assert "block 2 and block 3 kept" in said[-1]
    assert "(CKA 0.960 or more)" in said[-1]
    assert "dense 512 most" not in said[1]
    assert "head most (CKA 0.300)" in said[1]


def test_a_first_layer_that_moved_is_named_and_the_head_is_never_one() -> None:
    said = layer_lines(with_layers(1, 1.0, 0.9, 0.99, 0.99, 0.99))
    assert "The first trained layer, block 2, has CKA 0.900" in said[-1]
    # All that can be frozen is: nothing about freezing the head, nor of one layer as two.
    assert len(layer_lines(with_layers(4, 1.0, 1.0, 1.0, 1.0, 0.99))) == 1
    assert len(layer_lines(with_layers(4, 1.0, 1.0, 1.0, 1.0, 0.5))) == 1
    # Where the first has none, the second is not called the first.
    assert not any("first" in s for s in layer_lines(with_layers(0, None, 0.5, 0.5, 0.5, 0.5)))


def test_on_few_images_nothing_is_concluded() -> None:
    few = replace(with_layers(0, 0.99, 0.98, 0.7, 0.5, 0.4), cka_images=40)
    (line,) = layer_lines(few)[1:]
    assert "40 images" in line
    assert not any(layer.name in line for layer in few.layers)


def test_rows_count_what_ended_without_a_value() -> None:
    name = "fine_tune.frozen_layers"
    trials = [complete(0, 0.9), complete(1, 0.8), pruned(2, {1: 0.4}), failed(3, "x"), waiting(4)]
    alone = replace(pruned(5, {1: 0.4}), configuration={name: 4})
    surgical = replace(complete(6, 0.99), configuration={name: 2, "fine_tune.freeze_from": "head"})
    assert frozen_rows([*trials, alone, surgical]) == [
        {"frozen": 2, "n": 2, "ended": 2, "median": "85.00 %", "best": "90.00 %"},
        {"frozen": 4, "n": 0, "ended": 1, "median": "-", "best": "-"},
    ]


def test_folds_are_explained_with_their_number() -> None:
    result, _ = finished_run()
    plain = protocol_lines(result)
    assert not any("fold" in line for line in plain)
    folded = protocol_lines({**result, "protocol": {**result["protocol"], "folds": 3}})
    (line,) = set(folded) - set(plain)
    assert "3 folds" in line
    earlier = {k: v for k, v in result["protocol"].items() if k != "folds"}
    assert protocol_lines({**result, "protocol": earlier}) == plain


def test_the_protocol_says_what_is_trained_on_and_how_it_is_weighted() -> None:
    def lines(**values: Any) -> str:
        result, _ = finished_run()
        flat = Hyperparameters.from_flat(values).to_flat()
        result["winner"] = {"number": 17, "configuration": flat}
        return "\n".join(protocol_lines(result))

    assert "the 1080 images of TEST," in lines()
    assert "weighted" not in lines()
    share = lines(**{"fine_tune.train_share": 0.25})
    assert "the 1080 images of TEST, with 16 of 64 images of each batch from TRAIN" in share
    both = lines(
        **{"baseline.sample_weights": "file", "fine_tune.sample_weights": "density_ratio"}
    )
    assert both.count("weighted") == 2
    assert "2 layers frozen" in lines()
    assert "no layer frozen" in lines(**{"fine_tune.frozen_layers": 0})
    gradual = {"fine_tune.unfreezing": "gradual", "fine_tune.thaw_every": 3}
    assert "1 layer frozen from the head" in lines(
        **{"fine_tune.frozen_layers": 1, "fine_tune.freeze_from": "head"}
    )
    assert "thawed every 3 epochs" in lines(**gradual)
    probe = lines(**{"fine_tune.unfreezing": "linear probe"})
    assert "the head alone for 1 epoch, then with 2" in probe
    assert "the 5880 images of TRAIN+TEST" in lines(**{"fine_tune.train_on": "TRAIN+TEST"})
