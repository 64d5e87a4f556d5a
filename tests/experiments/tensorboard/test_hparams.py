"""HParams of choices of text, of switches, and of what only some trials have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.list_session_groups import _create_extractors, _create_filters

from shiftsearch.experiments.tensorboard.hparams import experiment, metrics, session_start
from shiftsearch.model.objective import ACCURACY, BALANCED_ACCURACY, Objective
from tests.experiments.protocol_results import complete
from tests.made_results import made_result, with_scores
from tests.search.conditional import AUGMENTED, SPACE, STANDARDISE, THAW_EVERY, UNFREEZING

pytestmark = pytest.mark.unit


def test_columns_have_the_types_of_their_values() -> None:
    content = experiment(SPACE).metadata.plugin_data.content
    infos = {i.name: i for i in metadata.parse_experiment_plugin_data(content).hparam_infos}
    assert infos[UNFREEZING].type == api_pb2.DATA_TYPE_STRING
    assert [v.string_value for v in infos[UNFREEZING].domain_discrete.values] == [
        "none",
        "gradual",
    ]
    assert infos[STANDARDISE].type == api_pb2.DATA_TYPE_BOOL
    assert [v.bool_value for v in infos[STANDARDISE].domain_discrete.values] == [False, True]
    assert infos[THAW_EVERY].type == api_pb2.DATA_TYPE_FLOAT64
    assert infos[THAW_EVERY].domain_interval.max_value == 4
    assert infos[THAW_EVERY].description.endswith("when fine_tune.unfreezing is 'gradual'")


def test_the_objective_is_the_first_metric() -> None:
    def names(objective: Objective) -> list[str]:
        content = experiment(SPACE, objective).metadata.plugin_data.content
        infos = metadata.parse_experiment_plugin_data(content).metric_infos
        assert [i.name.tag for i in infos if "objective" in i.description] == [infos[0].name.tag]
        return [info.name.tag for info in infos]

    plain, balanced = names(ACCURACY), names(BALANCED_ACCURACY)
    assert plain[0] == "final/test2_accuracy_after"
    assert balanced[0] == "final/test2_balanced_accuracy_after"
    assert set(plain) < set(balanced)
    result = with_scores(made_result(0.9), 0.5)
    trial = replace(complete(0, 0.5), result=result, objective=BALANCED_ACCURACY)
    found = metrics(trial)
    assert set(found) <= set(balanced)
    assert found["final/test2_balanced_accuracy_after"] == 0.5
    assert found["final/test2_accuracy_after"] == 0.9


def test_a_trial_has_the_values_that_exist_in_it() -> None:
    def values(**named: str | float | bool) -> dict[str, object]:
        found = session_start(SPACE, SPACE.complete(named), "sampled", None, 0.0)
        info = metadata.parse_session_start_info_plugin_data(found.metadata.plugin_data.content)
        return {k: getattr(v, v.WhichOneof("kind")) for k, v in info.hparams.items()}

    assert THAW_EVERY not in values(**{UNFREEZING: "none"})
    gradual = values(**{UNFREEZING: "gradual", THAW_EVERY: 3, AUGMENTED: True})
    assert (gradual[UNFREEZING], gradual[THAW_EVERY], gradual[AUGMENTED]) == ("gradual", 3, True)


def test_tensorboard_s_filters_keep_a_trial_without_the_value() -> None:
    """ "none" in its place would not: it is not of the domain whose boxes are ticked."""
    ticked = api_pb2.ColParams(hparam=THAW_EVERY)
    ticked.filter_discrete.extend([1, 2, 3, 4])
    (keeps,) = _create_filters([ticked], _create_extractors([ticked]))
    assert keeps(api_pb2.SessionGroup())
