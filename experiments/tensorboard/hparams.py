"""The data of TensorBoard's HParams tab: one experiment, and a session for each trial.

The protocol buffers are built here, because TensorBoard's own helper imports TensorFlow.
TensorBoard uses the first experiment that it reads, and the first start and end of each session;
they cannot be changed afterwards. It shows a session without an end as unknown, which here means
running. So the state of a trial is also a metric, `state`, whose last value counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.objective import ACCURACY, Objective
from shiftsearch.model.result import STAGES, ProtocolResult
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study.records import State, TrialRecord

STATES: Mapping[State, int] = {"running": 0, "complete": 1, "pruned": 2, "failed": 3}
"""The values of the metric `state`."""

_STATE = "state"
_OBJECTIVE = "the objective: "
_METRICS = {
    "final/test2_accuracy_after": "accuracy on TEST2's selection part after fine-tuning, 0 to 1 "
    "(selected on)",
    _STATE: "0 running (or waiting to be handed out again after its worker was lost), "
    "1 complete, 2 pruned, 3 failed",
    "final/test2_accuracy_before": "accuracy on TEST2's selection part before fine-tuning, 0 to 1",
    "final/test_accuracy_after": "accuracy on TEST after fine-tuning, 0 to 1 (trained on)",
    "final/test_accuracy_before": "accuracy on TEST before fine-tuning, 0 to 1 (selected on)",
    "final/baseline_epochs": "epochs of the baseline",
    "final/fine_tune_epochs": "epochs of the fine-tune",
    "final/stopped_at": "baseline epochs after which a pruned trial was stopped",
    "final/seconds": "from the first start to the end, by the driver's clock",
    "final/parameters": "parameters of the network",
    "final/multiply_adds": "multiply-adds of the network for one image",
    "final/latency_ms": "ms of the network for one image, on one thread of the driver's machine",
}
"""Descriptions by tag; the part after `final/` is the column's name in `trials.csv`."""

_TEXTS = {
    "role": (
        "reference, point (known good, tried first) or sampled",
        ("reference", "point", "sampled"),
    ),
    # Ten values, although there may be more numbers: for more than ten TensorBoard offers a
    # regular expression instead of boxes to tick, and for none it offers nothing.
    "branch_of": (
        "the trial whose baseline it fine-tunes; none if it trained its own",
        ("none", *(str(number) for number in range(9))),
    ),
}
"""Columns besides the hyperparameters: their descriptions and values."""

_FIRST = ("baseline.learning_rate", "fine_tune.learning_rate", "fine_tune.frozen_layers", *_TEXTS)
"""Columns that are shown first; TensorBoard shows five until others are ticked."""


def descriptions(objective: Objective) -> dict[str, str]:
    """Descriptions of the metrics by tag; TensorBoard shows only the first at the beginning."""
    before, after = (f"final/{objective.column}_{when}" for when in ("before", "after"))
    texts = {
        tag: text.replace("accuracy", objective.title, 1)
        for tag, text in _METRICS.items()
        if "test2" in tag
    }
    found = {
        after: _OBJECTIVE + texts["final/test2_accuracy_after"],
        _STATE: _METRICS[_STATE],
        before: texts["final/test2_accuracy_before"],
    }
    return {**found, **{tag: text for tag, text in _METRICS.items() if tag not in found}}


def experiment(space: Space, objective: Objective = ACCURACY) -> Summary.Value:
    """The experiment: every searched hyperparameter with type and domain, and the metrics."""
    texts = space.describe()
    infos = [_hparam(name, d, texts[name]) for name, d in space.distributions.items()]
    infos += [_text(name, *about) for name, about in _TEXTS.items()]
    for info in infos:
        info.differs = info.name in _FIRST  # TensorBoard puts these first
    metrics = [
        api_pb2.MetricInfo(
            name=api_pb2.MetricName(tag=tag),
            display_name=tag.removeprefix("final/"),
            description=text,
        )
        for tag, text in descriptions(objective).items()
    ]
    found = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    return _value(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=found))


def session_start(
    space: Space,
    configuration: Mapping[str, Value],
    role: str,
    branch_of: int | None,
    seconds: float,
) -> Summary.Value:
    """The start of a trial's session, with the values of its columns.

    Args:
        space: the searched space.
        configuration: the trial's; missing values are left out, and filters do not hide the trial.
        role: the trial's role.
        branch_of: the trial whose baseline it uses; None is shown as "none".
        seconds: when the trial began, Unix time.
    """
    info = SessionStartInfo(start_time_secs=seconds)
    for name in (name for name in space.distributions if name in configuration):
        value = configuration[name]
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, str):
            info.hparams[name].string_value = value
        else:
            info.hparams[name].number_value = value
    info.hparams["role"].string_value = role
    info.hparams["branch_of"].string_value = "none" if branch_of is None else str(branch_of)
    return _value(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info))


def session_end(state: State, seconds: float) -> Summary.Value:
    """The end of a trial's session, at `seconds` in Unix time; a pruned trial did not fail."""
    status = api_pb2.STATUS_FAILURE if state == "failed" else api_pb2.STATUS_SUCCESS
    info = SessionEndInfo(status=status, end_time_secs=seconds)
    return _value(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))


def accuracies(result: ProtocolResult, objective: Objective = ACCURACY) -> dict[str, float]:
    """The `final/...` metrics of a result: accuracies, and the objective's values."""
    stages = (("before", result.baseline), ("after", result.fine_tune))
    found = {
        f"final/{split}_accuracy_{when}": scored.accuracy
        for when, stage in stages
        for split, scored in (("test", stage.test), ("test2", stage.test2))
    }
    return found | {
        f"final/{objective.column}_{when}": objective.of_split(stage.test2)
        for when, stage in stages
    }


def metrics(trial: TrialRecord) -> dict[str, float]:
    """The metrics of an ended trial by tag, as in `trials.csv`; absent values are left out."""
    found: dict[str, float] = {_STATE: STATES[trial.state]}
    found |= {f"final/{name}": cost for name, cost in trial.costs.items()}
    if trial.seconds is not None:
        found["final/seconds"] = trial.seconds
    if trial.stopped_at is not None:
        found["final/stopped_at"] = trial.stopped_at
    if trial.result is not None:
        found |= accuracies(trial.result, trial.objective)
        found |= {f"final/{s}_epochs": trial.result.stage(s).epochs for s in STAGES}
    return found


def _hparam(name: str, domain: BaseDistribution, text: str) -> api_pb2.HParamInfo:
    info = api_pb2.HParamInfo(name=name, type=_type(domain), description=text)
    if isinstance(domain, CategoricalDistribution):
        info.domain_discrete.extend(domain.choices)
    elif isinstance(domain, FloatDistribution | IntDistribution):
        info.domain_interval.min_value = domain.low
        info.domain_interval.max_value = domain.high
    return info


def _type(domain: BaseDistribution) -> api_pb2.DataType.ValueType:
    first = domain.choices[0] if isinstance(domain, CategoricalDistribution) else 0.0
    if isinstance(first, bool):
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_STRING if isinstance(first, str) else api_pb2.DATA_TYPE_FLOAT64


def _text(name: str, text: str, values: Sequence[str]) -> api_pb2.HParamInfo:
    info = api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_STRING, description=text)
    info.domain_discrete.extend(values)
    return info


def _value(tag: str, content: HParamsPluginData) -> Summary.Value:
    return Summary.Value(
        tag=tag,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
