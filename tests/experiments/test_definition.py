"""The experiment file: what is accepted, what is refused and how the refusal reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from shiftsearch.experiments.definition import (
    REQUIRED,
    DefinitionError,
    Experiment,
    build,
    default_space,
    dump,
    load,
    shipped,
)
from shiftsearch.experiments.run_folder import user_path
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import REFERENCE
from shiftsearch.search.study.budget import Budget

pytestmark = pytest.mark.unit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def problems_of(text: str, file: Path, *overrides: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        load(str(file), overrides)
    assert all("\n" not in problem for problem in caught.value.problems)
    return list(caught.value.problems)


def test_the_shipped_experiments_are_those_that_are_promised() -> None:
    assert {"demo", "digits6", "full", "recommended", "reference"} <= set(shipped())


@pytest.mark.parametrize("name", shipped())
def test_shipped_experiments_load_and_round_trip(name: str, file: Path) -> None:
    experiment = load(name)
    assert experiment.name == name
    file.write_text(dump(experiment))
    again = load(str(file))
    assert again == experiment
    assert dump(again) == dump(experiment)
    assert again.identity("digest") == experiment.identity("digest")
    assert again.settings() == experiment.settings()


def test_budget_and_policy_reach_the_study_and_round_trip(file: Path) -> None:
    file.write_text(
        "trials: 9\nbudget: {seconds: 90, trainings: 2.5}\nuntil_converged: true\n"
        "sampler: tpe-univariate\nstart_up: 3\n"
        "policy: {branches: 7, first_baselines: 5, rungs: [1, 4], keep: 1, min_population: 2}\n"
    )
    experiment = load(str(file))
    settings = experiment.settings()
    assert settings.budget == Budget(9, 90.0, 2.5)
    assert settings.policy == Policy(
        branches=7, first_baselines=5, rungs=(1, 4), keep=1.0, min_population=2
    )
    assert (settings.sampler, settings.start_up) == ("tpe-univariate", 3)
    file.write_text(dump(experiment))
    assert load(str(file)) == experiment
    assert (
        load(str(file), ["policy.rungs=[]", "budget.seconds=null"]).settings().policy.rungs == ()
    )


def test_the_defaults_of_an_empty_policy_are_the_study_s_own(file: Path) -> None:
    file.write_text("policy: {}")
    assert load(str(file)).settings().policy == Policy()


def test_full_searches_every_hyperparameter() -> None:
    assert set(load("full").search_space().distributions) == set(REFERENCE)


def test_reference_runs_the_reference_configuration_alone_on_both_readings() -> None:
    experiment = load("reference")
    assert experiment.trials == 1
    assert not experiment.search_space().distributions
    assert experiment.search_space().fixed == dict(REFERENCE)
    assert experiment.protocol.holdout == 0
    assert experiment.protocol.fine_tune_on == "TEST"
    assert experiment.also_fine_tune_on == "TRAIN+TEST"


def test_an_empty_file_is_the_default_under_the_name_of_the_file(file: Path) -> None:
    file.write_text("")
    assert load(str(file)) == Experiment(name="mine", space=default_space())
    digits6 = load("digits6").search_space()
    assert load(str(file)).search_space().distributions == digits6.distributions
    file.write_text("space: {}")
    assert load(str(file)) == Experiment(name="mine")


def test_a_relative_folder_of_data_lies_beside_the_file_else_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "experiments" / "mine.yaml"
    file.write_text("data: images")
    assert user_path(load(str(file)).data) == tmp_path / "images"
    (tmp_path / "experiments" / "images").mkdir()
    assert load(str(file)).data == str(tmp_path / "experiments" / "images")
    assert load(str(file), ["data=images"]).data == "images"
    file.write_text("data: missing")
    assert load(str(file)).data == str(tmp_path / "experiments" / "missing")
    assert load("demo").data == "synthetic"
    assert load("digits6").data == REQUIRED


def test_numbers_as_people_write_them(file: Path) -> None:
    """YAML 1.1 reads 1e-3 as text; a whole number stands for a float where one is declared."""
    file.write_text(
        "space: {baseline: {learning_rate: {low: 1e-4, high: 1E-2, log: true}, dropout: 0,"
        " weight_decay: .5e-1}}\n"
        "failures: {max_share: 1}\nresources: {cpus_per_trial: 2, gpus_per_trial: 25e-2}\n"
        "protocol: {holdout: 0}\n"
    )
    experiment = load(str(file))
    space = experiment.search_space()
    rate: Any = space.distributions["baseline.learning_rate"]
    assert (rate.low, rate.high) == (1e-4, 1e-2)
    assert space.fixed["baseline.weight_decay"] == 0.05
    assert repr(space.fixed["baseline.dropout"]) == "0.0"
    assert experiment.resources.gpus_per_trial == 0.25
    assert repr(experiment.failures.max_share) == "1.0"


def test_conditions_as_people_write_them(file: Path) -> None:
    file.write_text(
        "space:\n"
        "  fine_tune:\n"
        "    frozen_layers: {low: 0, high: 4}\n"
        "    weight_decay: {low: 0, high: 0.1, when: {frozen_layers: [0, 1]}}\n"
        "    augmentation: {rotation: {choices: [5, 10], when: {fine_tune.frozen_layers: 4}}}\n"
    )
    experiment = load(str(file))
    space = experiment.search_space()
    decay, rotation = "fine_tune.weight_decay", "fine_tune.augmentation.rotation"
    assert decay in space.complete({"fine_tune.frozen_layers": 1})
    assert decay not in space.complete({"fine_tune.frozen_layers": 4})
    assert rotation in space.complete({"fine_tune.frozen_layers": 4})
    identity = experiment.identity("0")
    assert identity[f"space.{decay}"] == "0 to 0.1, when fine_tune.frozen_layers is 0 or 1"
    assert build(yaml.safe_load(dump(experiment)), "tests") == experiment


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("trials", "010", 10),
        ("trials", "0b11", 3),
        ("trials", "1_000", 1000),
        ("seed", "0123", 123),
        ("seed", "08", 8),
        ("seed", "+7", 7),
        ("seed", "0x1F", 31),
        ("budget.seconds", "1e3", 1000.0),
        ("budget.seconds", "1_000.5", 1000.5),
        ("budget.seconds", "010", 10.0),
        ("budget.seconds", "00.50", 0.5),
        ("until_converged", "yes", True),
        ("until_converged", "Off", False),
        ("until_converged", "true", True),
        ("data", "on", "on"),
        ("data", "010", "010"),
        ("data", "2024-01-01", "2024-01-01"),
        ("data", "1e3", "1e3"),
        ("data", '"010"', "010"),
        ("name", "08", "08"),
        ("name", "no", "no"),
        ("trials", "1e3", None),
        ("trials", "0o17", None),
        ("trials", "1:30", None),
        ("budget.seconds", "1:30", None),
        ("until_converged", "y", None),
    ],
)
def test_a_text_means_the_same_in_the_file_and_on_the_command_line(
    key: str, text: str, value: object, file: Path
) -> None:
    """None: it is refused in both. `--trials` and `--seconds` take what Python reads."""
    parents, _, leaf = key.rpartition(".")
    of_file = f"{parents}: {{{leaf}: {text}}}" if parents else f"{leaf}: {text}"
    if value is None:
        assert problems_of(of_file, file)[0].startswith(f"{file}: {key}: ")
        assert problems_of("", file, f"{key}={text}")[0].startswith(f"--set {key}={text}: {key}: ")
        return
    if key == "data":  # a relative one lies beside the file
        file.write_text(of_file)
        assert load(str(file)).data == str(file.parent / str(value))
        file.write_text("")
        assert load(str(file), [f"data={text}"]).data == value
        return
    found = []
    for content, overrides in ((of_file, []), ("", [f"{key}={text}"])):
        file.write_text(content)
        experiment = load(str(file), overrides)
        file.write_text(dump(experiment))
        assert load(str(file)) == experiment
        node: Any = experiment
        for part in key.split("."):
            node = getattr(node, part)
        found.append(node)
    assert found == [value, value]
    assert type(found[0]) is type(value)


def test_log_may_be_a_word(file: Path) -> None:
    file.write_text("space: {baseline: {learning_rate: {low: 1e-4, high: 1E-2, log: on}}}")
    rate: Any = load(str(file)).search_space().distributions["baseline.learning_rate"]
    assert rate.log is True


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "space: {baseline: {dropout: {low: 0, high: 0.5, when: {batch_sizes: 32}}}}",
            "space.baseline.dropout.when.batch_sizes: is not a hyperparameter; nearest is",
        ),
        (
            "space: {baseline: {dropout: {low: 0, high: 0.5, when: {batch_size: 32}}}}",
            "space.baseline.dropout.when.batch_size: is fixed at 64, so baseline.dropout would",
        ),
        ("trails: 3", "trails: unknown key; nearest is trials"),
        ("retrain: {topk: 3}", "retrain.topk: unknown key; nearest is top_k"),
        (
            "protocol: {baseline: {max_epoch: 3}}",
            "protocol.baseline.max_epoch: unknown key; nearest is max_epochs",
        ),
        ("trials: many", "trials: 'many', but input should be a valid integer"),
        ("trials: 2.5", "trials: 2.5, but input should be a valid integer"),
        ("trials: true", "trials: True, but input should be a valid integer"),
        ("trials: 0", "trials: 0, but input should be greater than or equal to 1"),
        ("trials:", "trials: None, but input should be a valid integer"),
        ("seed: -1", "seed: -1, but input should be greater than or equal to 0"),
        (
            "sampler: bayes",
            "sampler: 'bayes', but input should be 'tpe', 'tpe-univariate', 'gp', 'qmc' or "
            "'random'",
        ),
        ("dtype: half", "dtype: 'half', but input should be 'auto', 'bfloat16' or 'float32'"),
        ("name: a b", "name: 'a b', but "),
        ("retrain: 3", "retrain: 3, but "),
        ("failures: {max_share: 2}", "failures.max_share: 2.0, but input should be less than"),
        ("failures: {max_share: .nan}", "failures.max_share: nan, but input should be a finite"),
        ("resources: {cpus_per_trial: 0}", "resources.cpus_per_trial: 0.0, but "),
        ("protocol: {holdout: 0.95}", "protocol.holdout: 0.95, but input should be less than"),
        ("protocol: {fine_tune_on: TEST2}", "protocol.fine_tune_on: 'TEST2', but "),
        ("budget: {seconds: 0}", "budget.seconds: 0.0, but input should be greater than 0"),
        ("budget: {seconds: .inf}", "budget.seconds: inf, but input should be a finite number"),
        ("budget: {seconds: 1 h}", "budget.seconds: '1 h', but input should be a valid number"),
        ("budget: {trainings: -1}", "budget.trainings: -1.0, but input should be greater than 0"),
        ("budget: {trials: 3}", "budget.trials: unknown key"),
        ("budget: 60", "budget: 60, but "),
        ("until_converged: 1", "until_converged: 1, but input should be a valid boolean"),
        ("start_up: 0", "start_up: 0, but input should be greater than or equal to 1"),
        ("start_up: 2.5", "start_up: 2.5, but input should be a valid integer"),
        ("policy: {branch: 2}", "policy.branch: unknown key; nearest is branches"),
        ("policy: {branches: 0}", "policy.branches: 0, but input should be greater than or "),
        ("policy: {first_baselines: 0}", "policy.first_baselines: 0, but input should be "),
        ("policy: {keep: 0}", "policy.keep: 0.0, but input should be greater than 0"),
        ("policy: {keep: 1.5}", "policy.keep: 1.5, but input should be less than or equal to 1"),
        ("policy: {min_population: 0}", "policy.min_population: 0, but input should be "),
        ("policy: {rungs: 3}", "policy.rungs: 3, but input should be a valid tuple"),
        ("policy: {rungs: [0, 2]}", "policy.rungs.0: 0, but input should be greater than or "),
        ("policy: {rungs: [1.5]}", "policy.rungs.0: 1.5, but input should be a valid integer"),
        ("policy: {rungs: [3, 1]}", "policy.rungs: [3, 1], but must rise"),
        ("policy: {rungs: [2, 2]}", "policy.rungs: [2, 2], but must rise"),
        (
            "policy: {rungs: [1, 15]}",
            "policy.rungs: 15, but must be below protocol.baseline.max_epochs, 15",
        ),
        (
            "{protocol: {baseline: {max_epochs: 3}}, policy: {rungs: [1, 3]}}",
            "policy.rungs: 3, but must be below protocol.baseline.max_epochs, 3",
        ),
        ("space: [1]", "space: [1], but input should be a valid dictionary"),
        ("points: 3", "points: 3, but "),
        ("points: [3]", "points.0: 3, but "),
        (
            "space: {baseline: {dropot: 0.5}}",
            "space.baseline.dropot: is not a hyperparameter; nearest is baseline.dropout",
        ),
        (
            "space: {baseline: {dropout: {low: 0.5, high: 0.2}}}",
            "space.baseline.dropout: low 0.5 must be below high 0.2",
        ),
        (
            "{space: {}, points: [{}, {baseline: {dropout: 0.1}}]}",
            "points[1].baseline.dropout: 0.1, but the space fixes it at 0.5",
        ),
        ("a: [1", "is not valid YAML: "),
        ("- 1", "holds list, but must be a mapping"),
        ("trials: 1\ntrials: 2", "key 'trials' is given twice"),
        ("retrain: {top_k: 1, top_k: 2}", "key 'top_k' is given twice"),
        ("{[1, 2]: 3}", "is not valid YAML: "),
        ("{{a: 1}: 3}", "is not valid YAML: "),
        ("1: 2", "1: unknown key"),
        ("trials: !!python/object/apply:os.getcwd []", "is not valid YAML: "),
    ],
)
def test_what_is_wrong_is_named_by_path_value_and_rule(
    text: str, problem: str, file: Path
) -> None:
    (found,) = problems_of(text, file)
    assert found.startswith(f"{file}: ")
    assert found.removeprefix(f"{file}: ").startswith(problem) or (
        "YAML" in found and problem in found
    )


def test_all_problems_are_named_but_of_many_the_first_20_and_how_many_more(file: Path) -> None:
    assert len(problems_of("trails: 3\nsamplr: tpe\nseed: x", file)) == 3
    wrong = "\n".join(f"key{i}: 1" for i in range(50))
    *named, last = problems_of(wrong, file)
    assert (len(named), last) == (20, "and 30 more")
    point = ", ".join(f"key{i}: 1" for i in range(25))
    *named, last = problems_of(f"points: [{{baseline: {{{point}}}}}]", file)
    assert (len(named), last) == (20, "and 5 more")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None], ids=["bytes", "folder"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mine.yaml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(DefinitionError, match=str(path)):
        load(str(path))


def test_an_unknown_name_says_which_are_shipped() -> None:
    with pytest.raises(DefinitionError) as caught:
        load("digit6")
    assert "digit6: neither a file nor" in str(caught.value)
    assert "demo, digits6, full, recommended, reference" in str(caught.value)
    assert "nearest is digits6" in str(caught.value)


def test_a_merged_key_given_again_is_an_override_not_given_twice(file: Path) -> None:
    """A mapping that merges another one, which merges a third one."""
    file.write_text(
        "synthetic: &few {seed: 5, size: 16}\n"
        "points: [{synthetic: &more {<<: *few, seed: 10}}]\n"
        "retrain: {<<: *more, size: 20}\n"
    )
    found = problems_of(file.read_text(), file)
    assert {problem.split(": ")[1] for problem in found} == {"retrain.seed", "retrain.size"}


# ---- --set


def test_set_changes_any_key(file: Path) -> None:
    file.write_text("trials: 3\nspace: {baseline: {dropout: {low: 0.1, high: 0.5}}}")
    experiment = load(
        str(file),
        [
            "trials=5",
            "protocol.baseline.max_epochs=2",
            "space.baseline.dropout=0.25",
            "space.fine_tune.learning_rate={low: 1e-4, high: 1e-2, log: true}",
            "data=/a=b",
            "trials=6",
        ],
    )
    assert experiment.trials == 6
    assert experiment.protocol.baseline.max_epochs == 2
    assert experiment.protocol.fine_tune.max_epochs == 15
    assert experiment.data == "/a=b"
    assert experiment.search_space().fixed["baseline.dropout"] == 0.25
    assert list(experiment.search_space().distributions) == ["fine_tune.learning_rate"]


def test_set_of_a_range_s_end_keeps_the_rest(file: Path) -> None:
    file.write_text("space: {baseline: {dropout: {low: 0.1, high: 0.5, step: 0.1}}}")
    experiment = load(str(file), ["space.baseline.dropout.high=0.3"])
    assert experiment.search_space().describe()["baseline.dropout"] == "0.1 to 0.3 (step 0.1)"


@pytest.mark.parametrize("name", ["fine_tune.learning_rate", "learning_rate"])
def test_set_changes_a_key_that_the_file_writes_with_dots(name: str, tmp_path: Path) -> None:
    file, domain = tmp_path / "mine.yaml", "{low: 1e-4, high: 1e-3, log: true}"
    group = "space:\n" if "." in name else "space:\n  fine_tune:\n  "
    file.write_text(f"{group}  {name}: {domain}\n")
    key = "space.fine_tune.learning_rate"
    wider = load(str(file), [f"{key}.high=0.01"]).search_space()
    assert wider.describe()["fine_tune.learning_rate"] == "0.0001 to 0.01 (log)"
    fixed = load(str(file), [f"{key}=0.002"]).search_space()
    assert (dict(fixed.distributions), fixed.fixed["fine_tune.learning_rate"]) == ({}, 0.002)


def test_set_of_one_stage_leaves_the_other_where_both_come_from_one_anchor() -> None:
    experiment = load("full", ["space.baseline.augmentation.rotation=0"])
    space = experiment.search_space()
    assert space.fixed == {"baseline.augmentation.rotation": 0.0}
    before = load("full").search_space().describe()
    changed = {k for k, text in space.describe().items() if text != before[k]}
    assert changed == {"baseline.augmentation.rotation"}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("keep=0", "keep: 0, but must be all, or a number of trials from 1"),
        ("keep=some", "keep: 'some', but must be all, or a number of trials from 1"),
        ("keep=true", "keep: True, but must be all, or a number of trials from 1"),
        ("trials", "--set trials: must have the form KEY=VALUE"),
        ("=3", "--set =3: must have the form KEY=VALUE"),
        ("trials=[1", "--set trials=[1: '[1' is not a YAML value"),
        ("trials.many=1", "--set trials.many=1: trials is not a mapping"),
        ("trails=1", "--set trails=1: trails: unknown key; nearest is trials"),
        ("space.baseline.lr=1", "hyperparameter; nearest is baseline.learning_rate"),
        (
            "max_epochs=2",
            "be protocol.baseline.max_epochs or protocol.fine_tune.max_epochs",
        ),
        ("space.baseline.dropout.low=2", "--set space.baseline.dropout.low=2: space.baseline."),
        ("space.baseline.dropot=1", "space.baseline.dropot: is not a hyperparameter; nearest is"),
        ("retrain={top_k: 1, top_k: 2}", "--set retrain={top_k: 1, top_k: 2}: "),
    ],
)
def test_a_wrong_set_is_one_line(override: str, problem: str, file: Path) -> None:
    (found,) = problems_of("trials: 3", file, override)
    assert problem in found


# ---- what a run is bound to


def test_the_identity_names_what_must_not_change() -> None:
    one = load("demo").identity("digest-1")
    changes = {
        "data": load("demo").identity("digest-2"),
        "seed": load("demo", ["seed=1"]).identity("digest-1"),
        "protocol.holdout": load("demo", ["protocol.holdout=0.4"]).identity("digest-1"),
        "protocol.division_seed": load("demo", ["protocol.division_seed=1"]).identity("digest-1"),
        "protocol.folds": load("demo", ["protocol.folds=3"]).identity("digest-1"),
        "protocol.baseline.patience": load("demo", ["protocol.baseline.patience=9"]).identity(
            "digest-1"
        ),
        "space.baseline.dropout": load("demo", ["space.baseline.dropout=0.3"]).identity(
            "digest-1"
        ),
    }
    for field, other in changes.items():
        assert {key for key in one | other if one.get(key) != other.get(key)} == {field}


def test_one_fold_is_in_no_identity() -> None:
    assert "protocol.folds" not in load("demo", ["protocol.folds=1"]).identity("digest")
    with pytest.raises(DefinitionError, match=r"protocol\.folds: .*0"):
        load("demo", ["protocol.folds=0"])


def test_what_may_change_over_a_run_s_life_is_not_in_the_identity() -> None:
    one = load("demo").identity("digest")
    free = ["trials=99", "retrain.top_k=5", "failures.max_share=0.9", "resources.concurrency=1"]
    free += ["budget.seconds=9", "until_converged=true", "policy.branches=9", "start_up=3"]
    assert load("demo", [*free, "sampler=gp"]).identity("digest") == one


def test_points_reach_the_study_complete_and_canonical() -> None:
    space = {"baseline": {"dropout": {"low": 0.0, "high": 0.5, "step": 0.1}}}
    raw = {"space": space, "points": [{"baseline": {"dropout": 0.1 + 0.2}}]}
    (point,) = build(raw, "here").settings().points
    assert dict(point) == {**REFERENCE, "baseline.dropout": 0.3}


def test_a_steered_experiment_reads_back_with_its_points_once() -> None:
    raw = {"space": {"baseline": {"dropout": {"low": 0.0, "high": 0.6}}}}
    experiment = build({**raw, "points": [{"baseline": {"dropout": 0.1}}]}, "tests")
    points = experiment.checked_points()
    enqueued = experiment.search_space().point({"baseline.dropout": 0.4}, "enqueued")
    steered = experiment.steered(9, [*points, enqueued])
    assert steered.trials == 9
    assert steered.checked_points() == (*points, enqueued)
    assert steered.steered(9, [*points, enqueued]) == steered
    assert build(yaml.safe_load(dump(steered)), "tests") == steered


def test_what_the_protocol_decides_for_all_trials_is_not_searched() -> None:
    space = {"fine_tune": {"train_on": {"choices": ["TEST", "TRAIN+TEST"]}}}
    assert build({"space": space}, "tests").search_space().reference == {
        **REFERENCE,
        "fine_tune.train_on": "TEST",
    }
    with pytest.raises(DefinitionError) as caught:
        build({"space": space, "protocol": {"fine_tune_on": "TRAIN+TEST"}}, "tests")
    assert [p.split(": ")[1] for p in caught.value.problems] == ["space.fine_tune.train_on"]


@pytest.mark.parametrize(
    ("fine_tune", "names"),
    [
        ({"train_share": 0.3}, ["fine_tune.train_share"]),
        ({"train_share": {"low": 0, "high": 0.5}}, ["fine_tune.train_share"]),
        ({"train_on": {"choices": ["TEST", "TRAIN+TEST"]}}, ["fine_tune.train_on"]),
        ({"train_share": 0.0}, []),
    ],
)
def test_the_protocol_alone_decides_what_is_trained_on(
    fine_tune: dict[str, Any], names: list[str]
) -> None:
    raw: dict[str, Any] = {"space": {"fine_tune": fine_tune}}
    build(raw, "tests")
    problems: tuple[str, ...] = ()
    try:
        build({**raw, "protocol": {"fine_tune_on": "TRAIN+TEST"}}, "tests")
    except DefinitionError as error:
        problems = error.found
    assert [problem.split(": ")[1] for problem in problems] == [f"space.{n}" for n in names]


def test_a_share_of_train_and_all_of_train_are_refused_together() -> None:
    with pytest.raises(DefinitionError) as error:
        build({"space": {"fine_tune": {"train_on": "TRAIN+TEST", "train_share": 0.3}}}, "tests")
    assert len(error.value.found) == 1
    assert "train_share" in error.value.found[0]


def test_the_objective_is_one_of_three() -> None:
    assert build({}, "tests").settings().objective.name == "accuracy"
    assert build({"objective": "f1_macro"}, "tests").settings().objective.name == "f1_macro"
    with pytest.raises(DefinitionError, match="objective: 'loss'"):
        build({"objective": "loss"}, "tests")
