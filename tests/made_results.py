"""Results of the protocol with the numbers that a test chooses."""

from __future__ import annotations

from dataclasses import replace

from shiftsearch.model.result import ProtocolResult, SplitResult, StageSummary


def made_stage(
    test: float, test2: float, epochs: int = 4, seconds: float = 1.0, key: str = "c0-0004"
) -> StageSummary:
    """A stage with accuracies on TEST and TEST2, its best epoch the last but one."""
    environment = {"device": "cpu", "dtype": "float32", "threads": 1, "torch": "2.13.0"}
    splits = SplitResult(60, test, 0.5), SplitResult(30, test2, 0.7)
    return StageSummary(key, epochs, max(1, epochs - 1), seconds, environment, *splits, "report-0")


def made_result(
    value: float, before: float = 0.17, seconds: tuple[float, float] = (2.0, 1.0)
) -> ProtocolResult:
    """A result with the objective `value` and the seconds of its two stages."""
    return ProtocolResult(
        made_stage(0.56, before, 4, seconds[0]), made_stage(0.97, value, 3, seconds[1], "c1-0003")
    )


def with_scores(
    result: ProtocolResult, balanced_accuracy: float, f1_macro: float = 0.5
) -> ProtocolResult:
    """The result with these scores after fine-tuning on TEST2, and half of each before."""

    def scored(stage: StageSummary, share: float) -> StageSummary:
        scores = {"balanced_accuracy": share * balanced_accuracy, "f1_macro": share * f1_macro}
        return replace(stage, test2=replace(stage.test2, **scores))

    return ProtocolResult(scored(result.baseline, 0.5), scored(result.fine_tune, 1.0))
