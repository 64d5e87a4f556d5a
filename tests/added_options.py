"""Run in a copy of the repository that followed CONTRIBUTING's recipes: what was added works.

Prints a JSON object: for each check what is wrong, or an empty text.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import torch

import shiftsearch.model
from shiftsearch.data.augmentation import augment
from shiftsearch.experiments.analysis.run_analysis import analyse
from shiftsearch.experiments.definition import build
from shiftsearch.experiments.report import page
from shiftsearch.experiments.report.explanations import protocol_lines
from shiftsearch.model.course import Course
from shiftsearch.model.device import Device
from shiftsearch.model.engine import EpochRequest
from shiftsearch.model.export import save_bundle
from shiftsearch.model.hyperparameters import (
    Augmentation,
    FineTuneHyperparameters,
    Hyperparameters,
    Protocol,
    Schedule,
)
from shiftsearch.model.loading import load_bundle
from shiftsearch.model.prepared import prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.recipe import Recipe
from shiftsearch.model.store import open_store
from shiftsearch.model.training import NetworkEngine
from shiftsearch.search.proposing import samplers
from shiftsearch.search.proposing.space import Space
from tests.experiments import test_golden_identity
from tests.experiments.protocol_results import finished_run
from tests.experiments.stored_runs import stored_run
from tests.experiments.test_inputs import dataset
from tests.model import test_golden

DEVICE = Device("cpu", "float32", 2, "tests")  # without the fused kernels, which are compiled
DATA = dataset((4, 4), (16, 16))
SHORT = Schedule(max_epochs=1)
PROTOCOL = Protocol(baseline=SHORT, fine_tune=SHORT)


def drawn(raw: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a space in which these values are drawn."""
    return Space.parse(raw).suggest(optuna.trial.FixedTrial(values))


def augmentation(root: Path) -> None:
    """It changes images after the others, draws nothing while it is off, and is searched."""
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))

    def changed(**strengths: float) -> torch.Tensor:
        return augment(images, Augmentation(**strengths), torch.Generator().manual_seed(1))

    assert torch.equal(changed(mirror=1.0), images.flip(3))
    assert changed(mirror=0.0) is images
    assert torch.equal(changed(noise=0.1, mirror=1.0), changed(noise=0.1).flip(3))
    name = "baseline.augmentation.mirror"
    raw = {name: {"low": 0, "high": 1}}
    assert drawn(raw, {name: 0.25})[name] == 0.25
    on, off = (
        Course(
            "baseline", Hyperparameters.from_flat(flat).baseline, SHORT, "", "", 2, (16, 16), 0, 0
        )
        for flat in ({name: 0.25}, {name: 0.0})
    )
    assert on.key != off.key
    assert Recipe(on).changes_images
    assert not Recipe(off).changes_images


def block(root: Path) -> None:
    """It is searched, trained, exported, loaded, evaluated and explained."""
    name, values = "network.name", {"fine_tune.frozen_layers": 1}
    raw = {name: {"choices": ["three blocks", "shortcuts"]}, "fine_tune": {"frozen_layers": 1}}
    configuration = drawn(raw, {name: "shortcuts"})
    chosen = Hyperparameters.from_flat(configuration)
    assert chosen == Hyperparameters.from_flat({name: "shortcuts", **values})
    store = open_store(root / "store")
    run = ProtocolRun(chosen, prepare(DATA, PROTOCOL, DEVICE), PROTOCOL, store, DEVICE, seed=0)
    result = run_protocol(run)
    before, after = (stage.result.weights for stage in (result.baseline, result.fine_tune))
    assert "layers.0.block.convolution.weight" in after
    folder = root / "best"
    save_bundle(
        folder, weights=after, baseline_weights=before, dataset=DATA, hyperparameters=chosen,
        protocol=PROTOCOL, metrics=[], versions={}, seed=0, number=0, replicate=0,
    )  # fmt: skip
    bundle = load_bundle(folder)
    assert bundle.record.architecture.name == "shortcuts"
    selection = bundle.evaluate(DATA, DEVICE)[-2]
    assert selection["part"] == "selection"
    assert selection["accuracy"] == result.fine_tune.test2.accuracy
    found = analyse(DATA, PROTOCOL, before, after, chosen, DEVICE)
    assert [layer.frozen for layer in found.layers] == [True, False, False, False, False]
    written, _ = finished_run()
    written["winner"]["configuration"] = configuration
    assert "a shortcut around each block" in protocol_lines(written)[0]


