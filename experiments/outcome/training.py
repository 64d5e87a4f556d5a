"""An ended training, as `RUN/retrain.json` keeps it; needs neither torch nor Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shiftsearch.experiments.run_folder import NotARun, read_json
from shiftsearch.model.result import ProtocolResult
from shiftsearch.search.executing.places import Place, place_from
from shiftsearch.search.study.records import DIVERGED, LOST_BEFORE


@dataclass(frozen=True)
class Round:
    """The round of a race in which a training was given out.

    Attributes:
        race: key of the race.
        number: from 1; trainings before the first decision have no round.
        size: number of trainings in the round.
    """

    race: str
    number: int
    size: int


@dataclass(frozen=True)
class Training:
    """One ended training, as `retrain.json` keeps it: either it has a result or it failed.

    Attributes:
        result: the protocol's result; None if it failed.
        reason: why it failed; empty otherwise.
        lost: whether it failed because its worker was lost too often.
        round: the round that gave it out; None before the first decision.
        asked: whether a person asked for it (`shiftsearch retrain`). A race uses it only if it
            wants the same training, so it does not change which configuration wins.
        place: where it ran, and for how long; None if that is unknown.

    Raises:
        ValueError: it has both a result and a reason, or neither.
    """

    result: ProtocolResult | None = None
    reason: str = ""
    lost: bool = False
    round: Round | None = None
    asked: bool = False
    place: Place | None = None

    def __post_init__(self) -> None:
        if (self.result is None) == (self.reason == ""):
            raise ValueError("a training needs either a result or a reason why it failed")

    @property
    def diverged(self) -> bool:
        """Whether it failed because a number was not finite; see `TrialRecord.diverged`."""
        return not self.lost and bool(DIVERGED.search(self.reason))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Training:
        """The inverse of `to_json`.

        The first version did not write `lost`; it is recognised by the reason.

        Raises:
            ValueError: `raw` is not a training.
        """
        try:
            result, reason, given = raw.get("result"), raw.get("reason", ""), raw.get("round")
            return cls(
                None if result is None else ProtocolResult.from_json(result),
                reason,
                raw.get("lost", bool(LOST_BEFORE.match(reason))),
                None if given is None else Round(**given),
                raw.get("asked", False),
                place_from(raw.get("place")),
            )
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"is not a training ({type(error).__name__}: {error})") from None

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, without those that are at their defaults."""
        found: dict[str, Any] = {"reason": self.reason}
        if self.result is not None:
            found = {"result": self.result.to_json()}
        found |= {"lost": True} if self.lost else {}
        found |= {"round": asdict(self.round)} if self.round is not None else {}
        found |= {"place": asdict(self.place)} if self.place is not None else {}
        return found | ({"asked": True} if self.asked else {})


def read_trainings(path: Path) -> dict[str, Training]:
    """The trainings in `retrain.json`, by key; empty if there is no such file.

    Raises:
        experiments.run_folder.NotARun: the file is damaged.
    """
    raw = read_json(path) if path.exists() else {}
    if not isinstance(raw, dict):
        raise NotARun(f"{path}: is damaged, it holds no trainings by key")
    try:
        return {key: Training.from_json(training) for key, training in raw.items()}
    except ValueError as error:
        raise NotARun(f"{path}: is damaged: {error}") from None