def unfreezing(root: Path) -> None:
    """It thaws a layer in mid-stage; its parameter exists only with it."""
    values = FineTuneHyperparameters(
        unfreezing="together", frozen_layers=4, batch_size=2, dropout=0.0, learning_rate=0.01
    )
    course = Course(
        "fine_tune", values, Schedule(max_epochs=2), "", "", 2, (16, 16), 0, 0, ("parent",)
    )
    data = prepare(DATA, PROTOCOL, DEVICE)
    engine = NetworkEngine(Recipe(course), data.test, data.selection, DEVICE, None)
    states = [{name: tensor.clone() for name, tensor in engine.network.state_dict().items()}]
    states += [engine.epoch(EpochRequest(epoch, 0.01)).weights() for epoch in (1, 2)]
    moved = [
        {name for name in one if not torch.equal(one[name], other[name])}
        for one, other in pairwise(states)
    ]
    assert moved[0] == {"head.weight", "head.bias"}
    assert moved[1] == set(states[0])
    raw = {
        "fine_tune.unfreezing": {"choices": ["none", "together"]},
        "fine_tune.thaw_after": {"low": 1, "high": 4},
    }
    assert "fine_tune.thaw_after" not in drawn(raw, {"fine_tune.unfreezing": "none"})
    together = {"fine_tune.unfreezing": "together", "fine_tune.thaw_after": 3}
    assert drawn(raw, together).items() >= together.items()


def sampler(root: Path) -> None:
    """It is asked once trials are there."""
    asked: list[int] = []
    made = samplers.MODELS["tpe-patient"]
    samplers.MODELS["tpe-patient"] = lambda seed: asked.append(seed) or made(seed)
    run = stored_run(root / "run", sampler="tpe-patient", start_up=2)
    assert run.journal.exists()
    assert asked
    assert build({"sampler": "tpe-patient"}, "here").settings().sampler == "tpe-patient"


def section(root: Path) -> None:
    """It stands in the report."""
    page._SECTIONS = tuple(s for s in page._SECTIONS if s.anchor == "baselines")
    result, trials = finished_run()
    failures = page.write_report(result, trials, Space.parse({}), None, root / "report.html")
    assert failures == []
    html = (root / "report.html").read_text(encoding="utf-8")
    assert "The baseline of trial 17 was fine-tuned 1 times." in html


def keys(root: Path) -> None:
    """Golden keys, seeds and identities are where they were."""
    test_golden.test_the_keys_of_stored_stages_stay()
    for purpose in test_golden.SEEDS:
        test_golden.test_the_draws_of_stored_stages_stay(purpose)
    test_golden_identity.test_the_identity_of_stored_runs_stays()
    test_golden_identity.test_what_was_retrained_is_found_again()


CHECKS: dict[str, Callable[[Path], None]] = {
    "an augmentation": augmentation,
    "a block": block,
    "a policy of unfreezing": unfreezing,
    "a sampler": sampler,
    "a section of the report": section,
    "keys of today": keys,
}


def outcome(check: Callable[[Path], None], root: Path) -> str:
    """What is wrong, or an empty text."""
    try:
        check(root)
    except Exception:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    copy = Path(sys.argv[1])
    assert shiftsearch.model.__file__ is not None
    assert Path(shiftsearch.model.__file__).resolve().is_relative_to(copy.resolve())
    print(json.dumps({name: outcome(check, copy) for name, check in CHECKS.items()}))
